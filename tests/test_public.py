"""The public names: complete, sorted, lazy, and seen alike by Python and by type checkers."""

from __future__ import annotations

import ast
import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import luthier
from luthier import errors, records

SOURCE = Path(luthier.__file__)
DESIGN = ("load_model", "load_task", "tune", "evaluate", "compare")


def _for_type_checkers() -> dict[str, str]:
    """Name → module, as the imports under ``if TYPE_CHECKING`` say."""
    blocks = [node for node in ast.parse(SOURCE.read_text()).body if isinstance(node, ast.If)]
    imports = [item for block in blocks for item in block.body if isinstance(item, ast.ImportFrom)]
    return {alias.name: str(item.module) for item in imports for alias in item.names}


def _python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.strip()


def test_public_names_are_sorted_and_listed_once() -> None:
    assert luthier.__all__ == sorted(set(luthier.__all__))
    assert dir(luthier) == luthier.__all__


def test_every_public_name_exists_and_says_what_it_is() -> None:
    for name in luthier.__all__:
        value = getattr(luthier, name)
        assert name == "__version__" or inspect.getdoc(value), f"{name} has no docstring"


def test_python_and_type_checkers_see_the_same_names_from_the_same_modules() -> None:
    seen = _for_type_checkers()
    assert sorted(seen) == luthier.__all__
    for name, module in seen.items():
        assert getattr(luthier, name) is getattr(importlib.import_module(module), name)
        if callable(getattr(luthier, name)):
            assert getattr(luthier, name).__module__ == module, f"import {name} from the module that defines it"


def test_the_verbs_of_the_design_are_public() -> None:
    assert set(DESIGN) <= set(luthier.__all__)


@pytest.mark.parametrize("module", [errors, records])
def test_every_record_and_every_error_is_public(module: object) -> None:
    defined = {
        name
        for name, value in vars(module).items()
        if inspect.isclass(value) and value.__module__ == getattr(module, "__name__", "")
    }
    assert defined <= set(luthier.__all__)


def test_a_name_that_does_not_exist_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'luthier' has no attribute 'compair'"):
        _ = luthier.compair  # type: ignore[attr-defined]


def test_importing_luthier_imports_nothing_else_of_it() -> None:
    code = "import sys, luthier; print([m for m in sys.modules if m.startswith('luthier')], 'torch' in sys.modules)"
    assert _python(code) == "['luthier'] False"


def test_importing_luthier_takes_less_than_a_tenth_of_a_second() -> None:
    code = "import time; a = time.perf_counter(); import luthier; print(time.perf_counter() - a)"
    assert min(float(_python(code)) for _ in range(3)) < 0.1


def test_records_and_configuration_need_no_torch() -> None:
    code = "import sys, luthier; luthier.Example, luthier.CompareConfig, luthier.Faults; print('torch' in sys.modules)"
    assert _python(code) == "False"


def test_help_answers_in_half_a_second_without_heavy_libraries() -> None:
    code = (
        "import sys, time; began = time.perf_counter(); sys.argv = ['luthier', '--help']\n"
        "from luthier.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'transformers', 'pydantic', 'numpy', 'rich'} & set(sys.modules)\n"
        "print(sorted(heavy), time.perf_counter() - began)"
    )
    shown = [_python(code) for _ in range(3)]
    assert all("compare" in text and "[]" in text for text in shown), shown[0]
    # The slowest machine that tests run on has other work too: the best of three is what help costs.
    assert min(float(text.split()[-1]) for text in shown) < 0.5
