"""The verbs of the command line: the settings that each takes, and which of its settings have a flag.

What a flag is called, its type, its help and its default come from the setting: see :mod:`luthier.config.flags`. This
module loads no settings class, so that the list of verbs is shown at once.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import BaseModel


@dataclass(frozen=True)
class Flag:
    """A setting that has a flag of its own.

    Attributes:
        key: Dotted name of the setting.
        name: Name of the flag without its dashes; the last part of the key when not given.
        short: One letter; "" for none.
        former_short: One letter that stood for it once, and now stands for nothing or for another meaning elsewhere.
        position: Whether it is an argument without a name.
        repeated: Whether it may be given several times.
    """

    key: str
    name: str = ""
    short: str = ""
    former_short: str = ""
    position: bool = False
    repeated: bool = False

    @property
    def option(self) -> str:
        """The long option, e.g. ``--trust-remote-code``."""
        return "--" + (self.name or self.key.rpartition(".")[2]).replace("_", "-")

    @property
    def parameter(self) -> str:
        """The name under which a parsed command line holds its value."""
        return self.key.replace(".", "__")


@dataclass(frozen=True)
class Verb:
    """A verb of the command line.

    Attributes:
        name: What the user types after ``luthier``.
        help: One sentence.
        settings: Module and name of the settings class; "" for a verb without settings.
        flags: The settings that have a flag, in the order of the help.
        file: Whether a YAML file of settings can be given.
        assignments: Whether any setting can be given by ``--set``.
        json: Whether the results can be printed as JSON.
    """

    name: str
    help: str
    settings: str = ""
    flags: tuple[Flag, ...] = ()
    file: bool = False
    assignments: bool = False
    json: bool = False


def settings_class(verb: Verb) -> type[BaseModel]:
    """Import the settings class of a verb that has one."""
    module, _, name = verb.settings.partition(":")
    found: type[BaseModel] = getattr(importlib.import_module(module), name)
    return found


def belongs(what: str, owners: Sequence[str], own: str) -> str:
    """Say that a setting or a flag belongs to other verbs, or to other classes of settings."""
    *most, last = owners
    named = f"{', '.join(most)} and {last}" if most else last
    return f"'{what}' belongs to {named}; {own} does not use it"


def verb_of(schema: type) -> Verb | None:
    """Return the verb whose settings a class holds; None for every other class."""
    named = f"{schema.__module__}:{schema.__qualname__}"
    return next((verb for verb in VERBS if verb.settings == named), None)


_MODEL = Flag("model", short="m")
_TASK = Flag("task", short="t")
_OUT = Flag("out", short="o")
_RUNS = Flag("runs", former_short="o")
_REMAKE = Flag("remake_damaged")
_SEED = Flag("seed")
_DEVICE = Flag("device")
_TRUST = Flag("trust_remote_code")
_TRAIN = Flag("data.train")
_TEST = Flag("data.test")
_DATA = Flag("data.folder", name="data")
_ANY_BASE = Flag("any_base")

VERBS = (
    Verb(
        "compare",
        "Run every arm from the same start, and report what was gained, what it cost, and what was forgotten.",
        "luthier.config.compare:CompareConfig",
        (
            *(
                _MODEL,
                _TASK,
                Flag("arms"),
                Flag("retain"),
                Flag("retention_text"),
                Flag("sequence"),
                Flag("retain_at_least"),
                Flag("extrapolate"),
                _RUNS,
                Flag("name"),
                _DATA,
                _TRAIN,
                _TEST,
            ),
            *(Flag("search.trials", name="search"), _SEED, Flag("seeds"), Flag("workers"), Flag("dry_run")),
            *(_REMAKE, _DEVICE, _TRUST),
        ),
        file=True,
        assignments=True,
    ),
    Verb(
        "curve",
        "Train arms on growing parts of the data, and say what more of it would give.",
        "luthier.config.curve:CurveConfig",
        (
            *(_MODEL, _TASK, Flag("arms"), Flag("sizes"), Flag("seeds"), Flag("fixed"), Flag("forecast"), _RUNS),
            *(Flag("name"), _DATA, _TRAIN, _TEST, _SEED, Flag("workers"), _REMAKE, _DEVICE, _TRUST),
        ),
        file=True,
        assignments=True,
    ),
    Verb(
        "tune",
        "Train one arm, and say where its adapter is.",
        "luthier.config.tune:TuneConfig",
        (
            *(_MODEL, _TASK, Flag("arm", short="a"), Flag("start"), Flag("save"), _RUNS, _REMAKE, _DATA, _TRAIN),
            *(_SEED, _DEVICE, _TRUST),
        ),
        file=True,
        assignments=True,
    ),
    Verb(
        "merge",
        "Fold an adapter into its base: a whole model of its own, refused if it answers otherwise. Several become one.",
        "luthier.config.merge:MergeConfig",
        (
            *(Flag("adapter", position=True, repeated=True), _OUT, _MODEL, Flag("how"), Flag("weights")),
            *(Flag("density"), Flag("scale"), Flag("extrapolate"), _TASK, Flag("sample"), _ANY_BASE),
            *(_SEED, _DEVICE, _TRUST),
        ),
        assignments=True,
    ),
    Verb(
        "eval",
        "Measure a model, with an adapter or without, on tasks.",
        "luthier.config.evaluate:EvaluateConfig",
        (
            *(
                _MODEL,
                Flag("tasks", short="t"),
                Flag("suite"),
                Flag("adapter"),
                _ANY_BASE,
                Flag("compare"),
                Flag("shots"),
            ),
            *(Flag("run_code"), Flag("answers"), Flag("evaluation.cache", name="no-cache"), Flag("evaluation.engine")),
            *(_RUNS, _REMAKE, _DATA, _TEST),
            *(_SEED, _DEVICE, _TRUST),
        ),
        file=True,
        assignments=True,
        json=True,
    ),
    Verb(
        "predict",
        "Answer new rows in their order, with every column that they have.",
        "luthier.config.predict:PredictConfig",
        (
            *(Flag("rows", position=True), _OUT, _MODEL, Flag("adapter"), _TASK, Flag("format"), _ANY_BASE),
            *(Flag("shots"), _RUNS, _SEED, _DEVICE, _TRUST),
        ),
        assignments=True,
    ),
    Verb(
        "sample",
        "Answer each prompt several times, and keep what is worth learning from: the best answers, or pairs.",
        "luthier.config.sample:SampleConfig",
        (
            *(_MODEL, Flag("adapter"), _ANY_BASE, _TASK, Flag("prompt_count", name="prompts"), Flag("n")),
            *(Flag("reward"), Flag("gold"), Flag("keep"), Flag("at_least"), Flag("save"), _RUNS),
            *(_SEED, _DEVICE, _TRUST),
        ),
        file=True,
        assignments=True,
    ),
    Verb(
        "check",
        "Show what would be learned, before any step; exit code 2 when training would be meaningless.",
        "luthier.config.check:CheckConfig",
        (_MODEL, _TASK, _DATA, _TRAIN, _SEED, _TRUST),
        file=True,
        assignments=True,
    ),
    Verb(
        "score",
        "Score any predictions against any references; several systems are compared in pairs.",
        "luthier.config.score:ScoreConfig",
        (
            Flag("predictions", short="p", repeated=True),
            Flag("references", short="r", repeated=True),
            Flag("metrics", name="metric", former_short="m", repeated=True),
            *(Flag("by"), Flag("explain"), Flag("per_example"), Flag("prediction_column"), Flag("reference_column")),
            *(
                Flag("id_column"),
                Flag("allow_empty"),
                Flag("confidence"),
                Flag("resamples"),
                _SEED,
                Flag("significance"),
            ),
            Flag("size_limit"),
        ),
        json=True,
    ),
    Verb(
        "report",
        "Rebuild the page of a run, without a model.",
        "luthier.config.report:ReportConfig",
        (Flag("run", position=True),),
    ),
    Verb("tasks list", "List the built-in tasks and the benchmark suites."),
    Verb(
        "tasks show",
        "Show what a task is: its source, templates, metrics and splits.",
        "luthier.config.show_tasks:ShowTaskConfig",
        (Flag("task", position=True), _DATA),
    ),
    Verb(
        "tasks new",
        "Write a first task YAML for a data file, from its columns.",
        "luthier.config.new_task:NewTaskConfig",
        (Flag("data", position=True), _OUT),
    ),
    Verb(
        "tasks preview",
        "Render the first rows of a task by its templates.",
        "luthier.config.show_tasks:PreviewTaskConfig",
        (Flag("task", position=True), _DATA, Flag("split"), Flag("rows"), Flag("template")),
    ),
    Verb(
        "store list",
        "List what lies in the run store: what, when, and for which run.",
        "luthier.config.store:ListStoreConfig",
        (_RUNS, Flag("kind"), Flag("run")),
    ),
    Verb(
        "store size",
        "Say how much room each kind of stored result takes.",
        "luthier.config.store:StoreSizeConfig",
        (_RUNS,),
    ),
    Verb(
        "store clean",
        "Remove stored results; what a run may still need stays, and what is removed is made again when it is needed.",
        "luthier.config.store:CleanStoreConfig",
        (
            *(_RUNS, Flag("kind"), Flag("run"), Flag("unused_days"), Flag("unfinished"), Flag("damaged")),
            *(Flag("everything"), Flag("only_say")),
        ),
    ),
)
"""Every verb, in the order of the help."""
