"""Fine-tune a language model on your task, and know what you gained, what it cost, and what it forgot.

    import luthier

    run = luthier.compare(luthier.CompareConfig(model="mini", task="dialogue_summary"))
    print(luthier.read_results(run).recommendation.sentence)

These names are for users. Each is imported when it is first asked for, so that ``import luthier`` costs nothing; inside
Luthier every module imports from the module that defines a name, never from here.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from luthier.config.arm_settings import ArmConfig
    from luthier.config.compare import CompareConfig
    from luthier.config.curve import CurveConfig
    from luthier.config.data import DataConfig, EncodingConfig, EvaluationDataConfig, TrainingDataConfig
    from luthier.config.decoding import DecodingConfig
    from luthier.config.evaluate import EvaluateConfig
    from luthier.config.evaluation import EngineConfig, EvaluationConfig, InferenceConfig
    from luthier.config.merge import MergeConfig
    from luthier.config.predict import PredictConfig
    from luthier.config.sample import SampleConfig
    from luthier.config.search import SearchConfig
    from luthier.config.training import TrainingConfig
    from luthier.config.tune import TuneConfig
    from luthier.errors import (
        ConfigError,
        DataError,
        DivergenceError,
        Faults,
        LuthierError,
        ModelError,
        NoSignalError,
        ResourceError,
        StoreError,
        TaskError,
        TrainingError,
        WorkerError,
    )
    from luthier.evaluation.answering import Model
    from luthier.experiments.compare import compare
    from luthier.experiments.curve import curve
    from luthier.experiments.evaluate import evaluate
    from luthier.experiments.merge import merge
    from luthier.experiments.predict import predict
    from luthier.experiments.sample import sample
    from luthier.experiments.tune import tune
    from luthier.methods.adapter_io import add_adapter
    from luthier.models.load import load_model
    from luthier.records import Dropped, Encoded, Example, Message, Prediction, Score, Turn
    from luthier.report.page import write_report
    from luthier.results.curve_records import read_curve
    from luthier.results.records import RunCosts, RunResults, read_costs, read_results
    from luthier.results.sequence_records import read_sequence
    from luthier.tasks.loader import load_examples, load_task
    from luthier.version import __version__

__all__ = [
    "ArmConfig",
    "CompareConfig",
    "ConfigError",
    "CurveConfig",
    "DataConfig",
    "DataError",
    "DecodingConfig",
    "DivergenceError",
    "Dropped",
    "Encoded",
    "EncodingConfig",
    "EngineConfig",
    "EvaluateConfig",
    "EvaluationConfig",
    "EvaluationDataConfig",
    "Example",
    "Faults",
    "InferenceConfig",
    "LuthierError",
    "MergeConfig",
    "Message",
    "Model",
    "ModelError",
    "NoSignalError",
    "PredictConfig",
    "Prediction",
    "ResourceError",
    "RunCosts",
    "RunResults",
    "SampleConfig",
    "Score",
    "SearchConfig",
    "StoreError",
    "TaskError",
    "TrainingConfig",
    "TrainingDataConfig",
    "TrainingError",
    "TuneConfig",
    "Turn",
    "WorkerError",
    "__version__",
    "add_adapter",
    "compare",
    "curve",
    "evaluate",
    "load_examples",
    "load_model",
    "load_task",
    "merge",
    "predict",
    "read_costs",
    "read_curve",
    "read_results",
    "read_sequence",
    "sample",
    "tune",
    "write_report",
]

_HOMES = {
    "luthier.results.curve_records": ("read_curve",),
    "luthier.results.sequence_records": ("read_sequence",),
    "luthier.results.records": ("RunCosts", "RunResults", "read_costs", "read_results"),
    "luthier.config.arm_settings": ("ArmConfig",),
    "luthier.config.compare": ("CompareConfig",),
    "luthier.config.curve": ("CurveConfig",),
    "luthier.config.data": ("DataConfig", "EncodingConfig", "EvaluationDataConfig", "TrainingDataConfig"),
    "luthier.config.decoding": ("DecodingConfig",),
    "luthier.config.evaluate": ("EvaluateConfig",),
    "luthier.config.evaluation": ("EngineConfig", "EvaluationConfig", "InferenceConfig"),
    "luthier.config.merge": ("MergeConfig",),
    "luthier.config.predict": ("PredictConfig",),
    "luthier.config.sample": ("SampleConfig",),
    "luthier.config.search": ("SearchConfig",),
    "luthier.config.training": ("TrainingConfig",),
    "luthier.config.tune": ("TuneConfig",),
    "luthier.errors": (
        "ConfigError",
        "DataError",
        "DivergenceError",
        "Faults",
        "LuthierError",
        "ModelError",
        "NoSignalError",
        "ResourceError",
        "StoreError",
        "TaskError",
        "TrainingError",
        "WorkerError",
    ),
    "luthier.evaluation.answering": ("Model",),
    "luthier.experiments.compare": ("compare",),
    "luthier.experiments.curve": ("curve",),
    "luthier.experiments.evaluate": ("evaluate",),
    "luthier.experiments.merge": ("merge",),
    "luthier.experiments.predict": ("predict",),
    "luthier.experiments.sample": ("sample",),
    "luthier.experiments.tune": ("tune",),
    "luthier.methods.adapter_io": ("add_adapter",),
    "luthier.models.load": ("load_model",),
    "luthier.records": ("Dropped", "Encoded", "Example", "Message", "Prediction", "Score", "Turn"),
    "luthier.report.page": ("write_report",),
    "luthier.tasks.loader": ("load_examples", "load_task"),
    "luthier.version": ("__version__",),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}


if not TYPE_CHECKING:  # hidden, so that a type checker finds a name that does not exist

    def __getattr__(name: str) -> object:
        """Import a public name from the module that defines it."""
        if name not in _HOME_OF:
            raise AttributeError(f"module 'luthier' has no attribute '{name}'")
        importlib.import_module("luthier.threads").prepare_threads()  # before torch is loaded, if it is not yet
        importlib.import_module("luthier.quiet").quiet_notebook()
        value = getattr(importlib.import_module(_HOME_OF[name]), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    """List the public names."""
    return [*__all__]
