"""How an image file is built, read from its bytes: files whose pieces cost far more time than their pixels are worth.

Pillow walks over a file's pieces in Python before it knows the image's size: 20 MB of empty JPEG segments take it 10
seconds and a gigabyte, and a progressive JPEG may repeat its scans a hundred thousand times. All of this is found here
within milliseconds, without decoding.
"""

from __future__ import annotations

PIECES = 4000  # segments or blocks before the picture; photographs have some dozens
CHUNKS = 50_000  # of a PNG: 20 MB in pieces of 8 KB are 2,560
SCANS = 64  # of JPEG; progressive ones have 10, and one file may hold two pictures and a thumbnail


def oddity(data: bytes) -> str | None:
    """Return what is wrong with the build of an encoded image, None if nothing or if it is of another format."""
    if data.startswith(b"\xff\xd8\xff"):
        return _jpeg(data)
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return _png(data)
    if data.startswith((b"GIF87a", b"GIF89a")):
        return _gif(data)
    return None


def _jpeg(data: bytes) -> str | None:
    scans = data.count(b"\xff\xda")  # within coded data a zero follows each 255
    if scans > SCANS:
        return f"has {scans} scans, the limit is {SCANS}"
    at, junk = 2, 0
    for _ in range(PIECES):
        mark = data.find(b"\xff", at)
        junk += (mark if mark >= 0 else len(data)) - at
        if junk > PIECES:
            return "has too many bytes between its segments"
        if mark < 0 or mark + 4 > len(data) or data[mark + 1] == 0xDA:
            return None
        code = data[mark + 1]
        bare = code in (0x00, 0x01) or 0xD0 <= code <= 0xD9  # no length follows
        # A fill byte is 255 itself and may begin the next marker.
        at = mark + (1 if code == 0xFF else 2 if bare else 2 + int.from_bytes(data[mark + 2 : mark + 4]))
    return f"has more than {PIECES} pieces in its header"


def _png(data: bytes) -> str | None:
    at = 8
    for _ in range(CHUNKS):
        if at + 12 > len(data) or data[at + 4 : at + 8] == b"IEND":
            return None
        at += 12 + int.from_bytes(data[at : at + 4])
    return f"has more than {CHUNKS} chunks"


def _gif(data: bytes) -> str | None:
    def table(flags: int) -> int:
        return 3 << ((flags & 7) + 1) if flags & 0x80 else 0

    at = 13 + table(data[10] if len(data) > 10 else 0)
    steps = 0
    while steps < PIECES:
        steps += 1
        if data[at : at + 1] != b"!":  # the picture, the end, or damage
            return None
        at += 2
        while steps < PIECES and at < len(data) and data[at]:
            steps += 1
            at += 1 + data[at]
        at += 1
    return f"has more than {PIECES} blocks before its picture"
