"""The command line where all is right: what it prints, what it writes, and that its options stay."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from luthier.cli import VerbCommand, app
from luthier.config.arm_settings import ArmConfig
from luthier.config.compare import CompareConfig
from luthier.config.evaluate import EvaluateConfig
from luthier.errors import LuthierError
from luthier.experiments.named import require_names
from small_job import ECHO, QUICK_EVAL, QUICK_TRAINING, Workshop, luthier, write_task

OPTIONS = {
    "compare": "[config] --model --task --arms --retain --retention-text --sequence --retain-at-least --extrapolate "
    "--runs --name --data --train --test --search --seed --seeds --workers --dry-run --remake-damaged --device "
    "--trust-remote-code --set",
    "curve": "[config] --model --task --arms --sizes --seeds --fixed --forecast --runs --name --data --train --test "
    "--seed --workers --remake-damaged --device --trust-remote-code --set",
    "tune": "[config] --model --task --arm --start --save --runs --remake-damaged --data --train --seed --device "
    "--trust-remote-code --set",
    "eval": "[config] --model --tasks --suite --adapter --any-base --compare --shots --run-code --answers --no-cache "
    "--engine --runs --remake-damaged --data --test --seed "
    "--device --trust-remote-code --json --set",
    "merge": "[adapter] --out --model --how --weights --density --scale --extrapolate --task --sample --any-base "
    "--seed --device --trust-remote-code --set",
    "predict": "[rows] --out --model --adapter --task --format --any-base --shots --runs --seed "
    "--device --trust-remote-code --set",
    "sample": "[config] --model --adapter --any-base --task --prompts --n --reward --gold --keep --at-least --save "
    "--runs --seed --device --trust-remote-code --set",
    "check": "[config] --model --task --data --train --seed --trust-remote-code --set",
    "score": "--predictions --references --metric --by --explain --per-example --prediction-column --reference-column "
    "--id-column --allow-empty --confidence --resamples --seed --significance --size-limit --json",
    "report": "[run]",
    "store list": "--runs --kind --run",
    "store size": "--runs",
    "store clean": "--runs --kind --run --unused-days --unfinished --damaged --everything --only-say",
    "tasks list": "",
    "tasks show": "[task] --data",
    "tasks new": "[data] --out",
    "tasks preview": "[task] --data --split --rows --template",
}
"""Every verb with its arguments and options. A script may stand on any of them: none goes away."""
SHORT = {"-m": "--model", "-t": "--task", "-o": "--out", "-a": "--arm"}


def words(command: VerbCommand) -> list[str]:
    found = []
    for parameter in command.get_params(click.Context(command)):
        if isinstance(parameter, click.Argument):
            found.append("[config]" if parameter.name == "settings_file" else f"[{parameter.name}]")
        elif "--help" not in parameter.opts:
            found.append(next(name for name in parameter.opts if name.startswith("--")))
    return found


def verbs(command: click.Command, name: str = "") -> dict[str, list[str]]:
    if isinstance(command, click.Group):
        return {
            verb: options
            for child, inner in command.commands.items()
            for verb, options in verbs(inner, f"{name} {child}".strip()).items()
        }
    assert isinstance(command, VerbCommand)
    return {name: words(command)}


def test_no_option_goes_away() -> None:
    found = verbs(app)
    for verb, options in OPTIONS.items():
        lost = set(options.split()) - set(found.get(verb, ()))
        assert not lost, f"luthier {verb} has lost {lost}"


def test_new_options_are_written_down_here() -> None:
    found = verbs(app)
    assert set(found) == set(OPTIONS)
    for verb, options in OPTIONS.items():
        assert " ".join(found[verb]) == options, f"add the new options of luthier {verb} to OPTIONS"


def test_the_short_forms_stay() -> None:
    for verb, short, long in [
        *[("compare", short, SHORT[short]) for short in ("-m", "-t")],
        *[("tune", short, SHORT[short]) for short in ("-m", "-t", "-a")],
        *[("eval", "-m", "--model"), ("eval", "-t", "--tasks")],
        *[("merge", "-m", "--model"), ("merge", "-t", "--task"), ("merge", "-o", "--out")],
        *[("predict", "-o", "--out")],
        *[("score", "-p", "--predictions"), ("score", "-r", "--references")],
    ]:
        command = app.commands[verb]
        parameters = command.get_params(click.Context(command))
        assert any({short, long} <= set(parameter.opts) for parameter in parameters), (verb, short)


@pytest.mark.parametrize("verb", list(OPTIONS))
def test_help(verb: str) -> None:
    ran = luthier(*verb.split(), "--help")
    assert ran.code == 0
    assert len(ran.out.splitlines()) > 4
    for option in OPTIONS[verb].split():
        assert option.strip("[]").lower() in ran.out.lower()


def test_no_arguments_are_help() -> None:
    ran = luthier()
    assert "compare" in ran.out + ran.err
    assert "Traceback" not in ran.err


# ---- a job from end to end


def test_compare_says_what_follows_and_where_the_report_is(workshop: Workshop) -> None:
    ran = luthier(*workshop.compare, "--arms", "zero_shot,lora", "--name", "done")
    assert ran.code == 0
    assert "lora: trained before, found in the store" in ran.err
    assert "zero_shot" in ran.out
    results = json.loads((workshop.runs / "done" / "results.json").read_text())
    assert results["recommendation"]["sentence"] in ran.out
    assert f"Report: {workshop.runs / 'done' / 'report.html'}" in ran.out
    for name in ("report.html", "report.md", "costs.json", "predictions/lora.jsonl", "curves/lora.jsonl"):
        assert (workshop.runs / "done" / name).stat().st_size > 0


def test_tune_then_eval(workshop: Workshop) -> None:
    """An adapter that `tune` wrote answers as the arm of `compare` that was trained alike."""
    command = (
        "eval",
        "-m",
        workshop.model,
        "-t",
        workshop.job / "echo.yaml",
        "--runs",
        workshop.runs,
        *QUICK_EVAL,
    )
    ran = luthier(*command, "--adapter", workshop.adapter, "--json")
    assert ran.code == 0, ran.err
    found = json.loads(ran.out)["echo"]
    results = json.loads((workshop.runs / "done" / "results.json").read_text())
    lora = next(arm for arm in results["arms"] if arm["name"] == "lora")
    assert {score["metric"]: score["value"] for score in found["scores"]} == {
        score["metric"]: score["value"] for score in lora["scores"]
    }


def test_tune_says_what_was_trained(workshop: Workshop) -> None:
    command = ("tune", "-m", workshop.model, "-t", workshop.job / "echo.yaml", "--runs", workshop.runs, *QUICK_TRAINING)
    ran = luthier(*command)
    assert ran.code == 0
    # Rank 8, two layers: see tests/jobs/test_compare.py.
    assert "7,424 weights trained, best at step 2 of 2" in ran.out
    assert str(workshop.runs / "store" / "models") in ran.out


def test_eval_prints_a_table(workshop: Workshop) -> None:
    tasks = f"{workshop.job / 'echo.yaml'},{workshop.job / 'colour.yaml'}"
    ran = luthier("eval", "-m", workshop.model, "-t", tasks, "--shots", 1, "--runs", workshop.runs, *QUICK_EVAL)
    assert ran.code == 0, ran.err
    for word in ("echo", "colour", "token_f1", "accuracy"):
        assert word in ran.out


def test_json_is_all_that_is_printed(workshop: Workshop) -> None:
    tasks = f"{workshop.job / 'echo.yaml'},{workshop.job / 'colour.yaml'}"
    ran = luthier("eval", "-m", workshop.model, "-t", tasks, "--runs", workshop.runs, "--json", *QUICK_EVAL)
    found = json.loads(ran.out)
    assert list(found) == ["echo", "colour"]
    assert found["colour"]["chance"] == 0.2
    assert [score["metric"] for score in found["echo"]["scores"]] == ["token_f1", "exact_match"]


def test_a_file_a_set_and_a_flag_win_in_this_order(workshop: Workshop, tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("seed: 1\ndata: {test: 2}\ntraining: {epochs: 7, batch_size: 3}\n")
    sets = ("--set", "seed=2", "--set", "data.test=3", "--set", "training.batch_size=5")
    command = ("compare", file, *workshop.compare[1:], *sets, "--seed", 3, "--name", "order")
    assert luthier(*command).code == 0
    config = json.loads((workshop.runs / "order" / "results.json").read_text())["config"]
    assert (config["seed"], config["data"]["test"]) == (3, 3)
    assert (config["training"]["epochs"], config["training"]["batch_size"]) == (7, 5)


@pytest.mark.parametrize("flag", ["none", ""])
def test_nothing_is_retained(flag: str, workshop: Workshop) -> None:
    ran = luthier(*workshop.compare, "--retain", flag, "--name", "nothing")
    assert ran.code == 0, ran.err
    assert json.loads((workshop.runs / "nothing" / "results.json").read_text())["config"]["retain"] == []


# ---- check and tasks


def test_check(workshop: Workshop) -> None:
    ran = luthier("check", "-m", workshop.model, "-t", workshop.job / "echo.yaml")
    assert ran.code == 0, ran.err
    for word in ("echo: at most 128 tokens", "12 train, 3 validation, 6 test", "supervised tokens"):
        assert word in ran.out


def test_tasks_list() -> None:
    ran = luthier("tasks", "list")
    assert ran.code == 0
    for name in ("dialogue_summary", "topic", "review_sentiment"):
        assert name in ran.out


def test_tasks_show_and_preview(workshop: Workshop, job: Path) -> None:
    shown = luthier("tasks", "show", job / "echo.yaml")
    assert shown.code == 0
    assert "{{ text }}" in shown.out
    task = write_task(
        job, ECHO, templates=[{"name": "a", "prompt": "{{ text }}"}, {"name": "b", "prompt": "B {{ text }}"}]
    )
    seen = luthier("tasks", "preview", task, "--split", "test", "--rows", 2, "--template", "b")
    assert seen.code == 0
    assert "B test 0: a red cat sat" in seen.out
    assert "B test 1: a blue dog sat" in seen.out
    assert "· a" not in seen.out


# ---- processes of their own


def python(script: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, **environment}, timeout=300, check=False
    )


def test_the_report_is_rebuilt_without_a_model(workshop: Workshop) -> None:
    page = workshop.runs / "done" / "report.html"
    before = page.read_bytes()
    page.unlink()
    script = (
        "import sys\n"
        "from luthier.cli import main\n"
        "try:\n    main()\nexcept SystemExit as left:\n    assert not left.code, left.code\n"
        "heavy = {'torch', 'transformers', 'peft'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    ran = python(script, "report", workshop.runs / "done")
    assert ran.returncode == 0, ran.stderr
    assert page.read_bytes() == before


def test_help_loads_nothing_heavy() -> None:
    script = (
        "import sys\nfrom luthier.cli import app\n"
        "heavy = {'torch', 'transformers', 'pydantic', 'numpy', 'datasets', 'rich'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    ran = python(script)
    assert ran.returncode == 0, ran.stderr


SLIPS = (
    (("compare", "--arms", "lora,lorra"), "arms: unknown arm 'lorra'", "Did you mean 'lora'?"),
    (("tune", "--arm", "lorra"), "arms: unknown arm 'lorra'", "Did you mean 'lora'?"),
    (("compare", "--arms", "lorra", "--retain", "topc"), "unknown arm 'lorra'", "Did you mean 'topic'?"),
    (("tune", "--set", "arm={name: x, method: lorra}"), "arm 'x', method: unknown method 'lorra'", "'lora'"),
    (("compare", "--task", "topik"), "no built-in task, file or folder is called 'topik'", "Did you mean 'topic'?"),
    (("eval", "--tasks", "topic,topik"), "no built-in task, file or folder is called 'topik'", "'topic'"),
    (("check", "--task", "nowhere.yaml"), "nowhere.yaml: cannot read the file", "Check the path"),
    (("predict", "new.csv", "--task", "topik"), "is called 'topik'", "Did you mean 'topic'?"),
    (("merge", "lora", "--out", "x", "--task", "topik"), "is called 'topik'", "Did you mean 'topic'?"),
    (("tune", "--model", "./none"), "no model folder './none'", "Give a folder"),
    (("score", "-p", "p", "-r", "r", "--metric", "roug"), "Unknown metric 'roug'", "Did you mean 'rouge'?"),
    (("compare", "--set", "training.epoch=2"), "unknown key 'training.epoch'", "Did you mean 'epochs'?"),
    (("compare", "--tusk", "topic"), "No such option '--tusk'", "--task"),
)
"""Names with a slip, and what is said of them."""


def test_a_slip_in_a_name_is_found_before_torch_is_loaded(tmp_path: Path) -> None:
    script = (
        "import sys\n"
        "from luthier.cli import main\n"
        "for line in sys.argv[1:]:\n"
        "    sys.argv = ['luthier', *line.split('\\t')]\n"
        "    try:\n        main()\n    except SystemExit as left:\n        assert left.code == 2, line\n"
        "    print('--', file=sys.stderr)\n"
        "heavy = {'torch', 'transformers', 'peft', 'datasets', 'sklearn'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    ran = python(script, *("\t".join(words) for words, _, _ in SLIPS))
    assert ran.returncode == 0, ran.stderr
    said = ran.stderr.split("--\n")[:-1]
    for (_, what, hint), message in zip(SLIPS, said, strict=True):
        assert what in message, message
        assert hint in message, message


def test_what_exists_is_not_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").touch()
    (tmp_path / "rows.jsonl").touch()
    names = ("topic", "everyday", "hf:owner/name", str(tmp_path / "mine.yaml"), str(tmp_path / "rows.jsonl"))
    require_names(EvaluateConfig(tasks=("all", *names)))
    arms = ("zero_shot", "7_shot", "few_shot", ArmConfig(name="mine", method="peft"))
    require_names(CompareConfig(arms=arms, task=str(tmp_path), retain=names))
    with pytest.raises(LuthierError) as caught:
        require_names(CompareConfig(arms=("lorra", ArmConfig(name="x", method="lor")), retain=("everyda",)))
    assert "unknown arm 'lorra'" in str(caught.value)
    assert "called 'everyda'" in str(caught.value)


def test_the_installed_program_refuses_alike(tmp_path: Path) -> None:
    program = Path(sys.executable).with_name("luthier")
    if not program.exists():
        pytest.skip("the program is not installed beside this Python")
    ran = subprocess.run(
        [program, "tasks", "show", "nowhere.yaml"], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert ran.returncode == 2
    assert ran.stdout == ""
    assert ran.stderr == "error: nowhere.yaml: cannot read the file (No such file or directory)\n  → Check the path.\n"


def test_a_reader_that_goes_away_is_no_error() -> None:
    script = "from luthier.cli import main; main()"
    command = f'"{sys.executable}" -c "{script}" tasks list | head -1; exit ${{PIPESTATUS[0]}}'
    ran = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
