"""The connection to a Milvus server, and what its errors mean to a person."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from lapel.errors import LapelError, SearchIndexError
from lapel.retrieval.store import EngineUnavailable

TOKEN = "LAPEL_MILVUS_TOKEN"
CONNECT, WAIT = 5.0, 30.0  # seconds to connect, and for a call
AWAY = ("UNAVAILABLE", "DEADLINE_EXCEEDED", "Fail connecting", "Retry timeout", "Retry run out", "connect failed")
STARTING = ("not loaded", "not fully loaded", "loading collection timeout", "not ready", "no available", "not healthy")
_clients: dict[tuple[int, str, str], Any] = {}
_lock = threading.Lock()


def address(uri: str) -> str:
    """Bring a server's address to one form.

    >>> address("http://milvus.local")
    'http://milvus.local:19530'

    Raises:
        SearchIndexError: not an address, or one that has a password in it.
    """
    try:
        parts = urlsplit(uri.strip())
        port = parts.port or 19530
    except ValueError:
        parts, port = urlsplit(""), 0
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise SearchIndexError(f"{uri!r} is no address of a Milvus server: expected one like http://milvus.local:19530")
    if parts.username is not None or parts.password is not None:
        raise SearchIndexError(f"the address of a Milvus server has no password in it: set {TOKEN} to user:password")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}:{port}{parts.path.rstrip('/')}"


def connect(uri: str) -> Any:
    """Return a client of a server, the same one for all threads of a process.

    What the server asks to be shown comes from LAPEL_MILVUS_TOKEN: a token, or ``user:password``.

    Raises:
        EngineUnavailable: the server does not answer.
        SearchIndexError: pymilvus is not installed.
    """
    try:
        from pymilvus import MilvusClient
    except ImportError as error:
        raise SearchIndexError("an index on Milvus needs pymilvus: pip install 'lapel[milvus]'") from error
    logging.getLogger("pymilvus").setLevel(logging.CRITICAL)  # what it logs as it fails we raise
    token = os.environ.get(TOKEN, "")
    key = (os.getpid(), uri, token)
    with _lock:
        if key not in _clients:
            with trouble(uri):
                _clients[key] = MilvusClient(uri, token=token, timeout=CONNECT)
        return _clients[key]


def data_type(name: str) -> Any:
    """Return pymilvus' word for a type of Milvus."""
    from pymilvus import DataType

    return DataType[name]


@contextlib.contextmanager
def trouble(uri: str, collection: str = "", verb: str = "read") -> Iterator[None]:
    """Turn what the client raises into a message a person can act on."""
    try:
        yield
    except LapelError:
        raise
    except Exception as error:
        module = type(error).__module__.partition(".")[0]
        if module not in ("pymilvus", "grpc") and not isinstance(error, OSError | ValueError):
            raise
        reason = getattr(error, "message", None) or str(error)
        first = re.sub(r"\s+", " ", str(reason))[:300]
        if any(sign in f"{error}" for sign in AWAY):
            raise EngineUnavailable(
                f"the Milvus server at {uri} does not answer: start it, or see that it can be reached from here; what "
                "was acknowledged is safe"
            ) from error
        if any(sign in first for sign in STARTING):
            raise EngineUnavailable(f"the Milvus server at {uri} is loading {collection}: try again soon") from error
        if "auth" in first or "permission" in first.lower():
            raise SearchIndexError(
                f"the Milvus server at {uri} refuses: set {TOKEN} to a token or user:password ({first})"
            ) from error
        if "collection not found" in first or "can't find collection" in first:
            raise SearchIndexError(
                f"the Milvus server at {uri} has no collection {collection!r} now: if the index was written to, open "
                "it again, else index into a new folder"
            ) from error
        raise SearchIndexError(f"cannot {verb} {collection} at {uri}: {first}") from error
