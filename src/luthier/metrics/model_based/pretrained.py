"""The models behind semantic metrics: loaded safely, identified by a digest, given no more than they can hold."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import Any

from luthier.errors import ModelError, first_line
from luthier.files.safetensors_models import read_module, weight_files

_UNUSED = {"AutoModel": ("pooler.",)}
"""Unused submodules by auto class, which may lack weights: checkpoints of masked language models have no pooler."""


def load_pretrained(kind: str, model: str) -> tuple[Any, Any]:
    """Load a model and its tokeniser from a folder or the Hugging Face hub; safetensors only, no remote code.

    Weights are converted to float32, so that no score depends on its batch beyond rounding.

    Args:
        kind: Name of a transformers auto class, ``"AutoModel"``.
        model: Folder or id.

    Returns:
        The model, in evaluation mode and on the accelerator where there is one, and the tokeniser.

    Raises:
        ModelError: The model cannot be loaded, or a submodule that is used has no weights.
    """
    import torch
    import transformers

    from luthier.files.native_output import native_output_said

    fix = "Name a folder with config, tokenizer and safetensors."
    source = Path(model) if Path(model).is_dir() else model
    commit = "main" if isinstance(source, Path) else _commit(model) or "main"
    try:
        with native_output_said(f"{model}, tokenizer"):
            tokenizer = transformers.AutoTokenizer.from_pretrained(model, revision=commit)
        reader = getattr(transformers, kind)
        loaded = read_module(reader, source, dtype=torch.float32, revision=commit, unused=_UNUSED.get(kind, ()))
    except ModelError as error:
        raise ModelError(f"The model cannot be loaded: {error.what}", where=error.where, fix=error.fix or fix) from None
    except (OSError, ValueError, ImportError, RuntimeError) as error:
        raise ModelError(f"The model cannot be loaded: {first_line(error)}", where=model, fix=fix) from error
    return loaded.eval().to(torch.accelerator.current_accelerator(check_available=True) or "cpu"), tokenizer


def longest_input(model: Any, tokenizer: Any) -> int:
    """Maximum input length in tokens: the tokeniser's limit, and at most the number of position embeddings."""
    positions = getattr(model.config, "max_position_embeddings", None) or 1 << 30
    embeddings = getattr(getattr(model.base_model, "embeddings", None), "position_embeddings", None)
    # RoBERTa numbers positions from the padding index + 1 on, so the first ones are never used.
    unused = getattr(embeddings, "padding_idx", None)
    return min(int(tokenizer.model_max_length), positions - (0 if unused is None else unused + 1))


def fingerprint(model: str) -> str:
    """Return the name of a model with its version: a digest of a folder's files, or the commit of a hub id.

    A hub id is returned without a commit where neither the hub nor the cache has it.
    """
    folder = Path(model)
    if not folder.is_dir():
        commit = _commit(model)
        return f"{model}@{commit[:12]}" if commit else model
    files = sorted({file for pattern in _DIGESTED for file in folder.glob(pattern)} | set(weight_files(folder)))
    return f"{folder.resolve().name}@{_digest(tuple((str(f), f.stat().st_mtime_ns) for f in files))}"


_DIGESTED = ("*.json", "*.safetensors", "*.txt", "*.model")


@lru_cache(maxsize=8)
def _digest(files: tuple[tuple[str, int], ...]) -> str:
    total = hashlib.blake2b(digest_size=6)
    for name, _ in files:
        with Path(name).open("rb") as file:
            total.update(hashlib.file_digest(file, "blake2b").digest())
    return total.hexdigest()


@lru_cache(maxsize=8)
def _commit(model: str) -> str:
    """Return the commit of a hub id in the cache, or else on the hub; "" where neither has it."""
    from huggingface_hub import hf_hub_download, try_to_load_from_cache

    try:
        config = try_to_load_from_cache(model, "config.json") or hf_hub_download(model, "config.json")
    except (OSError, ValueError):
        return ""
    # The cache keeps a file as snapshots/COMMIT/FILE.
    return Path(config).parent.name if isinstance(config, str) else ""
