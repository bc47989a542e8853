"""English sentences with their Spanish: the task ``translation_en_es`` and its pages of plain text.

A scenario has one frame or more, each ``T: English || Spanish``. Their slots are entries of a small dictionary, the
lists of ``texts/bilingual.txt`` or the scenario's own, written as ``English: Spanish (kind)``:

    cat: gato (m)       a noun, ``m`` or ``f``; ``fa`` is feminine with *el* (el agua), ``mp`` and ``fp`` only plural
    red: rojo (a)       an adjective, or a word for a person, with four forms in Spanish
    we: nosotros (1p)   a person of the verb: 1s, 2s, 3m, 3f, 1p or 3p
    swim: nadar (v)     an activity; its ``+`` is *swimming* and *nadando*
    often: a menudo     anything else, which never changes

Irregular forms follow a slash: ``knife/knives: cuchillo (m)``. A list may hold other lists: ``@pet``.

``{cat+}`` is the plural. What stands before a colon agrees with what stands behind it: ``{el:pet}``, ``{rojo:pet+}``,
``{colour:pet}``, ``{cansado:A}``. Or it is one of several forms: ``{is/are:pet}`` (singular, plural),
``{lo/la/los/las:pet}``, ``{soy/eres/es/somos/son:who}`` (I, you, he, we, they).
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache

from recipes.tasks import grammar
from recipes.tasks.scenarios import Scenario, read_scenarios
from recipes.tasks.splits import Recipe, Row
from recipes.tasks.world import Setting, read_lists

NAME = "translation_en_es"
FILES = tuple(f"translation_{name}.txt" for name in ("home", "people", "town", "days", "verbs", "again"))
LEXICON = "bilingual.txt"
ENTRY = re.compile(r"^(?P<english>.+?): (?P<spanish>.+?)(?: \((?P<kind>m|f|fa|mp|fp|a|v|[1-3][spmf])\))?$")
PERSONS = ("1s", "2s", "3m", "1p", "3p")
WHOLE = {
    "el": ("el", "la", "los", "las"),
    "un": ("un", "una", "unos", "unas"),
    "este": ("este", "esta", "estos", "estas"),
    "ese": ("ese", "esa", "esos", "esas"),
    "algún": ("algún", "alguna", "algunos", "algunas"),
    "ningún": ("ningún", "ninguna", "ningunos", "ningunas"),
    "buen": ("buen", "buena", "buenos", "buenas"),
    "primer": ("primer", "primera", "primeros", "primeras"),
    "él": ("él", "ella", "ellos", "ellas"),
    "lo": ("lo", "la", "los", "las"),
    "joven": ("joven", "joven", "jóvenes", "jóvenes"),
    "he": ("he", "she", "they", "they"),
    "him": ("him", "her", "them", "them"),
    "his": ("his", "her", "their", "their"),
    "himself": ("himself", "herself", "themselves", "themselves"),
}
ARTICLES = ("el", "un", "algún", "ningún")  # masculine before *agua* and *águila*
PLAIN = str.maketrans("áéíóú", "aeiou")
STRESSED_END = re.compile(r"[áéíóú][ns]$")
CONTRACTIONS = (
    (re.compile(r"\b([Aa]) el\b"), r"\1l"),
    (re.compile(r"\b([Dd]e) el\b"), r"\1l"),
    (re.compile(r"\by (?=h?i(?!e))", re.IGNORECASE), "e "),
    (re.compile(r"\bo (?=h?o)", re.IGNORECASE), "u "),
)
START = re.compile(r"((?:^|[.!?] )[¿¡]?)([a-záéíóúñ])")


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the dictionary. A noun has two forms in each language, an adjective four in Spanish."""

    english: tuple[str, ...]
    spanish: tuple[str, ...]
    kind: str = ""

    @property
    def feminine(self) -> bool:
        """Whether what agrees with it is feminine."""
        return self.kind.startswith("f") or self.kind == "3f"

    def is_plural(self, plus: bool) -> bool:
        """Whether what agrees with it, or with its ``+``, is plural."""
        return plus or self.kind.endswith("p")


