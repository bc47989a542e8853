"""A worker process of a comparison: ``python -m luthier.experiments.worker``; see :mod:`.workers`."""

from __future__ import annotations

import contextlib
import io
import json
import os
import queue
import signal
import sys
import threading
import traceback
from typing import IO, Any

from luthier.errors import LuthierError
from luthier.exhausted import exhausted
from luthier.experiments.fault_messages import fault_to_json
from luthier.experiments.units import Unit
from luthier.kernels.allocator import keep_freed_memory
from luthier.quiet import quiet_libraries
from luthier.signals import exit_code, raise_when_terminated
from luthier.stdio import prepare_streams
from luthier.threads import prepare_threads


def main() -> None:
    """Read the job, then run one unit after another until there is no more input."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that started this one ends it
    raise_when_terminated()
    prepare_threads()
    keep_freed_memory()
    prepare_streams()
    quiet_libraries()
    messages = _read_messages(sys.stdin)
    # Messages go to a copy of the standard output; whatever a library prints goes to the standard error.
    with os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8") as replies:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        try:
            _work(messages, replies)
        except LuthierError as fault:
            _send(replies, {"type": "fault", "fault": fault_to_json(fault)})
        except KeyboardInterrupt as stopped:
            os._exit(exit_code(stopped))  # what it had done is kept
        except Exception as broken:
            if (lacking := exhausted(broken)) is not None:
                _send(replies, {"type": "fault", "fault": fault_to_json(lacking)})
            else:  # a fault of our own: it is shown whole, and ends the comparison
                traceback.print_exc()
                _send(replies, {"type": "broken"})


def _work(messages: queue.SimpleQueue[dict[str, Any]], replies: IO[str]) -> None:
    import torch

    from luthier.config.compare import CompareConfig
    from luthier.experiments.run_unit import running
    from luthier.experiments.stages import plan_for

    job = messages.get()
    torch.set_num_threads(job["threads"])
    with contextlib.redirect_stderr(io.StringIO()):  # the process that started this one has said it all
        plan = plan_for(CompareConfig.model_validate(job["config"]))
    with running(plan) as runner:
        _send(replies, {"type": "ready"})
        while True:
            unit = Unit.from_json(messages.get())
            runner.run(unit)
            _send(replies, {"type": "done", "unit": unit.name})


def _read_messages(stream: IO[str]) -> queue.SimpleQueue[dict[str, Any]]:
    """Read messages in a thread: when they end, whoever started this process is gone, and it ends as well."""
    messages: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()

    def read() -> None:
        for line in stream:
            messages.put(json.loads(line))
        os._exit(1)

    threading.Thread(target=read, daemon=True).start()
    return messages


def _send(replies: IO[str], message: dict[str, Any]) -> None:
    replies.write(json.dumps(message) + "\n")
    replies.flush()


if __name__ == "__main__":
    main()
