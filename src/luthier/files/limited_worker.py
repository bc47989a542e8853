"""A worker process with hard limits of time and memory, in which strangers' templates are rendered.

No expression can reach the limits: the kernel holds them (``setrlimit``), and the parent ends what does not answer.
The worker is started when it is first asked, ends with its parent, and is started anew after it was stopped. What is
sent is pickled, by the parent alone; what comes back is JSON, so that nothing made by a template is ever unpickled.

A question and its answer are several times as long on their way as a small template takes. What is announced
(:meth:`LimitedWorker.expect`) goes together, each answer under the same limits as one that is asked for alone.
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
from collections.abc import Callable, Iterable
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
_TOGETHER = 2**20
"""Bytes of questions, and of answers, that go together."""
_PATIENCE = 0.05
"""Seconds that an answer may wait for others, so that they go together."""
_NO_MORE = b"{}"
"""Sent instead of the answers that would be too much to go together."""


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
        self._ahead: dict[bytes, dict[str, Any] | None] = {}
        self._received = bytearray()

    def expect(self, function: str, arguments: Iterable[object]) -> None:
        """Announce what will be asked next: it changes no answer, but how long they all take.

        What was announced before is forgotten.

        Args:
            function: As of :meth:`ask`.
            arguments: In the order in which they will be asked.
        """
        ahead: dict[bytes, dict[str, Any] | None] = {}
        for argument in arguments:
            with contextlib.suppress(RecursionError):  # who asks it is told
                ahead[pickle.dumps((function, argument))] = None
        with self._lock:
            self._ahead = ahead

    def ask(self, function: str, argument: object) -> str:
        """Return what a function of the package returns, computed in the worker.

        Args:
            function: As ``module:name``; it takes one argument and returns a text.
            argument: What can be pickled.

        Raises:
            LuthierError: What the function raised, of the same class.
            Stopped: It broke a limit.
        """
        asked = pickle.dumps((function, argument))
        with self._lock:
            if asked in self._ahead and self._ahead[asked] is None:
                self._look_ahead(asked)
            answer = self._ahead.get(asked)
            if answer is None:
                answers, why = self._exchange([asked])
                if not answers:
                    raise Stopped(why)
                answer = answers[0]
        return _unpacked(answer)

    def _look_ahead(self, first: bytes) -> None:
        """Ask what was announced, from a question on; what is not answered together is asked again when its turn is."""
        waiting = [asked for asked, answer in self._ahead.items() if answer is None]
        together, size = [first], len(first)
        for asked in waiting[waiting.index(first) + 1 :]:
            size += len(asked)
            if size > _TOGETHER:
                break
            together.append(asked)
        if len(together) == 1:
            return
        answers, why = self._exchange(together)
        self._ahead.update(zip(together, answers, strict=False))
        if why:  # one of the rest broke a limit: which, is seen where each is asked alone
            for asked in together[len(answers) :]:
                del self._ahead[asked]

    def _exchange(self, together: list[bytes]) -> tuple[list[dict[str, Any]], str]:
        """Return the answers to questions in their order, and why the process has ended without those that are missing.

        Some are missing as well behind one that filled the memory, and where they are too much to go together.
        """
        process = self._started()
        assert process.stdin is not None
        answers: list[dict[str, Any]] = []
        why = ""
        try:
            _send(process.stdin, pickle.dumps(together))
            while len(answers) < len(together):
                reply = self._reply(process)
                if reply is None:
                    why = self._why()
                    break
                if reply == _NO_MORE:
                    break
                answers.append(json.loads(reply))
                if "stopped" in answers[-1]:
                    self._end()  # its memory is full of pieces
                    break
        except BrokenPipeError:
            why = self._why()
        except BaseException:
            self._end()  # half an answer may lie in the pipe
            raise
        return answers, why

    def _reply(self, process: subprocess.Popen[bytes]) -> bytes | None:
        """Return the next message of the process, or None where it has ended or does not answer."""
        assert process.stdout is not None
        received, deadline = self._received, time.monotonic() + WALL_SECONDS
        while True:
            if len(received) >= _LENGTH.size:
                end = _LENGTH.size + _LENGTH.unpack_from(received)[0]
                if len(received) >= end:
                    reply = bytes(received[_LENGTH.size : end])
                    del received[:end]
                    return reply
            ready, _, _ = select.select([process.stdout], [], [], max(0.0, deadline - time.monotonic()))
            more = os.read(process.stdout.fileno(), 2**16) if ready else b""
            if not more:
                return None
            received += more

    def close(self) -> None:
        """End the process."""
        with self._lock:
            self._end()

    def _started(self) -> subprocess.Popen[bytes]:
        if self._owner != os.getpid():
            self._process = None  # it belongs to the process that this one was forked from
        if self._process is None:
            self._received.clear()
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
    _write(stream, content)
    stream.flush()


def _write(stream: IO[bytes], content: bytes) -> None:
    stream.write(_LENGTH.pack(len(content)))
    stream.write(content)


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

    def answer(asked: bytes) -> dict[str, object]:
        name, argument = pickle.loads(asked)
        if name not in functions:
            module, _, function = name.partition(":")
            functions[name] = getattr(importlib.import_module(module), function)
            _limit(memory, seconds)  # libraries are not counted
        _limit(None, seconds)
        return _answer(functions[name], argument, memory)

    while (together := _receive(source)) is not None:
        _answer_all(pickle.loads(together), answer, sink)


def _answer_all(together: list[bytes], answer: Callable[[bytes], dict[str, object]], sink: IO[bytes]) -> None:
    """Send the answers to questions: none waits long for others, since the next one may end this process."""
    size, sent = 0, time.monotonic()
    for asked in together:
        if size > _TOGETHER:
            _write(sink, _NO_MORE)
            break
        found = answer(asked)
        reply = json.dumps(found).encode()
        _write(sink, reply)
        size += len(reply)
        if time.monotonic() - sent > _PATIENCE:
            sink.flush()
            sent = time.monotonic()
        if "stopped" in found:
            break
    sink.flush()


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