def parse_entry(text: str) -> Entry:
    """Read ``English: Spanish (kind)`` and complete its regular forms.

    Raises:
        ValueError: There is no ``": "``.
    """
    match = ENTRY.match(text)
    if match is None:
        raise ValueError(f"not an entry: {text!r}")
    kind = match["kind"] or ""
    english, spanish = tuple(match["english"].split("/")), tuple(match["spanish"].split("/"))
    if kind == "a":
        return Entry(english, spanish if len(spanish) > 1 else agreeing(spanish[0]), kind)
    if kind in ("m", "f", "fa"):
        return Entry(_both(english, english_plural), _both(spanish, spanish_plural), kind)
    if kind == "v":
        return Entry(_both(english, english_ing), _both(spanish, spanish_gerund), kind)
    return Entry(english, spanish, kind)


def _both(forms: tuple[str, ...], other: Callable[[str], str]) -> tuple[str, ...]:
    return forms if len(forms) > 1 else (forms[0], other(forms[0]))


def english_plural(noun: str) -> str:
    """The regular plural: cats, boxes, cities."""
    if re.search(r"(s|x|ch|sh)$", noun):
        return noun + "es"
    return noun[:-1] + "ies" if re.search(r"[^aeiou]y$", noun) else noun + "s"


def english_ing(verb: str) -> str:
    """The regular form in -ing: reading, dancing, swimming (first word of the phrase)."""
    head, space, rest = verb.partition(" ")
    if re.search(r"[^aeiouy][aeiou][bmnpt]$", head) and len(re.findall(r"[aeiou]+", head)) == 1:
        head += head[-1]
    elif re.search(r"[^e]e$", head):
        head = head[:-1]
    return f"{head}ing{space}{rest}"


def spanish_gerund(verb: str) -> str:
    """The regular gerund: nadando, comiendo (first word of the phrase)."""
    head, space, rest = verb.partition(" ")
    return f"{head[:-2]}{'ando' if head.endswith('ar') else 'iendo'}{space}{rest}"


def spanish_plural(word: str) -> str:
    """The regular plural: gatos, ciudades, lápices, camiones, ingleses."""
    if re.search(r"[aeiouáéó]$", word):
        return word + "s"
    if word.endswith("z"):
        return word[:-1] + "ces"
    if STRESSED_END.search(word):
        return word[:-2] + word[-2:].translate(PLAIN) + "es"
    return word + "es"


def agreeing(word: str) -> tuple[str, ...]:
    """Masculine, feminine, and both plurals, of an adjective or an article."""
    if word in WHOLE:
        return WHOLE[word]
    if word.endswith("o"):
        feminine = word[:-1] + "a"
    elif word.endswith("or"):
        feminine = word + "a"
    elif re.search(r"[áéí][ns]$", word):
        feminine = word[:-2] + word[-2:].translate(PLAIN) + "a"
    else:
        feminine = word
    return word, feminine, spanish_plural(word), spanish_plural(feminine)


@cache
def lexicon(name: str) -> tuple[Entry, ...]:
    """The entries of one list of the dictionary, with those of the lists it names; none where nobody knows it."""
    return tuple(_entries(read_lists(LEXICON)["words"].get(name, ())))


def _entries(texts: Iterable[str]) -> list[Entry]:
    found: list[Entry] = []
    for text in texts:
        found += lexicon(text[1:]) if text.startswith("@") else [parse_entry(text)]
    return found


