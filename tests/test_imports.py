"""Which module may import which: the packages in order, no cycles, and nothing through the package's root.

    display ← errors, records, version, garbage, quiet, control_groups, signals, visible, user_path
        ← arguments, console, notebook, stdio, threads ← progress, exhausted ← files, config
        ← data, metrics, kernels ← rewards, tasks, models ← methods ← objectives, inference ← evaluation ← training
    results, above metrics ← experiments, above all of these ← cli;  report, above results ← cli

Read from the source, so that an import inside a function counts too.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import luthier

PACKAGE = Path(luthier.__file__).parent

_LAYERS: tuple[frozenset[str], ...] = tuple(
    frozenset(layer.split())
    for layer in (
        "display",
        "errors records shares version garbage quiet control_groups signals visible user_path",
        "arguments console notebook stdio threads",
        "progress exhausted",
        "files config",
        "data metrics kernels",
        "rewards tasks models",
        "methods",
        "objectives inference",
        "evaluation",
        "training",
    )
)
"""The packages that compute, in layers from the lowest: each may import whatever is in a lower layer."""

_BASE = frozenset[str]().union(*_LAYERS[:5])
# What is read from finished results alone: no model is ever loaded for it.
_RESULTS = _BASE | {"metrics"}
_COMPUTING = frozenset[str]().union(*_LAYERS)

MAY_IMPORT: dict[str, frozenset[str]] = {
    package: frozenset[str]().union(*_LAYERS[:height]) for height, layer in enumerate(_LAYERS) for package in layer
} | {
    "metrics": frozenset({"errors", "records", "files", "console", "stdio"}),
    "kernels": frozenset({"errors", "control_groups"}),
    "models": _BASE | {"data", "kernels"},
    "methods": _BASE | {"data", "kernels", "models"},
    "objectives": _BASE | {"data", "kernels", "models"},
    "inference": _BASE | {"data", "kernels", "models", "methods"},
    "results": _RESULTS,
    "report": _RESULTS | {"results"},
    "experiments": _COMPUTING | {"results"},
    "serving": _COMPUTING | {"results"},
    "cli": _COMPUTING | {"results", "experiments", "report", "serving"},
}


def _name(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(("luthier", *(parts[:-1] if parts[-1] == "__init__" else parts)))


PUBLIC_NAMES = {"luthier", "luthier.metrics"}
"""Packages that offer names to users, each imported when it is first asked for; Luthier's own modules never do."""

MODULES = {_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def _package(module: str) -> str:
    return module.split(".")[1]


def _imports(module: str, *, at_import: bool = False) -> Iterator[str]:
    """Yield the modules of Luthier that a module names in its imports.

    Args:
        module: The importing module.
        at_import: Only those that run when it is imported: not inside functions, not for type checkers.
    """
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    for node in _running(tree) if at_import else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "luthier")
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: import by the full name, not relatively"
            if node.module and node.module.split(".")[0] == "luthier":
                # `from luthier.tasks import loader` imports a module, `from luthier.errors import DataError` a name.
                yield from {_deepest(f"{node.module}.{alias.name}", node.module) for alias in node.names}


def _outside(module: str) -> set[str]:
    """Return the other packages that importing a module imports."""
    nodes = list(_running(ast.parse(MODULES[module].read_text(encoding="utf-8"))))
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    named = {str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)}
    return {name.split(".")[0] for name in plain | named}


def _running(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            continue
        yield child
        yield from _running(child)


def _deepest(name: str, otherwise: str) -> str:
    return name if name in MODULES else otherwise


def _packages() -> set[str]:
    return {_package(module) for module in MODULES if module != "luthier"}


def test_every_package_has_a_place_in_the_order() -> None:
    assert _packages() <= MAY_IMPORT.keys(), "a new package needs a place in MAY_IMPORT and in the README's tree"


def test_the_order_itself_has_no_cycle() -> None:
    TopologicalSorter(MAY_IMPORT).prepare()


@pytest.mark.parametrize("package", sorted(_packages()))
def test_a_package_imports_only_from_packages_below_it(package: str) -> None:
    wrong = [
        f"{module} imports {other}"
        for module in MODULES
        if module != "luthier" and _package(module) == package
        for other in _imports(module)
        if other != "luthier" and _package(other) != package and _package(other) not in MAY_IMPORT[package]
    ]
    assert not wrong, "\n".join(wrong)


def test_no_module_imports_from_the_package_root() -> None:
    assert not [module for module in MODULES if module not in PUBLIC_NAMES and PUBLIC_NAMES & set(_imports(module))]


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = {module: set(_imports(module)) - {module} for module in MODULES if module != "luthier"}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as circle:
        pytest.fail(" → ".join(circle.args[1]))


@pytest.mark.parametrize("module", sorted(name for name, path in MODULES.items() if path.name == "__init__.py"))
def test_a_package_has_a_docstring_and_imports_nothing(module: str) -> None:
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    assert ast.get_docstring(tree), f"{module} does not say what the package is for"
    assert not list(_imports(module, at_import=True))
    if module not in PUBLIC_NAMES:
        assert len(tree.body) == 1, f"{module} holds more than its docstring"


@pytest.mark.parametrize("package", ["results", "report", "metrics"])
def test_what_reads_finished_results_never_reaches_a_model(package: str) -> None:
    reached, left = set[str](), [module for module in MODULES if module != "luthier" and _package(module) == package]
    while left:
        module = left.pop()
        if module not in reached:
            reached.add(module)
            left += _imports(module)
    assert not [
        module
        for module in reached
        if _package(module) in {"kernels", "models", "methods", "objectives", "inference", "evaluation", "training"}
    ]
    assert not [module for module in reached if _outside(module) & {"torch", "transformers", "peft"}]


NAMES_MODULES = {
    "luthier": "public names are imported when they are first asked for",
    "luthier.config.verbs": "the list of verbs is shown at once, without the settings of any",
    "luthier.display": "records are shown by the report, which lies above them",
    "luthier.experiments.libraries": "libraries of others alone",
    "luthier.files.limited_worker": "a function that runs in another process",
}
"""Modules that import others by a name in a string, which the order above does not see, and why."""


def test_few_modules_import_by_a_name_in_a_string() -> None:
    found = {module for module, path in MODULES.items() if "import_module(" in path.read_text(encoding="utf-8")}
    assert found == NAMES_MODULES.keys()
