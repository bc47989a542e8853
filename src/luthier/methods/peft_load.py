"""Load an adapter in PEFT's layout strictly: tensors that do not fit are an error, which PEFT passes over."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from luthier.errors import LuthierError, ModelError, first_line, raise_faults
from luthier.methods.base import Attached, read_tensors, require_fit
from luthier.methods.peft_config import CACHED, complete_config, kind_of, without_warnings
from luthier.methods.peft_files import CONFIG, WEIGHTS, read_config
from luthier.methods.peft_layers import AttachedPeft, module_tree, put_back, swaps_since
from luthier.methods.peft_soft_prompt import AttachedSoftPrompt
from luthier.models.language_model import LanguageModel


def load_peft(model: LanguageModel, folder: Path) -> Attached:
    """Put an adapter in PEFT's layout on the model, strictly: PEFT itself passes over what does not fit.

    Raises:
        ModelError: When its files are missing or damaged, or its tensors are not exactly those that it needs; the
            model is then as it was.
    """
    tensors = read_tensors(folder / WEIGHTS)
    written = read_config(folder)
    try:
        with without_warnings():
            config = _config(written, folder)
            if config.is_prompt_learning:
                return _load_soft_prompt(model, config, tensors, folder)
            return _load_layers(model, config, tensors, folder)
    except (ValueError, KeyError, TypeError, RuntimeError, AttributeError) as fault:
        raise ModelError(
            f"the adapter does not fit the model: {first_line(fault)}",
            where=str(folder),
            fix="Load the base that it was trained on.",
        ) from None


def _config(written: dict[str, Any], folder: Path) -> Any:
    from peft import PEFT_TYPE_TO_CONFIG_MAPPING

    config = PEFT_TYPE_TO_CONFIG_MAPPING[written["peft_type"]].from_pretrained(str(folder))
    # The stored vectors are all that is needed: never fetch the tokenizer that a prompt was begun with.
    config.inference_mode = bool(config.is_prompt_learning)
    return config


def _load_layers(model: LanguageModel, config: Any, tensors: dict[str, Tensor], folder: Path) -> AttachedPeft:
    from peft import PeftModel, get_peft_model_state_dict

    base, tree = model.module, module_tree(model.module)
    if config.task_type is None:
        config.task_type = "SEQ_2_SEQ_LM" if model.encoder_decoder else "CAUSAL_LM"
    try:
        wrapped = PeftModel.from_pretrained(
            base, folder, config=config, is_trainable=True, ignore_mismatched_sizes=True
        )
    except Exception:
        put_back(base, swaps_since(tree))
        raise
    attached = AttachedPeft(model, base, wrapped, swaps_since(tree))
    try:
        require_fit(get_peft_model_state_dict(wrapped, save_embedding_layers=False), tensors, where=_where(folder))
    except LuthierError:
        attached.detach()
        raise
    return attached


def _load_soft_prompt(
    model: LanguageModel, config: Any, tensors: dict[str, Tensor], folder: Path
) -> AttachedSoftPrompt:
    from peft import get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict

    wanted = get_peft_model(model.module, _fitted(model, config, folder))
    require_fit(get_peft_model_state_dict(wanted, save_embedding_layers=False), tensors, where=_where(folder))
    set_peft_model_state_dict(wanted, tensors)
    return AttachedSoftPrompt(model, wanted)


def _fitted(model: LanguageModel, config: Any, folder: Path) -> Any:
    """Check that virtual tokens have the shape that the model reads, and return their configuration."""
    stated = {key: getattr(config, key) for key in ("num_layers", "token_dim", "num_attention_heads")}
    complete_config(model, config)
    if kind_of(config) in CACHED:
        own: dict[str, Any] = {key: getattr(config, key) for key in stated}
    else:
        own = {"token_dim": model.module.get_input_embeddings().weight.shape[1]}
    fix = "Load the base that it was trained on."
    raise_faults(
        f"{folder} does not fit the model",
        [
            ModelError(f"{key} is {stated[key]}, the model has {value}", where=str(folder / CONFIG), fix=fix)
            for key, value in own.items()
            if stated[key] not in (None, value)
        ],
    )
    return config


def _where(folder: Path) -> str:
    return str(folder / WEIGHTS)