@dataclass
class Frame:
    """One rendering of a scenario's frames: the entries and people it settled on."""

    setting: Setting
    chosen: dict[str, Entry] = field(default_factory=dict)

    def english(self, text: str) -> str:
        """The finished English."""
        return _capitals(grammar.articles(grammar.fill(text, lambda slot: self._value(slot, spanish=False))))

    def spanish(self, text: str) -> str:
        """The finished Spanish."""
        filled = grammar.fill(text, lambda slot: self._value(slot, spanish=True))
        for pattern, contracted in CONTRACTIONS:
            filled = pattern.sub(contracted, filled)
        return _capitals(" ".join(filled.split()))

    def _value(self, slot: str, spanish: bool) -> str:
        word, colon, reference = slot.rpartition(":")
        plus = reference.endswith("+")
        entry = self._entry(reference.removesuffix("+"))
        if not colon:
            forms = entry.spanish if spanish else entry.english
            return forms[1] if plus and len(forms) > 1 else forms[0]
        word = word[0].lower() + word[1:]  # a sentence gets its capital at the end
        if "/" in word:
            return _form(word.split("/"), entry, plus)
        if self._known(word):
            other = self._entry(word)
            return _form(other.spanish, entry, plus) if spanish else other.english[0]
        return _form(agreeing(word), entry, plus)

    def _known(self, slot: str) -> bool:
        base = slot.rstrip("0123456789")
        return any(slot in keys or base in keys for keys, _ in self.setting.scenario.slots) or bool(lexicon(base))

    def _entry(self, slot: str) -> Entry:
        if len(slot) == 1 and slot.isupper():
            name = self.setting.value(slot)
            return Entry((name,), (name,), "3f" if self.setting.people[slot][1] == "girl" else "3m")
        if slot not in self.chosen:
            self._settle(slot)
        return self.chosen[slot]

    def _settle(self, slot: str) -> None:
        rng, base = self.setting.rng, slot.rstrip("0123456789")
        entries: Sequence[Entry] = lexicon(base)
        for keys, rows in self.setting.scenario.slots:
            if slot in keys and len(keys) > 1:
                self.chosen.update(zip(keys, map(parse_entry, rng.choice(rows)), strict=True))
                return
            if keys in ((slot,), (base,)):
                entries = _entries(text for (text,) in rows)
        if not entries:
            value = self.setting.value(slot)  # of the world: a town
            entries = (Entry((value,), (value,)),)
        taken = [entry for key, entry in self.chosen.items() if key.rstrip("0123456789") == base]
        self.chosen[slot] = rng.choice([entry for entry in entries if entry not in taken])


def _form(forms: Sequence[str], entry: Entry, plus: bool) -> str:
    """The one of 1, 2 (singular, plural), 4 (gender too) or 5 (persons) forms that agrees with the entry.

    Raises:
        ValueError: There are three forms, or more than five.
    """
    plural = entry.is_plural(plus)
    if len(forms) == 5:
        person = {"3f": "3m", "": "3m"}.get(entry.kind, entry.kind)
        return forms[PERSONS.index(person) if person in PERSONS else 4 if plural else 2]
    if len(forms) == 2:
        return forms[plural or entry.kind in ("1s", "2s")]
    if len(forms) not in (1, 4):
        raise ValueError(f"1, 2, 4 or 5 forms are needed: {'/'.join(forms)}")
    masculine = forms[0] in ARTICLES and entry.kind == "fa" and not plural
    return forms[0] if len(forms) == 1 or masculine else forms[entry.feminine + 2 * plural]


def _capitals(text: str) -> str:
    return START.sub(lambda match: match[1] + match[2].upper(), text)


def variants(scenario: Scenario) -> list[str]:
    """The numbers of its frames."""
    return [str(index) for index in range(len(scenario.having("T")))]


def pair(setting: Setting, variant: str) -> Row:
    """An English sentence and its Spanish; the variant is the number of the frame."""
    english, spanish = setting.scenario.having("T")[int(variant)].split(" || ")
    frame = Frame(setting)
    return {"english": frame.english(english), "spanish": frame.spanish(spanish)}


def recipe() -> Recipe:
    """How the task is made."""
    return Recipe(NAME, tuple(read_scenarios(*FILES)), pair, variants, ("english",), (2400, 150, 300))


