"""The built-in tasks: what ships is what the generator writes, and the test split measures what it says."""

from __future__ import annotations

import math
import random
import re
import sys
from collections import Counter
from itertools import chain, islice, pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from recipes.tasks import corpus, grammar, library, splits  # noqa: E402
from recipes.tasks.files import as_text, read_rows, read_text  # noqa: E402
from recipes.tasks.scenarios import TEXTS, Scenario, read_scenarios  # noqa: E402
from recipes.tasks.splits import Row  # noqa: E402
from recipes.tasks.statistics import frame_share, texts_of, words  # noqa: E402
from recipes.tasks.world import Setting, names_of  # noqa: E402

FOLDER = ROOT / "src" / "luthier" / "tasks" / "library" / "builtin"
TASKS = {recipe.name: recipe for recipe in library.recipes()}
SPLITS = ("train", "validation", "test")
CAPITALISED = re.compile(r"\b[A-Z][a-z]+\b")


def shipped(task: str) -> dict[str, list[Row]]:
    return {split: read_rows(FOLDER / task / f"{split}.jsonl.gz") for split in SPLITS}


@pytest.fixture(scope="module", params=sorted(TASKS))
def task(request: pytest.FixtureRequest) -> tuple[str, dict[str, list[Row]]]:
    return request.param, shipped(request.param)


def test_package_holds_what_the_generator_writes() -> None:
    built = splits.build(TASKS["acceptability"])
    for split in SPLITS:
        assert read_text(FOLDER / "acceptability" / f"{split}.jsonl.gz") == as_text(built[split])
    assert read_text(FOLDER / "plain_text" / "heldout.jsonl.gz") == as_text(corpus.heldout())


def test_sizes(task: tuple[str, dict[str, list[Row]]]) -> None:
    name, rows = task
    assert tuple(len(rows[split]) for split in SPLITS) == TASKS[name].sizes
    assert len(rows["train"]) >= 600


def test_ids_are_unique_and_nothing_is_empty(task: tuple[str, dict[str, list[Row]]]) -> None:
    rows = list(chain(*task[1].values()))
    assert len({row["id"] for row in rows}) == len(rows)
    assert not [row["id"] for row in rows if not all(str(value).strip() for value in row.values())]


def test_no_input_occurs_twice(task: tuple[str, dict[str, list[Row]]]) -> None:
    name, rows = task
    inputs = Counter(tuple(row[key] for key in TASKS[name].key) for row in chain(*rows.values()))
    assert [text for text, count in inputs.items() if count > 1] == []


def test_no_test_name_in_train_and_no_train_name_in_test(task: tuple[str, dict[str, list[Row]]]) -> None:
    for pool, split in (("test", "train"), ("test", "validation"), ("train", "test")):
        names = {*names_of(pool, "girl"), *names_of(pool, "boy")}
        met = {word for row in task[1][split] for text in texts_of(row) for word in CAPITALISED.findall(text)}
        assert met & names == set()


def test_most_test_rows_show_scenarios_that_training_does_not(task: tuple[str, dict[str, list[Row]]]) -> None:
    rows = task[1]
    trained = {row["scenario"] for row in rows["train"]}
    assert all(row["unseen"] == (row["scenario"] not in trained) for row in rows["test"])
    assert sum(bool(row["unseen"]) for row in rows["test"]) >= 0.5 * len(rows["test"])
    assert sum(bool(row["unseen"]) for row in rows["validation"]) == 75
    assert not any(row["unseen"] for row in rows["train"])


def test_hundreds_of_scenarios_none_of_which_fills_a_task(task: tuple[str, dict[str, list[Row]]]) -> None:
    assert len(TASKS[task[0]].scenarios) >= 200
    assert frame_share(list(chain(*task[1].values()))) < 0.01


