"""Suppress the output of other libraries, so that only Luthier's own messages appear."""

from __future__ import annotations

import os
import warnings


def quiet_notebook() -> None:
    """Turn off the warning of other libraries that bars in a notebook need widgets: Luthier's own need none."""
    warnings.filterwarnings("ignore", message="IProgress not found")


def quiet_libraries() -> None:
    """Turn off progress bars, warnings and notices of other libraries for the rest of the process."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    warnings.filterwarnings("ignore", module=r"(transformers|peft|torch|datasets)\b.*")
