"""Any ``peft`` configuration on a model: put on, taken off, put on again, stored and loaded; no method in particular.

``peft`` replaces modules of the base by its own, or keeps vectors that stand before the prompt. Which modules it
replaced is seen from the module tree, so that taking them off and putting them on again is a matter of references:
nothing is computed, and nothing of the base is written to.
"""

from __future__ import annotations

import contextlib
import json
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from luthier.errors import ConfigError, LuthierError, ModelError, first_line, raise_faults
from luthier.methods.base import Attached, freeze_all_but, read_tensors, require_fit
from luthier.models.language_model import LanguageModel
from luthier.models.module_discovery import blocks
from luthier.models.soft_prompt import SoftPrompt, WithVirtualTokens

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
_EMBEDDED = ("PROMPT_TUNING", "P_TUNING")
_CACHED = ("PREFIX_TUNING", "CARTRIDGE")
# These have a forward pass of their own, or ask for the task of each row.
_NOT_LAYERS = ("XLORA", "SHADOW", "POLY")


@dataclass(frozen=True)
class Swap:
    """A place in the base where ``peft`` put a module of its own.

    Attributes:
        parent: The module that holds the place.
        name: Of the place.
        base: What stood there; None where nothing did.
        adapted: What stands there while the adapter is on.
    """

    parent: nn.Module
    name: str
    base: nn.Module | None
    adapted: nn.Module


class AttachedPeft:
    """PEFT's layers inside the model's module. The module itself stays the one that it was."""

    in_place: ClassVar[bool] = False

    def __init__(self, model: LanguageModel, base: nn.Module, wrapped: Any, swaps: tuple[Swap, ...]) -> None:
        self.model = model
        self.base = base
        self.wrapped = wrapped
        self.swaps = swaps
        self._configs = vars(base).get("peft_config")
        # `peft` marks what it trains by requires_grad when it puts an adapter on.
        self._trainable = {name: weight for name, weight in wrapped.named_parameters() if weight.requires_grad}
        self._switch_on()

    def trainable(self) -> dict[str, nn.Parameter]:
        """Return the adapter's parameters."""
        return self._trainable

    def detach(self) -> None:
        """Put the base's own modules back; its tensors were never written to."""
        _put_back(self.base, self.swaps)
        self.base.train(self.base.training)

    def reattach(self) -> None:
        """Put the adapter's modules where they were."""
        for swap in self.swaps:
            swap.parent._modules[swap.name] = swap.adapted
        if self._configs is not None:
            vars(self.base)["peft_config"] = self._configs
        self._switch_on()

    def merge(self) -> Callable[[], None]:
        """Fold the change into the base's weights and take the adapter off; see ``methods/merge.py``.

        Raises:
            ModelError: When ``peft`` cannot merge this kind, or the merged weights are not finite.
        """
        owned = [weight for swap in self.swaps if swap.base is not None for weight in swap.base.parameters()]
        kept = [weight.detach().clone() for weight in owned]

        def undo() -> None:
            _not_merged(self.swaps)
            with torch.no_grad():
                for weight, tensor in zip(owned, kept, strict=True):
                    weight.copy_(tensor)
            self.reattach()

        try:
            with torch.no_grad(), _silent():
                self.wrapped.base_model.merge_adapter(safe_merge=True)
        except (ValueError, NotImplementedError, AttributeError, TypeError) as fault:
            undo()
            raise ModelError(
                f"{_kind(self.wrapped.active_peft_config)} cannot be merged: {first_line(fault)}",
                fix="Keep the adapter as it is.",
            ) from None
        except Exception:  # memory may end halfway
            undo()
            raise
        _not_merged(self.swaps)
        self.detach()
        return undo

    def _switch_on(self) -> None:
        self.wrapped.train(self.base.training)
        freeze_all_but(self.wrapped, self._trainable)

    def save(self, folder: Path) -> None:
        """Write ``adapter_config.json`` and ``adapter_model.safetensors``, as ``peft`` does."""
        save_peft(self.wrapped, self.model, folder)


