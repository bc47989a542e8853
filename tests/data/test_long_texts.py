"""Rows of megabytes: the same tokens as ever, in little memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from luthier.data import encoding, long_texts
from luthier.data.encoding import NOTHING_TO_CUT, PROMPT_TOO_LONG, TARGET_TOO_LONG, Encoder
from luthier.records import Dropped, Encoded, Example
from tiny import CHATML, byte_tokenizer

WORDS = " ".join(f"word{number % 977}" for number in range(20_000))
INSTRUCTION = "Sum up: "
LAST = (len(WORDS) + 1, len(WORDS) + 4)
CHECK = """
import re, sys
from pathlib import Path
from luthier.cli import main
sys.argv = ["luthier", "check", "--task", sys.argv[1], "--model", "mini"]
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
# Not ru_maxrss, which a process inherits from the one that started it.
print("peak", re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
"""


def cut_row(text: str = WORDS, target: str = "short") -> Example:
    span = (len(INSTRUCTION), len(INSTRUCTION) + len(text))
    return Example("row", "task", "template", f"{INSTRUCTION}{text}\nSummary:", (target,), input_span=span)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Treat texts of 50,000 characters as long ones are treated."""
    for module in (long_texts, encoding):
        monkeypatch.setattr(module, "LONG", 50_000)
    monkeypatch.setattr(long_texts, "_PIECE", 4_000)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("chat", [None, CHATML], ids=["plain", "chat"])
@pytest.mark.parametrize("text", [WORDS, "x" * len(WORDS), "</s> " * 25_000], ids=["words", "one word", "special"])
def test_a_long_text_gives_the_tokens_that_it_gave(
    text: str, chat: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = Encoder(
        byte_tokenizer(chat=chat), encoder_decoder=False, max_length=100, chat="always" if chat else "never"
    )
    example = cut_row(text)
    found = encoder.encode(example)
    monkeypatch.setattr(encoding, "LONG", 10**9)
    whole = encoder.encode(example)
    assert isinstance(found, Encoded)
    assert isinstance(whole, Encoded)
    assert found.prompt_ids.tolist() == whole.prompt_ids.tolist()
    assert found.target_ids.tolist() == whole.target_ids.tolist()
    assert found.cut_tokens == whole.cut_tokens > 100_000


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    ("example", "reason"),
    [
        (cut_row("a", target=WORDS), TARGET_TOO_LONG),
        (Example("row", "task", "template", WORDS, ("short",)), NOTHING_TO_CUT),
        (Example("row", "task", "template", WORDS, ("short",), input_span=(0, 4)), PROMPT_TOO_LONG),
        (Example("row", "task", "template", f"{WORDS} abc", ("short",), (), LAST), PROMPT_TOO_LONG),
    ],
)
def test_what_can_never_fit_is_dropped_with_the_reason_that_it_had(example: Example, reason: str) -> None:
    encoder = Encoder(byte_tokenizer(), encoder_decoder=False, max_length=100)
    assert encoder.encode(example) == Dropped("row", reason)


@pytest.mark.slow
@pytest.mark.parametrize("column", ["prompt", "completion"])
def test_one_row_of_8_megabytes_takes_check_less_than_700_megabytes(column: str, tmp_path: Path) -> None:
    rows = [{"prompt": f"q{number}", "completion": f"a{number}"} for number in range(40)]
    rows[5][column] = WORDS * (8_000_000 // len(WORDS))
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = subprocess.run([sys.executable, "-c", CHECK, str(path)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[-1]) < 700 * 1024
