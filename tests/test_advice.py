"""What a message advises can be typed: a setting is named by its flag, or by ``--set`` and its key, and both exist."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import pytest
from pydantic import BaseModel

import luthier
from luthier.cli import VerbCommand
from luthier.config.advice import how_to_set
from luthier.config.arm_settings import ArmConfig
from luthier.config.validation import models_in
from luthier.config.verbs import VERBS, settings_class

PACKAGE = Path(luthier.__file__).parent


def keys(schema: type[BaseModel], before: str = "") -> Iterator[str]:
    """Yield the dotted names of all settings of a class; what stands in an arm has no key of its own."""
    for name, field in schema.model_fields.items():
        inner = [found for found in models_in(field.annotation) if found is not ArmConfig]
        yield from [key for found in inner for key in keys(found, f"{before}{name}.")] or [before + name]


KEYS = {key for verb in VERBS if verb.settings for key in keys(settings_class(verb))}
OPTIONS = {
    option
    for verb in VERBS
    for item in VerbCommand(verb).get_params(click.Context(VerbCommand(verb)))
    for option in item.opts
    if option.startswith("--")
}
OF_OTHERS = {"--gen_kwargs", "--model", "--merge", "--confirm_run_unsafe_code"}
"""Options of programs that are not Luthier: lm-eval, llama.cpp."""
_ORDINARY = (
    "model task tasks arm arms name data train validation test search training adapter rows format answers template "
    "run save out by kind split sample seed seeds store predictions references metrics damaged everything explain "
    "chat reasoning cache schedule precision steps confidence prune trials shots overlaps warmup runs folder compare "
    "lists weights how scale start"
)
"""Settings that are called by words which messages use in their common meaning."""
_SPECIAL = sorted({key.rpartition(".")[2] for key in KEYS} - set(_ORDINARY.split()), key=len, reverse=True)
_GIVEN = re.compile(
    r"--set '?[\w.]+=\S*"  # by its key
    r"|\(`[\w.]+`\)"  # the key behind a flag
    r"|--[a-z][\w-]*"  # by its flag
)
_NAMED = re.compile(
    r"(?<![\w.-])(?:" + "|".join(re.escape(key) for key in sorted(KEYS, key=len, reverse=True) if "." in key) + r")\b"
    r"|(?<![\w.-])(?:" + "|".join(map(re.escape, _SPECIAL)) + r")\b(?!:)"
    r"|`(?:" + "|".join(_ORDINARY.split()) + r")`"  # named as a setting after all
)


@dataclass(frozen=True)
class Advice:
    """A text of the source that says what to do: the place, and the text with … for what is filled in."""

    place: str
    text: str


def texts(node: ast.AST) -> Iterator[str]:
    """Yield the texts of an expression; an f-string, and texts that are joined, are one."""
    if isinstance(node, ast.Constant):
        if isinstance(node.value, str):
            yield node.value
    elif isinstance(node, ast.JoinedStr):
        yield "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
        for part in node.values:
            if isinstance(part, ast.FormattedValue) and not isinstance(part.value, ast.Call):
                yield from texts(part.value)
    elif not isinstance(node, ast.Call):
        for child in ast.iter_child_nodes(node):
            yield from texts(child)


def advice_of(source: str, place: str) -> Iterator[Advice]:
    """Yield the texts that are given as ``fix``, and those of the variables that are used in one."""
    tree = ast.parse(source)
    given = [node for node in ast.walk(tree) if isinstance(node, ast.keyword) and node.arg == "fix"]
    wanted = {inner.id for node in given for inner in ast.walk(node.value) if isinstance(inner, ast.Name)}
    assigned = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
        and any(isinstance(name, ast.Name) and name.id in wanted for name in node.targets)
    ]
    for value in [node.value for node in given] + [node.value for node in assigned]:
        yield from (Advice(f"{place}:{value.lineno}", text) for text in texts(value) if " " in text)


def unnamed(text: str) -> list[str]:
    """Return the settings that a text names without saying how they are given."""
    return _NAMED.findall(_GIVEN.sub("", text))


def modules() -> Iterator[tuple[str, str]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        yield path.relative_to(PACKAGE).as_posix(), path.read_text(encoding="utf-8")


ADVICE = [found for place, source in modules() for found in advice_of(source, place)]


def test_a_setting_that_a_message_names_is_named_as_it_is_given() -> None:
    assert len(ADVICE) > 250
    wrong = [f"{found.place}: {unnamed(found.text)} in: {found.text}" for found in ADVICE if unnamed(found.text)]
    assert not wrong, "say it by luthier.config.advice.how_to_set:\n" + "\n".join(wrong)


def test_flags_and_keys_in_advice_exist() -> None:
    for found in ADVICE:
        options = set(re.findall(r"(?<![\w-])--[a-z][\w-]*", found.text))
        assert options <= OPTIONS | OF_OTHERS, f"{found.place}: {found.text}"
        for key in re.findall(r"--set '?([\w.]+)=", found.text):
            assert key in KEYS | {"…"}, f"{found.place}: {found.text}"


def test_every_key_that_the_source_asks_how_to_give_exists() -> None:
    asked = [
        node.args[0].value
        for _, source in modules()
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "how_to_set"
        and isinstance(node.args[0], ast.Constant)
    ]  # fmt: skip
    assert len(asked) > 15
    for key in asked:
        assert key in KEYS
        assert how_to_set(str(key), "1").startswith("--")


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("data.max_lost", "0.3", "--set data.max_lost=0.3"),  # no verb has a flag for it
        ("search.trials", "0", "--search 0 (`search.trials`)"),  # the flag is called otherwise
        ("workers", "1", "--workers 1"),
        ("any_base", "", "--any-base"),  # a switch
        ("retain", "[topic]", "--set 'retain=[topic]'"),  # a flag of compare, and none of tune; a shell reads [ ]
        ("evaluation.cache", "false", "--set evaluation.cache=false"),  # a flag of eval, and none of compare
    ],
)
def test_how_a_setting_is_given(key: str, value: str, said: str) -> None:
    assert how_to_set(key, value) == said


def test_a_setting_that_no_verb_has_cannot_be_advised() -> None:
    with pytest.raises(KeyError):
        how_to_set("training.epoch", "2")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Lower training.learning_rate.", ["training.learning_rate"]),
        ("Lower it with --set training.learning_rate=0.1.", []),
        ("Use fewer workers.", ["workers"]),
        ("Use fewer --workers.", []),
        ("Use --search 0 (`search.trials`).", []),
        ("Or lower max_new_tokens.", ["max_new_tokens"]),
        ("Name tasks with `retain`.", ["retain"]),
        ("Name another task.", []),
        ("Train both with the same `seeds`.", ["`seeds`"]),
    ],
)
def test_a_setting_that_is_named_otherwise_is_noticed(text: str, found: list[str]) -> None:
    (advice,) = advice_of(f"raise DataError('it is wrong', fix={text!r})", "m")
    assert unnamed(advice.text) == found


def test_the_text_of_a_variable_and_of_a_branch_is_found() -> None:
    source = (
        'fix = f"Raise max_length ({limit})."\nraise E("a b", where="x", fix=fix if a else "Set engine to torch.")\n'
    )
    assert [(found.text, unnamed(found.text)) for found in advice_of(source, "m")] == [
        ("Set engine to torch.", ["engine"]),
        ("Raise max_length (…).", ["max_length"]),
    ]
