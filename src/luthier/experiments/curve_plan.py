"""The comparisons that a learning curve is made of: the same arms on nested subsets of the training split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from luthier.config.arm_settings import ArmItem
from luthier.config.arms import make_arms, reads_retained, with_training
from luthier.config.compare import CompareConfig
from luthier.config.curve import ALL, CurveConfig
from luthier.config.data import DataConfig
from luthier.config.evaluation import EvaluationConfig
from luthier.errors import ConfigError, LuthierError, collecting, raise_faults
from luthier.experiments.inputs import Inputs, read_inputs
from luthier.experiments.plan import Plan, plan_of, require_test
from luthier.experiments.trained_arms import job_of
from luthier.files.digests import digest
from luthier.results.learning_curve import FARTHEST
from luthier.tasks.mixture_spec import is_mixture
from luthier.training.job import faults_naming_arm

_HALVINGS = 4
_TIMES = (2, 5, FARTHEST)
"""Times the largest size at which is forecast when nothing else is said."""


@dataclass(frozen=True)
class CurvePlan:
    """Everything that was read and checked before the first training.

    Attributes:
        config: What the user asked for.
        plans: A comparison for each size, in rising order.
        sizes: Numbers of training examples that are drawn.
        forecast: Numbers of examples to forecast at, in rising order.
    """

    config: CurveConfig
    plans: tuple[Plan, ...]
    sizes: tuple[int, ...]
    forecast: tuple[int, ...]

    @property
    def largest(self) -> Plan:
        """The comparison of the largest size."""
        return self.plans[-1]

    @property
    def name(self) -> str:
        """Name of the run's folder: the user's, or one that the same command gives again."""
        assert self.largest.config.name is not None, "it is given when the plan is made"
        return self.largest.config.name


def read_curve_plan(config: CurveConfig) -> CurvePlan:
    """Read and check everything that a learning curve needs.

    The whole training split is read first, so that sizes beyond it are found before anything is trained. Examples are
    drawn by a hash of their ids, so each size holds the smaller ones. Of a mixture a size is that of an epoch, in its
    shares, and every epoch of a size reads the same examples.

    Raises:
        LuthierError: All faults that can be found at once.
    """
    _require_trained(config)
    whole_config = _comparison_of(config, config.arms, config.data.train)
    inputs = read_inputs(whole_config)
    whole = plan_of(whole_config, inputs)
    require_test(whole)
    sizes, forecast = _sizes_and_forecast(config, examples_of(whole))
    name = config.name or _name_of(config, whole)
    largest = _of_size(config, inputs, sizes[-1], config.arms, name)
    arms = config.arms if config.fixed == "epochs" else _with_steps_of(largest, config)
    plans = (*(_of_size(config, inputs, size, arms, name) for size in sizes[:-1]), largest)
    return CurvePlan(config, plans, sizes, forecast)


def _require_trained(config: CurveConfig) -> None:
    """Refuse arms that train nothing, which are the same at every size, and those of other training examples."""
    faults: list[LuthierError] = []
    with collecting(faults):
        for arm in make_arms(config.arms, training=config.training, few_shots=1, seeds=config.training_seeds):
            if arm.mixture:
                own = "sizes are of what all arms learn from, and this one has a mixture of its own"
                fix = "Name the mixture as the task, for all arms, or leave it out of this one."
                faults.append(ConfigError(own, where=f"arm '{arm.name}', mixture", fix=fix))
            if arm.method is None:
                fix = "Leave it out, and name arms with a method, such as lora or full."
                what = f"the arm '{arm.name}' trains nothing, so it has no learning curve"
                faults.append(ConfigError(what, where="arms", fix=fix))
    raise_faults("the arms have faults", faults)


def _comparison_of(
    config: CurveConfig, arms: Sequence[ArmItem], size: int | None, name: str = "curve"
) -> CompareConfig:
    """Return the comparison of one size; retained tasks are read only where an arm replays their examples."""
    data = config.data.model_dump(exclude_unset=True) | {"train": size}
    return CompareConfig(
        model=config.model,
        task=config.task,
        arms=tuple(arms),
        retain=config.retain if any(reads_retained(arm) for arm in arms) else (),
        retention_text=None,
        runs=config.runs,
        name=name,
        seed=config.seed,
        seeds=config.training_seeds,
        workers=config.workers,
        remake_damaged=config.remake_damaged,
        device=config.device,
        precision=config.precision,
        kernels=config.kernels,
        trust_remote_code=config.trust_remote_code,
        data=DataConfig(**data),
        training=config.training,
        decoding=config.decoding,
        evaluation=EvaluationConfig(**config.evaluation.model_dump(exclude_unset=True)),
    )


def _of_size(config: CurveConfig, inputs: Inputs, size: int, arms: Sequence[ArmItem], name: str) -> Plan:
    own = _comparison_of(config, arms, size, name)
    mixture = own.task if is_mixture(own.task) else ""
    made = make_arms(
        own.arms, training=own.training, few_shots=inputs.task.few_shot, seeds=own.training_seeds, mixture=mixture
    )
    plan = plan_of(own, replace(inputs, arms=tuple(made)))
    return replace(plan, training=plan.training.with_equal_epochs(config.seed))


def examples_of(plan: Plan) -> int:
    """Return the training examples of a comparison: of a mixture those of an epoch."""
    (mixture,) = plan.training.mixtures.values() or (None,)
    return len(plan.data.train) if mixture is None else sum(mixture.quotas)


def _with_steps_of(largest: Plan, config: CurveConfig) -> tuple[ArmItem, ...]:
    """Return the arms with as many optimizer steps as they take at the largest size."""
    changed = []
    for item, arm in zip(config.arms, largest.arms, strict=True):
        with faults_naming_arm(arm.name):
            steps: Mapping[str, int] = {"steps": job_of(largest, arm, arm.seeds[0]).stream.steps}
        changed.append(with_training(item, config.training, steps))
    return tuple(changed)


def _sizes_and_forecast(config: CurveConfig, examples: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the sizes, and the numbers to forecast at, both in rising order.

    Args:
        config: What the user asked for.
        examples: Of the whole training split.

    Raises:
        ConfigError: A size is beyond the data, two are the same, there are fewer than two, or a number to forecast at
            lies too far; all faults at once.
    """
    faults: list[LuthierError] = []
    if config.sizes is None:
        sizes = sorted({size for size in (examples >> times for times in range(_HALVINGS + 1)) if size})
    else:
        sizes = sorted(examples if isinstance(size, str) else size for size in config.sizes)
    beyond = [size for size in sizes if size > examples]
    there = f"there are {examples:,} training examples"
    if beyond:
        said = ", ".join(f"{size:,}" for size in beyond)
        fix = f"Leave out what is beyond them, or write {ALL} for all of them."
        faults.append(ConfigError(f"{there}, and not {said}", where="sizes", fix=fix))
    if len(set(sizes)) < len(sizes):
        what = f"{there}, so that {examples:,} and {ALL} are the same size"
        faults.append(ConfigError(what, where="sizes", fix="Leave out one of them."))
    if len(set(sizes)) < 2:
        faults.append(ConfigError(f"{there}, and a curve needs two sizes", where="sizes", fix="Use more rows."))
    raise_faults("the sizes have faults", faults)
    return tuple(sizes), _forecast(config, sizes[-1])


def _forecast(config: CurveConfig, largest: int) -> tuple[int, ...]:
    if config.forecast is None:
        return tuple(times * largest for times in _TIMES)
    far = [size for size in config.forecast if size > FARTHEST * largest]
    if far:
        what = f"nothing is forecast beyond {FARTHEST} times the largest size, {FARTHEST * largest:,}; {far[0]:,} is"
        raise ConfigError(what, where="forecast", fix="Leave it out, or train on more examples.")
    return tuple(sorted(set(config.forecast)))


def _name_of(config: CurveConfig, plan: Plan) -> str:
    key = digest([config.identity(), plan.model.digest])[:8]
    return f"curve-{plan.target.task.name}-{Path(config.model).name}-{key}"
