"""Files whose pieces cost more than their pixels are found by their build, before Pillow sees them."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lapel.serve import uploads
from lapel.serve.anatomy import PIECES, oddity
from lapel.serve.errors import NotAnImage, TooLarge
from lapel.serve.uploads import MB, header

from .hostile import BAD, GOOD, JPEG, chunk, scans

ODD = [name for name, (_, status, message) in BAD.items() if status == 413 and oddity(BAD[name][0])]


def test_odd_builds_are_told_from_plain_ones() -> None:
    assert [name for name, data in GOOD.items() if oddity(data)] == []
    assert sorted({name.split(",")[0] for name in ODD}) == ["gif", "jpeg", "png"]
    assert oddity(b"") is None
    for data in (*GOOD.values(), *(data for data, _, _ in BAD.values())):
        for length in (1, 3, 9, 30, len(data) // 2):
            oddity(data[:length])  # wherever a file ends


@pytest.mark.parametrize("count", [PIECES - 100, PIECES + 1])
def test_a_photograph_of_many_pieces_may_pass(count: int) -> None:
    data = JPEG[:2] + b"\xff\xe5\0\2" * count + JPEG[2:]
    assert (oddity(data) is None) is (count < PIECES)


def test_refusing_costs_little(monkeypatch: pytest.MonkeyPatch) -> None:
    """20 MB of trouble, on which Pillow would spend minutes and a gigabyte, never reach it."""
    monkeypatch.setattr(uploads.Image, "open", None)  # to call it would be an error
    many = 20 * MB
    tracemalloc.start()
    for data in (
        JPEG[:2] + b"\xff\xe5\0\2" * (many // 4) + JPEG[2:],
        JPEG[:2] + b"\xff" * many + JPEG[2:],
        scans(100_000),
        GOOD["png"][:33] + chunk(b"abCd") * (many // 12),
        GOOD["gif"][:13] + b"\x21\xfe\0" * (many // 3),
    ):
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        with pytest.raises(TooLarge, match="save it again, as one plain picture"):
            header(data, 10**8, 10**8)
        assert tracemalloc.get_traced_memory()[1] - before < MB
    tracemalloc.stop()


@given(st.binary(max_size=400), st.sampled_from([b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"RIFF", b""]))
def test_any_bytes_have_a_build_or_not(data: bytes, start: bytes) -> None:
    assert oddity(start + data) is None  # too short for any of the bounds
    with pytest.raises((NotAnImage, TooLarge)):
        header(start + data, 10**6, 10)
