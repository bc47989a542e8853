"""The command line: one verb for each stage.

Which verbs there are, and which settings of theirs have a flag, is stated in :mod:`luthier.config.verbs`; this module
turns that into commands and runs them. Heavy libraries are imported inside the verbs, so that help is instant.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from luthier.config.verbs import VERBS, Verb
from luthier.errors import ConfigError, LuthierError
from luthier.exhausted import exhausted
from luthier.kernels.allocator import keep_freed_memory
from luthier.quiet import quiet_libraries
from luthier.signals import exit_code, raise_when_terminated
from luthier.stdio import complain, complain_of_usage, deliver_json, echo, prepare_streams
from luthier.threads import prepare_threads
from luthier.version import __version__

if TYPE_CHECKING:
    from luthier.config.check import CheckConfig
    from luthier.config.compare import CompareConfig
    from luthier.config.curve import CurveConfig
    from luthier.config.evaluate import EvaluateConfig
    from luthier.config.flags import Option
    from luthier.config.merge import MergeConfig
    from luthier.config.new_task import NewTaskConfig
    from luthier.config.predict import PredictConfig
    from luthier.config.sample import SampleConfig
    from luthier.config.score import ScoreConfig
    from luthier.config.show_tasks import PreviewTaskConfig, ShowTaskConfig
    from luthier.config.store import CleanStoreConfig, ListStoreConfig, StoreSizeConfig
    from luthier.config.tune import TuneConfig
    from luthier.display import Displayed

SUMMARY = "Fine-tune a language model on your task, and know what you gained, what it cost, and what it forgot."
_FILE, _SET, _JSON = "settings_file", "assignments", "json"
"""Names of the parameters that stand for no setting."""
_GROUPS = {"tasks": "List, show, preview and draft tasks.", "store": "List, measure and clean the run store."}
_RESERVE = 2**21
"""Bytes that are kept for the message that memory ran out."""
_METAVARS = {"words": "NAME,...", "seeds": "N or N,N,..."}


def main() -> None:
    """Run the command line; a fault of the user is a message and exit code 2, never a traceback."""
    prepare_threads()
    keep_freed_memory()
    raise_when_terminated()
    prepare_streams()
    reserve = bytearray(_RESERVE)
    try:
        sys.exit(app(standalone_mode=False))
    except click.ClickException as wrong:
        complain_of_usage(wrong)
        raise SystemExit(wrong.exit_code) from None
    except click.Abort:
        raise SystemExit(130) from None
    except LuthierError as error:
        complain(f"error: {error}")
        raise SystemExit(error.exit_code) from None
    except KeyboardInterrupt as stopped:
        raise SystemExit(exit_code(stopped)) from None
    except BrokenPipeError:
        # The reader of a pipe went away (`luthier tasks list | head`): nothing is wrong.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except Exception as fault:
        reserve.clear()  # where memory ran out, none is left for a message
        lacking = exhausted(fault)
        if lacking is None:
            raise
        complain(f"error: {lacking}")
        raise SystemExit(lacking.exit_code) from None


class VerbCommand(click.Command):
    """A verb, whose parameters are made from its settings when they are first needed."""

    def __init__(self, verb: Verb) -> None:
        super().__init__(verb.name.rpartition(" ")[2], help=verb.help, callback=None)
        self.verb = verb

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return the parameters."""
        if not self.params:
            self.params = _parameters(self.verb)
        return super().get_params(ctx)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse a command; the error for an option that was renamed or belongs to another verb says so."""
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as unknown:
            from luthier.config.flags import refuse_option

            refuse_option(self.verb, unknown.option_name)
            raise

    def invoke(self, ctx: click.Context) -> None:
        """Validate the settings and run the verb; when it is stopped, say what is kept and how to go on."""
        try:
            self._run(ctx)
        except KeyboardInterrupt as stopped:
            complain(_farewell(self.verb))
            raise SystemExit(exit_code(stopped)) from None

    def _run(self, ctx: click.Context) -> None:
        settings = None
        if self.verb.settings:
            from luthier.config.layers import read_settings
            from luthier.experiments.named import require_names

            given = ctx.params
            settings = read_settings(self.verb, given, file=given.get(_FILE), assignments=given.get(_SET) or ())
            require_names(settings)
        quiet_libraries()
        _RUN[self.verb.name](settings, bool(ctx.params.get(_JSON)))


def _farewell(verb: Verb) -> str:
    """Return what is said when a verb was stopped."""
    if not any(flag.key == "remake_damaged" for flag in verb.flags):
        return "stopped"
    command = shlex.join(["luthier", *sys.argv[1:]])
    return f"stopped; what is finished is kept in the store. To go on where it was stopped:\n  {command}"


def _parameters(verb: Verb) -> list[click.Parameter]:
    parameters: list[click.Parameter] = []
    if verb.file:
        path = click.Path(path_type=Path)
        text = "A YAML file with any of the settings."
        parameters.append(click.Argument([_FILE], type=path, required=False, metavar="[CONFIG]", help=text))
    if verb.settings:
        from luthier.config.flags import options_of

        parameters += [_parameter(option) for option in options_of(verb)]
    if verb.json:
        parameters.append(click.Option(["--json", _JSON], is_flag=True, help="Print JSON."))
    if verb.assignments:
        text = "Any setting, e.g. training.epochs=2 (repeatable)." if verb.name in ("compare", "curve", "tune") else ""
        text = text or "Any setting, e.g. data.max_length=256 (repeatable)."
        parameters.append(click.Option(["--set", _SET], multiple=True, metavar="KEY=VALUE", help=text))
    return parameters


def _parameter(option: Option) -> click.Parameter:
    flag = option.flag
    kinds = {"whole": click.INT, "number": click.FLOAT, "path": click.Path(path_type=Path)}
    kind = kinds.get(option.kind, click.STRING)
    if flag.position:
        count = -1 if flag.repeated else 1
        return click.Argument([flag.key], type=kind, required=option.required, nargs=count, help=option.help)
    text = option.help + (" Repeatable." if flag.repeated else "") + (f" [{option.default}]" if option.default else "")
    names = [f"-{flag.short}"] * bool(flag.short) + [flag.option, flag.parameter]
    if option.kind == "switch":
        return click.Option(names, is_flag=True, flag_value=True, default=None, help=text)
    metavar = _METAVARS.get(option.kind)
    return click.Option(names, type=kind, multiple=flag.repeated, required=option.required, help=text, metavar=metavar)


def _group() -> click.Group:
    """Return the commands of all verbs; the first of two words names a group of its own."""
    short = {"help_option_names": ["-h", "--help"]}
    group = click.Group("luthier", help=SUMMARY, no_args_is_help=True, context_settings=short)
    group = click.version_option(__version__, message="luthier %(version)s")(group)
    for name, text in _GROUPS.items():
        group.add_command(click.Group(name, help=text, no_args_is_help=True))
    for verb in VERBS:
        inner = group.commands.get(verb.name.partition(" ")[0])
        (inner if isinstance(inner, click.Group) else group).add_command(VerbCommand(verb))
    return group


def _compare(settings: CompareConfig, _: bool) -> None:
    from luthier.experiments.compare import compare
    from luthier.experiments.dry_run import dry_run
    from luthier.report.forecast_table import forecast_table

    if settings.dry_run:
        _print(forecast_table(dry_run(settings)))
    else:
        _show_run(compare(settings))


def _curve(settings: CurveConfig, _: bool) -> None:
    from luthier.experiments.curve import curve

    _show_run(curve(settings))


def _tune(settings: TuneConfig, _: bool) -> None:
    from luthier.experiments.tune import tune

    trained, folder = tune(settings)
    known = trained.result
    best = f"best at step {known.best_step} of {known.steps}" if known.best_step else f"{known.steps} steps"
    echo(f"{known.trainable_parameters:,} weights trained, {best}, {known.stored_bytes:,} bytes: {folder}")


def _merge(settings: MergeConfig, _: bool) -> None:
    from luthier.experiments.merge import merge

    merged = merge(settings)
    _show(merged)
    if getattr(merged, "made", "model") == "adapter":
        echo(f"An adapter, for `--adapter` and any program that reads PEFT's layout: {settings.out}")
    else:
        echo(f"A whole model, for any program that reads transformers' layout: {settings.out}")


def _evaluate(settings: EvaluateConfig, as_json: bool) -> None:
    from luthier.experiments.against import evaluate_against
    from luthier.progress import say
    from luthier.report.displays import models_of
    from luthier.report.evaluation import evaluation_json, row_of
    from luthier.report.helm_page import write_page_of

    found = evaluate_against(settings)
    if as_json:
        deliver_json(evaluation_json([row_of(item) for item in found], found.averages))
    else:
        _show(found)
    if settings.suite is not None:
        say(f"Page: {write_page_of(settings, models_of(found))}")


def _predict(settings: PredictConfig, _: bool) -> None:
    from luthier.experiments.predict import predict
    from luthier.progress import say

    found = predict(settings)
    say(f"{len(found.rows):,} rows answered" + (f": {settings.out}" if str(settings.out) != "-" else ""))
    if found.unanswered:
        say(f"{found.unanswered:,} of them do not fit the model and have no answer")
    if found.unparsed:
        say(f"in {found.unparsed:,} generated texts no answer was found")


def _sample(settings: SampleConfig, _: bool) -> None:
    from luthier.experiments.sample import sample

    _show(sample(settings))


def _check(settings: CheckConfig, _: bool) -> None:
    from luthier.console import open_console
    from luthier.data.check import CheckReport, fatal, render_check
    from luthier.errors import raise_faults
    from luthier.experiments.check import check

    found, console = check(settings), open_console()
    if isinstance(found, CheckReport):
        render_check(found, console)
        raise_faults("training would be meaningless", fatal(found, settings.data.max_lost))
        return
    from luthier.report.terminal import draw
    from luthier.report.training_tables import mixture_table

    console.print(draw(mixture_table(found.name, found.shares)))


def _score(settings: ScoreConfig, as_json: bool) -> None:
    from luthier.metrics.score_command import Output, ScoreSettings, run_score
    from luthier.metrics.score_inputs import Columns, ScoreInputs

    columns = Columns(settings.prediction_column, settings.reference_column, settings.id_column)
    run_score(
        ScoreInputs(settings.predictions, settings.references, columns, settings.allow_empty, settings.size_limit),
        ScoreSettings(settings.metrics, settings.confidence, settings.resamples, settings.seed, settings.significance),
        Output(as_json, settings.by, settings.explain, settings.per_example),
    )


def _list_tasks(_: None, __: bool) -> None:
    from luthier.tasks import show

    _print(show.list_all())


def _show_task(settings: ShowTaskConfig, _: bool) -> None:
    from luthier.tasks import show
    from luthier.tasks.loader import load_task

    _print(show.show_task(load_task(settings.task, settings.data.folder, rows=False)))


def _new_task(settings: NewTaskConfig, _: bool) -> None:
    from luthier.tasks.draft import write_draft
    from luthier.tasks.loader import load_task

    written = write_draft(settings.data, settings.out)
    load_task(str(written))  # what is handed over can be used
    echo(f"A draft, to be read and put into your words: {written}")
    echo(f"See its prompts with: luthier tasks preview {shlex.quote(str(written))}")


def _preview_task(settings: PreviewTaskConfig, _: bool) -> None:
    from luthier.tasks import show
    from luthier.tasks.loader import load_task

    task = load_task(settings.task, settings.data.folder)
    _print(show.preview(task, split=settings.split, rows=settings.rows, template=settings.template))


def _list_store(settings: ListStoreConfig, _: bool) -> None:
    from luthier.files.store_contents import stored
    from luthier.report.store_tables import entries_table

    found = [
        item
        for item in stored(settings.runs)
        if settings.kind in ("", item.kind) and settings.run in ("", item.about.run)
    ]
    _print(entries_table(found))


def _size_store(settings: StoreSizeConfig, _: bool) -> None:
    from luthier.files.store_contents import stored
    from luthier.report.store_tables import sizes_table

    _print(sizes_table(stored(settings.runs)))


def _clean_store(settings: CleanStoreConfig, _: bool) -> None:
    from luthier.files.store_contents import Unwanted, clean
    from luthier.report.formatting import size

    unwanted = Unwanted(settings.kind, settings.run, settings.unused_days, settings.unfinished, settings.damaged)
    if unwanted == Unwanted() and not settings.everything:
        fix = "Give --unused-days, --unfinished, --damaged, --kind, --run or --everything; --only-say removes nothing."
        raise ConfigError("nothing is said to be removed", where="store clean", fix=fix)
    found = clean(settings.runs, unwanted, only_say=settings.only_say)
    words = "would be removed" if settings.only_say else "removed"
    echo(f"{len(found.removed):,} entries {words}, {size(sum(item.size for item in found.removed))}")
    if found.in_use:
        echo(f"{len(found.in_use):,} more stay: a run that is going on may need them")


_RUN: dict[str, Callable[[Any, bool], None]] = {
    "compare": _compare,
    "curve": _curve,
    "tune": _tune,
    "merge": _merge,
    "eval": _evaluate,
    "predict": _predict,
    "sample": _sample,
    "check": _check,
    "score": _score,
    "report": lambda settings, _: _show_run(settings.run),
    "store list": _list_store,
    "store size": _size_store,
    "store clean": _clean_store,
    "tasks list": _list_tasks,
    "tasks show": _show_task,
    "tasks new": _new_task,
    "tasks preview": _preview_task,
}
"""What each verb does with its settings, and with whether JSON was asked for."""


def _print(renderable: Any) -> None:
    from luthier.console import open_console

    open_console().print(renderable)


def _show(record: Displayed) -> None:
    from luthier.report.displays import parts

    for part in parts(record):
        _print(part)


def _show_run(run: Path) -> None:
    from luthier.report.finished import finished_run

    shown, lines = finished_run(run)
    for part in shown:
        _print(part)
    for line in lines:
        echo(line)


app = _group()
