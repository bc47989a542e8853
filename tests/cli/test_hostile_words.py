"""Every verb on data, names and models that want to speak to the terminal: it obeys none of it, and the data stay.

Each verb runs on a real pseudo-terminal and on a pipe, in UTF-8 and in ASCII. What a terminal is sent may hold the
sequences that colour text and draw bars, and nothing else that it would obey.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import logging
import os
import pty
import re
import subprocess
import sys
import threading
import tty
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias
from unittest import mock

import pytest
import yaml

from luthier.cli import main
from luthier.config.verbs import VERBS
from small_job import COLOUR, COLOURS, ECHO, QUICK, QUICK_EVAL, QUICK_TRAINING, Ran, write_rows
from tiny_models import write_folder

WORD = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202ex\u2066 :smile: [red]y \x08\x7f\x85é"
"""Sets a title, clears the screen, colours, turns the order of letters; markup and emoji codes of rich; no slash, so
that a file can have it as its name."""
LINES = f"one{WORD}\rtwo\nthree"
"""What only the text of a row can hold: a carriage return, and lines."""
OURS = re.compile(r"\x1b\[[0-9;]*m|\x1b\[\?25[lh]|\x1b\[[0-9]*[AK]|\r(?=\x1b|\n|$)")
"""What rich sends: colours, the cursor hidden and shown, a line gone up or erased."""
OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")

STREAMS = (("terminal", "utf-8"), ("terminal", "ascii"), ("pipe", "ascii"))


def on(kind: str, encoding: str, *arguments: object) -> Ran:
    """Run a command line in this process, on streams of a kind; on a terminal both are one."""
    return _on_terminal(encoding, arguments) if kind == "terminal" else _on_pipe(encoding, arguments)


def _on_terminal(encoding: str, arguments: Sequence[object]) -> Ran:
    controller, terminal = pty.openpty()
    tty.setraw(terminal)  # it shows what it is sent, byte for byte
    sent: list[bytes] = []
    reader = threading.Thread(target=lambda: sent.extend(_read_all(controller)))
    reader.start()
    with (
        os.fdopen(terminal, "w", encoding=encoding) as out,
        os.fdopen(os.dup(terminal), "w", encoding=encoding) as err,
        mock.patch.dict(os.environ, {"TERM": "xterm-256color", "COLUMNS": "100"}),
    ):
        assert out.isatty()
        code = _main(arguments, out, err)
    reader.join()
    return Ran(code, b"".join(sent).decode(encoding), "")


def _read_all(controller: int) -> Iterator[bytes]:
    """Yield what a terminal is sent, until nobody has it open."""
    with contextlib.suppress(OSError):
        while True:
            yield os.read(controller, 65536)
    os.close(controller)


def _on_pipe(encoding: str, arguments: Sequence[object]) -> Ran:
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding, write_through=True) for _ in range(2))
    code = _main(arguments, out, err)
    shown = [stream.buffer.getvalue() for stream in (out, err) if isinstance(stream.buffer, io.BytesIO)]
    return Ran(code, shown[0].decode(), shown[1].decode(encoding))


def _main(arguments: Sequence[object], out: io.TextIOWrapper, err: io.TextIOWrapper) -> int:
    from luthier.cli import main

    argv = ["luthier", *(str(argument) for argument in arguments)]
    with mock.patch.object(sys, "argv", argv), mock.patch("sys.stdout", out), mock.patch("sys.stderr", err):
        try:
            main()
        except SystemExit as left:
            return left.code if isinstance(left.code, int) else int(left.code is not None)
    return 0


@dataclass(frozen=True)
class Place:
    """A job in which everything has a hostile name and holds hostile words."""

    folder: Path

    def __truediv__(self, name: str) -> Path:
        stem, dot, suffix = name.partition(".")
        return self.folder / f"{stem}{WORD}{dot}{suffix}"

    @property
    def model(self) -> Path:
        return self / "model"

    @property
    def runs(self) -> Path:
        return self / "runs"


def _rows(split: str, count: int) -> list[dict[str, str]]:
    return [
        {
            "id": f"{split}{number}{WORD}",
            "text": f"{split} {number} {LINES}",
            "answer": f"cat{WORD}",
            "colour": colour + WORD,
        }
        for number, colour in enumerate((COLOURS * 3)[:count])
    ]


def _write_task(place: Place, spec: Mapping[str, Any], **changes: Any) -> Path:
    source = {split: (place / f"{split}.jsonl").name for split in ("train", "validation", "test")}
    template = {"name": f"plain{WORD}", "prompt": f"{WORD} {{{{ text }}}}\nanswer:"}
    path = place / f"{spec['name']}.yaml"
    path.write_text(yaml.safe_dump({**spec, "source": source, "templates": [template], **changes}, sort_keys=False))
    return path


def _write_model(folder: Path, chat_template: str) -> Path:
    """A tiny model that answers in hostile words, as a stranger's vocabulary may hold them."""
    write_folder(folder, "llama", max_position_embeddings=1024)
    settings = folder / "tokenizer_config.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"model_max_length": 1024}))
    path = folder / "tokenizer.json"
    described = json.loads(path.read_text())
    vocabulary = described["model"]["vocab"]
    described["model"]["vocab"] = {re.sub(r"^<(\d+)>$", rf"{WORD}\1", piece): at for piece, at in vocabulary.items()}
    path.write_text(json.dumps(described))
    (folder / "chat_template.jinja").write_text(chat_template)
    return folder


