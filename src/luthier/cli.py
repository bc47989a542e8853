"""The command line: one verb for each stage. Heavy libraries are imported inside the verbs, so that help is instant."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from luthier.errors import LuthierError

if TYPE_CHECKING:
    from luthier.config import CompareConfig

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
Trust = Annotated[bool, typer.Option("--trust-remote-code", help="Run code that comes with the model.")]
Train = Annotated[int | None, typer.Option("--train", help="Training examples at most.", show_default=False)]
Test = Annotated[int | None, typer.Option("--test", help="Test examples at most.", show_default=False)]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="Any setting, e.g. training.epochs=2 (repeatable).", show_default=False),
]


def main() -> None:
    """Run the command line; a fault of the user is a message and exit code 2, never a traceback."""
    try:
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


def _config(
    file: Path | None,
    assignments: Sequence[str] | None,
    **flags: Any,
) -> CompareConfig:
    """Lay flags upon ``--set`` upon the file; keys are dotted with two underscores."""
    from luthier.config import CompareConfig, load_yaml, merge, parse_assignments, validate

    given: dict[str, Any] = {}
    for name, value in flags.items():
        if value is None or value is False:
            continue
        place = given
        *parents, last = name.split("__")
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value
    data, lines = load_yaml(file) if file else ({}, {})
    if file:
        validate(CompareConfig, data, source=str(file), lines=lines)
    merged = merge(merge(data, parse_assignments(assignments or [])), given)
    return validate(CompareConfig, merged, source="the settings")


def _words(text: str | None) -> tuple[str, ...] | None:
    return None if text is None else tuple(word.strip() for word in text.split(",") if word.strip())


@app.command()
def compare(
    config: ConfigFile = None,
    model: Model = None,
    task: TaskName = None,
    arms: Annotated[
        str | None, typer.Option(help="Comma-separated: zero_shot,one_shot,few_shot,full,lora …", show_default=False)
    ] = None,
    retain: Annotated[
        str | None, typer.Option(help="Comma-separated tasks on which forgetting is measured.", show_default=False)
    ] = None,
    retain_text: Annotated[
        str | None, typer.Option(help="Plain text for token loss: plain_text, a file, or none.", show_default=False)
    ] = None,
    out: Out = None,
    name: Annotated[str | None, typer.Option(help="Name of the run's folder.", show_default=False)] = None,
    train: Train = None,
    test: Test = None,
    seed: Seed = None,
    device: Device = None,
    trust_remote_code: Trust = False,
    set_: Set = None,
) -> None:
    """Run every arm from the same start, and report what was gained, what it cost, and what was forgotten."""
    text = {} if retain_text is None else {"retain_text": None if retain_text == "none" else retain_text}
    settings = _config(
        config,
        set_,
        model=model,
        task=task,
        arms=_words(arms),
        retain=_words(retain),
        out=out,
        name=name,
        seed=seed,
        device=device,
        trust_remote_code=trust_remote_code,
        data__train=train,
        data__test=test,
    ).model_copy(update=text)
    quiet_libraries()
    from luthier.jobs import compare as job

    run = job.compare(settings)
    _show_run(run)


def _show_run(run: Path) -> None:
    from rich.console import Console

    from luthier.comparison.results import read_costs, read_results
    from luthier.report.page import write_report
    from luthier.report.table import summary_tables

    page = write_report(run)
    results = read_results(run)
    console = Console()
    for table in summary_tables(results, read_costs(run)):
        console.print(table)
    console.print(results.recommendation.sentence, style="bold")
    console.print(f"Report: {page}", soft_wrap=True)


@app.command()
def report(run: Annotated[Path, typer.Argument(help="Folder of a finished run.")]) -> None:
    """Rebuild a run's page, without a model."""
    _show_run(run)


def quiet_libraries() -> None:
    """Keep what other libraries say off the screen: our own messages say what matters."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    import warnings

    warnings.filterwarnings("ignore", module=r"(transformers|peft|torch|datasets)\b.*")
