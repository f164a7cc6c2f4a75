"""Which engine holds the rows of an index, as its record says: LanceDB in the folder itself, or a Milvus server.

Of an index on Milvus the folder has all but the rows: the record, the query encoders, images that came one by one.
"""

from __future__ import annotations

import json
import re
import uuid
from dataclasses import dataclass, fields
from pathlib import Path

import pyarrow as pa

from lapel.errors import SearchIndexError, unknown
from lapel.retrieval import lance_store, milvus_store
from lapel.retrieval.lance_store import LanceStore
from lapel.retrieval.layout import ENGINES, EXACT_BELOW, RECORD, IndexRecord
from lapel.retrieval.milvus_client import address
from lapel.retrieval.milvus_store import MilvusStore
from lapel.retrieval.store import Store

NEVER = -1  # rows that ``exact_below`` says of an index that is not laid out in the folder


@dataclass(frozen=True)
class Place:
    """Where the rows of an index are.

    Attributes:
        engine: ``lance`` or ``milvus``.
        uri: address of the server; "" for LanceDB.
        collection: its name there; "" for LanceDB.
    """

    engine: str = ENGINES[0]
    uri: str = ""
    collection: str = ""

    @classmethod
    def of(cls, record: IndexRecord) -> Place:
        """Return what a record says."""
        return cls(record.engine, record.uri, record.collection)

    def exact_below(self, wanted: int = EXACT_BELOW) -> int:
        """Up to how many rows are compared one and all: of what a server holds none, it would be read as a whole."""
        return wanted if self.engine == "lance" else NEVER


def settled(folder: Path, old: IndexRecord | None, engine: str | None, uri: str | None) -> Place:
    """Say where rows go: where they are, or for a new index where it is wanted.

    Args:
        folder: of the index.
        old: its record; None for a new one.
        engine: as asked for; None: where they are, for a new index ``milvus`` if there is ``uri``, else ``lance``.
        uri: of the server, as asked for. That of an index that is there may be another address of the same server.

    Raises:
        SearchIndexError: no such engine, no address or one too many, or the index is elsewhere.
    """
    if engine is not None and engine not in ENGINES:
        raise SearchIndexError(unknown("engine", engine, ENGINES))
    wanted = engine or (old.engine if old else "milvus" if uri else "lance")
    if old is not None and wanted != old.engine:
        server = f" --uri {uri or 'URI'}" if wanted != "lance" else ""
        raise SearchIndexError(
            f"the rows of index {folder} are in {old.engine}, not in {wanted}; to have them there: lapel move {folder} "
            f"--to FOLDER --engine {wanted}{server}"
        )
    if wanted == "lance":
        if uri:
            raise SearchIndexError(f"--uri {uri} is for an engine on a server: add --engine milvus, or leave it out")
        return Place()
    if old is not None:
        return Place(wanted, address(uri) if uri else old.uri, old.collection)
    if not uri:
        raise SearchIndexError("an index on Milvus needs the server's address: --uri http://HOST:19530")
    name = re.sub(r"\W", "_", folder.resolve().name, flags=re.ASCII)[:60]
    return Place(wanted, address(uri), f"lapel_{name}_{uuid.uuid4().hex[:8]}")


def open_store(folder: Path, record: IndexRecord | None = None, consistency: str = "Session") -> Store:
    """Open the rows of an index.

    Args:
        folder: of the index.
        record: of the index, if it has been read.
        consistency: what a server's answers take account of (``MilvusStore``). LanceDB's always do of all.

    Raises:
        SearchIndexError: there are none, or they cannot be read.
        EngineUnavailable: the server does not answer.
    """
    place = Place.of(record or IndexRecord.read(folder))
    if place.engine == "lance":
        return LanceStore.open(folder)
    return MilvusStore.open(place.uri, place.collection, consistency)


def create_store(folder: Path, place: Place, schema: pa.Schema) -> Store:
    """Open the rows of an index for writing, making an empty table where there is none."""
    if place.engine == "lance":
        return LanceStore.create(folder, schema)
    return MilvusStore.create(place.uri, place.collection, schema)


def state(folder: Path) -> str | None:
    """Name the newest version of an index's rows; None where there are none.

    Raises:
        EngineUnavailable: the server does not answer.
    """
    place = lies(folder)
    if place.engine == "lance":
        return lance_store.state(folder)
    return milvus_store.state(place.uri, place.collection)


def lies(folder: Path) -> Place:
    """Return where an index's rows are, without checking the rest of its record."""
    try:
        data = json.loads((folder / RECORD).read_text("utf-8"))
        return Place(*(data.get(field.name, field.default) for field in fields(Place)))
    except (OSError, ValueError, AttributeError):
        return Place()
