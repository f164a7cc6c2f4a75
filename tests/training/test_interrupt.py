"""Ctrl-C waits for the end of a block, once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator

import pytest

from lapel.training.interrupt import uninterrupted


@pytest.fixture(autouse=True)
def same_handler_afterwards() -> Iterator[None]:
    before = signal.getsignal(signal.SIGINT)
    yield
    assert signal.getsignal(signal.SIGINT) is before


def press(times: int, done: list[str]) -> None:
    with uninterrupted():
        for _ in range(times):
            signal.raise_signal(signal.SIGINT)
            done.append("went on")


@pytest.mark.parametrize(("times", "expected"), [(1, ["went on"]), (2, ["went on"])])
def test_the_first_waits_and_the_second_does_not(times: int, expected: list[str]) -> None:
    done: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        press(times, done)
    assert done == expected


def test_nothing_happens_without_it() -> None:
    with uninterrupted():
        pass


def test_an_error_inside_wins() -> None:
    def fail() -> None:
        with uninterrupted():
            signal.raise_signal(signal.SIGINT)
            raise ValueError("inside")

    with pytest.raises(ValueError, match="inside"):
        fail()


def test_other_threads_are_left_alone() -> None:
    done: list[str] = []

    def work() -> None:
        with uninterrupted():
            done.append("worked")

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == ["worked"]


def test_ignored_stays_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a shell's background jobs."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with uninterrupted():
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)