@pytest.mark.parametrize(
    ("name", "column", "low", "high"),
    [
        ("dialogue_summary", "dialogue", 15, 190),
        ("dialogue_summary", "summary", 5, 40),
        ("entity_extraction", "text", 8, 50),
        ("entity_extraction", "entities", 1, 20),
        ("translation_en_es", "english", 3, 18),
        ("translation_en_es", "spanish", 2, 20),
        ("entailment", "premise", 8, 36),
        ("entailment", "hypothesis", 2, 16),
        ("counting", "text", 5, 60),
        ("review_sentiment", "review", 8, 80),
        ("topic", "text", 6, 60),
        ("reading_qa", "passage", 20, 80),
        ("reading_qa", "answer", 1, 10),
        ("acceptability", "sentence", 2, 16),
        ("story_ending", "story", 12, 60),
    ],
)
def test_lengths(name: str, column: str, low: int, high: int) -> None:
    counts = [len(words(str(row[column]))) for row in chain(*shipped(name).values())]
    assert low <= min(counts)
    assert max(counts) <= high


def test_conversations_have_four_to_fourteen_turns_and_two_or_three_speakers() -> None:
    for row in chain(*shipped("dialogue_summary").values()):
        turns = [line.split(": ", 1) for line in str(row["dialogue"]).splitlines()]
        assert 4 <= len(turns) <= 14
        assert 2 <= len({speaker for speaker, _ in turns}) <= 3
        assert all(first[0] != second[0] for first, second in pairwise(turns))


@pytest.mark.parametrize(
    ("name", "column", "classes"),
    [("review_sentiment", "sentiment", 2), ("acceptability", "label", 2), ("entailment", "label", 3)],
)
def test_labels_are_balanced(name: str, column: str, classes: int) -> None:
    for rows in shipped(name).values():
        counts = Counter(row[column] for row in rows)
        assert len(counts) == classes
        assert max(counts.values()) <= (1 / classes + 0.05) * len(rows)


def test_every_topic_is_in_every_split() -> None:
    for rows in shipped("topic").values():
        counts = Counter(row["topic"] for row in rows)
        assert set(counts) == {"food", "health", "music", "sport", "travel", "weather"}
        assert max(counts.values()) <= 0.25 * len(rows)


def test_a_statement_alone_does_not_tell_whether_it_follows() -> None:
    """A naive Bayes classifier that sees the hypothesis alone is no better than chance on unseen scenarios."""
    rows = shipped("entailment")
    counts: dict[object, Counter[str]] = {}
    for row in rows["train"]:
        counts.setdefault(row["label"], Counter()).update(set(words(str(row["hypothesis"]))))
    seen = Counter(row["label"] for row in rows["train"])

    def likeliest(row: Row) -> object:
        own = words(str(row["hypothesis"]))
        return max(seen, key=lambda label: sum(math.log((counts[label][w] + 1) / (seen[label] + 2)) for w in own))

    unseen = [row for row in rows["test"] if row["unseen"]]
    assert sum(likeliest(row) == row["label"] for row in unseen) / len(unseen) < 0.45


def test_entities_stand_in_their_text_in_order() -> None:
    for row in chain(*shipped("entity_extraction").values()):
        found = [] if row["entities"] == "none" else re.split(r"[;,] ", str(row["entities"]))
        text = str(row["text"]).lower()
        met = [re.search(rf"\b{re.escape(entity.lower())}\b", text) for entity in found]
        places = [match.start() if match else -1 for match in met]
        assert -1 not in places, row
        assert places == sorted(places), row


def test_answers_of_reading_stand_in_their_passage() -> None:
    for row in chain(*shipped("reading_qa").values()):
        assert str(row["answer"]).lower() in str(row["passage"]).lower(), row


def test_counts_are_small_and_none_is_too_common() -> None:
    for rows in shipped("counting").values():
        answers = Counter(int(str(row["answer"])) for row in rows)
        assert set(answers) <= set(range(21))
        assert max(answers.values()) < 0.2 * len(rows)