class AttachedSoftPrompt:
    """Virtual tokens of ``peft`` before every prompt.

    ``peft`` keeps their parameters; where they stand is the model's own doing (see ``models/soft_prompt.py``), because
    ``peft`` passes over the positions of a padded batch and fills its key-value cache anew at every call.
    """

    def __init__(self, model: LanguageModel, wrapped: Any) -> None:
        self.model = model
        self.base = model.module
        self.wrapped = wrapped
        self.config = wrapped.peft_config["default"]
        self.encoder: nn.Module = wrapped.prompt_encoder
        self.reattach()

    def trainable(self) -> dict[str, nn.Parameter]:
        """Return the parameters behind the virtual tokens."""
        return dict(self.encoder.named_parameters())

    def detach(self) -> None:
        """Take the virtual tokens away."""
        reader = self._reader()
        embedding = reader.get_input_embeddings()
        if isinstance(embedding, WithVirtualTokens):
            reader.set_input_embeddings(embedding.base)
        del self.base._modules["soft_prompt"]
        self.model.soft_prompt = None
        freeze_all_but(self.base, {})

    def reattach(self) -> None:
        """Put the virtual tokens before every prompt."""
        tokens = int(self.config.num_virtual_tokens)
        if _kind(self.config) in _CACHED:
            self.model.soft_prompt = SoftPrompt(tokens, cache=self.wrapped.get_prompt)
        else:
            reader = self._reader()
            embedding = WithVirtualTokens(reader.get_input_embeddings(), self._vectors)
            reader.set_input_embeddings(embedding)
            ids = np.arange(embedding.first_id, embedding.first_id + tokens, dtype=np.int32)
            self.model.soft_prompt = SoftPrompt(tokens, ids=ids)
        self.base.add_module("soft_prompt", self.encoder)
        self.encoder.train(self.base.training)
        freeze_all_but(self.base, self.trainable())

    def save(self, folder: Path) -> None:
        """Write ``adapter_config.json`` and ``adapter_model.safetensors``, as ``peft`` does."""
        save_peft(self.wrapped, self.model, folder)

    def _vectors(self) -> Tensor:
        """Return the virtual tokens' vectors ``(tokens, hidden)``; an encoder reads no more than those."""
        vectors: Tensor = self.wrapped.get_prompt(1)[0, : self.config.num_virtual_tokens]
        return vectors

    def _reader(self) -> Any:
        """Return the part of the model that reads prompts."""
        return self.base.get_encoder() if self.model.encoder_decoder else self.base


def attach_peft(model: LanguageModel, config: Any, *, seed: int) -> AttachedPeft | AttachedSoftPrompt:
    """Put a fresh instance of a ``peft`` configuration on the model.

    Args:
        model: The model.
        config: A ``PeftConfig``; what it leaves open and the model decides is filled in.
        seed: Of its random weights.

    Raises:
        ConfigError: When ``peft`` cannot put it on this model.
    """
    complete_config(model, config)
    base = model.module
    if config.is_prompt_learning:
        with _seeded(seed), _refusing(config), _silent():
            return AttachedSoftPrompt(model, _wrap(base, config))
    tree = _tree(base)
    try:
        with _seeded(seed), _refusing(config), _silent():
            wrapped = _wrap(base, config)
    except ConfigError:
        _put_back(base, _swaps(tree))
        raise
    attached = AttachedPeft(model, base, wrapped, _swaps(tree))
    if not attached.trainable():
        attached.detach()
        raise ConfigError(f"{_kind(config)} trains nothing on this model", where="settings", fix="Look at its targets.")
    return attached


def _wrap(base: nn.Module, config: Any) -> Any:
    """Let ``peft`` put a configuration on; where it does not know which layers of this architecture, roles tell."""
    from peft import get_peft_model

    try:
        return get_peft_model(base, config)
    except ValueError:
        if getattr(config, "target_modules", "given") is not None:
            raise
        found = blocks(base)
        config.target_modules = {
            layer.name for block in found for part in (*block.attentions, block.mlp) for layer in part
        }
        if hasattr(config, "feedforward_modules"):
            config.feedforward_modules = {block.mlp[-1].name for block in found if block.mlp}
        return get_peft_model(base, config)


