"""The command line: one verb for each stage. Heavy libraries are imported inside the verbs, so that help is instant."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from luthier.errors import LuthierError
from luthier.kernels.allocator import keep_freed_memory

if TYPE_CHECKING:
    from luthier.config.compare import CompareConfig

app = typer.Typer(
    name="luthier",
    help="Fine-tune a language model on your task, and know what you gained, what it cost, and what it forgot.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
tasks_app = typer.Typer(help="List, show and preview tasks.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(tasks_app, name="tasks")

ConfigFile = Annotated[Path | None, typer.Argument(help="YAML file with any of the settings.", show_default=False)]
Model = Annotated[
    str | None, typer.Option("--model", "-m", help="Hugging Face id, folder, or mini.", show_default=False)
]
TaskName = Annotated[
    str | None, typer.Option("--task", "-t", help="Built-in name, task YAML, or data file.", show_default=False)
]
Out = Annotated[Path | None, typer.Option("--out", "-o", help="Folder of runs and their store.", show_default=False)]
Seed = Annotated[int | None, typer.Option(help="Seed of everything that is drawn.", show_default=False)]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, mps.", show_default=False)]
Capabilities = Annotated[bool, typer.Option("--trust-remote-code", help="Run code that comes with the model.")]
Train = Annotated[int | None, typer.Option("--train", help="Training examples at most.", show_default=False)]
Test = Annotated[int | None, typer.Option("--test", help="Test examples at most.", show_default=False)]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="Any setting, e.g. training.epochs=2 (repeatable).", show_default=False),
]
TaskArgument = Annotated[str, typer.Argument(help="Built-in name, task YAML, or data file.")]


def main() -> None:
    """Run the command line; a fault of the user is a message and exit code 2, never a traceback."""
    keep_freed_memory()
    try:
        _refuse_former_flags(sys.argv[1:])
        app()
    except LuthierError as error:
        sys.stderr.write(f"error: {error}\n")
        raise SystemExit(error.exit_code) from None
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; what is finished is kept, and the same command goes on\n")
        raise SystemExit(130) from None
    except BrokenPipeError:
        # The reader of a pipe went away (`luthier tasks list | head`): nothing is wrong.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _refuse_former_flags(arguments: Sequence[str]) -> None:
    if any(argument.partition("=")[0] == "--retain-text" for argument in arguments):
        from luthier.errors import ConfigError

        what = "'--retain-text' is called '--retention-text' now"
        raise ConfigError(what, where="the command line", fix="Write --retention-text.")


@app.command()
def compare(
    config: ConfigFile = None,
    model: Model = None,
    task: TaskName = None,
    arms: Annotated[
        str | None, typer.Option(help="Comma-separated: zero_shot,one_shot,few_shot,full,lora …", show_default=False)
    ] = None,
    retain: Annotated[
        str | None,
        typer.Option(help="Comma-separated tasks on which forgetting is measured; none.", show_default=False),
    ] = None,
    retention_text: Annotated[
        str | None, typer.Option(help="Plain text for token loss: plain_text, a file; none.", show_default=False)
    ] = None,
    out: Out = None,
    name: Annotated[str | None, typer.Option(help="Name of the run's folder.", show_default=False)] = None,
    train: Train = None,
    test: Test = None,
    search: Annotated[
        int | None, typer.Option(help="Trials on validation for each trained arm.", show_default=False)
    ] = None,
    seed: Seed = None,
    seeds: Annotated[
        str | None,
        typer.Option(help="Train every trained arm with 0 … n-1, or with each of 0,1,5.", show_default=False),
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Processes side by side.", show_default=False)] = None,
    device: Device = None,
    trust_remote_code: Capabilities = False,
    set_: Set = None,
) -> None:
    """Run every arm from the same start, and report what was gained, what it cost, and what was forgotten."""
    flags = {
        "model": model,
        "task": task,
        "arms": _words(arms),
        "retain": _words(retain),
        "out": out,
        "name": name,
        "data.train": train,
        "data.test": test,
        "search.trials": search,
        "seed": seed,
        "seeds": _seeds(seeds),
        "workers": workers,
        "device": device,
        "trust_remote_code": trust_remote_code or None,
    }
    if retention_text is not None:
        flags["retention_text"] = None if retention_text == "none" else retention_text
    settings = _settings(config, set_, flags, keep_none=("retention_text",) if retention_text == "none" else ())
    _quiet_libraries()
    from luthier.experiments import compare as job

    _show_run(job.compare(settings))


@app.command()
def tune(
    config: ConfigFile = None,
    model: Model = None,
    task: TaskName = None,
    arm: Annotated[str, typer.Option("--arm", "-a", help="The method: lora, full …")] = "lora",
    save: Annotated[
        Path | None, typer.Option("--save", help="New folder for the adapter or the whole model.", show_default=False)
    ] = None,
    out: Out = None,
    train: Train = None,
    seed: Seed = None,
    device: Device = None,
    trust_remote_code: Capabilities = False,
    set_: Set = None,
) -> None:
    """Train one arm, and say where its adapter is."""
    flags = {
        "model": model,
        "task": task,
        "out": out,
        "data.train": train,
        "seed": seed,
        "device": device,
        "trust_remote_code": trust_remote_code or None,
    }
    settings = _settings(config, set_, flags)
    if config is None or "arms" not in settings.model_fields_set:
        settings = settings.model_copy(update={"arms": (arm,)})
    _quiet_libraries()
    from luthier.experiments import tune as job

    trained, folder = job.tune(settings, save)
    known = trained.result
    best = f"best at step {known['best_step']} of {known['steps']}" if known["best_step"] else f"{known['steps']} steps"
    typer.echo(f"{known['trainable_parameters']:,} weights trained, {best}, {known['stored_bytes']:,} bytes: {folder}")


@app.command()
def merge(
    adapter: Annotated[Path, typer.Argument(help="Folder that `tune` wrote, or an adapter in PEFT's layout.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="New folder for the merged model.")],
    model: Model = None,
    task: Annotated[
        str | None,
        typer.Option("--task", "-t", help="Task that proves the merge; the adapter's own.", show_default=False),
    ] = None,
    sample: Annotated[int, typer.Option(min=1, help="Test examples that prove the merge.")] = 32,
    any_base: Annotated[bool, typer.Option("--any-base", help="Accept an adapter of another base.")] = False,
    seed: Seed = None,
    device: Device = None,
    trust_remote_code: Capabilities = False,
    set_: Set = None,
) -> None:
    """Fold an adapter into its base: a whole model of its own, refused if it answers otherwise."""
    flags = {
        "model": model,
        "task": task,
        "seed": seed,
        "device": device,
        "trust_remote_code": trust_remote_code or None,
    }
    settings = _settings(None, set_, flags)
    _quiet_libraries()
    from luthier.experiments import merge as job
    from luthier.report.merged import merged_table

    if "task" not in settings.model_fields_set:
        settings = settings.model_copy(update={"task": job.proving_task(adapter)})
    found = job.merge(settings, adapter, out, sample=sample, any_base=any_base)
    _print(
        merged_table(
            difference=found.greatest_difference,
            allowed=found.tolerance,
            metric=found.metric,
            before=found.metric_before,
            after=found.metric_after,
            examples=found.examples,
        )
    )
    typer.echo(f"A whole model, for any program that reads transformers' layout: {out}")


@app.command("eval")
def evaluate(
    config: ConfigFile = None,
    model: Model = None,
    tasks: Annotated[str, typer.Option("--tasks", "-t", help="Comma-separated tasks, or all.")] = "all",
    adapter: Annotated[
        Path | None, typer.Option("--adapter", help="Folder that `tune` wrote.", show_default=False)
    ] = None,
    any_base: Annotated[bool, typer.Option("--any-base", help="Accept an adapter of another base.")] = False,
    shots: Annotated[int, typer.Option(min=0, help="Exemplars before each prompt, as many as fit.")] = 0,
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Use no answers of other evaluations.")] = False,
    engine: Annotated[
        str | None,
        typer.Option(help="What computes: torch, or ctranslate2 or ctranslate2-int8 on a CPU.", show_default=False),
    ] = None,
    out: Out = None,
    test: Test = None,
    seed: Seed = None,
    device: Device = None,
    trust_remote_code: Capabilities = False,
    json_: Annotated[bool, typer.Option("--json", help="Print the scores as JSON.")] = False,
    set_: Set = None,
) -> None:
    """Measure a model, with an adapter or without, on tasks."""
    flags = {
        "model": model,
        "evaluation.engine": engine,
        "out": out,
        "data.test": test,
        "evaluation.cache": False if no_cache else None,
        "seed": seed,
        "device": device,
        "trust_remote_code": trust_remote_code or None,
    }
    settings = _settings(config, set_, flags)
    _quiet_libraries()
    from luthier.experiments import evaluate as job
    from luthier.report.evaluation import EvaluationRow, evaluation_json, evaluation_table

    found = job.evaluate(settings, _words(tasks) or (), shots=shots, adapter=adapter, any_base=any_base)
    rows = [
        EvaluationRow(
            item.task.name,
            item.task.chance,
            item.scores,
            item.shots_used,
            item.dropped,
            item.parts,
            item.coarser,
            item.same,
        )
        for item in found
    ]
    if json_:
        typer.echo(evaluation_json(rows))
    else:
        _print(evaluation_table(rows))


@app.command()
def check(
    config: ConfigFile = None,
    model: Model = None,
    task: TaskName = None,
    train: Train = None,
    seed: Seed = None,
    trust_remote_code: Capabilities = False,
    set_: Set = None,
) -> None:
    """Show what would be learned, before any step; exit code 2 when training would be meaningless."""
    flags = {
        "model": model,
        "task": task,
        "data.train": train,
        "seed": seed,
        "trust_remote_code": trust_remote_code or None,
    }
    settings = _settings(config, set_, flags)
    _quiet_libraries()
    from rich.console import Console

    from luthier.data.check import fatal, render_check
    from luthier.errors import raise_faults
    from luthier.models.load import load_reader
    from luthier.tasks.check_task import run_check

    reader = load_reader(settings.model, trust_remote_code=settings.trust_remote_code)
    report = run_check(
        settings.task,
        reader.tokenizer,
        encoder_decoder=reader.encoder_decoder,
        max_length=reader.max_length,
        data=settings.data,
        seed=settings.seed,
    )
    render_check(report, Console())
    raise_faults("training would be meaningless", fatal(report, settings.data.max_lost))


@app.command()
def score(
    predictions: Annotated[list[Path], typer.Option("--predictions", "-p", help="One file a system (repeatable).")],
    references: Annotated[
        list[Path] | None,
        typer.Option("--references", "-r", help="Files with right answers (repeatable).", show_default=False),
    ] = None,
    metric: Annotated[list[str] | None, typer.Option("--metric", "-m", help="Names, e.g. rouge,bleu.")] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    by: Annotated[str, typer.Option(help="Score each value of this column on its own too.")] = "",
    explain: Annotated[str, typer.Option(help="Show how the score of this example (id or line) comes about.")] = "",
    per_example: Annotated[
        Path | None, typer.Option(help="Write one row for each example here.", show_default=False)
    ] = None,
    prediction_column: Annotated[str, typer.Option(help="Column of the predictions.")] = "",
    reference_column: Annotated[str, typer.Option(help="Column of the references.")] = "",
    id_column: Annotated[str, typer.Option(help="Column of the ids.")] = "",
    allow_empty: Annotated[bool, typer.Option("--allow-empty", help="Score empty lines as empty answers.")] = False,
    confidence: Annotated[float, typer.Option(help="Level of the intervals.")] = 0.95,
    resamples: Annotated[int, typer.Option(help="Bootstrap resamples.")] = 1000,
    seed: Annotated[int, typer.Option(help="Seed of the resamples.")] = 0,
    test: Annotated[str, typer.Option(help="Paired test: randomisation, bootstrap, mcnemar.")] = "randomisation",
) -> None:
    """Score any predictions against any references; several systems are compared in pairs."""
    from luthier.metrics.score_command import run_score

    run_score(
        predictions,
        references or (),
        metrics=metric or ("rouge",),
        as_json=json_,
        by=by,
        explain_id=explain,
        per_example=per_example,
        prediction_column=prediction_column,
        reference_column=reference_column,
        id_column=id_column,
        allow_empty=allow_empty,
        confidence=confidence,
        resamples=resamples,
        seed=seed,
        test=test,
    )


@app.command()
def report(run: Annotated[Path, typer.Argument(help="Folder of a finished run.")]) -> None:
    """Rebuild a run's page, without a model."""
    _show_run(run)


