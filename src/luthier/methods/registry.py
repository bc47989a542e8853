"""The methods, by name. Adding one is one module, one line here, and its name in ``methods/names.py``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from luthier.config.base import Settings
from luthier.config.validation import validate
from luthier.methods.adapter import Adapter
from luthier.methods.base import Method
from luthier.methods.full import Full
from luthier.methods.lora import Lora
from luthier.methods.names import require_method
from luthier.methods.peft_method import Peft
from luthier.methods.prefix_tuning import PrefixTuning
from luthier.methods.prompt_tuning import PromptTuning
from luthier.methods.selective import Selective

_ALL: tuple[Method, ...] = (
    Full(),
    Selective(),
    Lora(),
    Adapter(),
    PromptTuning(),
    PrefixTuning(),
    Peft(),
)
METHODS: Mapping[str, Method] = {method.name: method for method in _ALL}


def find_method(name: str) -> Method:
    """Return a method by its name.

    Raises:
        ConfigError: When there is none of that name.
    """
    require_method(name)
    return METHODS[name]


def read_settings(method: Method, given: Mapping[str, Any], *, where: str) -> Settings:
    """Check a method's own settings.

    Raises:
        ConfigError: For unknown keys and bad values, all at once.
    """
    return validate(method.settings_class, given, source=where)
