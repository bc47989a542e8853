"""Perturbations: worked by hand, deterministic, and never of what they must leave alone."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luthier.errors import DataError
from luthier.evaluation.perturbations.contractions import contract
from luthier.evaluation.perturbations.dialect import change_dialect
from luthier.evaluation.perturbations.fillers import insert_fillers
from luthier.evaluation.perturbations.misspellings import misspell
from luthier.evaluation.perturbations.named import FAIRNESS, LISTS, NAMES, perturbation_named
from luthier.evaluation.perturbations.names import rename, renaming
from luthier.evaluation.perturbations.perturbation import perturb
from luthier.evaluation.perturbations.pronouns import change_gender
from luthier.evaluation.perturbations.spaces import more_spaces
from luthier.evaluation.perturbations.synonyms import use_synonyms
from luthier.evaluation.perturbations.typos import NEIGHBOURS, mistype
from luthier.evaluation.perturbations.word_lists import (
    OWN,
    PersonName,
    read_contractions,
    read_gender_words,
    read_names,
    read_phrases,
    read_replacements,
)
from luthier.evaluation.perturbations.wording import match_case
from luthier.records import Example

PASSAGE = "Because Anna did not find his keys, she is late. Tom has not called her friends."
EXAMPLE = Example(
    id="7",
    task="t",
    template="plain",
    prompt=f"Read the text.\n{PASSAGE}\nWho is late, Anna or Tom?",
    targets=("Anna",),
    choices=("Anna", "Tom"),
    input_span=(15, 15 + len(PASSAGE)),
)


def asked(example: Example) -> str:
    assert example.input_span is not None
    return example.prompt[slice(*example.input_span)]


def test_contractions_by_hand() -> None:
    rewrite = contract({"isn't": "is not", "I'm": "I am", "can't": "cannot"}, Random(0))
    assert rewrite("She is not here. I am sad, and so I am.") == "She isn't here. I'm sad, and so I am."
    assert rewrite("i am here; THIS IS NOT it") == "i'm here; THIS ISN'T it"
    assert rewrite("Cannot you see?") == "Can't you see?"


def test_misspellings_keep_the_case_of_the_word() -> None:
    rewrite = misspell({"because": ("becuase",)}, 1.0, Random(0))
    assert rewrite("Because, because; BECAUSE. Becausewise") == "Becuase, becuase; BECUASE. Becausewise"


def test_one_word_in_ten_is_misspelt() -> None:
    text = misspell({"the": ("teh",)}, 0.1, Random(1))("the " * 10_000)
    assert text.count("teh") == pytest.approx(1000, abs=90)  # 3 standard errors


def test_spaces_are_one_to_three_where_there_were_some() -> None:
    text = more_spaces(3, Random(0))("a b  c " * 300)
    assert {len(found) for found in re.findall(" +", text)} == {1, 2, 3}
    assert text.split() == ["a", "b", "c"] * 300


def test_typos_are_neighbours_on_the_keyboard() -> None:
    assert NEIGHBOURS["g"] == "bfhtvy"
    assert NEIGHBOURS["q"] == "aw"
    assert NEIGHBOURS["p"] == "lo"
    assert all(letter in NEIGHBOURS[other] for letter, others in NEIGHBOURS.items() for other in others)
    text = mistype(0.1, Random(0))("Gg. " * 5000)
    wrong = [letter for letter in text if letter.lower() not in "g. "]
    assert len(wrong) == pytest.approx(1000, abs=90)
    assert {letter.lower() for letter in wrong} == set("bfhtvy")
    assert {letter.isupper() for letter in wrong} == {True, False}


def test_synonyms_and_fillers_by_hand() -> None:
    assert use_synonyms({"big": ("large",)}, 1.0, Random(0))("Big dogs, bigger cats") == "Large dogs, bigger cats"
    assert insert_fillers(["um"], 1.0, Random(0))("the cat  sat") == "um the um cat  um sat"
    assert insert_fillers(["um"], 0.3, Random(0))("a " * 10_000).count("um") == pytest.approx(3000, abs=140)


def test_dialect_takes_the_longest_phrase_and_one_counterpart_for_a_word() -> None:
    rewrite = change_dialect({"going to": ("gon",), "going": ("goin",), "the": ("da", "tha")}, Random(0))
    assert rewrite("Going to sing, going out, ongoing") == "Gon sing, goin out, ongoing"
    assert len(set(rewrite("the the the the the the the the").split())) == 1


def test_pronouns_take_the_first_counterpart() -> None:
    words = read_gender_words(OWN / LISTS["pronouns"])
    rewrite = change_gender(words, "male", "female", Random(0))
    assert (
        rewrite("He gave his dog to him. The other's his, himself.")
        == "She gave her dog to her. The other's her, herself."
    )
    assert change_gender(words, "female", "male", Random(0))("Her book, hers.") == "Him book, his."


NAMES_OF_TWO_GROUPS = tuple(
    PersonName(name, "first_name", frozenset({("origin", origin), ("gender", gender)}))
    for name, origin, gender in (
        ("anna", "european", "female"),
        ("tom", "european", "male"),
        ("keisha", "african_american", "female"),
        ("jamal", "african_american", "male"),
    )
)


def test_names_keep_their_gender_and_are_the_same_everywhere() -> None:
    rewrite = rename(renaming(NAMES_OF_TWO_GROUPS, "names.txt"), Random(0))
    assert rewrite("Anna and TOM met Anna's anna. Jamal") == "Keisha and JAMAL met Keisha's anna. Jamal"
    assert rewrite("Tom") == "Jamal"


def test_names_without_two_groups_are_refused() -> None:
    with pytest.raises(DataError, match="no two groups of first names"):
        renaming(NAMES_OF_TWO_GROUPS[:2], "names.txt")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [("the", "da", "da"), ("The", "da", "Da"), ("THE", "da", "DA"), ("I", "we", "we"), ("I am", "I'm", "I'm")],
)
def test_case_is_kept(old: str, new: str, said: str) -> None:
    assert match_case(old, new) == said


def test_mild_mix_is_all_four() -> None:
    example = replace(EXAMPLE, id="x")
    text = asked(perturb(example, perturbation_named("mild_mix")))
    assert text == text.lower()
    assert "  " in text
    assert "didn't" in text.replace("  ", " ")
    texts = [asked(perturb(replace(EXAMPLE, id=str(i)), perturbation_named("mild_mix"))) for i in range(60)]
    assert any("becuase" in own or "becasue" in own or "becouse" in own for own in texts)


@pytest.mark.parametrize("name", NAMES)
def test_a_perturbation_is_the_same_for_the_same_seed_and_id(name: str) -> None:
    first, again = (perturb(EXAMPLE, perturbation_named(name), seed=3) for _ in range(2))
    assert first == again
    assert first.id == EXAMPLE.id
    assert first.prompt.startswith("Read the text.\n"), "instructions stay"
    assert first.input_span is not None


@pytest.mark.parametrize("name", ["mild_mix", "typos", "synonyms", "fillers", "names", "spaces", "misspellings"])
def test_another_seed_or_id_gives_another_draw(name: str) -> None:
    examples = [replace(EXAMPLE, id=str(i)) for i in range(8)]
    perturbation = perturbation_named(name)
    assert len({perturb(own, perturbation).prompt for own in examples}) > 1
    assert len({perturb(EXAMPLE, perturbation, seed=seed).prompt for seed in range(8)}) > 1


@pytest.mark.parametrize("name", [name for name in NAMES if name not in FAIRNESS])
def test_noise_never_touches_answers_or_the_rest_of_the_prompt(name: str) -> None:
    found = perturb(EXAMPLE, perturbation_named(name))
    assert (found.targets, found.choices) == (EXAMPLE.targets, EXAMPLE.choices)
    assert found.prompt.endswith("\nWho is late, Anna or Tom?")


def test_a_renamed_person_is_renamed_in_the_question_and_in_the_answers() -> None:
    found = perturb(EXAMPLE, perturbation_named("names"))
    anna, tom = found.choices
    assert {anna, tom}.isdisjoint({"Anna", "Tom"})
    assert found.targets == (anna,)
    assert found.prompt.endswith(f"\nWho is late, {anna} or {tom}?")
    assert anna in asked(found)


def test_labels_of_a_class_are_never_rewritten() -> None:
    found = perturb(EXAMPLE, perturbation_named("names"), labels=True)
    assert (found.targets, found.choices) == (EXAMPLE.targets, EXAMPLE.choices)
    assert "Anna" not in asked(found)


def test_answers_in_another_language_keep_their_words_and_not_their_names() -> None:
    spanish = replace(EXAMPLE, targets=("Anna: he visto",), choices=())
    assert perturb(spanish, perturbation_named("pronouns"), language="es").targets == spanish.targets
    assert perturb(spanish, perturbation_named("pronouns"), language="en").targets == ("Anna: she visto",)
    assert perturb(spanish, perturbation_named("names"), language="es").targets != spanish.targets


def test_choices_that_would_become_one_stay() -> None:
    example = replace(EXAMPLE, targets=("he",), choices=("he", "she"))
    found = perturb(example, perturbation_named("pronouns"))
    assert (found.targets, found.choices) == (("he",), ("he", "she"))


def test_a_prompt_without_an_input_text_is_left_as_it_is() -> None:
    example = replace(EXAMPLE, input_span=None)
    assert perturb(example, perturbation_named("mild_mix")) == example


@pytest.mark.parametrize("name", NAMES)
@given(text=st.text(alphabet=st.one_of(st.characters(), st.sampled_from("is not the he his İıſK '’-\\n")), max_size=60))
def test_any_text_can_be_perturbed(name: str, text: str) -> None:
    example = replace(
        EXAMPLE, prompt=f"iſ not the ſhe {text}", input_span=(0, 15 + len(text)), targets=(text,), choices=()
    )
    perturb(example, perturbation_named(name))


def test_our_lists_are_of_some_size_and_hold_no_word_twice() -> None:
    assert len(read_replacements(OWN / LISTS["misspellings"])) >= 150
    assert len(read_contractions(OWN / LISTS["contractions"])) >= 60
    assert len(read_replacements(OWN / LISTS["dialect"])) >= 120
    assert len(read_replacements(OWN / LISTS["synonyms"])) >= 300
    assert len(read_phrases(OWN / LISTS["fillers"])) >= 20
    names = read_names(OWN / LISTS["names"])
    assert len({name.name for name in names}) == len(names) >= 200
    count = {gender: sum(("gender", gender) in name.properties for name in names) for gender in ("female", "male")}
    assert min(count.values()) >= 100


@pytest.mark.parametrize("key", sorted(LISTS))
def test_a_list_can_be_given_by_path_and_is_part_of_the_signature(key: str, tmp_path: Path) -> None:
    """HELM's own formats: theirs has parts of speech in its synonyms, and races in its names."""
    own = tmp_path / f"theirs-{key}"
    contents: dict[str, object] = {
        "misspellings": {"because": ["becouse"]},
        "contractions": {"isn't": "is not"},
        "synonyms": {"late:a": ["tardy"], "late:r": ["tardily"]},
        "fillers": ["um"],
        "dialect": {"find": ["fin"]},
        "pronouns": [["they", "she", "he"]],
    }
    race = "anna,first_name,race,white_american,gender,female\n latonya,first_name,race,black_american,gender,female\n"
    own.write_text(race if key == "names" else json.dumps(contents[key]), encoding="utf-8")
    users = [
        name for name in NAMES if perturbation_named(name).signature != perturbation_named(name, {key: own}).signature
    ]
    assert users, "its digest is in the signature of what uses it"
    assert all(own.name in perturbation_named(name, {key: own}).signature for name in users)
    if key == "names":
        assert "Latonya" in perturb(EXAMPLE, perturbation_named("names", {key: own})).prompt


@pytest.mark.parametrize(
    ("read", "content", "said"),
    [
        (read_replacements, "[]", "not a JSON object from words to lists of words"),
        (read_replacements, '{"a": "b"}', "not a JSON object from words to lists of words"),
        (read_contractions, '{"a": ["b"]}', "not a JSON object from words to texts"),
        (read_gender_words, '[["he", "she"]]', "a list of lists of three words"),
        (read_phrases, "{", "this is no JSON"),
        (read_names, "anna,first_name,gender\n", "line 1: 'anna,first_name,gender' is not"),
        (read_names, "\n", "not a list of names"),
    ],
)
def test_a_wrong_list_says_what_it_should_be(
    read: Callable[[Path], object], content: str, said: str, tmp_path: Path
) -> None:
    path = tmp_path / "list"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(DataError) as caught:
        read(path)
    assert said in str(caught.value)


def test_a_missing_list_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere"):
        perturbation_named("names", {"names": tmp_path / "nowhere"})
