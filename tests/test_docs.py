"""What the documentation says can be done can be done: commands parse, files are valid, links and names exist."""

from __future__ import annotations

import ast
import importlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from docs.configuration import classes, fill
from pydantic import BaseModel

from documentation import ROOT, Block, blocks, inline_commands, prose
from luthier.cli import VerbCommand, app
from luthier.config.arms import make_arms
from luthier.config.compare import CompareConfig
from luthier.config.evaluate import EvaluateConfig
from luthier.config.layers import read_settings
from luthier.config.training import TrainingConfig
from luthier.config.validation import models_in, validate
from luthier.config.verbs import VERBS, settings_class
from luthier.methods.registry import find_method
from luthier.methods.registry import read_settings as read_method_settings
from luthier.metrics.registry import get_metric
from luthier.tasks.each import values_of
from luthier.tasks.loader import load_task
from luthier.tasks.mixture_spec import MixtureSpec
from luthier.tasks.names import library_names
from luthier.tasks.spec import TaskSpec
from luthier.tasks.suites import averages, suite_tasks
from luthier.tasks.task_sets import task_sets

PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")] + sorted(
    (ROOT / "docs").rglob("*.md")
)
_LINK = re.compile(r"\[[^\]]*\]\((?P<target>[^)\s]+)\)")
_HEADING = re.compile(r"^#+ (?P<text>.+)$", re.MULTILINE)


def _prose(page: Path) -> str:
    return prose(page.read_text(encoding="utf-8"))


BLOCKS = [block for page in PAGES for block in blocks(page)]


def _of(*kinds: str) -> list[Any]:
    return [pytest.param(block, id=str(block)) for block in BLOCKS if block.kind in kinds]


def _commands() -> Iterator[tuple[str, str]]:
    """Yield every whole `luthier …` command line with the page that it stands on."""
    for page in PAGES:
        for block in [*blocks(page), *inline_commands(page)]:
            for line in block.commands:
                if line.startswith("luthier "):
                    yield block.page, line.replace("…", "x")


COMMANDS = sorted(set(_commands()))


def parse(line: str) -> dict[str, Any]:
    """Parse a command line as `luthier` does, without running it; return the values of its parameters."""
    command: click.Command = app
    name, *words = shlex.split(line, comments=True)
    context = click.Context(app, info_name=name)
    while isinstance(command, click.Group):
        _, found, words = command.resolve_command(context, words)
        assert found is not None
        command = found
    assert isinstance(command, VerbCommand)
    return dict(command.make_context(command.name, words).params) | {"verb": command.verb}


def test_there_is_something_to_check() -> None:
    assert {command.split()[1] for _, command in COMMANDS} >= {
        "compare",
        "tune",
        "eval",
        "check",
        "score",
        "tasks",
        "report",
    }
    assert _of("yaml")
    assert _of("python")


@pytest.mark.parametrize(("page", "line"), COMMANDS)
def test_commands_parse(page: str, line: str) -> None:
    given = parse(line)
    if given["verb"].settings:
        read_settings(given["verb"], given, assignments=given.get("assignments") or ())
    if given.get("arms"):
        make_arms(given["arms"].split(","), training=TrainingConfig(), few_shots=3, seeds=(0,))
    if given.get("arm"):
        (arm,) = make_arms([given["arm"]], training=TrainingConfig(), few_shots=3, seeds=(0,))
        find_method(arm.method or "none")
    for names in given.get("metrics") or []:
        for name in names.split(","):
            get_metric(name)


@pytest.mark.parametrize(("page", "line"), COMMANDS)
def test_tasks_that_are_named_are_built_in_or_files(page: str, line: str) -> None:
    given = parse(line)
    named = [given.get("task"), *str(given.get("tasks") or "").split(","), *str(given.get("retain") or "").split(",")]
    for name in filter(None, named):
        known = {*library_names(), *task_sets(), *suite_tasks(), *averages(), "all", "none", "x", "<name>"}
        assert name in known or Path(name).suffix or name.startswith(("hf:", "lm_eval:")), (
            f"{page}: {line}: no task {name}"
        )


def test_a_command_that_does_not_parse_is_noticed() -> None:
    with pytest.raises(Exception, match="No such option '--tusk'"):
        parse("luthier compare --tusk topic")
    with pytest.raises(Exception, match="No such command 'compair'"):
        parse("luthier compair")


