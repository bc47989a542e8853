"""A reader of a page: runs its commands, its Python and its sessions in one folder, and writes its files there."""

from __future__ import annotations

import contextlib
import doctest
import io
import re
import shlex
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias
from unittest import mock

import yaml

from documentation import Block
from luthier.config.arms import make_arms
from luthier.config.data import DataConfig
from luthier.config.layers import read_settings
from luthier.config.verbs import VERBS
from luthier.tasks.each import values_of
from luthier.tasks.loader import load_splits, load_task
from luthier.tasks.mixture_spec import is_mixture, read_mixture
from small_job import luthier

_COMPARE = next(verb for verb in VERBS if verb.name == "compare")
_EVAL = next(verb for verb in VERBS if verb.name == "eval")
_PIPED = re.compile(r"(?P<before>.+)\| *(?P<command>luthier .+)")
_NUMBER = re.compile(r"[-−+]?\d[\d,.]*")

Skip: TypeAlias = Callable[[str], bool]


def nothing(_: str) -> bool:
    return False


def read_page(blocks: Sequence[Block], session: Session, skip: Skip = nothing) -> None:
    """Write the files that a page shows, then do what it says, from its first line to its last."""
    for block in blocks:
        if block.kind == "yaml":
            session.write(block)
    for block in blocks:
        session.read(block, skip)
    session.end(blocks[0].page)


@dataclass
class Session:
    """What a reader has done so far.

    Attributes:
        folder: Where the commands run; it must be the current one.
        names: What the Python of the page has defined.
        printed: What the last Python printed.
        dialogue: The lines behind ``>>>`` so far.
    """

    folder: Path
    names: dict[str, Any] = field(default_factory=dict)
    printed: str = ""
    dialogue: str = ""

    def read(self, block: Block, skip: Skip = nothing) -> None:
        """Do what a block says, but for the commands that are to be left out."""
        for command in block.commands:
            if not skip(command):
                run_command(command, str(block))
        if block.kind == "python":
            self._run_python(block)
        elif block.kind == "text" and block.shown and self.printed:
            check_shown(block.body, self.printed, str(block))
        elif block.kind == "pycon":
            self.dialogue += block.body
        if block.kind != "python":
            self.printed = ""

    def _run_python(self, block: Block) -> None:
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            # A dictionary of the page's own; the line numbers of a traceback are those of the page.
            exec(compile("\n" * block.line + block.body, block.page, "exec"), self.names)
        self.printed = said.getvalue()

    def write(self, block: Block) -> None:
        """Write a task or a configuration into its file, and load it as the verb does that it is for."""
        content = yaml.safe_load(block.body)
        if "include" in content:  # a task of lm-eval, which stands where the reader's lm-eval is
            return
        task = "templates" in content
        path = self.folder / (block.file or (f"{content['name']}.yaml" if task else f"settings-{block.line}.yaml"))
        path.write_text(block.body, encoding="utf-8")
        if task:
            value = next(iter(values_of(content, str(path))[1]), "")
            loaded = load_task(f"{path}#{value}" if value else str(path), self.folder / "benchmarks")
            load_splits(loaded, DataConfig(), 0)
        elif is_mixture(str(path)):
            read_mixture(str(path))
        elif "helm" in content:
            read_settings(_EVAL, {}, file=path)
        else:
            settings: Any = read_settings(_COMPARE, {}, file=path)
            make_arms(settings.arms, training=settings.training, few_shots=3, seeds=(0,))

    def end(self, name: str) -> None:
        """Run what stands behind ``>>>``, and compare what it gives."""
        runner = doctest.DocTestRunner(verbose=False)
        said: list[str] = []
        runner.run(doctest.DocTestParser().get_doctest(self.dialogue, {}, name, name, 0), out=said.append)
        assert not runner.failures, "".join(said)


def run_command(command: str, where: str) -> None:
    """Run a command line: ``luthier`` in this process, all else in a shell. It must end well."""
    piped = _PIPED.fullmatch(command)
    given = _in_shell(piped["before"], where) if piped else b""
    words = shlex.split(piped["command"] if piped else command, comments=True)
    if not words:
        return
    if words[0] != "luthier":
        _in_shell(command, where)
        return
    with mock.patch("sys.stdin", io.TextIOWrapper(io.BytesIO(given))):
        ran = luthier(*words[1:])
    assert ran.code == 0, f"{where}: {command}\n{ran.out[-2000:]}\n{ran.err[-2000:]}"


def _in_shell(command: str, where: str) -> bytes:
    done = subprocess.run(["bash", "-c", command], capture_output=True, timeout=600, check=False)
    assert done.returncode == 0, f"{where}: {command}\n{done.stderr.decode()[-2000:]}"
    return done.stdout


def check_shown(shown: str, printed: str, where: str) -> None:
    """Check that a program prints the words that the page shows below it, ``…`` for whatever is left out.

    Numbers are others on another machine, and white space is as wide as they are.
    """
    pattern = ".*".join(re.escape(_words(part)) for part in shown.split("…"))
    assert re.fullmatch(pattern, _words(printed), re.DOTALL), f"{where} shows\n{shown}\nand this is printed:\n{printed}"


def _words(text: str) -> str:
    return " ".join(_NUMBER.sub("#", text).split())
