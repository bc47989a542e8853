"""The task ``counting``: a short situation and a question whose answer is a number from 0 to 20.

A scenario's own slots may be numbers: ``n = 2..6``, ``m = 1..{n}-1``, or tied to words: ``day, d = Monday, 3 | ...``.
``T`` is the text and ``Q`` a question with its answer, a sum of such numbers: ``Q: How many are left? || {n}-{m}``.
A text shows a number as a word or in digits, and may say it in these ways::

    {n}                          five, 5
    {n egg/eggs}                 one egg, five eggs; ``{n times}``: once, twice, three times; ``{n th}``: fifth
    {n:is/are}                   is, are
    {n of cups}                  n values of the slot ``cups``: a red cup, a big cup and a cup
    {n of cups & m of plates}    both, mixed
    {n of people}                n names
"""

from __future__ import annotations

import ast
import operator
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache

from recipes.tasks import grammar
from recipes.tasks.entities import spoken_list
from recipes.tasks.scenarios import Scenario, read_scenarios
from recipes.tasks.splits import Recipe, Row
from recipes.tasks.world import Setting, names_of, read_lists

FILES = ("counting_lists.txt", "counting_sums.txt", "counting_home.txt", "counting_town.txt", "counting_time.txt")
LARGEST = 20
COUNTED = (
    "no one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen twenty"
)
RANKED = (
    "zeroth first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth "
    "fifteenth sixteenth seventeenth eighteenth nineteenth twentieth"
)
CARDINALS, ORDINALS = tuple(COUNTED.split()), tuple(RANKED.split())
NUMBER = re.compile(r"\d+|[^ ]+\.\.[^ ]+")
LIST = re.compile(r"[a-z]\w* of [a-z]\w*(?: & [a-z]\w* of [a-z]\w*)*")
FORMS = re.compile(r"([a-z]\w*)([ :])(.+/.+|th|times)")
OPERATIONS: dict[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
}


def calculate(sum_: str) -> int:
    """The value of a small sum of whole numbers with ``+``, ``-``, ``*``, ``//`` and brackets.

    Raises:
        ValueError: There is anything else in it.
    """

    def value(node: ast.expr) -> int:
        if isinstance(node, ast.Constant) and isinstance(node.value, int):
            return node.value
        if isinstance(node, ast.BinOp) and type(node.op) in OPERATIONS:
            return OPERATIONS[type(node.op)](value(node.left), value(node.right))
        raise ValueError(f"not a sum: {sum_!r}")

    return value(ast.parse(sum_.strip(), mode="eval").body)


