"""Load an adapter in PEFT's layout strictly: tensors that do not fit are an error, which PEFT passes over."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from luthier.errors import ModelError, raise_faults
from luthier.files.foreign import foreign
from luthier.methods.base import Attached, read_tensors, require_fit
from luthier.methods.base_weights import BaseWeights, give_back
from luthier.methods.peft_checks import check_config, peft_types
from luthier.methods.peft_config import CACHED, complete_config, kind_of, seeded, without_warnings
from luthier.methods.peft_files import CONFIG, WEIGHTS, read_config
from luthier.methods.peft_layers import AttachedPeft, module_tree, put_back, swaps_since
from luthier.methods.peft_soft_prompt import AttachedSoftPrompt
from luthier.models.language_model import LanguageModel

_NOT_IN_PLACE = ("gaussian", "pissa", "eva", "orthogonal", "mica", "lora_ga")


def load_peft(model: LanguageModel, folder: Path) -> Attached:
    """Put an adapter in PEFT's layout on the model, strictly: PEFT itself passes over what does not fit.

    What the adapter changes in the base's own weights (PiSSA, OLoRA, trained biases, a whole embedding) is changed
    while it is on, and no longer.

    Raises:
        ModelError: When its files are missing or damaged, its configuration asks for what is not known, or its tensors
            are not exactly those that it needs; the model is then as it was.
    """
    written = read_config(folder)
    tensors = _read_weights(folder)
    check_config(written, tensors, model, where=str(folder / CONFIG))
    fix = "Load the base that it was trained on, or correct adapter_config.json."
    with without_warnings(), foreign("the adapter does not fit the model", where=str(folder), fix=fix):
        config = _config(written, folder)
        if config.is_prompt_learning:
            return _load_soft_prompt(model, config, tensors, folder)
        return _load_layers(model, config, tensors, folder)


def _read_weights(folder: Path) -> dict[str, Tensor]:
    pickled = folder / "adapter_model.bin"
    if pickled.is_file() and not (folder / WEIGHTS).is_file():
        raise ModelError(
            f"the adapter's weights are pickled ({pickled.name}), which can run code, and are not read",
            where=str(folder),
            fix=f"If you trust it: torch.load(…, weights_only=True), then safetensors.torch.save_file(…, '{WEIGHTS}').",
        )
    return read_tensors(folder / WEIGHTS)


def _config(written: dict[str, Any], folder: Path) -> Any:
    config = peft_types()[written["peft_type"]].from_pretrained(str(folder))
    # The stored vectors are all that is needed: never fetch the tokenizer that a prompt was begun with.
    config.inference_mode = bool(config.is_prompt_learning)
    return config


def _load_layers(model: LanguageModel, config: Any, tensors: dict[str, Tensor], folder: Path) -> AttachedPeft:
    from peft import get_peft_model, set_peft_model_state_dict

    base, tree, weights = model.module, module_tree(model.module), BaseWeights(model.module)
    if config.task_type is None:
        config.task_type = "SEQ_2_SEQ_LM" if model.encoder_decoder else "CAUSAL_LM"
    if _may_write(config):
        weights.give_copies()
    try:
        with seeded(0):  # what a start draws is overwritten, but PiSSA's approximation of the base is not
            wrapped: Any = get_peft_model(base, config)
        own = _own_tensors(wrapped, tensors)
        _require_fit(model, own, tensors, folder)
        # A whole embedding, a head and trained biases are the base's own.
        weights.give_copies(own.values())
        set_peft_model_state_dict(wrapped, tensors)
        weights.drop_equal_copies()
        if weights.written:
            what = f"the adapter writes to the base's own weights ({weights.written[0]}), so it could not be taken off"
            raise ModelError(what, where=str(folder), fix="Merge it with peft, and load the merged model.")
    except BaseException:
        put_back(base, swaps_since(tree))
        give_back(model, weights)
        raise
    return AttachedPeft(model, wrapped, swaps_since(tree), weights)


def _may_write(config: Any) -> bool:
    """Whether a start is none of those that are known to leave the base's tensors alone, or to make new ones."""
    start = getattr(config, "init_lora_weights", True)
    return isinstance(start, str) and not start.startswith(_NOT_IN_PLACE)


def _own_tensors(wrapped: Any, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return what ``peft`` would load from these names: the adapter's tensors, and those of the base in the file."""
    from peft import get_peft_model_state_dict

    named = wrapped.state_dict(keep_vars=True)
    own: dict[str, Tensor] = get_peft_model_state_dict(wrapped, state_dict=named, save_embedding_layers=False)
    return own | {name: named[name] for name in tensors.keys() - own.keys() if name in named}


def _require_fit(model: LanguageModel, own: dict[str, Tensor], tensors: dict[str, Tensor], folder: Path) -> None:
    """Check names and shapes; an embedding or a head with other rows has a reason of its own."""
    rows = model.module.get_input_embeddings().weight.shape[0]
    for name in sorted(own.keys() & tensors.keys()):
        mine, stored = own[name].shape, tensors[name].shape
        if len(mine) == len(stored) == 2 and mine[0] == rows != stored[0] and mine[1] == stored[1]:
            raise ModelError(
                f"the adapter holds {stored[0]} rows of '{name}', the model has {rows}: the vocabulary was resized "
                "before it was trained",
                where=_where(folder),
                fix="Resize the base with transformers (resize_token_embeddings), save it with the adapter's "
                "tokenizer, and load that model.",
            )
    require_fit(own, tensors, where=_where(folder))


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
