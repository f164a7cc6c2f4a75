"""Multipart bodies out of any pieces, and photographs checked before they are decoded."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import ClientDisconnect, Request

from lapel.decoding import DecodeError, decode_array
from lapel.serve import uploads
from lapel.serve.errors import ApiError, Busy, Invalid, NotAnImage, TooLarge, known
from lapel.serve.uploads import MB, Photographs, Upload, header, receive

from .asgi import BOUNDARY, MULTIPART, multipart, part, run, scope
from .hostile import BAD, GOOD, encoded, frames, picture

# Pillow reports on the damaged files made here; lapel.decoding silences it outside pytest.
pytestmark = pytest.mark.filterwarnings("ignore:Image size", "ignore:Corrupt EXIF")


async def received(
    chunks: Iterable[bytes], headers: dict[str, str] | None = None, leave: bool = False, **options: Any
) -> Upload:
    pieces = list(chunks)

    async def messages() -> dict[str, Any]:
        if pieces:
            return {"type": "http.request", "body": pieces.pop(0), "more_body": True}
        return {"type": "http.disconnect"} if leave else {"type": "http.request", "body": b"", "more_body": False}

    return await receive(Request(scope("POST", "/", MULTIPART if headers is None else headers), messages), **options)


@pytest.mark.parametrize("piece", [1, 7, 64, 10_000])
def test_a_body_in_any_pieces(piece: int) -> None:
    image = b"\r\n--" + BOUNDARY[:-1].encode() + b" \0\xff\r\n-" * 9 + b"--an-odd-boundary-\r\n--an-odd\r"
    body = multipart(part("request", '{"k": "é"}'.encode()), part("image", image, "a.jpg"), part("box", b""))
    chunks = [body[at : at + piece] for at in range(0, len(body), piece)]
    found = run(received(chunks, fields=("request", "box")))
    assert found == Upload(image, {"request": '{"k": "é"}', "box": ""})


@given(image=st.binary(max_size=300), text=st.text(max_size=50), cuts=st.lists(st.integers(0, 700), max_size=9))
def test_whatever_is_sent_arrives(image: bytes, text: str, cuts: list[int]) -> None:
    body = multipart(part("image", image, "x"), part("entry", text.encode()))
    if f"--{BOUNDARY}".encode() in image + text.encode():
        return
    places = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
    chunks = [body[start:end] for start, end in pairwise(places)]
    assert run(received(chunks, fields=("entry",))) == Upload(image, {"entry": text})


def test_what_browsers_and_tools_send() -> None:
    photo = part("image", b"x", "C:\\fakepath\\a.jpg").replace(b"\r\n\r\n", b"\r\nContent-Type: image/jpeg\r\n\r\n", 1)
    assert run(received([multipart(photo)])).image == b"x"
    headers = {"content-type": f'Multipart/Form-Data; charset=utf-8; boundary="{BOUNDARY}"'}
    assert run(received([multipart(photo)], headers)).image == b"x"
    blob = multipart(photo, part("request", b"{}", "blob"))  # JavaScript gives text a file name
    assert run(received([blob], fields=("request",))).fields == {"request": "{}"}
    assert run(received([multipart(part("image", b"x"))])).image == b"x"  # a file without a name
    assert run(received([multipart(photo) + b"an epilogue"])).image == b"x"
    assert run(received([multipart(part("entry", b"{}"))], fields=("entry",), required=False)) == Upload(
        b"", {"entry": "{}"}
    )


WHOLE = multipart(part("image", b"x", "a.jpg"))
WITHOUT_NAME = WHOLE.replace(b'; name="image"', b"")
BAD_BODIES: dict[str, tuple[bytes, dict[str, str] | None, str]] = {
    "no content type": (WHOLE, {}, r"expected a body of multipart/form-data .*; found Content-Type \(none\)"),
    "JSON": (WHOLE, {"content-type": "application/json"}, "found Content-Type application/json"),
    "a form": (b"image=x", {"content-type": "application/x-www-form-urlencoded"}, "found Content-Type"),
    "other multipart": (WHOLE, {"content-type": f"multipart/mixed; boundary={BOUNDARY}"}, "multipart/mixed"),
    "odd content type": (WHOLE, {"content-type": "a\tb\x80" * 99}, "found Content-Type a"),
    "no boundary": (WHOLE, {"content-type": "multipart/form-data"}, "expected a body of multipart/form-data"),
    "empty boundary": (WHOLE, {"content-type": "multipart/form-data; boundary="}, "expected a body"),
    "long boundary": (WHOLE, {"content-type": f"multipart/form-data; boundary={'b' * 300}"}, "damaged"),
    "another boundary": (WHOLE, {"content-type": "multipart/form-data; boundary=other"}, "damaged"),
    "empty": (b"", None, "cut short"),
    "nothing in it": (multipart(), None, r"no file in field 'image'"),
    "text": (b"hello", None, "damaged"),
    "cut in a header": (WHOLE[:40], None, "cut short"),
    "cut in the file": (WHOLE[:-25], None, "cut short"),
    "cut in the last boundary": (WHOLE[:-4], None, "cut short"),
    "another field": (multipart(part("imge", b"x", "a.jpg")), None, "unknown field 'imge'; did you mean 'image'"),
    "a field of text alone": (multipart(part("request", b"x")), None, "no file in field 'image'"),
    "twice": (multipart(part("image", b"x", "a"), part("image", b"y", "b")), None, "'image' is there twice"),
    "text twice": (multipart(part("request", b"x"), part("request", b"y")), None, "'request' is there twice"),
    "many": (multipart(*[part(f"field{n}", b"x") for n in range(1000)]), None, "unknown field 'field0'"),
    "a part without a name": (WITHOUT_NAME, None, "no name in its Content-Disposition"),
    "a part without a header": (f"--{BOUNDARY}\r\n\r\nx\r\n--{BOUNDARY}--\r\n".encode(), None, "no name"),
    "an endless header": (f"--{BOUNDARY}\r\nContent-Disposition: {'x' * 9000}".encode(), None, "damaged"),
    "many headers": (f"--{BOUNDARY}\r\n".encode() + b"A: b\r\n" * 50 + b"\r\n", None, "damaged"),
    "a header that is none": (f"--{BOUNDARY}\r\nnonsense\r\n\r\n".encode(), None, "damaged"),
    "an odd name": (multipart(part("\x00\n<script>", b"x")), None, "damaged|unknown field"),
    "no UTF-8": (multipart(part("image", b"x", "a"), part("request", b"\xff\xfe")), None, "no UTF-8"),
}


@pytest.mark.parametrize("name", BAD_BODIES)
@pytest.mark.parametrize("piece", [3, 100_000])
def test_a_bad_body_is_told(name: str, piece: int) -> None:
    body, headers, message = BAD_BODIES[name]
    chunks = [body[at : at + piece] for at in range(0, len(body), piece)]
    with pytest.raises(Invalid, match=message):
        run(received(chunks, headers, fields=("request",)))


def test_a_text_field_is_bounded_and_a_client_may_leave() -> None:
    body = multipart(part("request", b"x" * 1001), part("image", b"x"))
    with pytest.raises(TooLarge, match="'request' is longer than 1000 bytes"):
        run(received([body], fields=("request",), field_bytes=1000))
    assert run(received([body], fields=("request",), field_bytes=1001)).image == b"x"
    with pytest.raises(ClientDisconnect):
        run(received([body[:50]], leave=True))


@given(st.binary(max_size=200), st.integers(0, 200))
def test_a_damaged_body_is_refused_or_read_but_never_more(junk: bytes, at: int) -> None:
    body = bytearray(multipart(part("image", b"x" * 40, "a.jpg")))
    body[at % len(body) : at % len(body) + len(junk)] = junk
    with contextlib.suppress(Invalid):
        assert len(run(received([bytes(body)])).image) <= len(body)


def test_nothing_of_an_upload_touches_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("a file was opened")

    monkeypatch.setattr("tempfile.SpooledTemporaryFile.__init__", refuse)
    monkeypatch.setattr("tempfile.NamedTemporaryFile", refuse)
    monkeypatch.setattr("builtins.open", refuse)
    image = b"x" * (3 * MB)
    assert run(received([multipart(part("image", image, "../../etc/passwd"))])).image == image


# ---------------------------------------------------------------- photographs


async def at_once(work: Callable[..., Any], *args: Any) -> Any:
    return work(*args)


def opened(data: bytes, **limits: Any) -> np.ndarray[Any, Any]:
    async def work() -> np.ndarray[Any, Any]:
        async with Photographs(at_once, **limits).open(data) as pixels:
            return pixels

    return run(work())


@pytest.mark.parametrize("name", GOOD)
def test_a_good_photograph_is_what_decoding_gives(name: str) -> None:
    pixels = opened(GOOD[name])
    assert pixels.shape in ((64, 96, 3), (9, 9, 3))
    assert pixels.dtype == np.uint8
    assert np.array_equal(pixels, decode_array(GOOD[name]))


@pytest.mark.parametrize("name", BAD)
def test_a_bad_one_is_refused_with_a_reason(name: str) -> None:
    data, status, message = BAD[name]
    with pytest.raises((ApiError, DecodeError)) as caught:
        opened(data)
    error = known(caught.value)
    assert error.status == status, error.message
    assert message in error.message
    assert len(error.message) < 300


def test_what_is_too_large_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "decode_array", None)  # to call it would be an error
    large = encoded("PNG", picture(200, 100))
    with pytest.raises(TooLarge, match=r"0\.0 megapixels"):
        opened(large, max_pixels=19_999)
    for kind in ("GIF", "PNG", "WEBP"):
        with pytest.raises(TooLarge, match="has 6 frames, the limit is 5"):
            header(frames(kind, 6), 10**6, 5)
        assert header(frames(kind, 5), 10**6, 5).width == 9
    found = header(large, 20_000, 1)
    assert (found.kind, found.width, found.height) == ("PNG", 200, 100)


@given(
    name=st.sampled_from(sorted(GOOD)),
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=12),
    share=st.floats(0.3, 1),
)
def test_a_damaged_photograph_gives_pixels_or_a_reason(
    name: str, changes: list[tuple[float, int]], share: float
) -> None:
    data = bytearray(GOOD[name])
    for place, value in changes:
        data[int(place * len(data))] = value
    with contextlib.suppress(NotAnImage, TooLarge, DecodeError):
        assert opened(bytes(data[: int(len(data) * share)]), max_pixels=10**6).size <= 3 * 10**6


# ---------------------------------------------------------------- memory


class Gate:
    """Runs work when the test says so."""

    def __init__(self) -> None:
        self.running = 0
        self.most = 0
        self.free = asyncio.Event()

    async def __call__(self, work: Callable[..., Any], *args: Any) -> Any:
        if work is decode_array:
            self.running += 1
            self.most = max(self.most, self.running)
            try:
                await self.free.wait()
            finally:
                self.running -= 1
        return work(*args)


async def open_one(photographs: Photographs, data: bytes) -> tuple[int, ...]:
    async with photographs.open(data) as pixels:
        return pixels.shape


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def test_the_memory_of_photographs_is_shared_and_bounded() -> None:
    data = encoded("PNG", picture(100, 100))
    cost = header(data, 10**6, 1).cost
    assert cost == 100 * 100 * 17

    async def work() -> None:
        gate = Gate()
        photographs = Photographs(gate, memory=2 * cost, waiting=2)
        tasks = [asyncio.create_task(open_one(photographs, data)) for _ in range(4)]
        await settle()
        assert gate.running == 2
        with pytest.raises(Busy, match="2 photographs wait to be decoded"):
            await open_one(photographs, data)
        gate.free.set()
        assert await asyncio.gather(*tasks) == [(100, 100, 3)] * 4
        assert gate.most == 2
        assert photographs._room.free == photographs._room.size
        async with photographs.open(data, (0, 0, 50, 20)) as pixels:
            assert pixels.shape == (20, 50, 3)
            assert photographs._room.free == 2 * cost - 3 * 100 * 100

    run(work())


def test_one_larger_than_all_memory_comes_alone() -> None:
    small, large = encoded("PNG", picture(20, 20)), encoded("PNG", picture(200, 200))

    async def work() -> None:
        gate = Gate()
        photographs = Photographs(gate, memory=50_000, waiting=9)
        tasks = [asyncio.create_task(open_one(photographs, data)) for data in (small, large, small)]
        await settle()
        assert gate.running == 1  # the small one behind does not overtake, or a large one might wait for ever
        gate.free.set()
        assert await asyncio.gather(*tasks) == [(20, 20, 3), (200, 200, 3), (20, 20, 3)]
        assert photographs._room.free == 50_000

    run(work())


def test_memory_comes_back_whatever_happens() -> None:
    data = encoded("PNG", picture(100, 100))
    cost = header(data, 10**6, 1).cost

    async def work() -> None:
        gate = Gate()
        photographs = Photographs(gate, memory=cost, waiting=9)
        first, second, third = (asyncio.create_task(open_one(photographs, data)) for _ in range(3))
        await settle()
        second.cancel()  # in the queue
        first.cancel()  # at work: the third is granted its place
        await settle()
        assert gate.running == 1
        third.cancel()
        with pytest.raises(asyncio.CancelledError):
            await third
        assert photographs._room.free == cost
        gate.free.set()
        with pytest.raises(DecodeError):
            await open_one(photographs, encoded()[:-20])
        with pytest.raises(ZeroDivisionError):
            async with photographs.open(data):
                raise ZeroDivisionError
        assert photographs._room.free == cost
        await first if first.done() and not first.cancelled() else None

    run(work())


@given(st.lists(st.tuples(st.integers(1, 60), st.booleans()), max_size=20), st.integers(10, 50))
def test_room_is_neither_lost_nor_made(takers: list[tuple[int, bool]], size: int) -> None:
    async def work() -> None:
        room = uploads._Room(size, 100)

        async def take(wanted: int) -> None:
            taken = await room.take(wanted)
            try:
                assert 0 <= room.free <= size - taken
                await asyncio.sleep(0)
            finally:
                room.give(taken)

        tasks = []
        for wanted, leaves in takers:
            tasks.append(asyncio.create_task(take(wanted)))
            await asyncio.sleep(0)
            if leaves:
                tasks[-1].cancel()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert not any(isinstance(error, AssertionError) for error in found)
        assert room.free == size
        assert not room.queue

    run(work())
