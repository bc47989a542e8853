"""Any method of ``peft``, by its own configuration: ``method: {peft: {peft_type: IA3}}``; no code is about one."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from pydantic import ConfigDict, model_validator

from luthier.config.base import Settings
from luthier.errors import ConfigError, did_you_mean, first_line
from luthier.methods.base import Attached, SearchedSetting
from luthier.methods.peft_attach import attach_peft
from luthier.methods.peft_load import load_peft
from luthier.models.language_model import LanguageModel

# What the model, the adapter's folder and the run decide.
_OURS = {"task_type", "inference_mode", "base_model_name_or_path", "revision", "peft_version", "auto_mapping"}


class PeftSettings(Settings):
    """What `peft` calls a configuration."""

    model_config = ConfigDict(extra="allow")

    peft_type: str
    """The method as `peft` names it: `IA3`, `LOHA`, `VERA`, `P_TUNING` …; its other keys stand beside it."""

    @model_validator(mode="after")
    def _known(self) -> PeftSettings:
        from peft import PEFT_TYPE_TO_CONFIG_MAPPING

        types = {str(getattr(kind, "value", kind)): config for kind, config in PEFT_TYPE_TO_CONFIG_MAPPING.items()}
        if self.peft_type not in types:
            raise ValueError(f"unknown peft_type '{self.peft_type}'. {did_you_mean(self.peft_type, types)}")
        known = {field.name for field in dataclasses.fields(types[self.peft_type])} - {"peft_type"} - _OURS
        unknown = [f"'{key}' ({did_you_mean(key, known)})" for key in self.own if key not in known]
        if unknown:
            raise ValueError(f"{self.peft_type} has no key {'; '.join(unknown)}")
        return self

    @property
    def own(self) -> dict[str, Any]:
        """The keys beside ``peft_type``."""
        return dict(self.model_extra or {})

    @property
    def virtual_tokens(self) -> int:
        """Tokens of context that it takes."""
        return int(self.own.get("num_virtual_tokens") or 0)


class Peft:
    """See the module."""

    name: ClassVar[str] = "peft"
    learning_rate: ClassVar[float] = 1e-3
    settings_class: ClassVar[type[Settings]] = PeftSettings
    space: ClassVar[Mapping[str, SearchedSetting]] = {}

    def attach(self, model: LanguageModel, settings: Settings, *, seed: int) -> Attached:
        """Put a fresh instance on the model."""
        assert isinstance(settings, PeftSettings)
        return attach_peft(model, _config(settings), seed=seed)

    def load(self, model: LanguageModel, folder: Path) -> Attached:
        """Put a stored adapter on the model."""
        return load_peft(model, folder)


def _config(settings: PeftSettings) -> Any:
    from peft import get_peft_config

    try:
        return get_peft_config({"peft_type": settings.peft_type, **settings.own})
    except (TypeError, ValueError) as fault:
        raise ConfigError(
            f"peft refuses this configuration: {first_line(fault)}", where="settings", fix="Look at its keys in peft."
        ) from None
