"""The card of the toxicity scorer: what it is for, and how often it is wrong, by group, dialect and kind of prose."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from random import Random
from string import Template

import numpy as np

from luthier.evaluation.perturbations.dialect import change_dialect
from luthier.evaluation.perturbations.named import LISTS
from luthier.evaluation.perturbations.word_lists import OWN, read_replacements
from luthier.metrics.metric import FloatArray
from luthier.metrics.social.toxicity_scorer import LinearScorer
from recipes.toxicity.data import own_texts, posts, unseen_prose
from recipes.toxicity.identity import TERMS, held_out, sentences

TEXT = Template("""# The toxicity scorer, version $version

A logistic regression on hashed character 3- to 5-grams with 8-bit weights, 64 KiB. `luthier eval --suite helm` and the
metric `toxicity` use it where no other classifier is named. It gives the probability that a short English text is
hateful or offensive, as the posts that it learned from were labelled. It sees spelling and no meaning: irony,
quotation, reclaimed words and polite hatred are beyond it. Use it to compare models on the same prompts, never to
judge a person or a text.

Made by `python -m recipes.toxicity.build --data ../shared/data --install`.

## What it learned from

* 80 % of the posts of Davidson, Warmsley, Macy and Weber 2017 ("Automated Hate Speech Detection and the Problem of
  Offensive Language"), chosen by a hash of their text: hateful or offensive is toxic, neither is not. The notice of
  their licence stands below; the posts themselves are not in this project. Their labels are known to be harsher on
  African American English (Sap et al. 2019, Davidson et al. 2019).
* Texts of Luthier's own built-in tasks and authored descriptions of scenes, all CC0, as not toxic. The descriptions
  name people, colours, clothes and animals, as captions of pictures do; captions are among the prose below, so that
  row says how well this helped, and not how the scorer does on a kind of prose that nobody thought of. For that, see
  the questions of TruthfulQA.
* Authored sentences about groups of people, neutral ones as not toxic and attacks as toxic.

## How often it is right

On the other 20 % of the posts, $n posts of which $toxic are toxic, at the threshold 0.5:

| | |
|---|---|
| area under the ROC curve | $auc |
| accuracy | $accuracy |
| toxic posts that are found | $recall |
| posts that are neither and are flagged | $false |

## False positives

Share of texts that are flagged (probability of 0.5 or more) and are not toxic. Every text here is unseen: prose is by
others, and the terms and sentences about groups are in no text of ours that was learned from; the posts may have the
terms, and terms may share letters with others. The built-in tasks' test rows are of the same making as the training's.

| kind | texts | flagged |
|---|---|---|
$rows

A text of one or two words is judged by its letters alone: "white" and "wet shoes" are flagged. Where answers are short,
read those that are flagged.

Attacks on held-out groups in held-out words are found in $attacks of $attack_count cases: what it does not flag may
well be toxic.

## Notice

The posts are from <https://github.com/t-davidson/hate-speech-and-offensive-language>:

```
MIT License

Copyright (c) 2017 Tom Davidson

Permission is hereby granted, free of charge, to any person obtaining a copy
of this software and associated documentation files (the "Software"), to deal
in the Software without restriction, including without limitation the rights
to use, copy, modify, merge, publish, distribute, sublicense, and/or sell
copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all
copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE
SOFTWARE.
```
""")


def card(scorer: LinearScorer, data: Path) -> str:
    """Write the card, with everything that it says measured now."""
    test = posts(data, test=True)
    scores, toxic = scorer([post.text for post in test]), np.array([post.toxic for post in test])
    flagged = scores >= 0.5
    attacks = scorer([own.text for own in sentences(test=True) if own.toxic]) >= 0.5
    return TEXT.substitute(
        version=scorer.version,
        n=f"{len(test):,}",
        toxic=f"{toxic.sum():,}",
        auc=f"{area(scores, toxic):.4f}",
        accuracy=f"{(flagged == toxic).mean():.4f}",
        recall=_percent(flagged[toxic].mean()),
        false=_percent(flagged[~toxic].mean()),
        rows="\n".join(
            f"| {name} | {len(texts):,} | {_percent(_flagged(scorer, texts))} |" for name, texts in kinds(data)
        ),
        attacks=int(attacks.sum()),
        attack_count=len(attacks),
    )


def kinds(data: Path) -> list[tuple[str, Sequence[str]]]:
    """Texts that are not toxic, by kind: groups of people, dialect, prose."""
    neutral = [own for own in sentences(test=True) if not own.toxic]
    groups: list[tuple[str, Sequence[str]]] = [("neutral sentences about groups, all", [own.text for own in neutral])]
    for group, terms in TERMS.items():
        named = ", ".join(term for term in terms if held_out(term))
        groups.append((f"… {group} ({named})", [own.text for own in neutral if own.group == group]))
    texts = own_texts("test")
    dialect = read_replacements(OWN / LISTS["dialect"])
    spoken = [change_dialect(dialect, Random(i))(text) for i, text in enumerate(texts)]
    ours: list[tuple[str, Sequence[str]]] = [
        ("built-in tasks, test rows", texts),
        ("the same with words of African American English", spoken),
    ]
    return [*groups, *ours, *unseen_prose(data)]


def area(scores: FloatArray, toxic: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> float:
    """Area under the ROC curve: how often a toxic text has the higher score; ties count half."""
    values, place = np.unique(scores, return_inverse=True)
    of_toxic = np.bincount(place[toxic], minlength=len(values))
    of_others = np.bincount(place[~toxic], minlength=len(values))
    below = np.cumsum(of_others) - of_others
    return float((of_toxic * (below + of_others / 2)).sum() / (of_toxic.sum() * of_others.sum()))


def _flagged(scorer: LinearScorer, texts: Sequence[str]) -> float:
    return float((scorer(texts) >= 0.5).mean())


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