@pytest.mark.parametrize("block", _of("yaml"))
def test_yaml_is_valid(block: Block, tmp_path: Path) -> None:
    data = yaml.safe_load(block.body)
    if "templates" in data:
        path = tmp_path / "task.yaml"
        path.write_text(block.body, encoding="utf-8")
        _, values = values_of(data, str(path))
        for value in values:
            load_task(f"{path}#{value}")
        if not values:
            load_task(str(path))
        return
    if "include" in data:  # of lm-eval
        tasks = pytest.importorskip("lm_eval.tasks")
        assert (Path(tasks.__file__).parent / data["include"].partition("/lm_eval/tasks/")[2]).is_file()
        return
    if "tasks" in data and "arms" not in data and "helm" not in data:
        validate(MixtureSpec, data, source=str(block))
        return
    if "helm" in data:
        validate(EvaluateConfig, data, source=str(block))
        return
    settings = validate(CompareConfig, data, source=str(block))
    for arm in make_arms(settings.arms, training=settings.training, few_shots=3, seeds=(0,)):
        if arm.method is not None:
            read_method_settings(find_method(arm.method), arm.settings, where=str(block))


@pytest.mark.parametrize("block", _of("python"))
def test_python_uses_names_that_exist(block: Block) -> None:
    tree = ast.parse(block.body)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("luthier"):
            module = importlib.import_module(str(node.module))
            missing = [alias.name for alias in node.names if not hasattr(module, alias.name)]
            assert not missing, f"{block}: {node.module} has no {missing}"
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "luthier":
            assert node.attr in importlib.import_module("luthier").__all__, f"{block}: luthier.{node.attr}"


def _anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub gives the headings of a page."""
    headings = (found["text"] for found in _HEADING.finditer(_prose(page)))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_within_the_project_lead_somewhere(page: Path) -> None:
    for found in _LINK.finditer(_prose(page)):
        target, _, anchor = found["target"].partition("#")
        if "://" in target:
            continue
        place = page.parent / target if target else page
        assert place.exists(), f"{page.name}: {found['target']}"
        if anchor:
            assert anchor in _anchors(place), f"{page.name}: {found['target']} has no such heading"


def test_every_page_is_found_from_the_index() -> None:
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    linked = {found["target"].partition("#")[0] for found in _LINK.finditer(index)}
    pages = {path.name for kind in ("*.md", "*.ipynb") for path in (ROOT / "docs").glob(kind)} - {"index.md"}
    assert pages | {"course/README.md"} == linked


def test_the_tables_of_settings_are_in_step() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert page == fill(page), "docs/configuration.md is not in step: run `make docs`"


def test_every_settings_class_has_a_table() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    verbs = [settings_class(verb) for verb in VERBS if verb.settings]
    used = {kind for verb in verbs for kind in _with_sections(verb)}
    assert {f"{kind.__module__}.{kind.__name__}" for kind in used} | {"methods", "objectives", "flags"} == classes(page)


def _with_sections(kind: type[BaseModel]) -> set[type[BaseModel]]:
    """Return a settings class and the classes of its sections."""
    below = [inner for field in kind.model_fields.values() for inner in models_in(field.annotation)]
    return {kind}.union(*map(_with_sections, below))


def test_every_setting_has_a_sentence() -> None:
    for name in classes((ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")) - {
        "methods",
        "objectives",
        "flags",
    }:
        module, _, class_name = name.rpartition(".")
        owner = getattr(importlib.import_module(module), class_name)
        assert not [key for key, field in owner.model_fields.items() if not field.description], name


def test_every_key_of_a_task_is_explained() -> None:
    page = (ROOT / "docs" / "tasks.md").read_text(encoding="utf-8")
    missing = [key for key in TaskSpec.model_fields if not re.search(rf"(`|^){key}\b", page, re.MULTILINE)]
    assert not missing, f"docs/tasks.md does not say what these keys are: {missing}"


def test_the_readme_tree_names_every_room() -> None:
    tree = next(block.body for block in BLOCKS if block.page == "README.md" and "src/luthier/" in block.body)
    drawn = set(re.findall(r"^[├└]── ([\w.]+?)/? ", tree, re.MULTILINE))
    there = {path.name for path in (ROOT / "src" / "luthier").iterdir() if path.suffix == ".py" or path.is_dir()}
    assert drawn == there - {"__pycache__"}


def test_the_commands_of_the_readme_are_those_that_ci_runs() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "```sh\nmake demo\nmake test\n```" in readme
    assert re.search(r"^step .* make .*\btest$", (ROOT / ".ci" / "run").read_text(encoding="utf-8"), re.MULTILINE)
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    named = re.findall(r"^make (\w+)", "\n".join(block.body for block in BLOCKS if block.kind == "sh"), re.MULTILINE)
    assert not [name for name in named if not re.search(rf"^{name}:", makefile, re.MULTILINE)]


def test_the_lock_pins_every_dependency_and_nothing_local() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [re.fullmatch(r"([A-Za-z0-9._-]+)==([A-Za-z0-9._]+)", line) for line in lines]
    assert all(pins), [line for line, pin in zip(lines, pins, strict=True) if not pin]
    names = [pin[1] for pin in pins if pin]
    assert names == sorted(names, key=str.lower)
    assert "torch" in names
