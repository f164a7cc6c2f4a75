"""Photographs on their way to a server: sent once, and again where it no longer has them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from lapel.client.asking import ApiFailure, Asker
from lapel.client.images import Listed, Query
from lapel.client.parts import Part, encoded

T = TypeVar("T")


def send(asker: Asker, photograph: bytes, index: str | None) -> Query:
    """Send an encoded photograph."""
    data = {} if index is None else {"index": index}
    files = {"image": photograph}
    return asker.told(lambda told: Query.of(told, photograph), "POST", "/v1/queries", files=files, data=data)


def sent(asker: Asker, part: Part, index: str | None) -> Query | None:
    """Send the photograph of a part, unless that was done, and return what it is known by; None: it has none."""
    if isinstance(part.image, Query):
        return part.image
    if part.image is None or isinstance(part.image, Listed):
        return None
    return send(asker, encoded(part.image), index)


def kept(asker: Asker, queries: Sequence[Query | None], index: str | None, ask: Callable[[], T]) -> T:
    """Ask; if the server no longer has a photograph, send those at hand again and ask once more."""
    try:
        return ask()
    except ApiFailure as failure:
        held = [each.photograph for each in queries if each is not None and each.photograph is not None]
        if failure.code != "query_gone" or not held:
            raise
    for photograph in held:
        send(asker, photograph, index)
    return ask()
