"""Write the data of every built-in task and the held-out plain text: ``python -m recipes.tasks.build``."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

from recipes.tasks import corpus, library, splits
from recipes.tasks.files import write_rows
from recipes.tasks.statistics import describe, texts_of, word_types, words

LIBRARY = Path(__file__).resolve().parents[2] / "src" / "luthier" / "tasks" / "library" / "builtin"


def main() -> None:
    types: set[str] = set()
    for recipe in library.recipes():
        built = splits.build(recipe)
        for split, rows in built.items():
            write_rows(LIBRARY / recipe.name / f"{split}.jsonl.gz", rows)
        types |= word_types(text for row in chain(*built.values()) for text in texts_of(row))
        print(describe(recipe.name, built))
    heldout = corpus.heldout()
    write_rows(LIBRARY / "plain_text" / "heldout.jsonl.gz", heldout)
    lengths = sorted(len(words(str(row["text"]))) for row in heldout)
    print(f"plain_text: {len(heldout)} documents of {lengths[0]}–{lengths[-1]} words, {sum(lengths)} words")
    types |= word_types(str(row["text"]) for row in heldout)
    print(f"word types over everything in the package: {len(types)}")


if __name__ == "__main__":
    main()
