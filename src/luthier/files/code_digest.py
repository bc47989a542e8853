"""A digest of the code that computes a result, found by following imports from the module that computes it.

A stored result is found again only by the code that made it. Which code that is, the imports say: no list is kept by
hand. Comments, docstrings and formatting do not count, because the digest is made from syntax trees.

Only ``import`` statements are followed. A module that is imported by a name put together while the program runs
(``importlib.import_module``) is not seen; a test holds that no module that computes does this.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distributions, packages_distributions, version
from pathlib import Path

_PACKAGE = Path(__file__).parents[1]
_LIBRARIES = ("torch", "transformers", "tokenizers", "peft")
"""Distributions that always count: tokenizers computes within transformers, so that no import of ours names it."""


@functools.cache
def code_digest(entries: tuple[str, ...]) -> str:
    """Return the digest of the code that is reached from some modules, and of the libraries that it imports.

    The versions of torch, transformers, tokenizers and peft always count; so does that of every other installed
    package that a reached module imports. A package that is not installed cannot have computed anything. Syntax trees
    are written a little differently by each minor version of Python, and so are their digests.

    Args:
        entries: Full names of the modules in which the computation starts, such as ``luthier.training.train_arm``.

    Returns:
        16 hexadecimal digits.

    Raises:
        ValueError: A name is not a module of Luthier.
    """
    return digest_of_package(_PACKAGE, entries)


def digest_of_package(package: Path, entries: Iterable[str]) -> str:
    """Return the digest of the code of a package that is reached from some of its modules; see `code_digest`."""
    reached = reached_modules(package, entries)
    imported = frozenset[str]().union(*(_read(path).imports for path in reached.values()))
    outside = {name.split(".")[0] for name in imported} - sys.stdlib_module_names - {package.name}
    hashed = hashlib.blake2b(digest_size=8)
    for library in sorted(_versions(outside)):
        hashed.update(f"{library}\n".encode())
    for name, path in sorted(reached.items()):
        hashed.update(f"{name} {_read(path).code}\n".encode())
    return hashed.hexdigest()


def reached_modules(package: Path, entries: Iterable[str]) -> dict[str, Path]:
    """Return the modules of a package that importing some of its modules can run, by name, with their files.

    Imports inside functions count, those for type checkers alone do not. Importing a module runs the ``__init__`` of
    every package around it, so these are reached too.

    Raises:
        ValueError: An entry is not a module of the package.
    """
    reached: dict[str, Path] = {}
    left = list(entries)
    if unknown := [name for name in left if _file(package, name) is None]:
        raise ValueError(f"not a module of {package.name}: {', '.join(unknown)}")
    while left:
        name = left.pop()
        path = _file(package, name)
        if path is None or name in reached:
            continue
        reached[name] = path
        left += (imported for imported in _read(path).imports if imported.split(".")[0] == package.name)
        if "." in name:
            left.append(name.rpartition(".")[0])
    return reached


def _file(package: Path, name: str) -> Path | None:
    """Return the source file of a module, or None for a name that a module defines (or that does not exist)."""
    root, *below = name.split(".")
    if root != package.name:
        return None
    base = package.joinpath(*below)
    if below and (module := base.with_name(f"{base.name}.py")).is_file():
        return module
    return initial if (initial := base / "__init__.py").is_file() else None


@dataclass(frozen=True, slots=True)
class _Module:
    """A module as it is read from its source: the digest of its code, and every name that its imports could mean."""

    code: str
    imports: frozenset[str]


@functools.cache
def _read(path: Path) -> _Module:
    parts: list[str] = []
    imports: set[str] = set()
    _walk(ast.parse(path.read_bytes()), parts, imports)
    return _Module(hashlib.blake2b("\0".join(parts).encode(), digest_size=8).hexdigest(), frozenset(imports))


def _walk(node: ast.AST, parts: list[str], imports: set[str]) -> None:
    """Write a syntax tree down without its positions and docstrings, and collect its imports on the way.

    Whether a name is loaded or stored (``ctx``) follows from where it stands. `ast.dump` alone takes three times as
    long.
    """
    parts.append(node.__class__.__name__)
    if isinstance(node, ast.Import | ast.ImportFrom):
        imports.update(_names(node))
    for field in node._fields:
        if field == "ctx":
            continue
        value = getattr(node, field, None)
        if value.__class__ is list:
            parts.append("[")
            for item in _that_run(value) if field in {"body", "orelse"} else value:
                if isinstance(item, ast.AST):
                    _walk(item, parts, imports)
                else:
                    parts.append(repr(item))
            parts.append("]")
        elif isinstance(value, ast.AST):
            _walk(value, parts, imports)
        else:
            parts.append(repr(value))


def _that_run(statements: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield the statements that do something: not docstrings, nor what only a type checker reads."""
    for statement in statements:
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
            continue
        if isinstance(statement, ast.If) and ast.unparse(statement.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}:
            yield from _that_run(statement.orelse)
        else:
            yield statement


def _names(node: ast.Import | ast.ImportFrom) -> Iterator[str]:
    """Yield the full names of the modules that an import could mean.

    ``from luthier.tasks import loader`` imports a module, ``from luthier.errors import DataError`` a name: both the
    package and what is taken from it are yielded, and those that are not modules are left aside later.
    """
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
        return
    if node.level:
        raise ValueError(f"line {node.lineno}: a relative import is not followed; import by the full name")
    assert node.module is not None
    yield node.module
    yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _versions(packages: Iterable[str]) -> set[str]:
    found = {f"{library}=={version(library)}" for library in _LIBRARIES}
    for package in packages:
        found.update(f"{name}=={version(name)}" for name in _distributions(package))
    return found


@functools.cache
def _distributions(package: str) -> tuple[str, ...]:
    """Return the installed distributions that provide a package; usually one, which has its name."""
    try:
        version(package)
    except PackageNotFoundError:
        named = {found.name for found in distributions() if package in (found.read_text("top_level.txt") or "").split()}
        # Slow, because it reads what every distribution installed: only for those that do not name their packages.
        return tuple(sorted(named or set(packages_distributions().get(package, ()))))
    return (package,)
