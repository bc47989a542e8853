"""YAML that strangers wrote: a clear error with its place, in bounded time, by every road."""

from __future__ import annotations

import contextlib
import os
import random
import time
from pathlib import Path

import pytest

from luthier.config.assignments import parse_assignments
from luthier.config.safe_yaml import read_yaml
from luthier.config.yaml_file import load_yaml
from luthier.errors import ConfigError, LuthierError, ModelError, TaskError
from luthier.models.load import find_folder
from luthier.tasks.loader import load_task
from small_job import luthier

ALIASES = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 11)
)
MERGED = "a0: &a0 {x: 1, y: 2}\n" + "".join(
    f"a{n}: &a{n} {{k{n}: 1, <<: [{', '.join([f'*a{n - 1}'] * 9)}]}}\n" for n in range(1, 11)
)
HOSTILE = {
    "ten lines of aliases": (ALIASES, "aliases stand for more than"),
    "merged keys": (MERGED, "aliases stand for more than"),
    "no integer": ("steps: !!int abc", "line 1: not YAML: the value cannot be read as int"),
    "5,000 digits": ("steps: " + "9" * 5000, "a number of more than 400 characters"),
    "beyond 64 bits": ("steps: " + "9" * 30, "beyond 64 bits"),
    "sexagesimal": ("steps: 1" + ":59" * 300_000, "a number of more than"),
    "contains itself": ("a: &a [*a]", "contains itself"),
    "mapping contains itself": ("a: &a {b: *a}", "contains itself"),
    "20,000 brackets": ("a: " + "[" * 20_000, "more than 60 mappings and lists"),
    "20,000 braces": ("{a: " * 20_000, "more than 60 mappings and lists"),
    "20,000 dashes": ("- " * 20_000, "more than 60 mappings and lists"),
    "binary": ("a: !!binary x", "the tag !!binary is not read"),
    "timestamp": ("a: !!timestamp 2024-99-99", "the tag !!timestamp is not read"),
    "set": ("a: !!set {b}", "the tag !!set is not read"),
    "object": ("a: !!python/object:os.system {}", "is not read"),
    "list as a key": ("? [a]\n: 1", "unhashable key"),
    "truth value": ("a: !!bool maybe", "cannot be read as bool"),
    "half of a character": (
        'source: {path: "rows\\ud800.jsonl"}',
        "line 1: not YAML: a text holds half of a character (U+D800)",
    ),
    "control character": ("a: \x00", "not YAML"),
    "large": ("a: " + "x" * 2**20, "more than 1,048,576 characters"),
}


@pytest.mark.parametrize(("text", "said"), HOSTILE.values(), ids=HOSTILE)
def test_hostile_yaml_is_refused_at_once(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "task.yaml"
    path.write_text(text)
    started = time.thread_time()  # of the processor: the machine may be busy
    with pytest.raises(TaskError) as fault:
        load_yaml(path, TaskError)
    assert said in str(fault.value)
    with pytest.raises(ConfigError, match="is not YAML"):
        parse_assignments([f"name={text}"])
    assert time.thread_time() - started < 3
    assert len(str(fault.value)) < 1_000


def test_characters_that_json_writes_as_two_escapes_are_joined(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text('{"name": "\\ud83d\\ude00"}')
    assert load_yaml(path)[0] == {"name": "😀"}


def test_dates_are_texts_and_small_aliases_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("version: 2024-01-31\nfirst: &f {a: 1, b: [x]}\nsecond:\n  <<: *f\n  a: 2\n")
    data, lines = load_yaml(path)
    assert data == {"version": "2024-01-31", "first": {"a": 1, "b": ["x"]}, "second": {"a": 2, "b": ["x"]}}
    assert lines[("second", "a")] == 5
    assert parse_assignments(["a.b=2024-01-31", "c=[1, 2.5, true, null, ~]"]) == {
        "a": {"b": "2024-01-31"},
        "c": [1, 2.5, True, None, None],
    }


@pytest.mark.parametrize("value", ["[" * 20_000, "!!int abc", "9" * 5000, "&a [*a]", "2024-01-31"])
def test_assignments_of_the_command_line_are_errors(value: str) -> None:
    ran = luthier("tune", "--set", f"training.steps={value}")
    assert ran.code == 2
    assert "Traceback" not in ran.err
    assert "training.steps" in ran.err


def test_unknown_users_home_is_a_path_that_does_not_exist() -> None:
    with pytest.raises(TaskError, match="~nosuchuser"):
        load_task("~nosuchuser/task")
    with pytest.raises(LuthierError, match="~nosuchuser"):
        load_task("~nosuchuser/task.yaml")
    with pytest.raises(ModelError, match="~nosuchuser"):
        find_folder("~nosuchuser/model")
    with pytest.raises(ConfigError, match="no name and no path"):
        load_task("a\0b")


def test_unknown_users_home_in_settings_is_an_error_of_the_setting(tmp_path: Path) -> None:
    settings = tmp_path / "settings.yaml"
    settings.write_text("model: ~nosuchuser/model\nruns: ~nosuchuser/runs\ntask: tickets\n")
    for ran in (luthier("tune", str(settings)), luthier("tasks", "new", "~nosuchuser/rows.csv")):
        assert ran.code == 2
        assert "Traceback" not in ran.err
        assert "~nosuchuser" in ran.err


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
def test_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "task.yaml")
    with pytest.raises(TaskError, match="not a file"):
        load_task(str(tmp_path / "task.yaml"))


def test_changed_files_are_read_or_refused(tmp_path: Path) -> None:
    """A seeded fuzzer: pieces of YAML in any order."""
    draw, path = random.Random(0), tmp_path / "a.yaml"
    pieces = ["a", ": ", "\n", "  ", "- ", "[", "]", "{", "}", ", ", "&x ", "*x", "!!int ", "!!str ", "<<: ", "? ", "'"]
    pieces += [
        '"',
        "|\n",
        ">\n",
        "# ",
        "%",
        "@",
        "`",
        "1:2",
        "0x_",
        "._",
        "1e9",
        "~",
        "é",
        "\t",
        "\ufeff",
        "---\n",
        "...",
    ]
    for _ in range(1_500):
        path.write_text("".join(draw.choices(pieces, k=draw.randint(1, 25))), encoding="utf-8")
        with contextlib.suppress(LuthierError):
            load_yaml(path)


def test_value_of_a_text() -> None:
    assert read_yaml("")[1] is None
    assert read_yaml("[a, {b: 0.5}]")[1] == ["a", {"b": 0.5}]