@tasks_app.command("list")
def list_tasks() -> None:
    """List the built-in tasks."""
    from luthier.tasks import show

    _print(show.list_tasks())


@tasks_app.command("show")
def show_task(task: TaskArgument) -> None:
    """Show what a task is: its source, templates, metrics and splits."""
    from luthier.tasks import show
    from luthier.tasks.loader import load_task

    _print(show.show_task(load_task(task)))


@tasks_app.command("preview")
def preview_task(
    task: TaskArgument,
    split: Annotated[str, typer.Option(help="train, validation or test.")] = "train",
    rows: Annotated[int, typer.Option(min=1, help="Rows to render.")] = 1,
    template: Annotated[str | None, typer.Option(help="Only this template.", show_default=False)] = None,
) -> None:
    """Render the first rows of a task by its templates."""
    from luthier.tasks import show
    from luthier.tasks.loader import load_task

    _print(show.preview(load_task(task), split=split, rows=rows, template=template))


def _settings(
    file: Path | None, assignments: Sequence[str] | None, flags: Mapping[str, Any], *, keep_none: Sequence[str] = ()
) -> CompareConfig:
    """Lay named flags upon ``--set`` upon the file; the keys of flags are dotted."""
    from luthier.config.assignments import nested, overlay, parse_assignments
    from luthier.config.compare import CompareConfig
    from luthier.config.validation import validate
    from luthier.config.yaml_file import load_yaml

    data, lines = load_yaml(file) if file else ({}, {})
    if file:
        validate(CompareConfig, data, source=str(file), lines=lines)
    given = {key: value for key, value in flags.items() if value is not None or key in keep_none}
    merged = overlay(overlay(data, parse_assignments(assignments or [])), nested(given))
    return validate(CompareConfig, merged, source="the command line")


def _words(text: str | None) -> tuple[str, ...] | None:
    """Split a comma-separated flag; ``none`` is the empty list."""
    if text is None:
        return None
    return () if text == "none" else tuple(word.strip() for word in text.split(",") if word.strip())


def _seeds(text: str | None) -> object:
    """Read ``3`` as a number of seeds and ``0,1,5`` as seeds; what is no number is refused by the settings."""
    if text is None or "," not in text:
        return text
    return [word.strip() for word in text.split(",") if word.strip()]


def _print(renderable: Any) -> None:
    from rich.console import Console

    Console().print(renderable)


def _show_run(run: Path) -> None:
    from luthier.report.page import write_report
    from luthier.report.terminal import retention_table, summary_table
    from luthier.results.records import read_costs, read_results

    results, costs = read_results(run), read_costs(run)
    page = write_report(run)
    _print(summary_table(results, costs))
    retention = retention_table(results)
    if retention is not None:
        _print(retention)
    typer.echo(results.recommendation.sentence)
    typer.echo(f"Report: {page}")


def _quiet_libraries() -> None:
    """Keep what other libraries say off the screen: our own messages say what matters."""
    import warnings

    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    warnings.filterwarnings("ignore", module=r"(transformers|peft|torch|datasets)\b.*")
