"""The one progress bar: what is done, the rate, the time left."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

Item = TypeVar("Item")


class RateColumn(ProgressColumn):
    """Units per second, as far as known."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self.unit = unit

    def render(self, task: Task) -> Text:
        """Show the speed of one task."""
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.1f} {self.unit}/s", style="cyan")


def bar(unit: str = "img", quiet: bool = False) -> Progress:
    """Return a rich progress display on standard error with rate and time left."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        RateColumn(unit),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=Console(stderr=True),
        disable=quiet,
    )


def track(
    iterable: Iterable[Item], description: str, total: int | None = None, unit: str = "img", quiet: bool = False
) -> Iterator[Item]:
    """Iterate under a progress bar; ``total`` defaults to ``len(iterable)``."""
    if total is None and isinstance(iterable, Sized):
        total = len(iterable)
    with bar(unit, quiet) as progress:
        task = progress.add_task(description, total=total, note="")
        for item in iterable:
            yield item
            progress.advance(task)
