"""The renderers: functions that make one row of a task from a scenario."""

from __future__ import annotations

import re

from recipes.tasks.grammar import alternatives
from recipes.tasks.scenarios import Scenario
from recipes.tasks.splits import Row
from recipes.tasks.world import Setting, read_lists

LABELS = {"good": "acceptable", "bad": "unacceptable", "+": "positive", "-": "negative"}
KEEP_CAPITAL = re.compile(r"^(I\b|[A-Z][a-z]+'s\b)")
ASIDE_SHARE, BYE_SHARE, MAX_TURNS = 0.4, 0.25, 14
CONTRASTS = ("Still", "All the same", "Even so", "However", "Apart from that")


def dialogue(setting: Setting, variant: str) -> Row:
    """A conversation and its summary."""
    turns, summaries = [], []
    for line in setting.scenario.of_variant(variant):
        if line.tag == "S":
            summaries.append(line.text)
        else:
            speaker = setting.value(line.tag) if len(line.tag) == 1 else line.tag
            turns.append((speaker, setting.render(line.text)))
    summary = setting.render(setting.rng.choice(summaries))
    spoken = [f"{who}: {what}" for who, what in turns + _aside(setting, turns)]
    return {"dialogue": "\n".join(spoken), "summary": summary}


def _aside(setting: Setting, turns: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """A closing that no summary mentions: nothing, a remark, a goodbye, or both."""
    friends = {setting.value(letter) for letter in "AB"}
    if setting.scenario.strangers or friends != {who for who, _ in turns} or len(turns) > MAX_TURNS - 4:
        return []
    last = turns[-1][0]
    other = next(iter(friends - {last}))
    lists, rng = read_lists("smalltalk.txt")["aside"], setting.rng
    scenario = Scenario("aside", ((("game",), tuple((value,) for value in lists["game"])),), (), (), ())
    page = Setting(scenario, setting.pool, rng, people={**setting.people, "X": (other, "girl")})
    added = [rng.choice(lists["about"])] if rng.random() < ASIDE_SHARE else []
    added += [rng.choice(lists["bye"])] if rng.random() < BYE_SHARE else []
    spoken = [pair.split(" || ") for pair in added]
    return [(who, page.render(what)) for pair in spoken for who, what in zip((other, last), pair, strict=True)]


def review(shared: Scenario, setting: Setting, variant: str) -> Row:
    """A review in which two or three sentences, not a single word, decide."""
    rng, other = setting.rng, "-" if variant == "+" else "+"
    openings = [opening for text in setting.scenario.having("O") for opening in alternatives(text)]
    sentences = [setting.render(rng.choice(openings))]
    sides = {side: alternatives(setting.scenario.having(side)[0]) for side in "+-"}
    order = rng.sample(range(3), 3)
    main = [setting.render(sides[variant][index]) for index in order[:2]]
    if rng.random() < 0.4:
        concession = setting.render(sides[other][order[2]])
        sentences += [concession, f"{rng.choice(CONTRASTS)}, {_lower(main[0])}", main[1]]
    else:
        sentences += main
    if rng.random() < 0.5:
        sentences.append(setting.render(rng.choice(alternatives(shared.having(variant)[0]))))
    return {"review": " ".join(sentences), "sentiment": LABELS[variant]}


def _lower(sentence: str) -> str:
    return sentence if KEEP_CAPITAL.match(sentence) else sentence[0].lower() + sentence[1:]


def topic(setting: Setting, variant: str) -> Row:
    """Two or three sentences that never name their topic."""
    sentences = alternatives(setting.scenario.having("T")[0])
    count = setting.rng.choice((2, 3, 3))
    kept = sorted(setting.rng.sample(range(len(sentences)), min(count, len(sentences))))
    text = " ".join(setting.render(sentences[index]) for index in kept)
    return {"text": text, "topic": setting.scenario.group}


def question(setting: Setting, variant: str) -> Row:
    """A passage, a question and its short answer; the variant is the number of the question."""
    passage = " ".join(setting.render(text) for text in setting.scenario.having("T"))
    asked, answer = setting.scenario.having("Q")[int(variant)].split(" || ")
    return {"passage": passage, "question": setting.render(asked), "answer": setting.phrase(answer)}


def sentence(setting: Setting, variant: str) -> Row:
    """One sentence, acceptable or not."""
    options = alternatives(setting.scenario.having("+" if variant == "good" else "-")[0])
    text = setting.render(setting.rng.choice(options))
    return {"sentence": text, "label": LABELS[variant]}


def story(setting: Setting, variant: str) -> Row:
    """A story whose middle decides which of the same two endings is right."""
    text = " ".join(setting.render(line) for line in setting.scenario.having("T", variant))
    endings = {line.variants: setting.render(line.text) for line in setting.scenario.lines if line.tag == "E"}
    right, wrong = endings[variant], endings["2" if variant == "1" else "1"]
    pair = [right, wrong] if setting.rng.random() < 0.5 else [wrong, right]
    return {
        "story": text,
        "ending_a": pair[0] + _stop(pair[0]),
        "ending_b": pair[1] + _stop(pair[1]),
        "ending": right + _stop(right),
    }


def _stop(text: str) -> str:
    return "" if text.rstrip('"').endswith((".", "!", "?")) else "."
