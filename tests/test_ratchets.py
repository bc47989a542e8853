"""Limits of size that the source must keep: of a function, of a file, of what is public, and of the whole."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import luthier

PACKAGE = Path(luthier.__file__).parent

FUNCTION_LINES = 60
"""From ``def`` to its last line, the docstring included; decorators are not counted."""
FILE_LINES = 400
PARAMETERS = 8
"""Of a function: ``self`` and ``cls`` are not counted, ``*args`` and ``**kwargs`` are one each."""
PUBLIC_NAMES = 57
"""In ``luthier.__all__``: raised on purpose alone, with the page of the documentation that a new name needs."""
TOTAL_LINES = 61_500
"""Of all files together: raised on purpose alone, for a capability that needs the room."""

KNOWN: dict[str, int] = {}
"""Places above a limit, as ``lines of module:function``, ``parameters of module:function`` or ``lines of module``, with
their size. They may only shrink; one that has come below its limit is taken out."""

DICTATED: dict[str, str] = {
    "luthier.tasks.rows.sandbox:_Environment._generate": "overrides a method of jinja2",
    "luthier.tasks.rows.sandbox:_Environment.call": "overrides a method of jinja2",
    "luthier.config.base:Settings.__init__": "overrides a method of pydantic",
    "luthier.config.base:Settings.__new__": "overrides a method of pydantic",
    "luthier.config.base:Settings.model_validate": "overrides a method of pydantic",
    "luthier.config.base:Settings.model_validate_json": "overrides a method of pydantic",
    "luthier.evaluation.programs.code_eval:_load": "stands for a function of evaluate",
    "luthier.evaluation.harness.tokens:EngineLM._loglikelihood_tokens": "lm-eval calls it",
    "luthier.inference.beams:_StopStrings.__call__": "transformers calls it",
    "luthier.inference.ct2_convert:_convert.Loaded.load_model": "overrides a method of ctranslate2",
    "luthier.inference.ct2_convert:_convert.Loaded.load_tokenizer": "overrides a method of ctranslate2",
    "luthier.inference.custom_attention:attend": "an attention function of transformers",
    "luthier.kernels.variable_length:attend": "an attention function of transformers",
    "luthier.models.frozen_activations:_replaced.forward": "stands for the forward method of a block of any model",
}
"""Functions whose signature a library dictates, with the reason: no others take ``**kwargs``."""


@dataclass(frozen=True)
class Function:
    """A function of the source, as ``module:Class.function``."""

    place: str
    node: ast.FunctionDef | ast.AsyncFunctionDef
    in_class: bool

    @property
    def lines(self) -> int:
        """Its length, without decorators."""
        return (self.node.end_lineno or self.node.lineno) - self.node.lineno + 1

    @property
    def parameters(self) -> int:
        """How many parameters it has."""
        given = self.node.args
        named = [*given.posonlyargs, *given.args, *given.kwonlyargs]
        bound = self.in_class and bool(named) and named[0].arg in {"self", "cls"}
        return len(named) - bound + (given.vararg is not None) + (given.kwarg is not None)


def _functions(node: ast.AST, place: str, in_class: bool = False) -> Iterator[Function]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            name = f"{place}{'.' if ':' in place else ':'}{child.name}"
            if not isinstance(child, ast.ClassDef):
                yield Function(name, child, in_class)
            yield from _functions(child, name, isinstance(child, ast.ClassDef))
        else:
            yield from _functions(child, place, in_class)


def _module(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)


def _source(package: Path = PACKAGE) -> dict[str, str]:
    return {_module(path): path.read_text(encoding="utf-8") for path in sorted(package.rglob("*.py"))}


SOURCE = _source()
FUNCTIONS = [item for module, text in SOURCE.items() for item in _functions(ast.parse(text), module)]


def sizes(source: dict[str, str], functions: list[Function]) -> Iterator[tuple[str, int, int]]:
    """Yield ``(place, size, limit)`` of everything that has a limit of its own."""
    for module, text in source.items():
        yield f"lines of {module}", len(text.splitlines()), FILE_LINES
    for item in functions:
        yield f"lines of {item.place}", item.lines, FUNCTION_LINES
        yield f"parameters of {item.place}", item.parameters, PARAMETERS


def faults(found: Iterator[tuple[str, int, int]], known: dict[str, int]) -> list[str]:
    """Say what is above its limit, what has grown, and what need not be known any more."""
    said, left = [], dict(known)
    for place, size, limit in found:
        allowed = left.pop(place, None)
        if size > max(limit, allowed or 0):
            said.append(f"{place}: {size}, where {limit if allowed is None else allowed} are allowed; split it")
        elif allowed is not None and size <= limit:
            said.append(f"{place}: {size}, within the limit of {limit} now; take it out of KNOWN")
    return said + [f"{place}: in KNOWN, and is no longer there" for place in left]


def test_functions_files_and_parameters_keep_their_limits() -> None:
    found = faults(sizes(SOURCE, FUNCTIONS), KNOWN)
    assert not found, "\n".join(found)


def test_no_function_takes_whatever_it_is_given() -> None:
    taking = {item.place for item in FUNCTIONS if item.node.args.kwarg is not None}
    wrong = sorted(taking - DICTATED.keys())
    assert not wrong, f"name the parameters instead of **kwargs: {', '.join(wrong)}"
    left = sorted(DICTATED.keys() - taking)
    assert not left, f"these take no **kwargs any more; take them out of DICTATED: {', '.join(left)}"


def test_the_public_names_are_few() -> None:
    names = len(luthier.__all__)
    assert names <= PUBLIC_NAMES, f"luthier.__all__ has {names} names, where {PUBLIC_NAMES} are allowed"


def test_the_whole_stays_small() -> None:
    total = sum(len(text.splitlines()) for text in SOURCE.values())
    assert total <= TOTAL_LINES, f"{PACKAGE} has {total} lines, where {TOTAL_LINES} are allowed: what can go?"


# The rules themselves.

EXAMPLE = '''
class Engine:
    def start(self, a, *b, c=1, **d):
        """Two lines
        of docstring."""
        def inner(x): return x
        return other(a, **d)

@decorated(
    1
)
def alone(self, a, /, b): pass
'''


def example() -> dict[str, Function]:
    return {item.place: item for item in _functions(ast.parse(EXAMPLE), "m")}


def test_functions_are_found_and_measured() -> None:
    found = example()
    assert {place: (item.lines, item.parameters) for place, item in found.items()} == {
        "m:Engine.start": (5, 4),
        "m:Engine.start.inner": (1, 1),
        "m:alone": (1, 3),
    }


@pytest.mark.parametrize(
    ("size", "known", "said"),
    [
        (60, {}, None),
        (61, {}, "lines of m:f: 61, where 60 are allowed; split it"),
        (70, {"lines of m:f": 70}, None),
        (71, {"lines of m:f": 70}, "lines of m:f: 71, where 70 are allowed; split it"),
        (69, {"lines of m:f": 70}, None),
        (60, {"lines of m:f": 70}, "lines of m:f: 60, within the limit of 60 now; take it out of KNOWN"),
        (60, {"lines of m:g": 70}, "lines of m:g: in KNOWN, and is no longer there"),
    ],
)
def test_what_is_said_of_a_size(size: int, known: dict[str, int], said: str | None) -> None:
    assert faults(iter([("lines of m:f", size, 60)]), known) == ([] if said is None else [said])
