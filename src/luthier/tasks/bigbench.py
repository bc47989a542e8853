"""The JSON file of a task of BIG-bench (Srivastava et al. 2022, arXiv:2206.04615) as a task.

Prompts are laid out as ``bigbench/api/json_task.py`` of its repository does it: the task's prefix, the prefix of
inputs, the input, the choices where the task wants them shown, and the prefix of outputs, after which an answer is
scored or written. All examples are test examples.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from luthier.config.validation import validate
from luthier.errors import TaskError, raise_faults
from luthier.tasks.build import build_task
from luthier.tasks.faults import task_faults
from luthier.tasks.names import BIGBENCH
from luthier.tasks.schema import Task
from luthier.tasks.spec import TaskSpec

_INPUT, _OUTPUT, _CHOICE, _GAP = "\nQ: ", "\nA: ", "\n  choice: ", "\n"
"""What stands around the parts of an example where the file says nothing."""
_LINES = "{{% for {one} in {many} %}}{{{{ {one} }}}}\n{{% endfor %}}"
_KEYS = {"name", "description", "keywords", "examples"}
"""Keys that every file has, beside ``metrics`` or ``preferred_score``."""


def is_bigbench(path: Path) -> bool:
    """Whether a file is the JSON of a task of BIG-bench, by the keys before its examples."""
    if path.suffix != ".json" or not path.is_file():
        return False
    with path.open(encoding="utf-8", errors="replace") as file:
        head = file.read(8192)
    return (
        head.lstrip().startswith("{") and '"keywords"' in head and ('"metrics"' in head or '"preferred_score"' in head)
    )


def bigbench_files(folder: Path) -> tuple[str, ...]:
    """Return the files of tasks of BIG-bench in the folder ``bigbench`` of original files, by name."""
    return tuple(str(path) for path in sorted((folder / BIGBENCH).rglob("*.json")) if is_bigbench(path))


def read_bigbench(path: Path) -> Task:
    """Return the task that a file of BIG-bench holds.

    Raises:
        TaskError: When it is no such file, or its examples are of a kind that is not known.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as fault:
        raise TaskError(f"the file cannot be read as JSON ({fault})", where=str(path)) from None
    missing = sorted(_KEYS - data.keys()) if isinstance(data, dict) else sorted(_KEYS)
    if missing or not isinstance(data["examples"], list) or not data["examples"]:
        what = f"no task of BIG-bench: {', '.join(missing)} missing" if missing else "the task has no examples"
        raise TaskError(what, where=str(path), fix="Give the task.json of a task of BIG-bench.")
    spec = validate(TaskSpec, _spec(data, path), source=str(path), lines={}, error=TaskError)
    task = build_task(spec, path)
    raise_faults(f"{path} has faults", list(task_faults(spec, task, str(path), {})))
    return task


def _spec(data: dict[str, Any], path: Path) -> dict[str, Any]:
    scored = ["target_scores" in example for example in data["examples"]]
    if any(scored) != all(scored):
        raise TaskError("some examples have target_scores, and some do not", where=str(path), fix="Divide the task.")
    name = re.sub(r"[^a-z0-9_.-]+", "_", str(data["name"]).lower())
    spec: dict[str, Any] = {
        "name": f"bigbench_{name}",
        "description": str(data["description"]) or name,
        "licence": "Apache-2.0",
        "citation": "Srivastava et al. (2022), Beyond the Imitation Game, arXiv:2206.04615",
        "protocol": "BIG-bench JSON task",
        "source": {"test": {"path": str(path.resolve()), "field": "examples", "format": "json"}},
        "joint": "",
        "few_shot": {"gap": str(data.get("few_shot_example_separator", _GAP))},
        "templates": [{"name": "bigbench", "prompt": _prompt(data, choices=all(scored))}],
    }
    if prefix := str(data.get("task_prefix", "")):
        spec["preamble"] = _raw(prefix)
    return spec | (_closed(data) if all(scored) else _open(data))


def _prompt(data: dict[str, Any], *, choices: bool) -> str:
    prompt = _raw(str(data.get("example_input_prefix", _INPUT))) + "{{ input }}"
    if choices and data.get("append_choices_to_input", True):
        prefix = _raw(str(data.get("choice_prefix", _CHOICE)))
        prompt += f"{{% for choice in target_scores %}}{prefix}{{{{ choice }}}}{{% endfor %}}"
    # A Jinja text loses one newline at its end.
    return prompt + _raw(str(data.get("example_output_prefix", _OUTPUT))) + "\n"


def _closed(data: dict[str, Any]) -> dict[str, Any]:
    """Return the keys of a task whose examples have scored choices; a choice of the highest score is right."""
    counts = [len(example["target_scores"]) for example in data["examples"]]
    best = "{% set most = target_scores.values()|max %}"
    return {
        "choices_lines": _LINES.format(one="choice", many="target_scores"),
        "targets_lines": best
        + "{% for choice, score in target_scores.items() if score == most %}{{ choice }}\n{% endfor %}",
        "chance": sum(1 / count for count in counts) / len(counts),
        "metrics": ["accuracy", "answer_bits_per_byte"],
    }


def _open(data: dict[str, Any]) -> dict[str, Any]:
    """Return the keys of a task with generated answers; ``target`` is one accepted answer or a list."""
    listed = "{% if target is string %}{{ target }}{% else %}{{ target|join('\n') }}{% endif %}"
    return {
        "targets_lines": listed,
        "metrics": ["exact_match", "rouge"],
        "chance": 0,
        "stop": [_stop(data)],
        "max_new_tokens": 64,
    }


def _stop(data: dict[str, Any]) -> str:
    """Return what ends an answer: what stands between examples, or a new line."""
    prefix = str(data.get("example_input_prefix", _INPUT)).strip()
    return prefix or "\n"


def _raw(text: str) -> str:
    """Return a text as a template that gives it as it is."""
    return f"{{% raw %}}{text}{{% endraw %}}" if "{" in text else text
