"""A function of the user's own as a reward: run only because the user names its file, as remote code is."""

from __future__ import annotations

import importlib.util
import inspect
import math
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np

from luthier.errors import ConfigError, DataError, did_you_mean
from luthier.files.digests import digest, file_digest
from luthier.metrics.metric import FloatArray
from luthier.records import Example, Prediction
from luthier.user_path import user_path

_FUNCTION = re.compile(r"(?P<file>[^+*]+\.py):(?P<name>[A-Za-z_]\w*)")


@dataclass(frozen=True)
class FileReward:
    """A function ``reward(prompt, answer, targets)`` of a file; see :class:`luthier.rewards.reward.Reward`.

    Attributes:
        name: As the user wrote it.
        function: Given the prompt, the answer and a tuple of right answers, it returns a number, or None for none.
        signature: Digest of the file, and the function's name.
    """

    name: str
    function: Callable[[str, str, tuple[str, ...]], object]
    signature: str

    def values(self, examples: Sequence[Example], answers: Sequence[Prediction]) -> FloatArray:
        """See :class:`luthier.rewards.reward.Reward`.

        Raises:
            DataError: The function raised, or returned something else than a number.
        """
        pairs = zip(examples, answers, strict=True)
        return np.asarray([self._value(example, answer) for example, answer in pairs], dtype=np.float64)

    def _value(self, example: Example, answer: Prediction) -> float:
        where = f"{self.name}, example '{example.id}'"
        try:
            found = self.function(example.prompt, answer.text, example.targets)
        except Exception as fault:  # the user's own code can raise anything
            what = f"the reward raised {type(fault).__name__}: {fault}"
            raise DataError(
                what, where=where, fix="Correct the function; None means that an answer has none."
            ) from None
        if found is None:
            return math.nan
        if not isinstance(found, int | float | np.number):
            what = f"the reward returned {type(found).__name__}, and a number or None is expected"
            raise DataError(what, where=where, fix="Return a number, or None.")
        return float(found)


def is_function(written: str) -> bool:
    """Whether a text names a function of a file: ``my_rewards.py:brevity``."""
    return _FUNCTION.fullmatch(written.strip()) is not None


def read_function(written: str, *, where: str) -> FileReward:
    """Return the function that a text names; the file is run.

    Raises:
        ConfigError: The file cannot be read or run, or has no such function of three arguments.
    """
    found = _FUNCTION.fullmatch(written.strip())
    assert found is not None, "asked by `is_function` before"
    path = user_path(found["file"])
    if not path.is_file():
        raise ConfigError("there is no such file", where=f"{where}, {path}", fix="Check the path.")
    module = _run(path, where)
    functions = {name: value for name, value in vars(module).items() if inspect.isfunction(value)}
    function = functions.get(found["name"])
    if function is None:
        fix = did_you_mean(found["name"], functions) if functions else "Define it, of prompt, answer and targets."
        raise ConfigError(f"the file has no function '{found['name']}'", where=f"{where}, {path}", fix=fix)
    try:
        inspect.signature(function).bind("prompt", "answer", ("target",))
    except TypeError:
        what = f"the function '{found['name']}' does not take a prompt, an answer and the right answers"
        fix = f"Define it so: def {found['name']}(prompt, answer, targets)."
        raise ConfigError(what, where=f"{where}, {path}", fix=fix) from None
    return FileReward(written.strip(), function, digest([path.read_text(), found["name"]]))


def _run(path: Path, where: str) -> ModuleType:
    # A file as it is now runs once in a process: it may read a model, and every key asks for its functions.
    name = f"luthier_reward_{digest([str(path.absolute()), file_digest(path)])[:16]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None, "a file that ends in .py has one"
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses of the file look themselves up
    try:
        spec.loader.exec_module(module)
    except Exception as fault:  # the user's own code can raise anything
        del sys.modules[name]
        what = f"the file cannot be run: {type(fault).__name__}: {fault}"
        raise ConfigError(what, where=f"{where}, {path}", fix="Run it by itself with python, and correct it.") from None
    return module
