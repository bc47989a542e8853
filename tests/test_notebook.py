"""In a notebook progress stands in one place that is written anew, and everywhere else nothing of IPython is loaded."""

from __future__ import annotations

import subprocess
import sys
import types
from collections.abc import Iterator
from typing import Any

import pytest

from luthier import notebook
from luthier import progress as module
from luthier.notebook import Area, in_notebook, notebook_area
from luthier.progress import progress, repeat, say


class _Handle:
    """A place of an output, with everything that was ever written there."""

    def __init__(self, first: dict[str, str]) -> None:
        self.written = [first]

    def update(self, content: dict[str, str], *, raw: bool) -> None:
        assert raw
        self.written.append(content)


class _Kernel:
    """What a notebook has of IPython: a shell that belongs to a kernel, and `display`."""

    def __init__(self) -> None:
        self.places: list[_Handle] = []
        self.shell = types.SimpleNamespace(kernel=object(), execution_count=1)

    def display(self, content: dict[str, str], *, raw: bool, display_id: bool) -> _Handle:
        assert raw
        assert display_id
        self.places.append(_Handle(content))
        return self.places[-1]


class _Clock:
    """Time that passes only when it is told to."""

    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> _Clock:
    found = _Clock()
    monkeypatch.setattr(module, "time", found)
    monkeypatch.setattr(notebook, "time", found)
    return found


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Iterator[_Kernel]:
    found = _Kernel()
    ipython, display = types.ModuleType("IPython"), types.ModuleType("IPython.display")
    vars(ipython).update(get_ipython=lambda: found.shell, display=display)
    vars(display).update(display=found.display)
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    notebook._area_of.cache_clear()
    yield found
    notebook._area_of.cache_clear()


def test_a_notebook_is_a_kernel_s_shell(kernel: _Kernel) -> None:
    assert in_notebook()
    kernel.shell.kernel = None  # IPython on a terminal
    assert not in_notebook()
    assert notebook_area() is None