@dataclass
class Numbers:
    """One rendering of a scenario and the numbers that it settled on."""

    setting: Setting
    style: str
    settled: dict[str, int] = field(default_factory=dict)

    def render(self, text: str) -> str:
        """One or more finished sentences."""
        filled = grammar.fill(grammar.choose(text, self.setting.rng), self.value)
        return grammar.capitals(grammar.articles(filled))

    def answer(self, sum_: str) -> int:
        """What a sum over the scenario's numbers comes to."""
        return calculate(grammar.fill(sum_, lambda slot: str(self.number(slot))))

    def number(self, slot: str) -> int:
        """The number of a slot.

        Raises:
            ValueError: The slot holds no number.
        """
        if slot not in self.settled:
            self._settle(slot)
        if slot not in self.settled:
            raise ValueError(f"scenario {self.setting.scenario.name!r}: {{{slot}}} is no number")
        return self.settled[slot]

    def value(self, slot: str) -> str:
        """What the text says for a slot."""
        if LIST.fullmatch(slot):
            return self._list(slot)
        if match := FORMS.fullmatch(slot):
            return self._form(match[1], match[2] == " ", match[3])
        self._settle(slot)
        if slot in self.settled:
            return self._say(self.settled[slot])
        return grammar.choose(self.setting.value(slot), self.setting.rng)

    def _settle(self, slot: str) -> None:
        for keys, rows in self.setting.scenario.slots:
            if slot in keys and slot not in self.settled and slot not in self.setting.chosen:
                for key, value in zip(keys, self.setting.rng.choice(rows), strict=True):
                    if NUMBER.fullmatch(value):
                        low, _, high = value.partition("..")
                        self.settled[key] = self.setting.rng.randint(self.answer(low), self.answer(high or low))
                    else:
                        self.setting.chosen[key] = value

    def _say(self, number: int) -> str:
        style = self.setting.rng.choice(("words", "digits")) if self.style == "mixed" else self.style
        return word(number) if style == "words" and number <= LARGEST else str(number)

    def _form(self, slot: str, with_number: bool, forms: str) -> str:
        number = self.number(slot)
        if forms == "th":
            return ORDINALS[number]
        if forms == "times":
            return {1: "once", 2: "twice"}.get(number) or f"{self._say(number)} times"
        one, _, many = forms.partition("/")
        form = one if number == 1 else many
        if not with_number:
            return form
        return f"{CARDINALS[0] if number == 0 else self._say(number)} {form}"

    def _list(self, slot: str) -> str:
        items: list[str] = []
        for part in slot.split(" & "):
            count, _, name = part.partition(" of ")
            items += self._some(self.number(count), name)
        self.setting.rng.shuffle(items)
        return spoken_list([grammar.choose(item, self.setting.rng) for item in items])

    def _some(self, count: int, name: str) -> list[str]:
        if name == "people":
            return self._names(count)
        for keys, rows in self.setting.scenario.slots:
            if keys == (name,):
                return self.setting.rng.sample([row[0] for row in rows], count)
        return self.setting.rng.sample(read_lists("lexicon.txt")["world"][name], count)

    def _names(self, count: int) -> list[str]:
        people = self.setting.people
        taken = {name for name, _ in people.values()}
        kinds = {name: kind for kind in ("girl", "boy") for name in names_of(self.setting.pool, kind)}
        chosen = self.setting.rng.sample(sorted(set(kinds) - taken), count)
        people.update({f"listed {name}": (name, kinds[name]) for name in chosen})
        return chosen


def counting(setting: Setting, variant: str) -> Row:
    """A situation, a question and its answer in digits; the variant is the number of the question.

    Raises:
        ValueError: The answer is below 0 or above 20.
    """
    numbers = Numbers(setting, setting.rng.choice(("words", "words", "words", "digits", "digits", "mixed")))
    text = " ".join(numbers.render(line) for line in setting.scenario.having("T"))
    asked, sum_ = setting.scenario.having("Q")[int(variant)].split(" || ")
    question, answer = numbers.render(asked), numbers.answer(sum_)
    if not 0 <= answer <= LARGEST:
        raise ValueError(f"scenario {setting.scenario.name!r}: the answer {answer} is not from 0 to {LARGEST}")
    return {"text": text, "question": question, "answer": str(answer)}


def _questions(scenario: Scenario) -> list[str]:
    return [str(index) for index in range(len(scenario.having("Q")))]


@cache
def recipe() -> Recipe:
    """How the task is made."""
    scenarios = tuple(read_scenarios(*FILES))
    return Recipe("counting", scenarios, counting, _questions, ("text", "question"), (2000, 150, 300))


def composition(scenarios: Sequence[Scenario], pool: str, rng: random.Random) -> str:
    """A document for the plain text: a page of exercises, things counted one by one, sums, or a shopping note."""
    return rng.choice((_exercise, _exercise, _exercise, _counted, _sums, _shopping))(scenarios, pool, rng)


def _exercise(scenarios: Sequence[Scenario], pool: str, rng: random.Random) -> str:
    form = rng.choice(ANSWER_FORMS)
    blocks = []
    for scenario in rng.sample(list(scenarios), min(len(scenarios), rng.randint(1, 3))):
        row = counting(Setting(scenario, pool, rng), rng.choice(_questions(scenario)))
        answer = int(str(row["answer"]))
        blocks.append(grammar.capitals(form.format(**row, words=word(answer))))
    return "\n\n".join(blocks)


