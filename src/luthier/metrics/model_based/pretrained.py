"""The models that semantic scores read with: loaded safely, known by a digest, given no more than they can read."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import Any

from luthier.errors import ModelError


def load_pretrained(kind: str, model: str) -> tuple[Any, Any]:
    """Load a model and its tokeniser from a folder or the Hugging Face hub; safetensors only, no remote code.

    Weights become float32 however they are stored, so that no score depends on its batch beyond rounding.

    Args:
        kind: Name of a transformers auto class, ``"AutoModel"``.
        model: Folder or id.

    Returns:
        The model, in evaluation mode and on the accelerator where there is one, and the tokeniser.

    Raises:
        ModelError: The model cannot be loaded.
    """
    import torch
    import transformers
    from safetensors import SafetensorError

    commit = "main" if Path(model).is_dir() else _commit(model) or "main"
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(model, revision=commit)
        loaded = getattr(transformers, kind).from_pretrained(
            model, revision=commit, use_safetensors=True, dtype=torch.float32
        )
    except (OSError, ValueError, ImportError, RuntimeError, SafetensorError) as error:
        reason = (str(error) or type(error).__name__).strip().splitlines()[0]
        raise ModelError(
            f"The model cannot be loaded: {reason}",
            where=model,
            fix="Name a folder with config, tokenizer and safetensors.",
        ) from error
    return loaded.eval().to(torch.accelerator.current_accelerator(check_available=True) or "cpu"), tokenizer


def longest_input(model: Any, tokenizer: Any) -> int:
    """Tokens that a model can read at once: what its tokeniser says, and no more than it has positions for."""
    positions = getattr(model.config, "max_position_embeddings", None) or 1 << 30
    embeddings = getattr(getattr(model.base_model, "embeddings", None), "position_embeddings", None)
    # RoBERTa counts positions from behind its padding token, so that the first of them are never used.
    unused = getattr(embeddings, "padding_idx", None)
    return min(int(tokenizer.model_max_length), positions - (0 if unused is None else unused + 1))


def fingerprint(model: str) -> str:
    """Name of a model with what tells its versions apart: a digest of a folder's files, the commit of a hub id.

    A hub id stays as it is where neither the hub nor the cache answers.
    """
    folder = Path(model)
    if not folder.is_dir():
        commit = _commit(model)
        return f"{model}@{commit[:12]}" if commit else model
    files = sorted(file for pattern in _DIGESTED for file in folder.glob(pattern))
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
    """Commit of a hub id that the cache holds, or else that the hub holds; "" where neither has it."""
    from huggingface_hub import hf_hub_download, try_to_load_from_cache

    try:
        config = try_to_load_from_cache(model, "config.json") or hf_hub_download(model, "config.json")
    except (OSError, ValueError):
        return ""
    # The cache keeps a file as snapshots/COMMIT/FILE.
    return Path(config).parent.name if isinstance(config, str) else ""
