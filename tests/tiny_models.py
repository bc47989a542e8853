"""Tiny models built from configurations, with a tokenizer made in the process: no network, no stored weights.

Every model folder is made once a session, in the Hugging Face layout, with weights drawn from a fixed seed. They are
spread wide (see :func:`_spread`), so that a wrong position, mask or padding moves the logits far beyond rounding.
"""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, PreTrainedTokenizerFast

from luthier.models.language_model import LanguageModel
from luthier.models.load import load_model
from luthier.records import Encoded

PAD, BOS, EOS, UNK = 0, 1, 2, 3
CHARACTERS = "abcdefghijklmnopqrstuvwxyz .,:!?\n0123456789"
WORDS = ("the", "cat", "sat", "red", "dog", "END", "stop")
VOCABULARY = 4 + len(CHARACTERS) + len(WORDS) + 20

_COMMON = {"vocab_size": VOCABULARY, "bos_token_id": BOS, "eos_token_id": EOS, "pad_token_id": PAD}
_LLAMA_LIKE = {
    **_COMMON,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 128,
    "tie_word_embeddings": False,
}
_BART_LIKE = {
    **_COMMON,
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
    "max_position_embeddings": 128,
    "decoder_start_token_id": EOS,
    "forced_eos_token_id": None,
}
_T5_LIKE = {
    **_COMMON,
    "d_model": 32,
    "d_kv": 8,
    "d_ff": 48,
    "num_layers": 2,
    "num_heads": 4,
    "n_positions": 128,
    "decoder_start_token_id": PAD,
    "dropout_rate": 0.0,
}
_GPT_LIKE = {**_COMMON, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128}

CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "llama": {"model_type": "llama", **_LLAMA_LIKE},
    "llama-tied": {"model_type": "llama", **_LLAMA_LIKE, "tie_word_embeddings": True},
    "qwen3": {"model_type": "qwen3", **_LLAMA_LIKE},
    # Sliding windows of 8 tokens in every second layer: the prompts of the tests are longer.
    "gemma3": {
        "model_type": "gemma3_text",
        **_LLAMA_LIKE,
        "sliding_window": 8,
        "layer_types": ["sliding_attention", "full_attention"],
        "query_pre_attn_scalar": 8,
    },
    "gemma2": {
        "model_type": "gemma2",
        **_LLAMA_LIKE,
        "sliding_window": 8,
        "layer_types": ["sliding_attention", "full_attention"],
        "query_pre_attn_scalar": 8,
    },
    "mistral": {"model_type": "mistral", **_LLAMA_LIKE, "sliding_window": 8},
    "gpt2": {"model_type": "gpt2", **_GPT_LIKE, "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0},
    "opt": {
        "model_type": "opt",
        **_COMMON,
        "hidden_size": 32,
        "ffn_dim": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 128,
        "word_embed_proj_dim": 32,
        "dropout": 0.0,
    },
    "gpt_neox": {
        "model_type": "gpt_neox",
        **_COMMON,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 128,
    },
    "bloom": {
        "model_type": "bloom",
        **_COMMON,
        "hidden_size": 32,
        "n_layer": 2,
        "n_head": 4,
        "hidden_dropout": 0.0,
        "attention_dropout": 0.0,
    },
    "t5": {"model_type": "t5", **_T5_LIKE},
    "t5-untied": {
        "model_type": "t5",
        **_T5_LIKE,
        "feed_forward_proj": "gated-gelu",
        "tie_word_embeddings": False,
    },
    "mt5": {"model_type": "mt5", **_T5_LIKE},
    "bart": {"model_type": "bart", **_BART_LIKE, "dropout": 0.0},
    "mbart": {"model_type": "mbart", **_BART_LIKE, "dropout": 0.0},
}
_PHI_LIKE = {
    **_COMMON,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "max_position_embeddings": 128,
}
FURTHER: dict[str, dict[str, Any]] = {
    "qwen2": {"model_type": "qwen2", **_LLAMA_LIKE},
    "gemma": {"model_type": "gemma", **_LLAMA_LIKE},
    "smollm3": {"model_type": "smollm3", **_LLAMA_LIKE},
    "olmo2": {"model_type": "olmo2", **_LLAMA_LIKE},
    "phi": {"model_type": "phi", **_PHI_LIKE},
    "phi3": {"model_type": "phi3", **_PHI_LIKE},
    "stablelm": {"model_type": "stablelm", **_PHI_LIKE},
    "falcon": {
        "model_type": "falcon",
        **_COMMON,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "alibi": False,
    },
}
"""Architectures that only the tests of padding-free batches ask."""
ENCODER_DECODERS = tuple(name for name in CONFIGURATIONS if name in ("t5", "t5-untied", "mt5", "bart", "mbart"))
DECODERS = tuple(name for name in CONFIGURATIONS if name not in ENCODER_DECODERS)


def make_tokenizer(pad: str = "<pad>") -> PreTrainedTokenizerFast:
    """Characters and a few words, byte for byte; ``decode`` joins the pieces without spaces."""
    pieces = ["<pad>", "<s>", "</s>", "<unk>", *CHARACTERS, *WORDS]
    pieces += [f"<{index}>" for index in range(VOCABULARY - len(pieces))]
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    pattern = "|".join([*WORDS, r"<\d+>", r"[\s\S]"])
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(pattern), behavior="isolated")
    backend.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        pad_token=pad,
        model_max_length=128,
        clean_up_tokenization_spaces=False,
    )


def _spread(module: Any) -> None:
    """Give every matrix and embedding a spread at which attention attends and positions matter."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.ndim >= 2:
                # An adapter cannot raise logits beyond what the frozen head allows; tied T5 divides it by sqrt(32).
                divides = module.config.model_type == "t5" and module.config.tie_word_embeddings
                head = 2.0 if divides else 0.5
                parameter.normal_(0.0, head if len(parameter) == VOCABULARY else 0.25, generator=generator)
            else:
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))


def write_folder(folder: Path, name: str, **changes: Any) -> Path:
    """Write a tiny model of a named configuration into a folder."""
    settings = {**(CONFIGURATIONS | FURTHER)[name], **changes}
    config = AutoConfig.for_model(settings.pop("model_type"), **settings)
    auto: Any = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    module = auto.from_config(config)
    _spread(module)
    module.save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return folder


@functools.cache
def tiny_folder(name: str) -> Path:
    """Return the folder of a tiny model, made at the first call and removed when the process ends."""
    return write_folder(_root() / name, name)


@functools.cache
def _root() -> Path:
    root = Path(tempfile.mkdtemp(prefix="tiny-models-"))
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    return root


def tiny_model(name: str) -> LanguageModel:
    """Load a tiny model afresh: tests may change it."""
    return load_model(str(tiny_folder(name)), device="cpu")


def encoded(seed: int, lengths: Sequence[tuple[int, int]], *, bos: bool = True) -> list[Encoded]:
    """Return random examples of the given (prompt, target) token counts; targets end with the end token."""
    draw = np.random.default_rng(seed)
    items = []
    for index, (prompt, target) in enumerate(lengths):
        ids = draw.integers(4, VOCABULARY, prompt + target).astype(np.int32)
        if bos:
            ids[0] = BOS
        ids[-1] = EOS
        items.append(Encoded(f"example-{index}", ids[:prompt], ids[prompt:]))
    return items


def state(model: LanguageModel) -> dict[str, torch.Tensor]:
    """Copy every tensor of a model."""
    return {name: tensor.clone() for name, tensor in model.module.state_dict().items()}


def same_bits(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    """Whether two sets of tensors have the same names and the same bits."""
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)