ANSWER_FORMS = (
    "{text} {question} {words}.",
    "{text} {question} The answer is {words}.",
    "{text}\n\n{question}\nAnswer: {answer}",
    "{text} {question} {answer}.",
    "{question} {text} So it is {words}.",
    "Question: {text} {question}\nAnswer: {words}, or {answer}.",
)


def word(number: int) -> str:
    """A number as one says it."""
    return CARDINALS[number] if number else "zero"


def _counted(scenarios: Sequence[Scenario], pool: str, rng: random.Random) -> str:
    lists = [(scenario, name) for scenario in scenarios for name in _lists(scenario)]
    if not lists:
        return _sums(scenarios, pool, rng)
    return "\n".join(_count(*rng.choice(lists), pool, rng) for _ in range(rng.randint(2, 4)))


def _lists(scenario: Scenario) -> list[str]:
    """The slots of which a scenario's text shows several values."""
    used = {part.split(" of ")[1] for slot in _slots(scenario) for part in slot.split(" & ") if LIST.fullmatch(part)}
    return sorted(name for name in used if any(keys == (name,) for keys, _ in scenario.slots))


def _slots(scenario: Scenario) -> list[str]:
    return [slot for line in scenario.having("T") for slot in grammar.SLOT.findall(line)]


def _count(scenario: Scenario, name: str, pool: str, rng: random.Random) -> str:
    values = next(rows for keys, rows in scenario.slots if keys == (name,))
    numbers = Numbers(Setting(scenario, pool, rng), "words")
    shown = rng.sample([row[0] for row in values], rng.randint(1, min(8, len(values))))
    things = [grammar.articles(grammar.fill(grammar.choose(thing, rng), numbers.value)) for thing in shown]
    total = word(len(things))
    told = "; ".join(f"{word(place)}: {thing}" for place, thing in enumerate(things, start=1))
    forms = (
        f"{spoken_list(things)}: that makes {total}.",
        f"{told}. That is {total}.",
        f"How many are these? {', '.join(things)}. There {'is' if len(things) == 1 else 'are'} {total}.",
        f"{spoken_list(things)}. Count them: {len(things)}.",
    )
    return grammar.capitals(rng.choice(forms))


def _sums(scenarios: Sequence[Scenario], pool: str, rng: random.Random) -> str:
    return "\n".join(_sum(rng) for _ in range(rng.randint(4, 8)))


def _sum(rng: random.Random) -> str:
    total = rng.randint(1, LARGEST)
    part = rng.randint(0, total)
    a, b, c = word(part), word(total - part), word(total)
    forms = (
        f"{part} + {total - part} = {total}",
        f"{total} - {part} = {total - part}",
        f"{a} and {b} make {c}.",
        f"{c} take away {a} leaves {b}.",
        f"{a} more than {b} is {c}.",
        f"If you have {c} and give away {a}, {b} {'is' if total - part == 1 else 'are'} left.",
    )
    return grammar.capitals(rng.choice(forms))


def _shopping(scenarios: Sequence[Scenario], pool: str, rng: random.Random) -> str:
    counts = [rng.randint(2, 6) for _ in range(rng.choice((2, 3)))]
    kinds = rng.sample(SHOPPING, len(counts))
    say = word if rng.random() < 0.5 else str
    lines = [f"{say(count)} {kind}" for count, kind in zip(counts, kinds, strict=True)]
    head = rng.choice(("Shopping list", "To buy", "Please bring from the market", "For the weekend"))
    foot = rng.choice(("Together", "In all", "Number of things", "All together"))
    exercise = _exercise(scenarios, pool, rng)
    return f"{head}\n" + "\n".join(lines) + f"\n{foot}: {say(sum(counts))}\n\n{exercise}"


SHOPPING = (
    "apples",
    "pears",
    "eggs",
    "onions",
    "lemons",
    "bread rolls",
    "candles",
    "tins of beans",
    "bottles of milk",
    "bars of soap",
    "envelopes",
    "potatoes",
    "bags of rice",
    "tomatoes",
    "stamps",
    "batteries",
)
