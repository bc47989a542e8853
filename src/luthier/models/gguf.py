"""Models in one GGUF file, as llama.cpp has them: dequantised once into a folder in the Hugging Face layout.

The folder lies in a cache and is named by the bytes of the file, so everything else (reading the base weights again,
the digest in keys, saving, merging) works on it as on any model folder. ``transformers`` reads and dequantises it;
the module that it returns cannot be saved, so its tensors are moved to a plain one.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import contextlib
import io
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock

from luthier.errors import ModelError
from luthier.files.atomic import finish_folder, temporary_folder, writing
from luthier.files.digests import file_digest
from luthier.files.foreign import foreign
from luthier.files.native_output import native_output_said
from luthier.progress import say
from luthier.user_path import cache_root

_MAGIC = b"GGUF"
_RECORD = "gguf.json"
_LAYOUT = 1
"""Raised when the folder that is made of a file changes."""
_PLAIN = {"F64", "F32", "F16", "BF16"}


@dataclass(frozen=True, slots=True)
class GGUFRecord:
    """What is known of the file that a folder was made of.

    Attributes:
        file: Its name.
        digest: Of its bytes.
        tensors: Number of tensors of each type, e.g. ``{"Q4_1": 211, "F32": 61}``.
        licence: As the file states it; "" where it does not.
    """

    file: str
    digest: str
    tensors: dict[str, int]
    licence: str

    @property
    def quantisation(self) -> str:
        """The quantised types, most frequent first, e.g. ``Q4_K + Q6_K``; "" where no tensor was quantised."""
        ordered = sorted(self.tensors.items(), key=lambda item: (-item[1], item[0]))
        return " + ".join(name for name, _ in ordered if name not in _PLAIN)


def gguf_folder(path: Path) -> Path:
    """Return the folder of the model in a GGUF file; it is made when the file's bytes are met for the first time.

    Raises:
        ModelError: When the package ``gguf`` is not installed, or the file is damaged, one of several parts, of an
            architecture that ``transformers`` does not read from GGUF, or without a tokenizer.
        StoreError: When the folder cannot be written.
    """
    _require_whole(path)
    digest = file_digest(path)
    folder = cache_root() / "gguf" / f"{digest}-{_LAYOUT}"
    with writing(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(f"{folder.name}.lock")):
        if not folder.is_dir():
            say(f"{path.name}: dequantising, once for this file")
            with temporary_folder(folder.with_name(f"{folder.name}.work")) as work, writing(work):
                _convert(path, digest, work)
                finish_folder(work, folder)
    return folder


def read_record(folder: Path) -> GGUFRecord | None:
    """Return what is known of the GGUF file that a model folder was made of; None for other folders."""
    try:
        return GGUFRecord(**json.loads((folder / _RECORD).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _require_whole(path: Path) -> None:
    with path.open("rb") as file:
        if file.read(len(_MAGIC)) != _MAGIC:
            raise ModelError(
                f"it does not begin with {_MAGIC.decode()}", where=str(path), fix="Fetch the GGUF file again."
            )
    if "-of-0" in path.stem:
        raise ModelError(
            "it is one of several parts of a model",
            where=str(path),
            fix="Join the parts with llama.cpp's llama-gguf-split --merge.",
        )


def _convert(path: Path, digest: str, folder: Path) -> None:
    """Write the model of a GGUF file, float32, its tokenizer and its record into a folder."""
    record = _record_of(path, digest)
    source = {"pretrained_model_name_or_path": str(path.parent.resolve()), "gguf_file": path.name}
    with _reading(path), _without_progress():
        from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

        config = AutoConfig.from_pretrained(**source)
        auto: Any = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
        with native_output_said(f"{path}, tokenizer"):
            tokenizer = AutoTokenizer.from_pretrained(**source)
        module = _plain(auto, auto.from_pretrained(**source, dtype=torch.float32))
        module.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    (folder / _RECORD).write_text(json.dumps(asdict(record), indent=2) + "\n", encoding="utf-8")


def _plain(auto: Any, module: Any) -> Any:
    """Return a module with these weights and nothing that says that they were quantised."""
    config = module.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    with torch.device("meta"):
        plain = auto.from_config(config)
    plain.load_state_dict(module.state_dict(), assign=True)
    plain.tie_weights()
    plain.generation_config = module.generation_config
    return plain


def _record_of(path: Path, digest: str) -> GGUFRecord:
    try:
        from gguf import GGUFReader
    except ImportError:
        raise ModelError("reading GGUF needs the package gguf", where=str(path), fix="pip install gguf") from None
    with _reading(path):
        reader = GGUFReader(path)
        types = Counter(tensor.tensor_type.name for tensor in reader.tensors)
        licence = reader.get_field("general.license")
    return GGUFRecord(path.name, digest, dict(types), str(licence.contents()) if licence else "")


def _reading(path: Path) -> contextlib.AbstractContextManager[None]:
    fix = "Fetch it again; or give the model's folder with safetensors instead."
    return foreign("the GGUF file cannot be read", where=str(path), fix=fix)


@contextlib.contextmanager
def _without_progress() -> Iterator[None]:
    """Keep ``transformers`` from drawing bars of its own; its GGUF reader has no setting for that."""
    with contextlib.redirect_stderr(io.StringIO()):
        yield
