"""A learning curve of a tiny model: nested sizes, found in the store, killed and resumed, the same bytes again."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from killing import stop_in_the_third_part
from luthier.config.curve import CurveConfig
from luthier.errors import LuthierError
from luthier.experiments.curve import curve
from luthier.experiments.curve_plan import read_curve_plan
from luthier.experiments.trained_arms import job_of
from luthier.experiments.tune import tune
from luthier.metrics.task_metrics import TaskMetrics
from luthier.report.page import write_report
from luthier.results.curve_records import CurveResults, error_of, has_error, read_curve
from small_job import Ran, comparison, luthier, tuning, write_job
from tiny_models import tiny_folder

LORA = {"name": "lora", "method": "lora", "settings": {"rank": 2}}
TRAINING = {"epochs": 1, "batch_size": 2, "validations": 1}


def asked(folder: Path, **changes: Any) -> CurveConfig:
    job = folder / "job"
    if not job.exists():
        write_job(job, train=16)
    settings: dict[str, Any] = {
        "model": str(tiny_folder("llama")),
        "task": str(job / "echo.yaml"),
        "arms": [LORA],
        "sizes": [2, 4, 8, "all"],
        "seeds": 2,
        "runs": folder / "runs",
        "device": "cpu",
        "training": TRAINING,
        "evaluation": {"resamples": 100},
    }
    return CurveConfig.model_validate({**settings, **changes})


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[CurveConfig, Path, CurveResults]:
    config = asked(tmp_path_factory.mktemp("curve"))
    run = curve(config)
    return config, run, read_curve(run)


def test_each_size_holds_the_examples_of_the_smaller_ones(tmp_path: Path) -> None:
    plan = read_curve_plan(asked(tmp_path))
    ids = [{example.id for example in own.data.train} for own in plan.plans]
    assert [len(own) for own in ids] == [2, 4, 8, 16] == list(plan.sizes)
    assert all(small < large for small, large in itertools.pairwise(ids))
    tests = {tuple(example.id for example in own.target.examples) for own in plan.plans}
    assert len(tests) == 1, "all sizes answer the same test examples"


def test_the_epochs_or_the_steps_are_the_same_at_all_sizes(tmp_path: Path) -> None:
    def steps(**changes: Any) -> list[int]:
        plan = read_curve_plan(asked(tmp_path, **changes))
        return [job_of(own, own.arms[0], 0).stream.steps for own in plan.plans]

    assert steps() == [1, 2, 4, 8]
    assert steps(fixed="steps") == [8, 8, 8, 8]
    assert steps(fixed="steps", arms=["lora"]) == [8, 8, 8, 8], "a preset, too"
    own = {**LORA, "training": {"epochs": 2}}
    assert steps(fixed="steps", arms=[own]) == [16, 16, 16, 16], "an arm's own epochs"


def test_every_size_is_measured_with_every_seed(done: tuple[CurveConfig, Path, CurveResults]) -> None:
    _, run, results = done
    (arm,) = results.arms
    assert [point.size for point in arm.points] == [2, 4, 8, 16] == [point.examples for point in arm.points]
    for point in arm.points:
        assert [one.seed for one in point.runs] == [0, 1]
        assert point.loss.value == pytest.approx(sum(one.loss for one in point.runs) / 2)
        assert point.score.value == pytest.approx(sum(one.score for one in point.runs) / 2)
        assert point.loss.metric == "token_loss"
        assert point.score.metric == results.task.primary == "token_f1"
        assert all((run / one.predictions).is_file() for one in point.runs)
    assert arm.loss is not None
    assert arm.error is not None


def test_the_loss_is_that_of_the_references(done: tuple[CurveConfig, Path, CurveResults]) -> None:
    """What one training of ``tune`` gives to the references, computed by the model itself."""
    config, _, results = done
    plan = read_curve_plan(config).plans[0]
    from luthier.methods.adapter_io import load_adapter
    from luthier.objectives.cross_entropy import CrossEntropy
    from luthier.training.stream import prepare_records

    trained, _ = tune(
        tuning(
            comparison("llama", Path(config.task).parent, config.runs, arms=[LORA], training=TRAINING),
            data={"train": 2},
            training_seed=1,
        )
    )
    records = prepare_records(CrossEntropy(), plan.target.examples, plan.target.encoder).records
    attached = load_adapter(plan.model, trained.adapter)
    try:
        logprobs = plan.model.target_logprobs(list(records))
    finally:
        attached.detach()
    assert results.arms[0].points[0].runs[1].loss == pytest.approx(-float(logprobs.mean().detach()), abs=1e-5)


@pytest.mark.slow
def test_the_same_command_finds_everything_and_writes_the_same_bytes(
    done: tuple[CurveConfig, Path, CurveResults], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    config, run, _ = done
    before = (run / "results.json").read_bytes()
    assert curve(config) == run
    assert (run / "results.json").read_bytes() == before
    assert "training:" not in capsys.readouterr().err
    elsewhere = curve(config.model_copy(update={"runs": tmp_path}))
    assert (elsewhere / "results.json").read_bytes() == before
    write_report(run)
    page = (run / "report.html").read_bytes()
    write_report(run)
    assert (run / "report.html").read_bytes() == page


def test_more_sizes_train_only_what_is_new(
    done: tuple[CurveConfig, Path, CurveResults], capsys: pytest.CaptureFixture[str]
) -> None:
    config, _, results = done
    capsys.readouterr()
    more = read_curve(curve(config.model_copy(update={"sizes": (2, 4, 6, 8, "all")})))
    said = capsys.readouterr().err
    assert said.count("steps/s, loss") + said.count("s/step, loss") <= 2, "size 6, two seeds"
    kept = [point for point in more.arms[0].points if point.size != 6]
    assert [point.loss for point in kept] == [point.loss for point in results.arms[0].points]


@pytest.mark.slow
def test_a_killed_curve_goes_on_to_the_same_bytes(
    done: tuple[CurveConfig, Path, CurveResults], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, run, _ = done
    again = config.model_copy(update={"runs": tmp_path})
    with monkeypatch.context() as patch:
        stop_in_the_third_part(patch)
        with pytest.raises(KeyboardInterrupt):
            curve(again)
    assert (curve(again) / "results.json").read_bytes() == (run / "results.json").read_bytes()


@pytest.mark.slow
@pytest.mark.usefixtures("all_passes")
def test_workers_give_the_same_bytes(done: tuple[CurveConfig, Path, CurveResults], tmp_path: Path) -> None:
    config, run, _ = done
    two = curve(config.model_copy(update={"runs": tmp_path, "workers": 2}))
    assert (two / "results.json").read_bytes() == (run / "results.json").read_bytes()


@pytest.mark.slow
def test_a_size_at_which_training_fails_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from luthier.errors import DivergenceError
    from luthier.experiments import run_unit
    from luthier.experiments.trained_arms import train as honest

    def failing(plan: Any, arm: Any, seed: int, **rest: Any) -> Any:
        if len(plan.data.train) == 4 and seed == 1:
            raise DivergenceError("the loss is not finite", where="arm 'lora', step 2", fix="")
        return honest(plan, arm, seed, **rest)

    monkeypatch.setattr(run_unit, "train", failing)
    (arm,) = read_curve(curve(asked(tmp_path))).arms
    assert [point.size for point in arm.points] == [2, 8, 16]
    assert arm.notes == (
        "its training failed at 4 examples, so they are left out: seed 1, step 2: the loss is not finite",
    )
    assert arm.loss is not None
    assert (
        arm.loss.why_none == "a forecast needs 4 sizes and 2 training runs at each; there are 3, with 2 training runs"
    )


def test_sizes_that_are_not_given_are_halvings(tmp_path: Path) -> None:
    plan = read_curve_plan(asked(tmp_path, sizes=None))
    assert plan.sizes == (1, 2, 4, 8, 16)
    assert plan.forecast == (32, 80, 160)


def command(folder: Path, *words: object) -> Ran:
    job = folder / "job"
    if not job.exists():
        write_job(job, train=16)
    flags = ("curve", "--model", tiny_folder("llama"), "--task", job / "echo.yaml", "--runs", folder / "runs")
    return luthier(*flags, *words)


BEFORE_THE_FIRST_STEP = [
    (
        ("--sizes", "2,4,17,30"),
        "sizes: there are 16 training examples, and not 17, 30",
        "Leave out what is beyond them, or write all for all of them.",
    ),
    (
        ("--sizes", "2,16,all"),
        "sizes: there are 16 training examples, so that 16 and all are the same size",
        "Leave out",
    ),
    (("--sizes", "all"), "key 'sizes': a curve needs two sizes at least, as in 50,100,200,400,all", ""),
    (("--sizes", "2,4,2"), "key 'sizes': the size 2 is given twice", ""),
    (("--sizes", "2,many"), "key 'sizes': a size is a whole number of at least 1, or the word all, and not 'many'", ""),
    (("--sizes", "0,2"), "key 'sizes': a size is a whole number of at least 1, or the word all, and not '0'", ""),
    (("--sizes", "2,-4"), "key 'sizes': a size is a whole number of at least 1, or the word all, and not '-4'", ""),
    (("--forecast", "x"), "key 'forecast': a number of examples is a whole number of at least 1, and not 'x'", ""),
    (
        ("--forecast", "170"),
        "forecast: nothing is forecast beyond 10 times the largest size, 160; 170 is",
        "Leave it out, or train on more examples.",
    ),
    (
        ("--arms", "zero_shot,lora"),
        "arms: the arm 'zero_shot' trains nothing, so it has no learning curve",
        "Leave it out, and name arms with a method, such as lora or full.",
    ),
    (("--arms", "lorra"), "arms: unknown arm 'lorra'", "Did you mean 'lora'?"),
    (("--fixed", "time"), "key 'fixed':", ""),
]


@pytest.mark.parametrize(("words", "what", "fix"), BEFORE_THE_FIRST_STEP, ids=lambda item: str(item)[:40])
def test_bad_input_is_an_error_before_the_first_step(
    tmp_path: Path, words: tuple[str, ...], what: str, fix: str
) -> None:
    ran = command(tmp_path, *words)
    assert ran.code == 2
    assert what in ran.err
    assert fix in ran.err
    assert "Traceback" not in ran.err
    assert ": training" not in ran.err
    assert not list((tmp_path / "runs").glob("store/models/*"))


def test_all_faults_of_the_sizes_are_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(LuthierError) as caught:
        read_curve_plan(asked(tmp_path, sizes=[16, "all", 20]))
    assert "and not 20" in str(caught.value)
    assert "16 and all are the same size" in str(caught.value)


def test_a_task_of_one_example_has_no_curve(tmp_path: Path) -> None:
    write_job(tmp_path / "job", train=1)
    with pytest.raises(LuthierError, match="1 training examples, and a curve needs two sizes"):
        read_curve_plan(asked(tmp_path, sizes=None))


def mixture_of_two(tmp_path: Path) -> Path:
    """A mixture of two tasks of 16 training examples each, in equal parts."""
    job = write_job(tmp_path / "job", train=16)
    mixture = job / "mix.yaml"
    mixture.write_text("rate: equal\ntasks: [echo.yaml, colour.yaml]\n")
    return mixture


def test_a_size_of_a_mixture_is_that_of_an_epoch_and_holds_the_smaller_ones(tmp_path: Path) -> None:
    plan = read_curve_plan(asked(tmp_path, task=str(mixture_of_two(tmp_path)), sizes=[4, 8, "all"]))
    assert plan.sizes == (4, 8, 32)
    read = []
    for own in plan.plans:
        config = own.config.training.model_copy(update={"epochs": 3.0})
        stream = job_of(own, replace(own.arms[0], training=config), 0).stream
        epoch = sum(stream.data.quotas or ())
        steps = [{record.id for record in stream.records(step)} for step in range(stream.steps)]
        half = len(steps) // 3
        epochs = [set[str]().union(*steps[half * k : half * (k + 1)]) for k in range(3)]
        assert epochs[0] == epochs[1] == epochs[2], "every epoch reads the same examples"
        assert len(epochs[0]) <= epoch, "the two tasks have rows of the same ids"
        read.append(epochs[0])
        assert [len(source) for source in own.training.mixtures[own.config.task].sources] == [epoch // 2, epoch // 2]
    assert read[0] < read[1] < read[2]


def test_a_curve_of_a_mixture(tmp_path: Path) -> None:
    run = curve(asked(tmp_path, task=str(mixture_of_two(tmp_path)), sizes=[4, "all"], seeds=1))
    results = read_curve(run)
    assert [point.examples for point in results.arms[0].points] == [4, 32]
    assert [point.runs[0].steps for point in results.arms[0].points] == [2, 16]


def test_an_arm_with_a_mixture_of_its_own_has_no_sizes(tmp_path: Path) -> None:
    mixture = mixture_of_two(tmp_path)
    with pytest.raises(LuthierError, match="arm 'lora', mixture: sizes are of what all arms learn from"):
        read_curve_plan(asked(tmp_path, arms=[{**LORA, "mixture": str(mixture)}]))


def test_the_terminal_and_the_pages_say_the_same(tmp_path: Path) -> None:
    quick = ("--device", "cpu", "--set", "training.steps=1", "--set", "evaluation.resamples=100")
    ran = command(tmp_path, "--sizes", "2,4", "--seeds", "1", *quick)
    assert ran.code == 0, ran.err
    said = "a forecast needs 4 sizes and 2 training runs at each; there are 2, with 1 training run"
    run = next((tmp_path / "runs").glob("curve-echo-*"))
    for text in (" ".join(ran.out.split()), (run / "report.md").read_text(), (run / "report.html").read_text()):
        assert f"lora, loss of the references: no forecast, because {said}" in text
    assert {path.name for path in (run / "charts").iterdir()} == {"loss.png", "score.png"}
    assert {path.name for path in (run / "tables").glob("*.csv")} == {"sizes.csv", "forecast.csv", "fit.csv"}
    again = luthier("report", run)
    assert again.code == 0
    assert json.loads((run / "results.json").read_text())["kind"] == "curve"


def test_a_curve_is_no_comparison(done: tuple[CurveConfig, Path, CurveResults]) -> None:
    from luthier.results.records import read_results

    with pytest.raises(LuthierError, match=r"results\.json"):
        read_results(done[1])


@pytest.mark.parametrize(
    ("metrics", "value", "error"),
    [
        (TaskMetrics("echo", ("accuracy",), "accuracy"), 0.75, 0.25),
        (TaskMetrics("echo", ("bleu",), "bleu"), 30.0, 0.7),  # of 100
        (TaskMetrics("echo", ("perplexity",), "token_loss"), 2.5, 2.5),  # less of it is better
    ],
)
def test_the_error_of_a_metric(metrics: TaskMetrics, value: float, error: float) -> None:
    assert has_error(metrics)
    assert error_of(value, metrics) == pytest.approx(error)
