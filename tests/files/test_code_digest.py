"""What changes the digest of the code, on a small package, and what the modules of Luthier reach."""

from __future__ import annotations

import ast
from importlib import metadata
from pathlib import Path

import pytest

import luthier
from luthier.files.code_digest import code_digest, digest_of_package, reached_modules

SOURCES = {
    "__init__.py": '"""A package."""\n',
    "train.py": "import json\n\nfrom small import loop\n\n\ndef train(x):\n    return loop.step(x)\n",
    "loop.py": "def step(x):\n    from small.room.loss import loss\n\n    return loss(x) * 2\n",
    "room/__init__.py": '"""A room."""\n',
    "room/loss.py": '''"""The loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from small.types import Number


class Loss:
    """What is minimised."""

    scale: float = 1.0
    """How much it counts."""


def loss(x: Number) -> Number:
    """Return the loss."""
    return x * Loss.scale  # times one
''',
    "types.py": "Number = float\n",
    "report.py": "from small.train import train\n\nprint(train(1))\n",
}
ENTRY = ("small.train",)


def package(folder: Path, **changes: str) -> Path:
    """Write the small package, some of its files otherwise; `room__loss` stands for ``room/loss.py``."""
    root = folder / str(len(list(folder.iterdir()))) / "small"
    for name, text in (SOURCES | {f"{name.replace('__', '/')}.py": text for name, text in changes.items()}).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def edited(name: str, old: str, new: str) -> str:
    text = SOURCES[name]
    assert old in text
    return text.replace(old, new)


def test_what_is_reached_is_what_imports_can_run(tmp_path: Path) -> None:
    reached = reached_modules(package(tmp_path), ENTRY)
    assert sorted(reached) == ["small", "small.loop", "small.room", "small.room.loss", "small.train"]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(edited("room/loss.py", "# times one", "# another comment"), id="a comment"),
        pytest.param(edited("room/loss.py", '"""The loss."""', '"""Another docstring."""'), id="a module's docstring"),
        pytest.param(edited("room/loss.py", '    """Return the loss."""\n', ""), id="a function's docstring"),
        pytest.param(edited("room/loss.py", "What is minimised", "Something else"), id="a class's docstring"),
        pytest.param(edited("room/loss.py", "How much it counts", "Its weight"), id="an attribute's docstring"),
        pytest.param(
            edited("room/loss.py", "x * Loss.scale", "(\n        x\n        * Loss . scale\n    )"), id="layout"
        ),
        pytest.param(edited("room/loss.py", "import Number", "import Other"), id="an import for type checkers"),
    ],
)
def test_words_and_layout_do_not_count(tmp_path: Path, text: str) -> None:
    before = digest_of_package(package(tmp_path), ENTRY)
    assert digest_of_package(package(tmp_path, room__loss=text), ENTRY) == before


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        pytest.param("train.py", "loop.step(x)", "loop.step(x + 1)", id="in the entry"),
        pytest.param("loop.py", "* 2", "* 3", id="in a module that the entry imports"),
        pytest.param("room/loss.py", "x * Loss", "x / Loss", id="behind an import inside a function"),
        pytest.param("room/loss.py", "1.0", "1", id="a constant that equals the old one"),
        pytest.param("room/__init__.py", '"""A room."""', "import torch", id="in a package around a module"),
    ],
)
def test_code_that_is_reached_counts(tmp_path: Path, name: str, old: str, new: str) -> None:
    before = digest_of_package(package(tmp_path), ENTRY)
    root = package(tmp_path)
    (root / name).write_text(edited(name, old, new))
    assert digest_of_package(root, ENTRY) != before


def test_code_that_is_not_reached_does_not_count(tmp_path: Path) -> None:
    before = digest_of_package(package(tmp_path), ENTRY)
    assert digest_of_package(package(tmp_path, report="print(0)\n", types="Number = int\n"), ENTRY) == before


def test_a_new_module_is_found_without_being_listed(tmp_path: Path) -> None:
    loop = (
        SOURCES["loop.py"].replace("* 2", "* factor.FACTOR").replace("def step", "from small import factor\n\ndef step")
    )
    two, three = (package(tmp_path, loop=loop, factor=f"FACTOR = {n}\n") for n in (2, 3))
    assert "small.factor" in reached_modules(two, ENTRY)
    assert digest_of_package(two, ENTRY) != digest_of_package(three, ENTRY)


def test_the_versions_of_imported_libraries_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    roots = [package(tmp_path), package(tmp_path, loop="import yaml\n" + SOURCES["loop.py"])]
    before = [digest_of_package(root, ENTRY) for root in roots]
    monkeypatch.setattr(
        "luthier.files.code_digest.version", lambda name: "0.0" if name == "PyYAML" else metadata.version(name)
    )
    after = [digest_of_package(root, ENTRY) for root in roots]
    assert after[0] == before[0]
    assert after[1] != before[1]


def test_an_entry_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"not a module of luthier: luthier\.trainer"):
        code_digest(("luthier.trainer",))


@pytest.mark.parametrize(
    ("entry", "reached", "not_reached"),
    [
        (
            "luthier.training.train_arm",
            {
                "luthier.training.loop",
                "luthier.objectives.cross_entropy",
                "luthier.methods.lora",
                "luthier.data.encoding",
            },
            {"luthier.cli", "luthier.report.page", "luthier.results.records", "luthier.experiments.compare"},
        ),
        (
            "luthier.inference.ct2_convert",
            {"luthier.inference.ct2_engine", "luthier.models.language_model"},
            {"luthier.training.loop", "luthier.metrics.registry"},
        ),
    ],
)
def test_what_the_modules_of_luthier_reach(entry: str, reached: set[str], not_reached: set[str]) -> None:
    found = reached_modules(Path(luthier.__file__).parent, (entry,)).keys()
    assert reached <= found
    assert not not_reached & found
    assert len(code_digest((entry,))) == 16


def test_what_computes_imports_by_statements_only() -> None:
    """An import by a name that is put together while the program runs would not be followed."""
    package = Path(luthier.__file__).parent
    dynamic = {"import_module", "__import__", "spec_from_file_location", "run_path", "run_module"}
    entries = ("luthier.experiments.search", "luthier.evaluation.jobs", "luthier.inference.ct2_convert")
    # Names for users, from which nothing inside imports; the settings of other verbs, read for their messages; the
    # guarded process, whose functions are named by modules that import them by statements too; and what draws a
    # finished record in a notebook. A user's own reward is keyed by the digest of its file.
    not_computing = {"luthier", "luthier.config.verbs", "luthier.display", "luthier.files.limited_worker"}
    not_computing |= {"luthier.rewards.file_reward"}
    for name, path in reached_modules(package, entries).items():
        if name in not_computing:
            continue
        names = {
            node.attr if isinstance(node, ast.Attribute) else node.id
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Attribute | ast.Name)
        }
        assert not names & dynamic, path
