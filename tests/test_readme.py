"""What the README and the pages of docs/ show works: their commands and Python run, top to bottom, in an empty folder.

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
PAGES = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in ROOT.glob("docs/*.md")}
PAGES = {"README.md": README} | dict(sorted(PAGES.items()))
FENCE = re.compile(r"(?:<!-- not run: (?P<why>[^>]+) -->\s*\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.M | re.S)


@dataclass(frozen=True)
class Block:
    """One fenced block; ``why`` says why it is not run, if it is not."""

    page: str
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
    Block(page, m["language"], m["text"], text.count("\n", 0, m.start("text")) + 1, m["why"])
    for page, text in PAGES.items()
    for m in FENCE.finditer(text)
]
BASH = [block for block in BLOCKS if block.language == "bash"]
PYTHON = [block for block in BLOCKS if block.language == "python"]


def at(block: Block) -> str:
    return f"{block.page} line {block.line}"


def test_the_main_verbs_are_shown_and_some_are_run() -> None:
    shown = {words[1] for block in BASH for words in block.commands if words[0] == "lapel"}
    assert shown >= set(cli.VERBS)
    assert [block for block in BASH if block.why is None and block.commands[0][0] == "lapel"]
    assert PYTHON


def test_every_block_says_what_it_is() -> None:
    assert [at(block) for block in BLOCKS if not block.language] == []
    assert sum(text.count("```") for text in PAGES.values()) == 2 * len(BLOCKS)


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
    compile(block.text, at(block), "exec")


@pytest.mark.parametrize("page", PAGES)
def test_it_runs_from_top_to_bottom(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for block in [block for block in BLOCKS if block.page == page]:
        if block.why is None and block.language == "python":
            exec(compile(block.text, at(block), "exec"), names)
        elif block.why is None and block.language == "bash":
            for words in block.commands:
                if words[0] == "lapel":
                    assert cli.main(words[1:]) == 0, f"{at(block)}: {shlex.join(words)}"


@pytest.mark.parametrize("page", PAGES)
def test_what_it_links_to_is_there(page: str) -> None:
    text, folder = PAGES[page], (ROOT / page).parent
    targets = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text) + re.findall(r'src="([^":]+)"', text)
    assert [target for target in targets if not (folder / target).exists()] == []