def complete_config(model: LanguageModel, config: Any) -> None:
    """Fill in what the model decides: the kind of task, GPT-2's turned matrices, the shape of what is before it."""
    config.task_type = "SEQ_2_SEQ_LM" if model.encoder_decoder else "CAUSAL_LM"
    if hasattr(config, "fan_in_fan_out"):
        config.fan_in_fan_out = any(isinstance(layer, Conv1D) for layer in model.module.modules())
    if not config.is_prompt_learning and _kind(config) not in _NOT_LAYERS:
        return
    if _kind(config) not in (*_EMBEDDED, *_CACHED):
        raise ConfigError(
            f"peft_type {_kind(config)} needs more than a prompt and a target",
            where="settings.peft_type",
            fix="Use one whose layers stand in the model's, such as LORA, or a plain prompt, such as PROMPT_TUNING.",
        )
    model.require_room(int(config.num_virtual_tokens or 0))
    if _kind(config) in _CACHED:
        config.num_layers, config.num_attention_heads, width = cache_shape(model)
        config.token_dim = config.num_attention_heads * width
    elif config.num_transformer_submodules is None:
        config.num_transformer_submodules = 1  # an encoder-decoder's decoder gets no virtual tokens


def cache_shape(model: LanguageModel) -> tuple[int, int, int]:
    """Return layers, heads and width of a head of the key-value cache that a prefix is put into, as the model makes it.

    Raises:
        ModelError: When it is not the same in every layer.
    """
    shapes = [tuple(layer.keys.shape) for layer in read_cache(model, np.array([model.vocabulary - 1], dtype=np.int32))]
    if len(set(shapes)) != 1:
        raise ModelError("the layers keep keys of different shapes, so they have no common prefix", fix="Use another.")
    _, heads, _, width = shapes[0]
    return len(shapes), heads, width


@torch.no_grad()
def read_cache(model: LanguageModel, ids: Any) -> list[Any]:
    """Let the base read token ids; return the cache's layers: keys and values ``(1, heads, tokens, width)``."""
    if not model.encoder_decoder:
        continuation: Any = model.begin([ids])
        return list(continuation.cache.layers)
    read = torch.from_numpy(ids.astype("int64"))[None].to(model.device)
    start = torch.full_like(read[:, :1], model.module.config.decoder_start_token_id)
    output = model.module(input_ids=read, decoder_input_ids=torch.cat([start, read[:, :-1]], dim=1), use_cache=True)
    return list(output.past_key_values.self_attention_cache.layers)


def save_peft(wrapped: Any, model: LanguageModel, folder: Path) -> None:
    """Write an adapter in PEFT's layout, with the base named as the user named it and the same bytes every time."""
    for config in wrapped.peft_config.values():
        # PEFT puts the folder of the base there, which means nothing elsewhere.
        config.base_model_name_or_path = model.name
    with _silent():
        wrapped.save_pretrained(folder, save_embedding_layers=False)
    _sort_names(folder / CONFIG)
    # PEFT's model card is an empty form, and holds the folder of the base too.
    (folder / "README.md").unlink(missing_ok=True)


def load_peft(model: LanguageModel, folder: Path) -> Attached:
    """Put an adapter in PEFT's layout on the model, strictly: PEFT itself passes over what does not fit.

    Raises:
        ModelError: When its files are missing or damaged, or its tensors are not exactly those that it needs; the
            model is then as it was.
    """
    tensors = read_tensors(folder / WEIGHTS)
    written = read_config(folder)
    try:
        with _silent():
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


