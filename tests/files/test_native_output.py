"""What compiled libraries write to the file descriptors 1 and 2 is said in lines that no terminal obeys."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from luthier.files.native_output import native_output_said
from tiny_models import tiny_folder

OPEN = Path("/proc/self/fd")
OWNED = "\x1b]0;owned\x07"


def places() -> list[tuple[int, int]]:
    """What the descriptors 1 and 2 stand for."""
    return [(found.st_dev, found.st_ino) for found in map(os.fstat, (1, 2))]


def write(descriptor: int, text: str) -> None:
    os.write(descriptor, text.encode())


def test_it_is_said_afterwards_with_control_characters_written_out(capfd: pytest.CaptureFixture[str]) -> None:
    print("before")
    with native_output_said("m, tokenizer"):
        write(2, f"the token a{OWNED}b\n\n")
        write(1, "and one line more, \u202e turned round")
        assert capfd.readouterr().err == ""
    print("after")
    said = capfd.readouterr()
    assert said.err.splitlines() == [
        r"m, tokenizer: the token a\u001b]0;owned\u0007b",
        r"m, tokenizer: and one line more, \u202e turned round",
    ]
    assert said.out == "after\n"


def test_nothing_is_said_of_nothing_and_the_lines_of_python_keep_their_places(
    capfd: pytest.CaptureFixture[str],
) -> None:
    sys.stdout.write("one ")
    with native_output_said("m"):
        pass
    sys.stdout.write("two")
    sys.stdout.flush()
    assert capfd.readouterr() == ("one two", "")


def test_bytes_that_are_no_text_are_said_too(capfd: pytest.CaptureFixture[str]) -> None:
    with native_output_said("m"):
        os.write(1, b"\xff\x9b31m\n")
    assert capfd.readouterr().err == "m: \\xff\\x9b31m\n"


def test_of_many_lines_the_first_are_said_and_long_ones_are_cut(capfd: pytest.CaptureFixture[str]) -> None:
    with native_output_said("m"):
        write(2, "".join(f"{number}{'x' * 1000}\n" for number in range(1025)))
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 21
    assert lines[19] == "m: 19" + 298 * "x" + "…"
    assert lines[20] == "m: … and 1,005 more lines"


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt, SystemExit])
def test_the_descriptors_are_put_back_whatever_happens(
    kind: type[BaseException], capfd: pytest.CaptureFixture[str]
) -> None:
    before = places()

    @native_output_said("m")
    def fail() -> None:
        assert places() != before
        write(2, "the reason\n")
        raise kind

    with pytest.raises(kind):
        fail()
    assert places() == before
    assert capfd.readouterr().err == "m: the reason\n"
    with native_output_said("m"):
        write(2, "again\n")
    assert capfd.readouterr().err == "m: again\n"


def test_threads_wait_for_one_another(capfd: pytest.CaptureFixture[str]) -> None:
    before, opened = places(), len(list(OPEN.iterdir()))

    def work(number: int) -> None:
        for _ in range(20):
            with native_output_said(f"m{number}"):
                write(2, f"from {number}\n")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert places() == before
    assert len(list(OPEN.iterdir())) == opened
    assert sorted(capfd.readouterr().err.splitlines()) == sorted(f"m{n}: from {n}" for n in range(4) for _ in range(20))


def test_a_process_without_standard_output() -> None:
    script = (
        "import os\n"
        "from luthier.files.native_output import native_output_said\n"
        "with native_output_said('m'): os.write(2, b'hello\\n')\n"
    )
    command = ["bash", "-c", 'exec "$0" -c "$1" >&-', sys.executable, script]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "m: hello\n")


def test_what_the_tokenizer_of_a_stranger_makes_its_library_print(tmp_path: Path) -> None:
    model = Path(shutil.copytree(tiny_folder("llama"), tmp_path / "model"))
    content = json.loads((model / "tokenizer.json").read_text())
    # A token of the vocabulary that is added with another id: the library warns of it, by its name. Where it does not
    # write to a terminal, it takes escape characters out itself.
    name = f"cat{OWNED}\u202e"
    content["model"]["vocab"][name] = content["model"]["vocab"].pop("cat")
    content["added_tokens"].append({**content["added_tokens"][0], "content": name, "id": 2})
    (model / "tokenizer.json").write_text(json.dumps(content))
    (tmp_path / "rows.jsonl").write_text('{"prompt": "the cat", "completion": "sat"}\n' * 20)
    start = "from luthier.cli import main; main()"
    command = [sys.executable, "-c", start, "check", "--task", str(tmp_path / "rows.jsonl"), "--model", str(model)]
    environment = os.environ | {"TOKENIZERS_LOG": "warn"}
    ended = subprocess.run(command, capture_output=True, env=environment, check=False)
    assert b"\x1b" not in ended.stdout + ended.stderr
    assert "\u202e".encode() not in ended.stdout + ended.stderr
    said = ended.stderr.decode()
    assert re.search(rf"^{re.escape(str(model))}, tokenizer: .*'cat.*\\u202e' was expected to have ID '2'", said, re.M)
