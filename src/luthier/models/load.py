"""Load a model by Hugging Face id, folder, GGUF file, or ``mini``.

Only safetensors and GGUF are read, and code that comes with a model runs only when asked for by name.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch

from luthier.arguments import as_name, shown
from luthier.config.computing import KernelsConfig, Precision
from luthier.data.model_tokens import ModelTokens
from luthier.errors import ConfigError, ModelError, did_you_mean, first_line, listed
from luthier.files.digests import file_digest
from luthier.files.foreign import foreign, reason
from luthier.files.json_object import read_object, require_plain_files
from luthier.files.native_output import native_output_said
from luthier.files.safetensors_models import read_module, tensor_shapes, weight_files
from luthier.models.decoder import DecoderModel
from luthier.models.encoder_decoder import EncoderDecoderModel
from luthier.models.folder_checks import check_folder, check_sizes, check_total
from luthier.models.gguf import gguf_folder, read_record
from luthier.models.kernel_choice import choose_kernels
from luthier.models.language_model import LanguageModel
from luthier.models.names import EMBEDDED, require_model
from luthier.progress import say
from luthier.user_path import user_path

_WANTED = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"]
# Folders inside a repository hold the same weights for other programs.
_OTHER_FORMATS = ["*/*"]
_MEASURED = KernelsConfig()
_UNBOUNDED = 1_000_000
_RELATIVE_POSITIONS = 2048
# Tokens without an embedding that a tokenizer may have beyond its added ones: Code Llama's are ordinary.
_FEW = 16
_CORRECT = "Correct config.json."
_VOCABULARIES = {"vocab.txt", "merges.txt"}


def load_model(
    name: str | Path,
    *,
    device: str | None = None,
    precision: Precision = "auto",
    kernels: KernelsConfig = _MEASURED,
    trust_remote_code: bool = False,
) -> LanguageModel:
    """Load a decoder-only or encoder-decoder language model with its tokenizer.

    On a CPU the kernels are chosen that are faster for this model on this processor, measured once: see
    :mod:`luthier.models.kernel_choice`. What else the process computes is left as it is.

    Args:
        name: ``mini``, a folder in the Hugging Face layout, a GGUF file, or an id on the hub.
        device: As torch spells it; the best there is when not given.
        precision: Of matrix products: ``auto`` is bf16 on CUDA and float32 on a CPU.
        kernels: What computes on a CPU.
        trust_remote_code: Run Python code that comes with the model.

    Returns:
        The model in evaluation mode, its weights float32.

    Raises:
        ConfigError: When there is no such precision.
        ModelError: When there is no such model, it has no safetensors or no tokenizer, or it is not a language model.
    """
    name = as_name(name, where="load_model(name)")
    if precision not in get_args(Precision):
        fix = did_you_mean(str(precision), get_args(Precision))
        raise ConfigError(f"no precision {shown(precision)}", where="load_model(precision)", fix=fix)
    folder = find_folder(name, trust_remote_code=trust_remote_code)
    written = check_folder(folder)
    record = read_record(folder)
    if record is not None and record.quantisation:
        say(f"{record.file}: the weights are dequantised from {record.quantisation}")
    config = _read_config(folder, trust_remote_code)
    tokenizer = load_tokenizer(folder, trust_remote_code=trust_remote_code)
    limit, place = max_length(config, tokenizer), pick_device(device)
    _require_weights(folder)
    where = str(folder / "config.json")
    module = _read_module(folder, config, written, trust_remote_code)
    compare_vocabulary(tokenizer, module.get_input_embeddings().num_embeddings, where=str(folder))
    module.to(place).eval()
    _contiguous_before_output_layer(module)
    computed = choose_kernels(module, kernels)
    if precision == "bf16" and computed.bf16 is not None and computed.bf16 > 1:
        say(f"precision: on this processor products in bf16 take {computed.bf16:.1f} times as long as in float32")
    digest = folder_digest(folder, code=trust_remote_code)
    kind = EncoderDecoderModel if config.is_encoder_decoder else DecoderModel
    with foreign("the model does not compute", where=where, fix=_CORRECT):
        model = kind(name, folder, digest, module, tokenizer, limit)
        model.products, model.kernels = products_of(precision, place), computed
        _require_logits(model)
    return model


def products_of(precision: Precision, device: torch.device) -> torch.dtype | None:
    """Return the type of matrix products of a precision on a device; None is the weights' own."""
    lower = precision == "bf16" or (precision == "auto" and device.type == "cuda")
    return torch.bfloat16 if lower else None


