"""A worker process with hard limits of time and memory, in which strangers' templates are rendered.

No expression can reach the limits: the kernel holds them (``setrlimit``), and the parent ends what does not answer.
The worker is started when it is first asked, ends with its parent, and is started anew after it was stopped. What is
sent is pickled, by the parent alone; what comes back is JSON, so that nothing made by a template is ever unpickled.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import json
import os
import pickle
import select
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

import luthier.errors
from luthier.errors import LuthierError

SECONDS = 2
"""Of computing, for one answer."""
WALL_SECONDS = 60
"""Until an answer: more than ``SECONDS``, because other processes may have the processor meanwhile."""
MEMORY = 512 * 2**20
"""Bytes that the worker may take beyond those that it has when it begins."""
_LENGTH = struct.Struct("!I")


class Stopped(Exception):  # it says what happened, and is always caught
    """What was asked broke a limit; the message says which, as in ``"it took more than 2 s"``."""


class LimitedWorker:
    """One worker process, asked one thing at a time.

    Args:
        seconds: Of computing, for one answer.
        memory: Bytes beyond those at its beginning.
    """

    def __init__(self, seconds: int = SECONDS, memory: int = MEMORY) -> None:
        self._seconds, self._memory = seconds, memory
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0
        self._lock = threading.Lock()

    def ask(self, function: str, argument: object) -> str:
        """Return what a function of the package returns, computed in the worker.

        Args:
            function: As ``module:name``; it takes one argument and returns a text.
            argument: What can be pickled.

        Raises:
            LuthierError: What the function raised, of the same class.
            Stopped: It broke a limit.
        """
        with self._lock:
            process = self._started()
            assert process.stdin is not None
            assert process.stdout is not None
            try:
                _send(process.stdin, pickle.dumps((function, argument)))
                ready, _, _ = select.select([process.stdout], [], [], WALL_SECONDS)
                reply = _receive(process.stdout) if ready else None
            except BrokenPipeError:
                reply = None
            except BaseException:
                self._end()  # half an answer may lie in the pipe
                raise
            if reply is None:
                raise Stopped(self._why())
            answer = json.loads(reply)
            if "stopped" in answer:
                self._end()  # its memory is full of pieces
        return _unpacked(answer)

    def close(self) -> None:
        """End the process."""
        with self._lock:
            self._end()

    def _started(self) -> subprocess.Popen[bytes]:
        if self._owner != os.getpid():
            self._process = None  # it belongs to the process that this one was forked from
        if self._process is None:
            command = [sys.executable, "-m", __name__, str(self._seconds), str(self._memory)]
            paths = [str(Path(luthier.errors.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
            environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "OPENBLAS_NUM_THREADS": "1"}
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
            )
            self._owner = os.getpid()
        return self._process

    def _why(self) -> str:
        """End what does not answer, and say what happened to it."""
        assert self._process is not None
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=1)
        code = self._process.returncode
        self._end()
        if code is not None and code > 0:
            return f"the process that was to compute it could not (exit code {code})"
        if code is None or code == -getattr(signal, "SIGXCPU", 0):
            return f"it took more than {self._seconds} s"
        return f"it needs more than {self._memory >> 20} MiB of memory"

    def _end(self) -> None:
        if self._process is None or self._owner != os.getpid():
            return
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        self._process.wait()
        self._process = None


@lru_cache(maxsize=1)
def shared_worker() -> LimitedWorker:
    """Return the worker of this process."""
    worker = LimitedWorker()
    atexit.register(worker.close)
    return worker


def _unpacked(reply: dict[str, Any]) -> str:
    if "text" in reply:
        return str(reply["text"])
    if "stopped" in reply:
        raise Stopped(str(reply["stopped"]))
    kind = getattr(luthier.errors, str(reply["class"]), LuthierError)
    raise kind(reply["what"], where=reply["where"], fix=reply["fix"])


def _send(stream: IO[bytes], content: bytes) -> None:
    stream.write(_LENGTH.pack(len(content)) + content)
    stream.flush()


def _receive(stream: IO[bytes]) -> bytes | None:
    """Return one message, or None where the other side has ended."""
    head = stream.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(head)
    content = stream.read(length)
    return content if len(content) == length else None


# In the worker.


def _serve(seconds: int, memory: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, with which this process ends
    source, sink = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # nothing else may write between the answers
    functions: dict[str, Callable[[Any], str]] = {}
    while (asked := _receive(source)) is not None:
        name, argument = pickle.loads(asked)
        if name not in functions:
            module, _, function = name.partition(":")
            functions[name] = getattr(importlib.import_module(module), function)
            _limit(memory, seconds)  # libraries are not counted
        _limit(None, seconds)
        _send(sink, json.dumps(_answer(functions[name], argument, memory)).encode())


def _answer(function: Callable[[Any], str], argument: object, memory: int) -> dict[str, object]:
    try:
        return {"text": function(argument)}
    except LuthierError as fault:
        return {"class": type(fault).__name__, "what": fault.what, "where": fault.where, "fix": fault.fix}
    except MemoryError:
        return {"stopped": f"it needs more than {memory >> 20} MiB of memory"}


def _limit(memory: int | None, seconds: int) -> None:
    """Let the kernel hold this process to so many further bytes of address space and seconds of computing.

    Memory beyond the limit is a MemoryError; computing beyond it ends the process (SIGXCPU). Where the system has no
    such limits, the parent's patience is the only one.
    """
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        used = int(time.process_time())
        resource.setrlimit(resource.RLIMIT_CPU, (used + seconds + 1, resource.getrlimit(resource.RLIMIT_CPU)[1]))
        if memory is not None:
            pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
            hard = resource.getrlimit(resource.RLIMIT_AS)[1]
            wanted = pages * resource.getpagesize() + memory
            limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
            resource.setrlimit(resource.RLIMIT_AS, (limit, hard))


if __name__ == "__main__":
    _serve(int(sys.argv[1]), int(sys.argv[2]))
