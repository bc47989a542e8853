"""The pages of the documentation, their fenced blocks, and the commands that stand in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from luthier.config.verbs import VERBS

ROOT = Path(__file__).resolve().parents[1]
COURSE = ROOT / "docs" / "course"
GUIDES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
"""What a user reads to use Luthier; the lessons of the course are pages of their own."""

FENCE = re.compile(r"^```(?P<kind>\w*)[^\n]*\n(?P<body>.*?)^```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
_NAMED = re.compile(r"`(?P<name>[\w.-]+\.ya?ml)`[^\n`]*:\s*$")
_EXPLANATION = re.compile(r" {2,}")
NAMES = {verb.name for verb in VERBS}
"""A verb that is only named, as `luthier tasks show`, is no command."""


@dataclass(frozen=True)
class Block:
    """A fenced block of a page, or a command in its text, whose kind is ``inline``.

    Attributes:
        page: Path of the page in the project.
        line: Number of its first line.
        kind: The word behind the fence.
        body: What stands in it.
        file: The name of the YAML file that it shows, where the words before it say so; else "".
        shown: Whether nothing stands between it and the block before it, whose output it shows.
    """

    page: str
    line: int
    kind: str
    body: str
    file: str = ""
    shown: bool = False

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def commands(self) -> list[str]:
        """The command lines that stand in it, continued lines joined."""
        lines = [line for line in self.body.replace("\\\n", " ").splitlines() if line.strip()]
        if self.kind in ("sh", "inline"):
            return lines
        if self.kind:
            return []
        # In lists of commands an explanation stands after two spaces or more.
        return [_EXPLANATION.split(line)[0] for line in lines if line.startswith("luthier ")]


def prose(text: str) -> str:
    """Return a page without its fenced blocks."""
    return FENCE.sub("", text)


def blocks(page: Path) -> Iterator[Block]:
    """Yield the fenced blocks of a page."""
    text, where = page.read_text(encoding="utf-8"), page.relative_to(ROOT).as_posix()
    end = 0
    for found in FENCE.finditer(text):
        named = _NAMED.search(text[: found.start()].rstrip())
        line = text.count("\n", 0, found.start()) + 1
        shown = not text[end : found.start()].strip()
        yield Block(where, line, found["kind"], found["body"], named["name"] if named else "", shown)
        end = found.end()


def inline_commands(page: Path) -> Iterator[Block]:
    """Yield the commands that stand in the text of a page; one with ``…`` in it is not whole."""
    # Blocks are blanked, so that lines keep their numbers.
    text = FENCE.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), page.read_text(encoding="utf-8"))
    for found in INLINE.finditer(text):
        code = found[1]
        if code.startswith("luthier ") and "|" not in code and code.removeprefix("luthier ") not in NAMES:
            where = page.relative_to(ROOT).as_posix()
            yield Block(where, text.count("\n", 0, found.start()) + 1, "inline", code)


def reading(page: Path) -> list[Block]:
    """Return what a page has to run, in the order in which it is read."""
    whole = [block for block in inline_commands(page) if "…" not in block.body]
    return sorted([*blocks(page), *whole], key=lambda block: block.line)
