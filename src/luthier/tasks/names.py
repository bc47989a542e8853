"""What a task can be called: a built-in name, a file, a folder or an id of the hub. Nothing of a task is read here."""

from __future__ import annotations

import re
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from luthier.config.yaml_file import load_yaml
from luthier.errors import TaskError, did_you_mean
from luthier.tasks.suites import averages, library_suites, may_name, suite_tasks
from luthier.user_path import user_path

LIBRARY = Path(__file__).parent / "library" / "builtin"
BIGBENCH = "bigbench"
"""Every task of BIG-bench whose JSON lies in the folder of this name among the original files."""
EACH = "#"
"""Between a file that holds many tasks and the value that one is made for."""
YAML = (".yaml", ".yml")
HARNESS = "lm_eval:"
"""How the name of a task of lm-eval begins."""
_LEAST_HARNESS = (0, 4, 13)


def library_names() -> tuple[str, ...]:
    """Return the names of the built-in tasks."""
    return tuple(sorted(path.parent.name for path in LIBRARY.glob("*/task.yaml")))


def on_hub(name_or_path: str) -> bool:
    """Whether a task is asked for by the id of a dataset of the hub."""
    return name_or_path.startswith("hf:")


def of_harness(name_or_path: str) -> bool:
    """Whether a task of lm-eval is asked for."""
    return name_or_path.startswith(HARNESS)


def require_own(name_or_path: str) -> None:
    """Check that what has to be a task of Luthier is not one of lm-eval.

    Raises:
        TaskError: When it is.
    """
    if of_harness(name_or_path):
        raise TaskError(
            "a task of lm-eval can be evaluated and retained, not trained on or shown",
            where=name_or_path,
            fix="Name it with `luthier eval --tasks` or `luthier compare --retain`.",
        )


def is_path(name: str) -> bool:
    """Whether a YAML or a folder is named, and not a task of lm-eval's own."""
    return "/" in name or "\\" in name or name.endswith(YAML)


def require_task(name_or_path: str) -> None:
    """Check that there is something of this name, without reading it.

    Raises:
        TaskError: When there is not.
    """
    if of_harness(name_or_path):
        _require_harness(name_or_path)
        return
    path = user_path(name_or_path)
    if name_or_path == BIGBENCH:
        return
    if name_or_path in library_names() or on_hub(name_or_path) or _exists(path) or file_and_value(name_or_path):
        return
    if path.suffix in YAML:
        load_yaml(path, TaskError)  # it says why the file cannot be read
    what = f"no built-in task, file or folder is called '{name_or_path}'"
    shown = (*library_names(), *library_suites())
    known = (*shown, *suite_tasks(), *averages())
    raise TaskError(what, fix=did_you_mean(name_or_path, known or ("(none)",), shown=shown))


def file_and_value(name: str) -> tuple[Path, str] | None:
    """Return the file of one of many tasks and the value that it is made for; None for every other name.

    Args:
        name: A task of a suite, or ``FILE.yaml#VALUE``.
    """
    place, mark, value = name.rpartition(EACH)
    if mark and user_path(place).suffix in YAML:
        return user_path(place), value
    return suite_tasks().get(name) if may_name(name) else None


def _require_harness(name: str) -> None:
    """Check that lm-eval is installed, and the file or folder there; its own names it knows once it is loaded."""
    own = name.removeprefix(HARNESS)
    if not own:
        raise TaskError(f"no task is named behind '{HARNESS}'", fix=f"Name one: {HARNESS}mmlu.")
    if find_spec("lm_eval") is None:
        raise TaskError("lm-eval is not installed", where=name, fix="pip install 'luthier[harness]'")
    installed = version("lm_eval")
    if tuple(map(int, re.findall(r"\d+", installed)[:3])) < _LEAST_HARNESS:
        what = f"lm-eval {installed} is installed, and {'.'.join(map(str, _LEAST_HARNESS))} or later is needed"
        raise TaskError(what, where=name, fix="pip install -U 'luthier[harness]'")
    if is_path(own) and not _exists(user_path(own)):
        raise TaskError("there is no such file or folder", where=name, fix="Check the path.")


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a name that no file can have
        return False