def _require_logits(model: LanguageModel) -> None:
    """Compute two tokens: what is wrong with a configuration may show in no other way."""
    ids = np.linspace(0, model.vocabulary - 1, 2).astype(np.int32)
    with torch.no_grad():
        logits = model.begin([ids]).logits
    if not bool(logits.isfinite().all()):
        raise ModelError("the model gives numbers that are not finite", where=str(model.folder), fix=_CORRECT)


def _contiguous_before_output_layer(module: Any) -> None:
    """Make the hidden states contiguous before the output layer.

    Its input is a strided view of the last positions. torch multiplies such a view by another routine, with other last
    bits, when the weight is frozen: then attaching a method would change logits that it does not touch.
    """
    module.get_output_embeddings().register_forward_pre_hook(lambda _, given: (given[0].contiguous(), *given[1:]))


@dataclass(frozen=True, slots=True)
class Reader:
    """The tokenizer and limits of a model: all that is needed to prepare its examples, without its weights."""

    tokenizer: Any
    encoder_decoder: bool
    max_length: int
    tokens: ModelTokens


def load_reader(name: str, *, trust_remote_code: bool = False) -> Reader:
    """Load a model's tokenizer and limits, not its weights.

    Raises:
        ModelError: When there is no such model, or it has no usable tokenizer.
    """
    folder = find_folder(name)
    check_folder(folder)
    config = _read_config(folder, trust_remote_code)
    tokenizer = load_tokenizer(folder, trust_remote_code=trust_remote_code)
    limit, encoder_decoder = max_length(config, tokenizer), bool(config.is_encoder_decoder)
    embeddings = int(config.get_text_config().vocab_size)
    compare_vocabulary(tokenizer, embeddings, where=str(folder))
    forced = _forced_begin(folder) if encoder_decoder else None
    return Reader(tokenizer, encoder_decoder, limit, ModelTokens(forced, embeddings))


def _forced_begin(folder: Path) -> int | None:
    """Return what the loaded model's generation configuration will say."""
    for path in (folder / "generation_config.json", folder / "config.json"):
        written = read_object(path, fix=_CORRECT) if path.is_file() else None
        if written is not None and (isinstance(written.get("forced_bos_token_id"), int) or path.stem != "config"):
            found = written.get("forced_bos_token_id")
            return found if isinstance(found, int) else None
    return None


def find_folder(name: str, *, trust_remote_code: bool = False) -> Path:
    """Return the folder of a model, fetched from the hub when it is an id.

    Raises:
        ModelError: When there is no such folder, and the hub does not give it.
    """
    require_model(name)
    if name in EMBEDDED:
        return EMBEDDED[name]
    path = user_path(name)
    if path.is_dir():
        return path
    if path.is_file():
        return gguf_folder(path)
    return _fetch(name, trust_remote_code)


def _fetch(name: str, trust_remote_code: bool) -> Path:
    from huggingface_hub import snapshot_download

    wanted = [*_WANTED, "*.py"] if trust_remote_code else _WANTED
    try:
        return Path(snapshot_download(name, allow_patterns=wanted, ignore_patterns=_OTHER_FORMATS))
    except Exception as fault:  # the hub's client raises a dozen unrelated classes
        raise ModelError(
            f"no model '{name}' here, and the hub did not give it ({first_line(fault)})",
            fix="Check the spelling, the network and your access; or give a folder, or `mini`.",
        ) from None


def _read_config(folder: Path, trust_remote_code: bool) -> Any:
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(folder, trust_remote_code=trust_remote_code)
    except Exception as fault:  # whatever a key of another type leads to
        asks = "trust_remote_code" in str(fault)
        fix = "If you trust it, add --trust-remote-code." if asks else _CORRECT
        what = "the model needs code of its own" if asks else f"config.json cannot be used: {reason(fault)}"
        raise ModelError(what, where=str(folder), fix=fix) from None


def _require_weights(folder: Path) -> None:
    if weight_files(folder) or list(folder.glob("*.safetensors")):
        return
    pickled = sorted(path.name for path in folder.iterdir() if path.suffix in {".bin", ".pt", ".pth", ".ckpt"})
    if pickled:
        raise ModelError(
            f"the weights are pickled ({pickled[0]}), which can run code; only safetensors are read",
            where=str(folder),
            fix="Convert them: load with transformers, then save_pretrained().",
        )
    raise ModelError("no *.safetensors in the model folder", where=str(folder), fix="Give a folder with weights.")


