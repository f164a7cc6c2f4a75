"""What the README shows works: its commands and its Python run, top to bottom, in one empty folder.

A block that needs what a test has not (someone's photographs, an hour) stands under a comment
``<!-- not run: why -->``; its commands must still parse and its Python compile.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lapel import cli

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
FENCE = re.compile(r"(?:<!-- not run: (?P<why>[^>]+) -->\s*\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.M | re.S)


@dataclass(frozen=True)
class Block:
    """One fenced block; ``why`` says why it is not run, if it is not."""

    language: str
    text: str
    line: int
    why: str | None

    @property
    def commands(self) -> list[list[str]]:
        """The words of each command, with continued lines joined and comments left out."""
        lines = self.text.replace("\\\n", " ").splitlines()
        return [words for line in lines if (words := shlex.split(line, comments=True))]


BLOCKS = [
    Block(m["language"], m["text"], README.count("\n", 0, m.start("text")) + 1, m["why"])
    for m in FENCE.finditer(README)
]
BASH = [block for block in BLOCKS if block.language == "bash"]
PYTHON = [block for block in BLOCKS if block.language == "python"]


def at(block: Block) -> str:
    return f"line {block.line}"


def test_the_main_verbs_are_shown_and_some_are_run() -> None:
    shown = {words[1] for block in BASH for words in block.commands if words[0] == "lapel"}
    assert shown >= set(cli.VERBS)
    assert [block for block in BASH if block.why is None and block.commands[0][0] == "lapel"]
    assert PYTHON


def test_every_block_says_what_it_is() -> None:
    assert [at(block) for block in BLOCKS if not block.language] == []
    assert README.count("```") == 2 * len(BLOCKS)


@pytest.mark.parametrize("block", BASH, ids=at)
def test_commands_are_ones_we_have(block: Block) -> None:
    """Whether run or not: each verb and option exists, and so does each make target."""
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    for words in block.commands:
        if words[0] == "lapel":
            cli.parse(words[1:])
        elif words[0] == "make":
            assert {word for word in words[1:] if "=" not in word} <= targets
        else:
            assert block.why is not None, f"{words[0]} is not run here: say why above the block"


@pytest.mark.parametrize("block", PYTHON, ids=at)
def test_python_compiles(block: Block) -> None:
    compile(block.text, f"README.md, line {block.line}", "exec")


def test_it_runs_from_top_to_bottom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for block in BLOCKS:
        if block.why is None and block.language == "python":
            exec(compile(block.text, f"README.md, line {block.line}", "exec"), names)
        elif block.why is None and block.language == "bash":
            for words in block.commands:
                if words[0] == "lapel":
                    assert cli.main(words[1:]) == 0, f"README.md, {at(block)}: {shlex.join(words)}"


def test_what_it_links_to_is_there() -> None:
    targets = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", README) + re.findall(r'src="([^":]+)"', README)
    assert [target for target in targets if not (ROOT / target).exists()] == []