def test_progress_is_written_anew_in_one_place(
    kernel: _Kernel, clock: _Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with progress("lora: training", 1000, "steps") as advance:
        (place,) = kernel.places
        assert place.written[-1]["text/plain"] == "lora: training: 0/1000 steps"
        clock.now += 50
        advance(250, "loss <1.5>")
        assert place.written[-1] == {
            "text/plain": "lora: training: 250/1000 steps, 5.0 steps/s, 150 s left, loss <1.5>",
            "text/html": '<div style="font-variant-numeric: tabular-nums"><progress value="0.2500" max="1" '
            'style="width: 14em"></progress> lora: training: 250/1000 steps, 5.0 steps/s, 150 s left, loss &lt;1.5&gt;'
            "</div>",
        }
    assert place.written[-1] == {"text/plain": "", "text/html": ""}, "what has ended leaves nothing behind"
    assert capsys.readouterr() == ("", ""), "and no line is printed"


def test_a_thousand_steps_in_two_seconds_are_written_ten_times(kernel: _Kernel, clock: _Clock) -> None:
    with progress("x", 1000, "steps") as advance:
        for _ in range(1000):
            clock.now += 0.002
            advance(1, "")
    assert len(kernel.places[0].written) == 1 + 1 + 9 + 1, "made, begun, written anew each 0.2 s, emptied"


def test_what_follows_in_a_cell_has_the_same_place_and_another_cell_its_own(kernel: _Kernel, clock: _Clock) -> None:
    for label in ("one", "two"):
        with progress(label, 1, "steps") as advance:
            advance(1, "")
    assert len(kernel.places) == 1
    kernel.shell.execution_count = 2
    with progress("three", 1, "steps"):
        assert len(kernel.places) == 2


def test_an_error_leaves_nothing_behind(kernel: _Kernel, clock: _Clock) -> None:
    with pytest.raises(KeyboardInterrupt), progress("x", 10, "steps"):
        raise KeyboardInterrupt
    assert kernel.places[0].written[-1]["text/plain"] == ""


def test_the_progress_of_workers_stands_below_and_ends_with_them(
    kernel: _Kernel, clock: _Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with progress("comparison", 2, "units"):
        repeat("full: training: 3/8 steps, 1.0 steps/s")
        repeat("lora: training: 1/8 steps")
        repeat("lora: batches of this model are padded: no kernel")
        text = kernel.places[0].written[-1]["text/plain"]
        assert text.splitlines() == [
            "comparison: 0/2 units",
            "full: training: 3/8 steps, 1.0 steps/s",
            "lora: training: 1/8 steps",
        ]
        repeat("full: training: 8/8 steps, 1.0 steps/s")
        assert "full" not in kernel.places[0].written[-1]["text/plain"]
    assert kernel.places[0].written[-1]["text/plain"] == "", "a worker that died says no more"
    assert capsys.readouterr().out == "lora: batches of this model are padded: no kernel\n"


def test_notes_are_no_faults_in_a_notebook(kernel: _Kernel, capsys: pytest.CaptureFixture[str]) -> None:
    say("2 threads\x1b[31m")
    assert capsys.readouterr() == ("2 threads\\u001b[31m\n", "")
    kernel.shell.kernel = None
    say("2 threads")
    assert capsys.readouterr() == ("", "2 threads\n")


def test_progress_of_a_worker_that_is_repeated_in_a_log_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    repeat("full: training: 3/8 steps")
    assert capsys.readouterr().err == "full: training: 3/8 steps\n"


def test_what_cannot_be_seen_is_written_out() -> None:
    written: list[tuple[str, str]] = []
    Area(lambda markup, text: written.append((markup, text))).show("x", "<b>\u202e", 0.5)
    assert "&lt;b&gt;\\u202e" in written[0][0]
    assert written[0][1] == "<b>\\u202e"


def test_outside_of_a_notebook_nothing_of_ipython_is_loaded() -> None:
    code = (
        "import sys\nfrom luthier.progress import progress\n"
        "with progress('x', 1, 'steps') as advance: advance(1, '')\n"
        "print('IPython' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "False\n"
    assert done.stderr.startswith("x: 0/1 steps\nx: 1/1 steps")


def test_in_a_real_kernel_a_long_computation_leaves_one_empty_place() -> None:
    nbformat: Any = pytest.importorskip("nbformat.v4")
    client: Any = pytest.importorskip("nbclient")
    code = (
        "import time\nfrom luthier.progress import progress, say\nsay('a note')\n"
        "for label in ('one', 'two'):\n"
        "    with progress(label, 2000, 'steps') as advance:\n"
        "        for _ in range(2000): advance(1, 'loss')\n"
        "        time.sleep(0.25); advance(0, 'late')"
    )
    cell = nbformat.new_code_cell(code)
    seen: list[str] = []
    notebook_client = client.NotebookClient(nbformat.new_notebook(cells=[cell]), kernel_name="python3", timeout=60)
    read = notebook_client.process_message

    def watch(message: dict[str, Any], *others: Any) -> Any:
        if message["msg_type"] in ("display_data", "update_display_data"):
            seen.append(message["content"]["data"]["text/plain"])
        return read(message, *others)

    notebook_client.process_message = watch
    notebook_client.execute()
    assert [output["output_type"] for output in cell.outputs] == ["stream", "display_data"]
    assert (cell.outputs[0]["name"], cell.outputs[0]["text"]) == ("stdout", "a note\n")
    assert cell.outputs[1]["data"] == {"text/html": "", "text/plain": ""}
    assert seen[:2] == ["", "one: 0/2000 steps"]
    assert any(text.startswith("two: 2000/2000 steps") and text.endswith("late") for text in seen)
    assert len(seen) < 20, "4,000 steps are not 4,000 messages"