@pytest.mark.parametrize(
    "fault",
    [
        r"\ba el\b",
        r"\bde el [a-z]",
        r"\b(un|el) \w+ción\b",
        r"\b(la|una) problema\b",
        r"\bla agua\b",
        r"\ses? (contento|cansado)",
    ],
)
def test_spanish_has_none_of_the_common_faults(fault: str) -> None:
    found = [
        row["spanish"] for row in chain(*shipped("translation_en_es").values()) if re.search(fault, str(row["spanish"]))
    ]
    assert found == []


def test_spanish_questions_open_as_they_close() -> None:
    for row in chain(*shipped("translation_en_es").values()):
        text = str(row["spanish"])
        assert (text.count("¿"), text.count("¡")) == (text.count("?"), text.count("!")), row


def test_the_right_ending_is_one_of_two_and_on_no_fixed_side() -> None:
    rows = list(chain(*shipped("story_ending").values()))
    assert all(row["ending_a"] != row["ending_b"] for row in rows)
    first = sum(row["ending"] == row["ending_a"] for row in rows)
    assert first + sum(row["ending"] == row["ending_b"] for row in rows) == len(rows)
    assert 0.44 <= first / len(rows) <= 0.56


def test_corpus_is_the_same_each_time_and_repeats_nothing() -> None:
    first = list(corpus.documents(60_000))
    assert first == list(corpus.documents(60_000))
    assert first[:20] != list(islice(corpus.documents(60_000, seed=1), 20))
    assert len(set(first)) == len(first)
    assert sum(len(words(text)) for text in first) >= 60_000


def test_corpus_shows_no_test_row_and_no_held_out_document() -> None:
    text = "\n\n".join(corpus.documents(150_000))
    kept_back = [
        row[TASKS[name].key[0]] for name in TASKS for split in ("validation", "test") for row in shipped(name)[split]
    ]
    assert [found for found in kept_back if re.search(rf"^{re.escape(str(found))}$", text, re.M)] == []
    heldout = corpus.heldout()
    assert [row["id"] for row in heldout if str(row["text"]) in text] == []
    names = {*names_of("heldout", "girl"), *names_of("heldout", "boy")}
    assert names & set(CAPITALISED.findall(text)) == set()


def test_held_out_text() -> None:
    rows = read_rows(FOLDER / "plain_text" / "heldout.jsonl.gz")
    assert len(rows) == 150
    assert sum(bool(row["unseen"]) for row in rows) >= 75
    assert all(60 <= len(words(str(row["text"]))) <= 200 for row in rows)


def test_choices_may_be_nested() -> None:
    found = {grammar.choose("a[b|[c|d]e]", random.Random(seed)) for seed in range(50)}
    assert found == {"ab", "ace", "ade"}


def test_filling_mends_articles_and_capitals() -> None:
    scenario = Scenario("s", ((("x",), (("orange hat",),)),), ("A",), (), ())
    setting = Setting(scenario, "test", random.Random(0))
    assert setting.render("{he:A} has a {x}. a slot needs braces.") == "She has an orange hat. A slot needs braces."


def test_an_unknown_slot_is_named() -> None:
    setting = Setting(Scenario("s", (), (), (), ()), "test", random.Random(0))
    with pytest.raises(ValueError, match=r"scenario 's': nobody defines the slot \{nothing\}"):
        setting.render("{nothing}")


def test_sentences_are_split_outside_brackets_only() -> None:
    assert grammar.alternatives("a [b | c] d | e") == ["a [b | c] d", "e"]


def test_every_scenario_of_every_task_can_be_rendered() -> None:
    files = [path.name for path in TEXTS.glob("*.txt")]
    assert len(files) >= 50
    assert sum(len(recipe.scenarios) for recipe in TASKS.values()) >= 2000
    assert len(read_scenarios("beats.txt", "beats_more.txt", "beats_tales.txt")) >= 300