def load_tokenizer(folder: Path, *, trust_remote_code: bool = False) -> Any:
    """Load the tokenizer of a model folder.

    Raises:
        ModelError: When there is none, or it has no end token.
    """
    from transformers import AutoTokenizer

    try:
        with native_output_said(f"{folder}, tokenizer"):
            tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=trust_remote_code)
    except Exception as fault:  # tokenizers raises bare Exception on a damaged file
        raise ModelError(
            f"no usable tokenizer: {first_line(fault)}", where=str(folder), fix="Put the model's tokenizer.json there."
        ) from None
    if tokenizer.eos_token_id is None:
        raise ModelError(
            "the tokenizer has no end token", where=str(folder), fix="Set eos_token in tokenizer_config.json."
        )
    limit = tokenizer.model_max_length
    if isinstance(limit, bool) or not isinstance(limit, int | float) or not limit >= 1:
        what = f"model_max_length is {limit!r}, and must be a number of tokens"
        raise ModelError(what, where=str(folder / "tokenizer_config.json"), fix="Correct it, or remove the key.")
    return tokenizer


def compare_vocabulary(tokenizer: Any, embeddings: int, *, where: str) -> None:
    """Say where a tokenizer and a model have different numbers of tokens; refuse a tokenizer of another model.

    Many models have more embeddings than tokens, for speed. Some tokenizers know a few tokens more than the model (an
    image token of a larger sister, infilling tokens): a row that holds one is an error when it is encoded.

    Raises:
        ModelError: When ordinary tokens have no embedding.
    """
    tokens = len(tokenizer)
    added = getattr(tokenizer, "added_tokens_decoder", {})
    if sum(1 for index in range(embeddings, tokens) if index not in added) > _FEW:
        raise ModelError(
            f"the tokenizer has {tokens} tokens, the model only {embeddings} embeddings",
            where=where,
            fix="Use the tokenizer that belongs to this model.",
        )
    if tokens > embeddings:
        names = listed([repr(str(name)) for name in tokenizer.convert_ids_to_tokens(range(embeddings, tokens))], 5)
        say(f"{where}: the tokenizer has {tokens} tokens, the model {embeddings} embeddings: {names} cannot be used")
    elif tokens < embeddings:
        say(f"{where}: the model has {embeddings} embeddings, the tokenizer {tokens} tokens: the rest is padding")


def _read_module(folder: Path, config: Any, written: dict[str, Any], trust_remote_code: bool) -> Any:
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

    auto: Any = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    where, shapes = folder / "config.json", tensor_shapes(folder)
    check_sizes(written, shapes, where=str(where))
    with foreign("the configuration cannot be used", where=str(where), fix=_CORRECT):
        build = partial(auto.from_config, config, trust_remote_code=trust_remote_code)
        check_total(written, shapes, build, where=str(where))
    return read_module(auto, folder, dtype=torch.float32, trust_remote_code=trust_remote_code)


def max_length(config: Any, tokenizer: Any) -> int:
    """Return how many tokens the model can take: its positions, or the tokenizer's limit for relative positions."""
    text = config.get_text_config()
    positions = getattr(text, "max_position_embeddings", None) or getattr(text, "n_positions", None)
    limit = tokenizer.model_max_length if tokenizer.model_max_length < _UNBOUNDED else None
    return int(positions or limit or _RELATIVE_POSITIONS)


def pick_device(device: str | None) -> torch.device:
    """Return the requested device, or the best one of this machine.

    Raises:
        ModelError: When torch does not know it, or this machine lacks it.
    """
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.empty(1, device=chosen)
    except (RuntimeError, AssertionError, TypeError) as fault:
        raise ModelError(
            f"no device '{device}' here ({first_line(fault)})", where="--device", fix="Use cpu, cuda or mps."
        ) from None
    return chosen


def folder_digest(folder: Path, *, code: bool = False) -> str:
    """Return a digest of every file that decides what the model computes.

    Args:
        folder: Of a model, or of an adapter.
        code: Whether Python code that comes with the model is run, and so is part of it.

    Raises:
        ModelError: When an index of weights names a file that cannot be used.
    """
    require_plain_files(folder)
    suffixes = {".json", ".safetensors", ".model", ".jinja"} | ({".py"} if code else set())
    paths = {path for path in folder.iterdir() if path.suffix in suffixes or path.name in _VOCABULARIES}
    paths |= {*weight_files(folder), *folder.glob("additional_chat_templates/*.jinja")}
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted(paths):
        digest.update(path.relative_to(folder).as_posix().encode())
        digest.update(file_digest(path).encode())
    return digest.hexdigest()
