"""Everything that a comparison needs, read and checked before the first arm runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luthier.config.advice import shorter_answers
from luthier.config.arms import Arm
from luthier.config.base import Settings
from luthier.config.compare import CompareConfig
from luthier.config.data import DataConfig
from luthier.data.preferences import Pair
from luthier.errors import ConfigError, DataError, LuthierError, ModelError, collecting, raise_faults
from luthier.evaluation.measured import Measured, MeasuredGroup, NativeTask
from luthier.evaluation.prepared_task import PreparedTask, generation_settings_of, make_encoder
from luthier.evaluation.requests import encode_requests
from luthier.experiments.asked_tasks import AskedTask, left_out
from luthier.experiments.harness import Asked, prepare_harness
from luthier.experiments.inputs import Inputs, read_inputs
from luthier.experiments.overlapping_tasks import overlapping
from luthier.experiments.preference_data import check_objectives, held_out_pairs, judges
from luthier.experiments.replay import ReplaySources, apart_from_measured
from luthier.experiments.starts import resolve_starts
from luthier.experiments.training_data import ArmsData, read_arms_data
from luthier.experiments.units import points_of
from luthier.experiments.validation_sets import ValidationSets, read_retained, validation_sets
from luthier.files.digests import digest
from luthier.methods.base import Method, base_weights_of, virtual_tokens, writes_to_base
from luthier.methods.interpolation import interpolable
from luthier.methods.merging import Mergeable
from luthier.methods.registry import find_method, read_settings
from luthier.models.language_model import LanguageModel
from luthier.progress import say
from luthier.records import Example
from luthier.tasks.loader import TaskData, load_examples, load_exemplar_pool, load_splits
from luthier.training.job import faults_naming_arm


@dataclass(frozen=True)
class Plan:
    """Everything that was read and checked before the first arm runs.

    Attributes:
        config: What the user asked for.
        model: The base.
        target: The task that arms are trained on and measured by, with its test split.
        data: Its splits.
        training: What the arms learn from.
        pool: Training examples as exemplars show them.
        arms: What is compared.
        retained: The tasks on which forgetting is measured.
        groups: Groups of them that have a number of their own.
        texts: Held-out plain text.
        counts: What was cut and dropped.
        before: The comparison whose trained arms these begin with, arm by arm and seed by seed; None to begin with the
            base.
        choosing: What an arm and a point are chosen on; None where none is chosen.
        pairs: Of the target's test split: a better and a worse answer; empty where it has none.
    """

    config: CompareConfig
    model: LanguageModel
    target: PreparedTask
    data: TaskData
    training: ArmsData
    pool: tuple[Example, ...]
    arms: tuple[Arm, ...]
    retained: tuple[Measured, ...]
    groups: tuple[MeasuredGroup, ...]
    texts: tuple[str, ...]
    counts: dict[str, Any]
    before: Plan | None = None
    choosing: ValidationSets | None = None
    pairs: tuple[Pair, ...] = ()

    def arm(self, name: str) -> Arm:
        """Return the arm of this name."""
        return next(arm for arm in self.arms if arm.name == name)


def read_plan(config: CompareConfig) -> Plan:
    """Read and check everything that a comparison needs.

    Raises:
        LuthierError: All faults that can be found at once.
    """
    return plan_of(config, read_inputs(config))


def plan_of(config: CompareConfig, inputs: Inputs) -> Plan:
    """Read the data of a comparison whose task, arms and model have been read.

    Raises:
        LuthierError: All faults that can be found at once.
    """
    model, task = inputs.model, inputs.task
    faults: list[LuthierError] = []
    searching = config.search.trials > 0
    arms = inputs.arms
    with collecting(faults):
        arms = resolve_starts(arms, model, searching=searching)
    with collecting(faults):
        model.keep_free(check_methods(arms, model, searching=searching))
    with collecting(faults):
        data = load_splits(task, config.data, config.seed)
        judged = load_splits(task, config.data, config.seed, bad_answers=True) if judges(arms) else data
    retained: list[PreparedTask] = []
    for other in inputs.retained:
        with collecting(faults), left_out(other):
            retained += _prepare_retained(other, model, config)
    asked = Asked(None, config.evaluation.retain_examples, config.seed, config.decoding.max_new_tokens)
    harness = prepare_harness(inputs.harness, model, config.data, asked, faults)
    chosen_on: tuple[NativeTask, ...] = ()
    with collecting(faults):
        chosen_on = read_retained(retained, [own.name for own in harness.tasks], arms, config)
    raise_faults("the comparison cannot start", faults)
    target = PreparedTask(task, make_encoder(model, task, config.data), data.test)
    raise_faults("the retained tasks are not apart from the target", overlapping(retained, target, data.train))
    choosing = validation_sets(target, data.validation, chosen_on if config.retain_at_least is not None else ())
    texts, replayable = apart_from_measured(inputs.texts, arms)
    sources = ReplaySources(config, model, target, retained, replayable)
    training, counts = read_arms_data(arms, data, judged, sources, [own.prepared for own in chosen_on])
    return Plan(
        config,
        model,
        target,
        data,
        training,
        _exemplar_pool(inputs, config.data, config.seed),
        arms,
        (*(NativeTask(own) for own in retained), *harness.tasks),
        harness.groups,
        texts,
        counts,
        choosing=choosing,
        pairs=held_out_pairs(data.test, target.encoder),
    )


def _exemplar_pool(inputs: Inputs, data: DataConfig, seed: int) -> tuple[Example, ...]:
    if not any(arm.shots for arm in inputs.arms):
        return ()
    return load_exemplar_pool(inputs.task, limit=data.train, seed=seed)


def _prepare_retained(retained: AskedTask, model: LanguageModel, config: CompareConfig) -> list[PreparedTask]:
    """Return a retained task made ready; nothing for a member of a set that the model cannot hold."""
    task = retained.task
    examples = load_examples(task, "test", limit=config.evaluation.retain_examples, seed=config.seed, evaluation=True)
    encoder = make_encoder(model, task, config.data)
    if not retained.by_name:
        new_tokens = generation_settings_of(task, config.decoding).new_tokens
        _, dropped = encode_requests(examples, encoder, new_tokens=new_tokens)
        if len(dropped) > config.data.max_lost * len(examples):
            say(f"{task.name}: not retained, {len(dropped)} of {len(examples)} examples do not fit this model")
            return []
    return [PreparedTask(task, encoder, tuple(examples))]


def check_methods(arms: Sequence[Arm], model: LanguageModel, *, searching: bool) -> int:
    """Check that the methods of all arms exist, and that their settings fit the model.

    Returns:
        Tokens that the longest soft prompt takes: they are kept free for every arm, so that all read the same text.

    Raises:
        LuthierError: All faults; each names its arm.
    """
    faults: list[LuthierError] = []
    lengths = [0]
    with collecting(faults):
        check_objectives(arms)
    for arm in arms:
        if arm.method is not None:
            with collecting(faults), faults_naming_arm(arm.name):
                method = find_method(arm.method)
                settings = read_settings(method, arm.settings, where="settings")
                lengths.append(virtual_tokens(settings))
                if searching and (searched := method.space.get("virtual_tokens")):
                    lengths += searched.values
                if arm.settings or virtual_tokens(settings) or arm.anchor.ewc or arm.anchor.kl or points_of(arm):
                    # Settings can name layers that this model does not have: that must not show after hours.
                    _try(arm, method, settings, model)
    raise_faults("the arms have faults", faults)
    return max(lengths)


def _try(arm: Arm, method: Method, settings: Settings, model: LanguageModel) -> None:
    """Put a method on a model and take it off again.

    Raises:
        ConfigError: It does not fit the model, or the arm's anchor or its points do not fit the method.
    """
    attached = method.attach(model, settings, seed=arm.seeds[0])
    try:
        if arm.anchor.ewc and not base_weights_of(attached):
            what = f"Fisher information is that of the base's weights, and {method.name} trains none of them in place"
            fix = "Take `kl` or `replay` for this arm, or the methods full or selective."
            raise ConfigError(what, where="anchor.ewc", fix=fix)
        if arm.anchor.kl and arm.mixture and writes_to_base(attached):
            what = f"{method.name} writes to the base, whose distributions are then needed before, and those of a "
            what += "mixture are not known before its examples are read"
            fix = "Take a method that leaves the base alone, such as lora, or `l2` or `ewc` for this arm."
            raise ConfigError(what, where="anchor.kl", fix=fix)
        in_place = isinstance(attached, Mergeable) and attached.in_place  # a mix of weights, which always exists
        if points_of(arm) and not in_place:
            interpolable(attached, where="interpolate").interpolate(0.5)
    except ModelError as fault:
        raise ConfigError(fault.what, where="interpolate", fix=fault.fix) from None
    finally:
        attached.detach()


def require_test(plan: Plan) -> None:
    """Check that something can be evaluated, before anything is trained.

    Raises:
        DataError: When the test split is empty, or not one of its examples fits the model.
    """
    task = plan.target.task
    if not plan.target.examples:
        became = " ".join(plan.data.report.sentences)
        raise DataError("the test split has no examples", where=task.where, fix=f"What became of the rows: {became}")
    new_tokens = generation_settings_of(task, plan.config.decoding).new_tokens
    reason = ""
    for example in plan.target.examples:
        _, dropped = encode_requests([example], plan.target.encoder, new_tokens=new_tokens)
        if not dropped:
            return
        reason = dropped[0].reason
    raise DataError(f"no test example can be answered ({reason})", where=task.where, fix=f"{shorter_answers()}.")


def name_of_run(plan: Plan) -> str:
    """Return the name of the run's folder: the user's, or one that the same command gives again."""
    return plan.config.name or run_name(plan)


def run_name(plan: Plan) -> str:
    """Return a name that the same command gives again."""
    settings = plan.config.identity()
    model = Path(plan.config.model).name
    return f"compare-{plan.target.task.name}-{model}-{digest([settings, plan.model.digest])[:8]}"