LAYOUTS = (
    "{english} – {spanish}",
    "{english} = {spanish}",
    "{english}\n{spanish}",
    "English: {english}\nSpanish: {spanish}",
    "{english}\n{spanish}\n",
    "EN: {english}\nES: {spanish}",
    "{spanish} – {english}",
    "Spanish: {spanish}\nEnglish: {english}\n",
    '"{english}" is "{spanish}" in Spanish.',
    'In Spanish, "{english}" is "{spanish}"',
    "- {english} ({spanish})",
)
TITLES = (
    "{topic}",
    "Phrase book: {topic}",
    "Useful sentences in Spanish: {topic}",
    "Spanish lesson. {topic}",
    "My Spanish notebook: {topic}",
    "Learn these sentences by heart.",
    "How do you say it in Spanish?",
    "English and Spanish",
)
TOPICS = {
    "home": "at home",
    "kitchen": "in the kitchen",
    "family": "the family",
    "friends": "friends",
    "feelings": "how we feel",
    "school": "at school",
    "work": "work",
    "shop": "in the shops",
    "cafe": "in the café",
    "town": "in the town",
    "travel": "on the way",
    "health": "at the doctor's",
    "day": "every day",
    "free": "free time",
    "nature": "animals and plants",
    "weather": "the weather",
    "past": "what happened",
    "future": "plans",
    "letter": "letters and messages",
    "house": "the house",
}
GENERAL = TITLES[-3:]
UNCOUNTED = ("staple", "dish", "drink", "meal", "game", "subject", "language", "air", "material", "cloth", "sky")
LISTS_SHARE, TITLE_SHARE = 0.3, 0.7


def phrasebook(
    scenarios: Sequence[Scenario], pool: str, rng: random.Random, kept_back: frozenset[str] = frozenset()
) -> str:
    """A page of a phrase book: some pairs, in one layout, now and then with a title or a list of words.

    Args:
        scenarios: What the pairs may be made of.
        pool: Names that may occur.
        rng: Source of every choice.
        kept_back: English sentences that must not occur.
    """
    group = rng.choice(sorted({scenario.group for scenario in scenarios})) if rng.random() < 0.7 else ""
    layout = rng.choice(LAYOUTS)
    pairs = _pairs(scenarios, group, pool, rng, kept_back)
    lines = [layout.format(**row) for _, row in zip(range(rng.randint(4, 8)), pairs, strict=False)]
    parts = ["\n".join(lines).strip()]
    if rng.random() < LISTS_SHARE:
        parts.insert(rng.choice((0, 1)), word_list(rng))
    if rng.random() < TITLE_SHARE:
        title = rng.choice(TITLES if group else GENERAL).format(topic=TOPICS.get(group, ""))
        parts.insert(0, _capitals(title))
    return "\n\n".join(parts)


def word_list(rng: random.Random) -> str:
    """A list of nouns with their articles: ``the house – la casa``."""
    lists = read_lists(LEXICON)["words"]
    nouns = [name for name in lists if all(entry.kind[:1] in ("m", "f") and entry.kind for entry in lexicon(name))]
    name = rng.choice(nouns)
    entries = lexicon(name)
    mark, plural = rng.choice((" – ", " = ", ": ")), rng.random() < 0.2 and name not in UNCOUNTED
    chosen = rng.sample(entries, min(rng.randint(4, 8), len(entries)))
    return "\n".join(
        f"the {entry.english[-1 if plural else 0]}{mark}"
        f"{_form(WHOLE['el'], entry, plural)} {entry.spanish[-1 if plural else 0]}"
        for entry in chosen
    )


def spanish_page(
    scenarios: Sequence[Scenario], pool: str, rng: random.Random, kept_back: frozenset[str] = frozenset()
) -> str:
    """Some Spanish sentences about the same things, in one paragraph; the arguments are those of `phrasebook`."""
    group = rng.choice(sorted({scenario.group for scenario in scenarios}))
    pairs = _pairs(scenarios, group, pool, rng, kept_back)
    return " ".join(row["spanish"] for _, row in zip(range(rng.randint(4, 8)), pairs, strict=False))


def _pairs(
    scenarios: Sequence[Scenario], group: str, pool: str, rng: random.Random, kept_back: frozenset[str]
) -> Iterator[dict[str, str]]:
    """Pairs of the scenarios of a group (of all where it is ""), each scenario once."""
    chosen = [scenario for scenario in scenarios if scenario.group == group or not group]
    for scenario in rng.sample(chosen, len(chosen)):
        row = pair(Setting(scenario, pool, rng), rng.choice(variants(scenario)))
        if row["english"] not in kept_back:
            yield {column: str(text) for column, text in row.items()}
