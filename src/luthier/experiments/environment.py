"""Where a comparison was computed: versions, hardware and Luthier's own commit; and by which command, and when."""

from __future__ import annotations

import functools
import json
import os
import platform
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import torch

import luthier.version
from luthier.models.kernel_choice import processor_name
from luthier.results.summaries import Environment, Execution

_PACKAGES = (
    *("torch", "transformers", "tokenizers", "safetensors", "peft", "accelerate", "datasets", "pyarrow"),
    *("numpy", "scipy", "sacrebleu", "rapidfuzz", "jinja2", "optuna"),
)
"""Those on which numbers can depend."""
_PROGRAMS = ("luthier", "__main__.py")


def environment_of(device: torch.device) -> Environment:
    """Describe where this process computes; the same on every execution on the same machine with the same packages."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
    return Environment(
        system=f"{platform.system()} {platform.machine()}",
        processor=processor_name(),
        cores=os.cpu_count(),
        device=name,
        python=platform.python_version(),
        versions={package: found for package in _PACKAGES if (found := _version(package))},
        commit=commit(),
    )


def execution_since(started: datetime) -> Execution:
    """Describe this execution: the command, in which folder it ran, and from when to when."""
    program = Path(sys.argv[0] if sys.argv else "")
    called = program.name in _PROGRAMS and (program.name == "luthier" or program.parent.name == "luthier")
    command = shlex.join(["luthier", *sys.argv[1:]]) if called else "luthier.compare in Python"
    ends = (moment.isoformat(timespec="seconds") for moment in (started, datetime.now(UTC)))
    return Execution(command, *ends)


@functools.cache
def commit() -> str:
    """Return the git commit that Luthier was installed from or runs in, ``+`` where files differ; "" if unknown."""
    try:
        recorded = metadata.distribution("luthier").read_text("direct_url.json")
        known = json.loads(recorded).get("vcs_info", {}).get("commit_id") if recorded else None
    except (metadata.PackageNotFoundError, ValueError):
        known = None
    package = Path(luthier.version.__file__).parent
    # Only its own repository: a package inside some other project's tree does not have that project's commit.
    if known or not (package.parent.parent / ".git").exists():
        return str(known or "")
    head = _git(package, "rev-parse", "HEAD")
    return f"{head}+" if head and _git(package, "status", "--porcelain", "--", str(package)) else head


def _git(folder: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""
