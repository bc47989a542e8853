"""What the command line tells the C library: memory that is freed stays in the process."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

_PROGRAM = """
import sys
from luthier.kernels.allocator import keep_freed_memory

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096

told = keep_freed_memory() if sys.argv[1] == "keep" else None
block = bytearray(256 << 20)
full = resident()
del block
print(told, full - resident() > 200 << 20)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
@pytest.mark.parametrize(("how", "expected"), [("keep", "True False"), ("leave", "None True")])
def test_freed_memory_is_kept_when_asked(how: str, expected: str) -> None:
    done = subprocess.run([sys.executable, "-c", _PROGRAM, how], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == expected