def read_config(folder: Path) -> dict[str, Any]:
    """Read ``adapter_config.json``.

    Raises:
        ModelError: When it is missing or is not a JSON object.
    """
    path = folder / CONFIG
    try:
        written = json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        raise ModelError(f"no {CONFIG}", where=str(folder), fix="Give the folder of an adapter.") from None
    except ValueError as fault:
        raise ModelError(f"not JSON: {first_line(fault)}", where=str(path), fix="Fetch or train it again.") from None
    if not isinstance(written, dict):
        raise ModelError("not a JSON object", where=str(path), fix="Fetch or train it again.")
    return written


def _config(written: dict[str, Any], folder: Path) -> Any:
    from peft import PEFT_TYPE_TO_CONFIG_MAPPING

    config = PEFT_TYPE_TO_CONFIG_MAPPING[written["peft_type"]].from_pretrained(str(folder))
    # The stored vectors are all that is needed: never fetch the tokenizer that a prompt was begun with.
    config.inference_mode = bool(config.is_prompt_learning)
    return config


def _load_layers(model: LanguageModel, config: Any, tensors: dict[str, Tensor], folder: Path) -> AttachedPeft:
    from peft import PeftModel, get_peft_model_state_dict

    base, tree = model.module, _tree(model.module)
    if config.task_type is None:
        config.task_type = "SEQ_2_SEQ_LM" if model.encoder_decoder else "CAUSAL_LM"
    try:
        wrapped = PeftModel.from_pretrained(
            base, folder, config=config, is_trainable=True, ignore_mismatched_sizes=True
        )
    except Exception:
        _put_back(base, _swaps(tree))
        raise
    attached = AttachedPeft(model, base, wrapped, _swaps(tree))
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
    if _kind(config) in _CACHED:
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


def _kind(config: Any) -> str:
    return str(getattr(config.peft_type, "value", config.peft_type))


def _tree(base: nn.Module) -> list[tuple[nn.Module, dict[str, nn.Module | None]]]:
    """Remember which module stands where."""
    return [(parent, dict(parent._modules)) for parent in base.modules()]


def _swaps(tree: list[tuple[nn.Module, dict[str, nn.Module | None]]]) -> tuple[Swap, ...]:
    """Return the places at which another module stands now."""
    return tuple(
        Swap(parent, name, before.get(name), now)
        for parent, before in tree
        for name, now in parent._modules.items()
        if now is not None and now is not before.get(name)
    )


def _not_merged(swaps: Sequence[Swap]) -> None:
    """Let layers that were merged compute beside the base's own weights when they are put on again."""
    for swap in swaps:
        merged = getattr(swap.adapted, "merged_adapters", None)
        if merged is not None:
            merged.clear()


def _put_back(base: nn.Module, swaps: Sequence[Swap]) -> None:
    """Put the base's own modules where they stood."""
    for swap in swaps:
        if swap.base is None:
            del swap.parent._modules[swap.name]
        else:
            swap.parent._modules[swap.name] = swap.base
    vars(base).pop("peft_config", None)
    freeze_all_but(base, {})


def _sort_names(path: Path) -> None:
    """PEFT writes sets in an order that differs from process to process; the same adapter shall be the same bytes."""
    config = json.loads(path.read_text(encoding="utf-8"))
    for key in ("target_modules", "modules_to_save", "feedforward_modules", "exclude_modules"):
        if isinstance(config.get(key), list):
            config[key] = sorted(config[key])
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


@contextlib.contextmanager
def _refusing(config: Any) -> Iterator[None]:
    """Turn what ``peft`` says of a configuration that does not fit the model into a fault of the settings."""
    try:
        yield
    except (ValueError, TypeError, KeyError, RuntimeError, NotImplementedError) as fault:
        raise ConfigError(
            f"peft cannot put {_kind(config)} on this model: {first_line(fault)}",
            where="settings",
            fix="Name layers that the model has, or leave target_modules out.",
        ) from None


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """What PEFT only warns of is an error of ours, or is about names that only its developers know."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Draw torch's random numbers from a seed inside, and leave the outer stream untouched."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
