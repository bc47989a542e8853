"""The units of work of a comparison: values that are planned first, and that any process with the same plan can run."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

from luthier.config.arms import Arm
from luthier.config.interpolation import BASE, TRAINED

Split: TypeAlias = Literal["test", "validation"]
Kind: TypeAlias = Literal["search", "train", "evaluate", "loss", "retain", "divergence", "pairs", "precision", "time"]
_FIRST = ("search", "train", "retain", "divergence", "evaluate", "loss", "pairs", "precision", "time")
"""Kinds by what should begin first where several processes work: others wait for searches and trainings."""

_OF_THE_BASE: tuple[Kind, ...] = ("retain", "divergence", "pairs", "precision")


@dataclass(frozen=True, slots=True)
class Unit:
    """One unit of work.

    Attributes:
        kind: ``search`` chooses an arm's hyper-parameters, ``train`` trains it with one seed, ``evaluate`` answers the
            target's test split, ``loss`` scores the references of that split, ``retain`` answers the retained tasks and
            text, ``divergence`` measures how far it is from the base on the target's validation examples,
            ``pairs`` scores both answers of its held-out pairs, ``precision`` answers some examples in float32 too,
            ``time`` times single requests.
        arm: Name of the arm; "" is the base.
        seed: Of the training; None where nothing is trained.
        needs: Units that must be done first, by their names.
        at: Point between the base (0) and what was trained (1) at which the arm answers.
        split: Which split's examples are answered: ``validation`` where an arm and a point are chosen.
    """

    kind: Kind
    arm: str
    seed: int | None = None
    needs: tuple[str, ...] = ()
    at: float = TRAINED
    split: Split = "test"

    @property
    def name(self) -> str:
        """What tells it apart from every other unit of its plan."""
        seed = "" if self.seed is None else f", seed {self.seed}"
        at = "" if self.at == TRAINED else f" at {self.at:g}"
        split = "" if self.split == "test" else f", {self.split}"
        return f"{self.kind} {self.arm or 'base'}{at}{seed}{split}"

    def as_json(self) -> dict[str, Any]:
        """Return the unit as JSON can hold it."""
        return asdict(self)

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Unit:
        """Read what :meth:`as_json` returned."""
        return cls(**{**fields, "needs": tuple(fields["needs"])})


def plan_units(
    arms: Sequence[Arm],
    *,
    searching: bool,
    retaining: bool,
    diverging: bool = False,
    preferring: bool = False,
    lower_precision: bool = False,
    choosing: bool = False,
) -> tuple[Unit, ...]:
    """Return the units of a comparison, in an order in which one process may run them.

    Args:
        arms: What is compared.
        searching: Whether hyper-parameters are searched.
        retaining: Whether there are retained tasks or texts.
        diverging: Whether the divergence from the base is measured.
        preferring: Whether there are held-out pairs of answers.
        lower_precision: Whether products are computed in a lower precision than float32.
        choosing: Whether an arm and a point are chosen on the validation splits.
    """
    trains = any(arm.method is not None for arm in arms)
    diverging, preferring = diverging and trains, preferring and trains
    asked = {"retain": retaining, "divergence": diverging, "pairs": preferring, "precision": lower_precision}
    base = [Unit(kind, "") for kind in _OF_THE_BASE if asked[kind]]
    base += [Unit("retain", "", split="validation")] if choosing else []
    arms = in_training_order(arms)
    starts = _starts(arms)
    units = [_units_of(arm, starts, searching=searching, retaining=retaining, choosing=choosing) for arm in arms]
    far = [unit for arm in arms for unit in _divergences(arm)] if diverging else []
    far += [unit for unit in _trained_and(arms, ("pairs",)) if unit.kind == "pairs"] if preferring else []
    return (*base, *(unit for own in units for unit in own), *far)


def _divergences(arm: Arm) -> Iterator[Unit]:
    """Yield the units that measure how far an arm is from the base; the base leaves its distributions first."""
    if arm.method is not None:
        for seed in arm.seeds:
            needs = (Unit("train", arm.name, seed).name, Unit("divergence", "").name)
            yield Unit("divergence", arm.name, seed, needs)


def in_training_order(arms: Sequence[Arm]) -> list[Arm]:
    """Return arms in their order, but each after the one that it begins with."""
    waiting, found = list(arms), list[Arm]()
    while waiting:
        names = {arm.name for arm in waiting}
        ready = next(arm for arm in waiting if arm.start not in names)  # they begin in no circle: the plan checks that
        waiting.remove(ready)
        found.append(ready)
    return found


def _starts(arms: Sequence[Arm]) -> frozenset[str]:
    """Return the names of the arms that others begin with."""
    return frozenset(arm.start for arm in arms) & {arm.name for arm in arms}


def _training(arm: Arm, seed: int, starts: Collection[str], *, searching: bool = False) -> Unit:
    """Return the training of an arm: after its search, and after the training of the arm that it begins with."""
    first = [Unit("search", arm.name).name] if searching else []
    first += [Unit("train", arm.start, seed).name] if arm.start in starts else []
    return Unit("train", arm.name, seed, tuple(first))


def _units_of(arm: Arm, starts: Collection[str], *, searching: bool, retaining: bool, choosing: bool) -> Iterator[Unit]:
    if arm.method is None:
        yield Unit("evaluate", arm.name)
        yield Unit("time", arm.name)
        return
    if searching:
        yield Unit("search", arm.name)
    for seed in arm.seeds:
        train = _training(arm, seed, starts, searching=searching)
        yield train
        for at in (TRAINED, *points_of(arm)):
            if at == BASE and seed != arm.seeds[0]:
                continue  # it is the base whatever the seed
            yield Unit("evaluate", arm.name, seed, (train.name,), at)
            if at == BASE:
                continue
            if retaining:
                # In-context learning changes no weights: only a trained arm can forget.
                yield Unit("retain", arm.name, seed, (train.name,), at)
            if choosing:
                yield Unit("evaluate", arm.name, seed, (train.name,), at, "validation")
                yield Unit("retain", arm.name, seed, (train.name,), at, "validation")
        if seed == arm.seeds[0]:
            yield Unit("time", arm.name, seed, (train.name,))


def plan_curve_units(arms: Sequence[Arm]) -> tuple[Unit, ...]:
    """Return the units of one size of a learning curve: each arm trained, its answers, and the loss of the references.

    Args:
        arms: What is trained.
    """
    return tuple(_trained_and(arms, ("evaluate", "loss")))


def plan_stage_units(arms: Sequence[Arm]) -> tuple[Unit, ...]:
    """Return the units of one stage of a sequence: each arm trained, and its answers to all tasks of the sequence.

    Args:
        arms: What is trained.
    """
    return tuple(_trained_and(arms, ("retain",)))


def _trained_and(arms: Sequence[Arm], kinds: Sequence[Kind]) -> Iterator[Unit]:
    """Yield the training of each arm with each seed, and what follows from it."""
    starts = _starts(arms)
    for arm in in_training_order(arms):
        for seed in arm.seeds if arm.method is not None else ():
            train = _training(arm, seed, starts)
            yield train
            yield from (Unit(kind, arm.name, seed, (train.name,)) for kind in kinds)


def points_of(arm: Arm) -> tuple[float, ...]:
    """Return the points at which an arm is evaluated beside itself: those that were asked for, without its own."""
    return tuple(at for at in arm.interpolate if at != TRAINED)


def next_unit(waiting: Sequence[Unit], done: Collection[str], running: Collection[Unit]) -> Unit | None:
    """Return the unit that a free worker should begin; None while it must wait.

    What others wait for begins first. Requests are timed when nothing else runs, so that a time is not that of a busy
    machine; several workers may time at once, each on its own cores.
    """
    ready = [unit for unit in waiting if all(need in done for need in unit.needs)]
    busy = any(unit.kind != "time" for unit in (*running, *waiting))
    ready = [unit for unit in ready if unit.kind != "time" or not busy]
    return min(ready, key=lambda unit: _FIRST.index(unit.kind), default=None)
