from __future__ import annotations

from collections.abc import Iterator

import pytest
from rich.console import Console

from lapel.progress import RateColumn, bar, track


def three() -> Iterator[int]:
    yield from (1, 2, 3)


@pytest.mark.parametrize("quiet", [False, True])
def test_everything_passes_through_in_order(quiet: bool) -> None:
    assert list(track([3, 1, 2], "work", quiet=quiet)) == [3, 1, 2]
    assert list(track(three(), "work", quiet=quiet)) == [1, 2, 3]
    assert list(track([], "work", quiet=quiet)) == []


def test_it_shows_on_standard_error_only(capsys: pytest.CaptureFixture[str]) -> None:
    list(track([1, 2, 3, 4], "Embedding"))
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "Embedding" in shown.err
    assert "4/4" in shown.err


def test_quiet_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    list(track([1, 2, 3], "Embedding", quiet=True))
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", "")


def test_a_total_may_be_given_for_what_has_no_length(capsys: pytest.CaptureFixture[str]) -> None:
    list(track(three(), "Indexing", total=3))
    assert "3/3" in capsys.readouterr().err


def test_an_error_in_the_work_is_not_swallowed() -> None:
    def work() -> Iterator[int]:
        yield 1
        raise ValueError("in the work")

    with pytest.raises(ValueError, match="in the work"):
        list(track(work(), "work", total=2, quiet=True))


def test_the_rate_is_told_in_the_unit_of_the_work() -> None:
    with bar("triplet") as progress:
        progress.add_task("sampling", total=10, note="")
        task = progress.tasks[0]
        assert RateColumn("triplet").render(task).plain == ""
        task.finished_speed = 1234.56
        assert RateColumn("triplet").render(task).plain == "1,234.6 triplet/s"


def test_a_note_stands_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    with bar() as progress:
        progress.add_task("epoch 1", total=1, completed=1, note="loss 0.25")
    assert "loss 0.25" in capsys.readouterr().err
    assert isinstance(progress.console, Console)
    assert progress.console.stderr
