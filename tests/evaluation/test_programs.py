"""Programs that a model wrote run apart: without network, rights or files, within limits; HumanEval and MBPP by it."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("lm_eval")

from lm_eval_local import LM_EVAL_TASKS
from luthier.errors import LuthierError, TaskError
from luthier.evaluation.harness.documents import HarnessSettings
from luthier.evaluation.harness.loading import load_tasks
from luthier.evaluation.harness.task import HarnessTask, prepare_task
from luthier.evaluation.harness.tokens import RequestEncoder
from luthier.evaluation.programs import code_eval, confined
from luthier.evaluation.programs.code_eval import CodeEval, pass_at
from luthier.evaluation.programs.run import LIMITS, Limits, Outcome, require_confinement, run_program
from luthier.metrics.registry import get_metric
from luthier.models.load import load_model

QUICK = replace(LIMITS, seconds=1, wall_seconds=4)


@pytest.fixture(scope="module", autouse=True)
def _can_be_run() -> None:
    try:
        require_confinement()
    except TaskError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize(
    "program",
    [
        "assert sorted([2, 1]) == [1, 2]",
        "import math, heapq, collections, numpy\nassert numpy.ones(3).sum() == 3",
        "open('own', 'w').write('x')\nimport os\nassert os.listdir('.') == ['own']",
        "assert __name__ != '__main__'",
    ],
)
def test_a_right_program_passes(program: str) -> None:
    assert run_program(program) == Outcome(True)


@pytest.mark.parametrize(
    ("program", "why"),
    [
        ("assert 1 + 1 == 3, 'sum'", "AssertionError: sum"),
        ("def f(:", "SyntaxError"),
        ("import sys; sys.exit(0)", "SystemExit: 0"),
        ("import os; os._exit(0)", "it ended itself"),
        ("while True: pass", "more than 1 s of computing"),
        ("import time; time.sleep(60)", "more than 4 s"),
        ("import subprocess; subprocess.run(['sleep', '60'])", "more than 4 s"),
        ("x = ' ' * (3 * 10**9)", "MemoryError"),
        ("import socket; socket.create_connection(('1.1.1.1', 80), timeout=2)", "OSError: [Errno 101]"),
        ("import socket; socket.create_connection(('127.0.0.1', 22), timeout=2)", "OSError"),
        ("f = open('big', 'wb')\nwhile True: f.write(b'x' * 2**20)", "OSError: [Errno 27]"),
        ("for n in range(99): open(str(n), 'wb').write(b'x' * 2**20)", "OSError: [Errno 28]"),
        ("open('/tmp/luthier_was_here', 'w')", "OSError: [Errno 30]"),
        ("import os\nwhile True: os.fork()", "BlockingIOError"),
        ("import os\nassert os.getpid() == 2\nos.kill(1, 9)", "PermissionError"),
    ],
)
def test_a_program_that_fails_or_wants_too_much_does_not(program: str, why: str) -> None:
    outcome = run_program(program, QUICK)
    assert not outcome.passed
    assert why in outcome.why
    assert not Path("/tmp/luthier_was_here").exists()


def test_a_fork_bomb_is_stopped_and_nothing_of_it_is_left() -> None:
    count = (
        "import os, time\nn = 0\ntry:\n    while n < 100:\n        if not os.fork(): time.sleep(60)\n        n += 1\n"
    )
    outcome = run_program(f"{count}except BlockingIOError: raise SystemError(f'after {{n}}') from None")
    assert outcome.why == f"SystemError: after {LIMITS.processes - 1}"
    assert not [own for own in Path("/proc").iterdir() if own.name.isdecimal() and b"confined.py" in _command(own)]


def _command(process: Path) -> bytes:
    try:
        return (process / "cmdline").read_bytes()
    except OSError:
        return b""


def test_what_is_secret_is_not_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "secret")
    assert run_program("import os\nassert 'HF_TOKEN' not in os.environ\nassert os.getuid() or True").passed
    if os.getuid() == 0:
        outcome = run_program("open('/etc/shadow').read()")
        assert outcome.why.startswith("PermissionError")


def test_where_nothing_can_be_set_apart_nothing_is_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    script = tmp_path / "confined.py"
    script.write_text("import os, sys\nsys.stdin.read()\nos.write(1, b'unshare: not permitted')\nos._exit(77)\n")
    monkeypatch.setattr(confined, "__file__", str(script))
    with pytest.raises(TaskError, match="cannot be run apart from this system: unshare: not permitted") as fault:
        run_program("pass")
    assert "Run on Linux 5.12 or later" in fault.value.fix


def test_a_program_that_closes_its_report_is_still_ended() -> None:
    deaf = "import os, time\nos.closerange(3, 99)\ntime.sleep(60)"
    assert run_program(deaf, QUICK).why == "it took more than 4 s"


def test_a_report_that_has_no_end_is_not_read_to_its_end() -> None:
    loud = "import os\nfor n in range(3, 20):\n  try:\n    while True: os.write(n, b'x' * 9999)\n  except OSError: pass"
    assert not run_program(loud, Limits(seconds=1, wall_seconds=4)).passed


def test_pass_at_k() -> None:
    """Of 4 programs 1 passes: by one draw 1/4, by two 1 - C(3, 2) / C(4, 2) = 1/2; of 4 all four: 1."""
    assert pass_at([4, 4, 4], [1, 0, 4], 1).tolist() == [0.25, 0, 1]
    assert pass_at([4], [1], 2).tolist() == [0.5]
    found, results = CodeEval().compute(
        references=["assert add(2, 3) == 5"],
        predictions=[["def add(a, b): return a * b", "def add(a, b): return a + b"]],
        k=[1, 2, 10],
    )
    assert found == {"pass@1": 0.5, "pass@2": 1.0}
    assert [one["passed"] for _, one in results[0]] == [False, True]


ADD = {
    "prompt": 'def add(a, b):\n    """Return the sum."""\n',
    "test": "def check(candidate):\n    assert candidate(2, 3) == 5\n",
    "entry_point": "add",
    "task_id": "HumanEval/0",
    "canonical_solution": "    return a + b\n",
}
SQUARE = {
    "text": "Write a function to square a number.",
    "code": "def square(x): return x * x",
    "test_list": [f"assert square({n}) == {n * n}" for n in (1, 2, 3)],
    "task_id": 11,
}
TASKS: dict[str, tuple[str, dict[str, Any], str, str]] = {
    "humaneval": ("humaneval/humaneval.yaml", ADD, "    return a + b", "    return a - b"),
    "mbpp": ("mbpp/mbpp.yaml", SQUARE, "def square(x): return x * x", "def square(x): return x + x"),
    "mbpp_instruct": ("mbpp/mbpp_instruct.yaml", SQUARE, "\ndef square(x):\n    return x * x\n```", "no code"),
}


def local(name: str, folder: Path) -> str:
    own, row, *_ = TASKS[name]
    (folder / "rows.jsonl").write_text("".join(json.dumps({**row, "task_id": n}) + "\n" for n in range(2)))
    arguments = {"data_files": {"test": str(folder / "rows.jsonl")}, "cache_dir": str(folder / "cache")}
    changed = {"task": name, "dataset_path": "json", "dataset_name": None, "dataset_kwargs": arguments}
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump({"include": str(LM_EVAL_TASKS / own), **changed}, sort_keys=False))
    return str(path)


def prepared(name: str, folder: Path, model: Path) -> HarnessTask:
    (task,) = load_tasks([local(name, folder)], data=None, run_code=True).tasks
    encoder = RequestEncoder(load_model(str(model), device="cpu"))
    return prepare_task(task, encoder, HarnessSettings(shots=0, max_new_tokens=8))


@pytest.mark.parametrize("name", TASKS)
def test_a_task_of_lm_eval_is_judged_by_running_the_programs(name: str, stories260k: Path, tmp_path: Path) -> None:
    task = prepared(name, tmp_path, stories260k)
    _, _, right, wrong = TASKS[name]
    log = [replace(own.blank, text=text) for own, text in zip(task.requests, (right, wrong), strict=True)]
    own = get_metric(task.metrics_of(log).metrics[0])
    assert own.primary.split(",")[0] in ("pass@1", "pass_at_1")
    assert own.rows(own.statistics(log))[:, 0].tolist() == [1.0, 0.0]


def test_without_leave_nothing_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code_eval, "run_program", lambda program: pytest.fail("it was run"))
    with pytest.raises(LuthierError, match="programs, and judging them runs code that a model wrote") as fault:
        load_tasks([local("humaneval", tmp_path)], data=None)
    assert "--run-code" in fault.value.fix


def test_a_task_that_runs_programs_by_itself_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    spec = yaml.safe_load(Path(local("humaneval", tmp_path)).read_text())
    metric = {"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}
    path.write_text(yaml.safe_dump({**spec, "task": "own", "filter_list": None, "metric_list": [metric]}))
    with pytest.raises(TaskError, match="'own' would run programs in this process"):
        load_tasks([str(path)], data=None, run_code=True)
