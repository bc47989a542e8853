"""A learning curve and a sequence as they are found, made of seeded numbers and no model."""

from __future__ import annotations

import numpy as np

import example_run
from luthier.records import Score
from luthier.results.curve_records import ArmCurve, CurvePoint, CurveResults, CurveRun
from luthier.results.learning_curve import Runs, learning_curve
from luthier.results.sequence import (
    SequenceScores,
    cell_intervals,
    numbers_of_runs,
    sequence_intervals,
)
from luthier.results.sequence_records import ArmSequence, SequenceResults, SequenceRun, StageTask

SIZES = (50, 100, 200, 400, 800)
MATRIX = np.array([[0.20, 0.30, 0.10], [0.80, 0.35, 0.12], [0.85, 0.75, 0.20], [0.50, 0.70, 0.90]])


def curve(*, seeds: int = 3, scale: float = 2.0) -> CurveResults:
    """Losses of 1.30 + scale · n^-.5, and an accuracy that follows them; the name of one arm is hostile."""
    run = example_run.results()
    assert run.environment is not None
    random = np.random.default_rng(0)
    losses = {size: 1.30 + scale * size**-0.5 + 0.02 * random.standard_normal(seeds) for size in SIZES}
    points = tuple(
        CurvePoint(
            size,
            size,
            Score("rougeL", float(2 - own.mean()) / 2, 40, 0.1, 0.9, "", {}),
            Score("token_loss", float(own.mean()), 40, float(own.mean()) - 0.1, float(own.mean()) + 0.1, "", {}),
            tuple(
                CurveRun(seed, float(2 - loss) / 2, float(loss), size // 5, None, "") for seed, loss in enumerate(own)
            ),
        )
        for size, own in losses.items()
    )
    of_loss = learning_curve([Runs(size, tuple(own.tolist())) for size, own in losses.items()], forecast=[1600, 8000])
    training = run.arms[4].training
    assert training is not None
    arms = tuple(
        ArmCurve(name, "lora", tuple(range(seeds)), training, points, of_loss, None, ("a note",))
        for name in ("lora", example_run.NASTY)
    )
    return CurveResults(
        *("0.1.0", "curve", {"task": "x"}, run.model, run.task, run.data, SIZES, "epochs", arms),
        *(0.95, 1.0, 1, run.environment, "float32"),
    )


def sequence() -> SequenceResults:
    """The matrix that is worked by hand, with three training runs; what tasks say of themselves is hostile."""
    run = example_run.results()
    assert run.environment is not None
    own = np.stack([MATRIX - 0.01, MATRIX, MATRIX + 0.01])
    noise = 0.02 * np.random.default_rng(0).standard_normal((200, 1, 4, 3))
    scores = SequenceScores(own, own[None] + noise)
    training = run.arms[4].training
    assert training is not None
    found = ArmSequence(
        name="lora",
        method="lora",
        seeds=(0, 1, 2),
        training=training,
        steps=(5, 5, 5),
        replayed=(0, 2, 2),
        matrix=tuple(map(tuple, cell_intervals(scores, 0.95))),
        numbers=sequence_intervals(scores, 0.95),
        runs=tuple(
            SequenceRun(seed, tuple(map(tuple, matrix.tolist())), numbers)
            for seed, matrix, numbers in zip((0, 1, 2), own, numbers_of_runs(scores), strict=True)
        ),
    )
    failed = ArmSequence("full", "full", (0, 1, 2), training, failed="stage 1 (a): the loss is not finite")
    tasks = tuple(StageTask(name, "accuracy", 1.0, True, 40, 100, example_run.NASTY) for name in ("a", "b", "c"))
    return SequenceResults(
        *("0.1.0", "sequence", {"sequence": ["a", "b"]}, run.model, tasks, (found, failed), 0.95, 1),
        *(run.environment, "float32"),
    )