CHAT = (
    f"{{% for m in messages %}}<s>{WORD}{{{{ m.role }}}}: {{{{ m.content }}}}</s>{{% endfor %}}"
    f"{{% if add_generation_prompt %}}<s>{WORD}assistant: {{% endif %}}"
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A hostile job with an adapter and a finished run, both made on a terminal, which obeyed nothing."""
    made = Place(tmp_path_factory.mktemp("hostile"))
    for split, count in (("train", 12), ("validation", 3), ("test", 6)):
        write_rows(made / f"{split}.jsonl", _rows(split, count))
    write_rows(
        made / "half.jsonl", [{"text": "a \ud800", "answer": "\udfff", "prompt": "\ud800", "completion": "x"}] * 9
    )
    _write_task(made, ECHO)
    _write_task(made, COLOUR, choices=[colour + WORD for colour in COLOURS])
    _write_task(made, ECHO | {"name": "half"}, source={"train": (made / "half.jsonl").name})
    _write_task(made, ECHO | {"name": f"bad{WORD}"}, name=f"bad{WORD}")
    arm = {"name": f"arm{WORD}", "method": "lora"}
    (made / "arms.yaml").write_text(yaml.safe_dump({"task": str(made / "colour.yaml"), "arms": [arm]}))
    (made / "text.txt").write_text(f"the cat {WORD} sat.\n")
    scored = [
        {"id": f"{n}{WORD}", "prediction": f"a cat {LINES}", "reference": f"cat {WORD}\ud800", f"by{WORD}": f"v{WORD}"}
        for n in range(4)
    ]
    write_rows(made / "scored.jsonl", scored)
    _write_model(made.model, CHAT)
    _write_model(made / "raises", f"{{{{ raise_exception('{WORD} ' ~ messages[0].content) }}}}")
    with mock.patch("luthier.report.page.write_report", lambda run: run / "report.html"):  # see tests/report
        for command in (_tune(made, made / "adapter"), _compare(made)):
            ran = on("terminal", "utf-8", *command)
            assert ran.code == 0, ran.out
            _check_obeyed(ran, "terminal")
        yield made


Command: TypeAlias = Callable[[Place], tuple[object, ...]]


def _tune(at: Place, save: Path) -> tuple[object, ...]:
    return (
        *("tune", "-m", at.model, "-t", at / "colour.yaml", "--arm", "lora", "--save", save),
        *("--runs", at.runs, *QUICK_TRAINING),
    )


def _compare(at: Place, *more: object) -> tuple[object, ...]:
    return (
        *("compare", "-m", at.model, "-t", at / "colour.yaml", "--arms", "zero_shot,lora", "--retain", "none"),
        *("--retention-text", at / "text.txt", "--runs", at.runs, "--name", "done", *QUICK, *more),
    )


def _curve(at: Place, *more: object) -> tuple[object, ...]:
    return (
        *("curve", "-m", at.model, "-t", at / "colour.yaml", "--sizes", "4,8", "--seeds", 1),
        *("--runs", at.runs, "--name", "curve", *QUICK, *more),
    )


def _eval(at: Place, task: str) -> tuple[object, ...]:
    return ("eval", "-m", at.model, "-t", at / f"{task}.yaml", "--runs", at.runs, *QUICK_EVAL)


def _fresh(at: Place, name: str) -> Path:
    return at / f"{name}{os.urandom(4).hex()}"


def _model(at: Place) -> tuple[object, ...]:
    return ("-m", at.model, "--device", "cpu")


def _score(*more: object) -> Command:
    return lambda at: ("score", "-p", at / "scored.jsonl", *more)


ALL_SAMPLES = ("--keep", "all", "--set", "decoding.max_new_tokens=4")
TAKEN: tuple[Command, ...] = (
    _compare,
    _curve,
    lambda at: _tune(at, _fresh(at, "adapter")),
    lambda at: ("merge", at / "adapter", *_model(at), "-t", at / "colour.yaml", "-o", _fresh(at, "merged")),
    lambda at: (*_eval(at, "colour"), "--adapter", at / "adapter"),
    lambda at: (*_eval(at, "echo"), "--json"),
    lambda at: (*_eval(at, "echo"), "--answers", _fresh(at, "log")),
    lambda at: ("predict", at / "test.jsonl", "-o", "-", *_model(at), "--adapter", at / "adapter"),
    lambda at: ("predict", at / "test.jsonl", "-o", at / "out.csv", *_model(at), "-t", at / "echo.yaml"),
    lambda at: (
        "sample",
        *_model(at),
        "-t",
        at / "echo.yaml",
        "--n",
        2,
        "--save",
        _fresh(at, "kept").with_suffix(".jsonl"),
        *ALL_SAMPLES,
    ),
    lambda at: ("check", "-m", at.model, "-t", at / "colour.yaml"),
    _score("--by", f"by{WORD}"),
    _score("--by", f"by{WORD}", "--json", "--resamples", 0),
    _score("--explain", f"0{WORD}"),
    lambda at: ("score", "-p", at / "scored.jsonl", "-p", at / "scored.jsonl", "--per-example", at / "per.jsonl"),
    lambda at: ("report", at.runs / "done"),
    lambda at: ("store", "list", "--runs", at.runs),
    lambda at: ("store", "size", "--runs", at.runs),
    lambda at: ("store", "clean", "--runs", at.runs, "--everything", "--only-say"),
    lambda at: ("tasks", "list"),
    lambda at: ("tasks", "show", at / "colour.yaml"),
    lambda at: ("tasks", "preview", at / "colour.yaml", "--rows", 3),
    lambda at: ("tasks", "new", at / "train.jsonl", "-o", _fresh(at, "draft").with_suffix(".yaml")),
)
REFUSED: tuple[Command, ...] = (
    lambda at: ("compare", at / "arms.yaml", "-m", at.model),
    lambda at: _compare(at, "--arms", f"lora{WORD}"),
    lambda at: _compare(at, "--name", f"run{WORD}"),
    lambda at: _compare(at, "--retain", f"task{WORD}"),
    lambda at: _compare(at, f"--{WORD}"),
    lambda at: _curve(at, "--arms", f"lora{WORD}"),
    lambda at: ("tune", "-m", at / "raises", "-t", at / "colour.yaml", "--runs", at.runs, *QUICK_TRAINING),
    lambda at: ("merge", at / "missing", "-o", at / "merged"),
    lambda at: (*_eval(at, "echo"), "-m", at / "missing"),
    lambda at: (*_eval(at, "echo"), "-m", at / "raises"),
    lambda at: ("sample", *_model(at), "-t", at / "echo.yaml", "--reward", f"{WORD}.py:{WORD}"),
    lambda at: ("sample", *_model(at), "-t", at / "echo.yaml", "--reward", f"metric{WORD}"),
    lambda at: ("predict", at / "half.jsonl", "-o", "-", *_model(at), "-t", at / "echo.yaml"),
    lambda at: ("predict", at / "test.jsonl", "-o", at / "out.csv", *_model(at), "-t", at / "missing.yaml"),
    lambda at: ("check", "-m", at / "raises", "-t", at / "colour.yaml"),
    lambda at: ("check", "-m", at.model, "-t", at / "half.yaml"),
    lambda at: ("score", "-p", at / "missing.jsonl"),
    _score("--by", f"missing{WORD}"),
    _score("--explain", f"missing{WORD}"),
    lambda at: ("report", at / "missing"),
    lambda at: ("store", "list", f"--{WORD}"),
    lambda at: ("store", "size", WORD),
    lambda at: ("store", "clean", "--runs", at.runs, f"--{WORD}"),
    lambda at: ("tasks", "list", WORD),
    lambda at: ("tasks", "show", at / f"bad{WORD}.yaml"),
    lambda at: ("tasks", "preview", at / "half.jsonl", "--split", WORD),
    lambda at: ("tasks", "new", at / "missing.jsonl", "-o", at / "draft.yaml"),
)


def _verb(command: Command) -> str:
    words = command(Place(Path("x")))
    return f"{words[0]} {words[1]}" if words[0] in ("store", "tasks") else str(words[0])


def test_no_verb_is_left_out() -> None:
    verbs = {verb.name for verb in VERBS}
    assert {_verb(command) for command in TAKEN} == verbs
    assert {_verb(command) for command in REFUSED} == verbs


def _check_obeyed(ran: Ran, kind: str) -> None:
    shown = OURS.sub("", ran.out) if kind == "terminal" else ran.out + ran.err
    found = OBEYED.findall(shown)
    assert not found, f"{found[:5]!a} in {shown[-2000:]!a}"
    assert "Traceback" not in shown
    assert "😄" not in shown, "an emoji code was replaced"


@pytest.mark.parametrize(("kind", "encoding"), STREAMS)
@pytest.mark.parametrize("command", TAKEN, ids=_verb)
def test_what_is_right_is_done_and_shown(command: Command, kind: str, encoding: str, place: Place) -> None:
    ran = on(kind, encoding, *command(place))
    assert ran.code == 0, ran.out + ran.err
    for_programs = kind == "pipe" and ("--json" in command(place) or _verb(command) == "predict")
    _check_obeyed(Ran(0, "", ran.err) if for_programs else ran, kind)


@pytest.mark.parametrize(("kind", "encoding"), STREAMS)
@pytest.mark.parametrize("command", REFUSED, ids=_verb)
def test_what_is_wrong_is_a_message(command: Command, kind: str, encoding: str, place: Place) -> None:
    ran = on(kind, encoding, *command(place))
    assert ran.code == 2, ran.out + ran.err
    _check_obeyed(ran, kind)


def test_what_is_printed_for_programs_is_exact_on_a_pipe_and_the_same_on_a_terminal(place: Place) -> None:
    told = ("predict", place / "test.jsonl", *_model(place), "-t", place / "echo.yaml", "-o")
    assert on("pipe", "utf-8", *told, place / "exact.jsonl").code == 0
    content = (place / "exact.jsonl").read_bytes()
    asked = _rows("test", 6)
    found = [json.loads(line) for line in content.decode().split("\n")[:-1]]
    assert [{name: row[name] for name in asked[0]} for row in found] == asked
    assert all(WORD in row["prediction"] for row in found), "the model's own words are as they are"
    for encoding in ("utf-8", "ascii"):
        assert on("pipe", encoding, *told, "-").out.encode() == content
    shown = on("terminal", "utf-8", *told, "-").out
    lines = [line for line in shown.split("\n") if line.startswith("{")]
    assert [json.loads(line) for line in lines] == found


@pytest.mark.parametrize(("kind", "encoding"), [*STREAMS, ("pipe", "utf-8")])
def test_json_is_json_wherever_it_goes(kind: str, encoding: str, place: Place) -> None:
    ran = on(kind, encoding, *_score("--by", f"by{WORD}", "--json", "--resamples", 0)(place))
    assert list(json.loads(ran.out)["by"]) == [f"v{WORD}"]
    assert encoding == "utf-8" or ran.out.isascii()


def _read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1]]


def test_files_hold_the_data_as_they_are(place: Place) -> None:
    for command in (
        ("predict", place / "test.jsonl", "-o", place / "kept.csv", *_model(place), "-t", place / "colour.yaml"),
        ("score", "-p", place / "scored.jsonl", "--per-example", place / "kept.jsonl"),
        (*_eval(place, "colour"), "--answers", place / "kept"),
        ("tasks", "new", place / "scored.jsonl", "-o", place / "kept.yaml"),
    ):
        ran = on("terminal", "utf-8", *command)
        assert ran.code == 0, ran.out
    asked = _rows("test", 6)
    with (place / "kept.csv").open(newline="", encoding="utf-8") as file:
        found = list(csv.DictReader(file))
    assert [{name: row[name] for name in asked[0]} for row in found] == asked
    assert {row["prediction"] for row in found} <= {colour + WORD for colour in COLOURS}
    assert f"probability red{WORD}" in found[0]
    lines = _read_lines(place / "kept.jsonl")
    assert [line["id"] for line in lines] == [f"{n}{WORD}" for n in range(4)]
    (log,) = (place / "kept").rglob("*.jsonl")
    assert [(line["id"], line["targets"]) for line in _read_lines(log)] == [
        (row["id"], [row["colour"]]) for row in asked
    ]
    run = place.runs / "done"
    assert all(WORD in line["text"] for line in _read_lines(run / "predictions" / "lora.jsonl"))
    assert [arm["name"] for arm in json.loads((run / "results.json").read_text())["arms"]] == ["zero_shot", "lora"]


def test_a_real_terminal_of_ascii(place: Place) -> None:
    controller, terminal = pty.openpty()
    tty.setraw(terminal)
    start = "from luthier.cli import main; main()"
    command = [sys.executable, "-c", start, "tasks", "show", str(place / "colour.yaml")]
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "TERM": "xterm-256color"}
    ended = subprocess.run(command, stdin=terminal, stdout=terminal, stderr=terminal, env=environment, check=False)
    os.close(terminal)
    sent = b"".join(_read_all(controller))
    assert ended.returncode == 0, sent
    _check_obeyed(Ran(0, sent.decode("ascii"), ""), "terminal")
    assert rb"\u001b]0;owned" in sent


def test_warnings_and_logs_of_libraries_are_shown_as_our_own_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    def warns() -> str:
        warnings.warn(f"a column {WORD}", UserWarning, stacklevel=1)
        logging.getLogger("some.library").error("a column %s", WORD)
        return "done"

    monkeypatch.setattr("luthier.tasks.show.list_tasks", warns)
    monkeypatch.setattr(logging.getLogger(), "handlers", [])  # pytest's own, which a user does not have
    for kind, encoding in STREAMS:
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            ran = on(kind, encoding, "tasks", "list")
        assert ran.code == 0
        _check_obeyed(ran, kind)
        shown = r"a column \u001b]0;owned\u0007\u001b[2J\u009b31m\u202ex\u2066 :smile: [red]y"
        assert (ran.out + ran.err).count(shown) == 2


@pytest.mark.parametrize("verb", ["", *(verb.name for verb in VERBS)])
def test_help_is_written_in_ascii(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Click writes UTF-8 whatever the output's encoding is: an old terminal would show several letters for one."""
    with pytest.raises(SystemExit), mock.patch.object(sys, "argv", ["luthier", *verb.split(), "--help"]):
        main()
    assert capsys.readouterr().out.isascii()
