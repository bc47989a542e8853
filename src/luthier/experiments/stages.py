"""The comparisons that a sequence is made of: one for each stage, whose arms begin with what the stage before left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from luthier.config.arm_settings import ArmConfig, ArmItem
from luthier.config.arms import make_arms, reads_retained, without_retained
from luthier.config.compare import CompareConfig
from luthier.errors import ConfigError, LuthierError, collecting, raise_faults
from luthier.evaluation.measured import NativeTask
from luthier.experiments.inputs import read_inputs
from luthier.experiments.overlapping_tasks import overlapping
from luthier.experiments.plan import Plan, plan_of, read_plan, require_test
from luthier.models.language_model import LanguageModel
from luthier.tasks.mixture_spec import is_mixture

_IN_PLACE = ("full", "selective")


def plan_for(config: CompareConfig) -> Plan:
    """Read the plan of a comparison, or of the stage of a sequence that learns the configuration's task.

    Raises:
        LuthierError: All faults that can be found at once.
    """
    if config.sequence is None:
        return read_plan(config)
    return read_stages(config)[config.sequence.index(config.task)]


def read_stages(config: CompareConfig) -> tuple[Plan, ...]:
    """Read and check everything that a sequence needs, stage by stage; the model is read once.

    Every stage measures all tasks of the sequence. An arm that replays takes examples of the tasks that it has learned
    before, so that the first stage replays nothing.

    Raises:
        LuthierError: All faults of the first stage that has any.
    """
    assert config.sequence is not None
    stages: list[Plan] = []
    model: LanguageModel | None = None
    for task in config.sequence:
        own = _stage_of(config, task)
        inputs = read_inputs(own, model)
        model = inputs.model
        stage = replace(plan_of(own, inputs), before=stages[-1] if stages else None)
        require_test(stage)
        stages.append(stage)
    _require_comparable(stages)
    _require_apart(stages)
    measured = tuple(NativeTask(stage.target) for stage in stages)
    return tuple(replace(stage, retained=measured, groups=()) for stage in stages)


def _stage_of(config: CompareConfig, task: str) -> CompareConfig:
    assert config.sequence is not None
    arms = trained_items(config)
    learned = config.sequence[: config.sequence.index(task)]
    return config.model_copy(
        update={
            "task": task,
            "arms": arms if learned else tuple(map(without_retained, arms)),
            "retain": learned if any(map(reads_retained, arms)) else (),
            "retention_text": None,
        }
    )


def trained_items(config: CompareConfig) -> tuple[ArmItem, ...]:
    """Return the arms of a sequence: those of the configuration that train something."""
    few_shots = 1  # of arms that are left out here
    arms = make_arms(config.arms, training=config.training, few_shots=few_shots, seeds=config.training_seeds)
    return tuple(item for item, arm in zip(config.arms, arms, strict=True) if arm.method is not None)


def check_sequence(config: CompareConfig) -> None:
    """Refuse settings that a sequence does not use, and arms that train nothing.

    Raises:
        ConfigError: Of several faults, Faults.
    """
    faults: list[LuthierError] = []
    given = config.model_fields_set
    for key, what in (("task", "its tasks"), ("retain", "the tasks that it measures")):
        if key in given:
            faults.append(ConfigError(f"a sequence names {what} itself", where=key, fix="Leave it out."))
    for key, wanted in (("dry_run", config.dry_run), ("search.trials", config.search.trials > 0)):
        if wanted:
            faults.append(ConfigError("this cannot be done for a sequence", where=key, fix="Leave it out."))
    faults += [_of_a_mixture(name, "sequence") for name in config.sequence or () if is_mixture(name)]
    with collecting(faults):
        arms = trained_items(config)
        left = [_name(item) for item in config.arms if item not in arms]
        faults += [fault for item in arms for fault in (*_kl_faults(item), *_start_faults(item))]
        faults += [
            _of_a_mixture(f"what the arm '{item.name}' learns", "arms")
            for item in arms
            if isinstance(item, ArmConfig) and item.mixture
        ]
        if not arms or ("arms" in given and left):
            named = ", ".join(left) or "no arm"
            fix = "Name arms with a method, such as full,lora; the base is the first row of the matrix."
            faults.append(ConfigError(f"{named} trains nothing, so it has no stages", where="arms", fix=fix))
    raise_faults("the sequence cannot start", faults)


def _of_a_mixture(name: str, where: str) -> LuthierError:
    what = f"{name} is a mixture, and each stage learns one task"
    return ConfigError(what, where=where, fix="Name its tasks one by one, or compare arms on it without stages.")


def _kl_faults(item: ArmItem) -> list[LuthierError]:
    """Refuse a divergence from the base that cannot be computed: that of weights that later stages begin with."""
    if not isinstance(item, ArmConfig) or item.method not in _IN_PLACE or not item.anchor.kl:
        return []
    what = f"{item.method} changes the base's own weights, which later stages begin with: the base is gone by then"
    fix = "Use lora, or hold the weights near to the start of each stage: l2 or ewc."
    return [ConfigError(what, where=f"arm '{item.name}', anchor.kl", fix=fix)]


def _start_faults(item: ArmItem) -> list[LuthierError]:
    if not isinstance(item, ArmConfig) or item.start is None:
        return []
    what = "the arms of a sequence begin with what they were at the stage before"
    return [ConfigError(what, where=f"arm '{item.name}', start", fix="Leave it out.")]


def _name(item: ArmItem) -> str:
    return item.name if isinstance(item, ArmConfig) else item


def _require_comparable(stages: Sequence[Plan]) -> None:
    """Require names that tell the tasks apart, and metrics that can be averaged."""
    faults: list[LuthierError] = []
    names = Counter(stage.target.task.name for stage in stages)
    for name in (name for name, count in names.items() if count > 1):
        faults.append(ConfigError(f"two tasks are called '{name}'", where="sequence", fix="Give one another name."))
    for stage in stages:
        metrics = stage.target.metrics
        if metrics.scale is None:
            what = f"{metrics.primary} of {metrics.task} has no bound, so that scores cannot be averaged over tasks"
            fix = "Give the task a primary metric with one, such as accuracy or rougeL."
            faults.append(ConfigError(what, where="sequence", fix=fix))
    raise_faults("the sequence cannot start", faults)


def _require_apart(stages: Sequence[Plan]) -> None:
    """Require that no stage trains on what another task is tested with."""
    faults: list[LuthierError] = []
    for stage in stages:
        others = [other.target for other in stages if other is not stage]
        for fault in overlapping(others, stage.target, stage.data.train):
            what = f"{stage.target.task.name}: {fault.what}" if isinstance(fault, ConfigError) else str(fault)
            fix = "Take one of the two tasks out, or train on other rows."
            faults.append(ConfigError(what, where="sequence", fix=fix))
    raise_faults("the tasks of the sequence are not apart", faults)
