"""Writing to an index image by image, with the meaning of ``lapel index``: nothing is embedded twice.

A row that was written so stays, also through ``lapel index``, which only looks after the images of its catalogue. The
other way round, what the catalogue lists the next ``lapel index`` makes as the catalogue says: a row of it that was
written over here is as before then, and one that was deleted here comes back.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import pyarrow as pa

from lapel.errors import LapelError
from lapel.retrieval import apart, kept, snapshot
from lapel.retrieval.engines import open_store
from lapel.retrieval.layout import EXACT_BELOW, IndexRecord
from lapel.retrieval.locking import only_writer
from lapel.retrieval.new_images import EntryError, NewImage, check_id
from lapel.retrieval.new_vectors import Embeds, NewVectors, OwnIndex
from lapel.retrieval.plan import Change, Known, Plan, Put, checked
from lapel.retrieval.store import Store
from lapel.retrieval.versions import mark, place

Outcome: TypeAlias = Change | int | LapelError
log = logging.getLogger("lapel.index")

FULL = 0.5  # share of the snapshot's room for changes, from which on it is laid out anew when there is time
# Tidying writes a table of up to a million rows anew, and the old files stay for an hour: at most twelve times those of
# ``EXACT_BELOW`` rows. Without it a commit takes longer by a hundredth for each one before.
TIDY_COMMITS, TIDY_EVERY_S, TIDY_LATEST_S = 100, 300.0, 3600.0


@dataclass(frozen=True)
class Removal:
    """Images to delete, by id; unknown ids are no mistake."""

    ids: Sequence[str]


class Writer:
    """Writes images to an index and deletes them. What it has returned from is on disk, and the next search finds it.

    To be used by one thread at a time. It holds the index against other writers only while it commits.

    Args:
        path: the index folder.
        index: gives the open index whose encoders are used, as it is now; by default it is opened here.
        patience: seconds to wait for another writer.

    Raises:
        SearchIndexError: not an index.
    """

    def __init__(self, path: Path | str, index: Callable[[], Embeds] | None = None, patience: float = 5.0) -> None:
        self.folder, self.patience = Path(path), patience
        self._index = index or OwnIndex(self.folder)
        self._store: Store | None = None
        self._seen: object = None
        self._commits, self._tidied, self._full, self._unused = 0, time.monotonic(), False, 0
        IndexRecord.read(self.folder)

    def upsert(self, images: Sequence[NewImage]) -> list[Change]:
        """Add images, or replace those of the same id, in one commit: all of them, or none if one cannot be.

        Returns:
            Of each: ``added``; ``changed``, another image or box than the row had; ``updated``, other labels or
            metadata, not embedded again; ``unchanged``.

        Raises:
            EntryError: what is said of an image does not fit.
            ImageError: an image cannot be read.
            IndexBusy: another process writes to the index.
            SearchIndexError: the index or a run of it is gone.
            LapelError: the disk is full; the index has what it had.
        """
        return [outcome for outcome in self._do(images, whole=True) if isinstance(outcome, str)]

    def delete(self, ids: Sequence[str]) -> int:
        """Remove images by id, and return how many there were.

        An image of the catalogue that the index was made from comes back with the next ``lapel index``.

        Raises:
            EntryError: something that is no id.
            IndexBusy: another process writes to the index.
            SearchIndexError: the index is gone.
            LapelError: the disk is full.
        """
        return sum(outcome for outcome in self._do([Removal(ids)], whole=True) if isinstance(outcome, int))

    def write(self, changes: Sequence[NewImage | Removal]) -> list[Outcome]:
        """Do several changes, one after the other, in one commit.

        Returns:
            Of each what ``upsert`` or ``delete`` returns, or the error that it raises; the others are done.

        Raises:
            IndexBusy: another process writes to the index.
            SearchIndexError: the index is gone.
        """
        return self._do(changes, whole=False)

    def rest(self) -> bool:
        """Do what can wait: merge small files, lay out the rows anew, remove images that no row needs.

        To be called when nothing waits to be written, as often as one likes. Returns whether anything was done.

        Raises:
            IndexBusy: another process writes to the index.
            LapelError: the disk is full.
        """
        tidies = self._to_tidy()
        if not (tidies or self._full):
            return False
        with only_writer(self.folder, 0):
            record, store = self._opened()
            if tidies:
                before = store.version
                store.tidy(approximate=len(store) > record.exact_below)
                self._commits, self._tidied = 0, time.monotonic()
                self._show(record, store, before)
                self._unused = kept.collect(self.folder, store)
            if self._full:
                self._lay_out(record, store)
            self._seen = self._lies()
        return True

    def _to_tidy(self) -> bool:
        since = time.monotonic() - self._tidied
        if self._commits >= TIDY_COMMITS and self._store is not None:
            return since >= TIDY_EVERY_S * max(1.0, len(self._store) / EXACT_BELOW)
        return self._commits + self._unused > 0 and since >= TIDY_LATEST_S

    def _do(self, changes: Sequence[NewImage | Removal], whole: bool) -> list[Outcome]:
        outcomes: dict[int, Outcome] = {}
        puts: dict[int, Put] = {}
        for number, change in enumerate(changes):
            try:
                if isinstance(change, Removal):
                    list(map(check_id, change.ids))
                else:
                    puts[number] = checked(change)
            except LapelError as error:
                outcomes[number] = error
        ids = [name for number, change in enumerate(changes) if number not in outcomes for name in _ids(change)]
        # Embedded before the lock, as that takes long; what another process changes meanwhile is looked at again.
        fresh = NewVectors(self._index)
        record, store = self._opened()
        seen, known = self._seen, _known(store, ids)
        outcomes |= fresh.embed(record, {n: put for n, put in puts.items() if n not in outcomes}, known)
        _raise_if(whole, outcomes)
        with only_writer(self.folder, self.patience):
            record, store = self._opened()
            apart.restore(self.folder, store)
            if self._lies() != seen:
                known = _known(store, ids)
                outcomes |= fresh.embed(record, {n: put for n, put in puts.items() if n not in outcomes}, known)
            plan = Plan(store.schema, known)
            for number, change in enumerate(changes):
                if number not in outcomes:
                    try:
                        outcomes[number] = plan.put(puts[number]) if number in puts else plan.remove(_ids(change))
                    except EntryError as error:
                        outcomes[number] = error
            _raise_if(whole, outcomes)
            try:
                self._commit(record, store, plan, known, fresh)
            except LapelError as error:
                for number, outcome in outcomes.items():
                    if outcome not in ("unchanged", 0) and not isinstance(outcome, LapelError):
                        outcomes[number] = error
                _raise_if(whole, outcomes)
        return [outcomes[number] for number in range(len(changes))]

    def _opened(self) -> tuple[IndexRecord, Store]:
        """The index as it is now, whoever wrote to it or put another one in its place."""
        record, lies = IndexRecord.read(self.folder), self._lies()
        if self._store is None or self._seen != lies:
            self._store, self._seen = open_store(self.folder, record, "Strong"), lies
        return record, self._store

    def _lies(self) -> object:
        return place(self.folder), mark(self.folder)

    def _commit(
        self, record: IndexRecord, store: Store, plan: Plan, known: Mapping[str, Known], fresh: NewVectors
    ) -> None:
        """Bring files, table and snapshot to the plan, in the order in which being stopped does no harm."""
        rows, gone = plan.rows, plan.gone
        if not rows and not gone:
            return
        for row in rows.values():
            if row.image == kept.name_of(row.data):
                kept.keep(self.folder, row.data)
        kept.release(self.folder, plan.released)
        before = store.version
        table: pa.Table | None = None
        if plan.fresh:
            store.reshape(pa.schema([*store.schema, *(pa.field(name, kind) for name, kind in plan.fresh.items())]))
        if rows:
            same = [name for name, row in rows.items() if name in known and known[name].hash == row.hash]
            stored = store.read(["id", "vector"], same)
            table = fresh.beside(plan, stored, record.dims).select(store.schema.names)
            store.upsert(table)
        if gone:
            store.delete(gone)
        self._commits += 1
        self._show(record, store, before, table, gone)
        self._seen = self._lies()

    def _show(
        self,
        record: IndexRecord,
        store: Store,
        before: str | None,
        rows: pa.Table | None = None,
        gone: Sequence[str] = (),
    ) -> None:
        """Let readers see a change, who compare every row without the engine."""
        if len(store) > record.exact_below:
            if snapshot.remove(self.folder):  # the index has outgrown it, and has no approximate one yet
                self._commits, self._tidied = TIDY_COMMITS, -float("inf")
            self._full = False
            return
        try:
            used = snapshot.note(self.folder, before, rows, gone)
            if used is None:
                self._lay_out(record, store)
            else:
                self._full = used > FULL
        except LapelError as error:  # the table has the rows: readers ask the engine until the next write
            log.warning("the snapshot of index %s is behind: %s", self.folder, error)

    def _lay_out(self, record: IndexRecord, store: Store) -> None:
        snapshot.write(self.folder, store, record)
        self._full = False


def _known(store: Store, ids: Iterable[str]) -> dict[str, Known]:
    rows = store.read(["id", "hash", "row_hash", "image"], [*dict.fromkeys(ids)]).to_pylist()
    return {row.pop("id"): Known(**row) for row in rows}


def _ids(change: NewImage | Removal) -> Sequence[str]:
    return change.ids if isinstance(change, Removal) else (change.id,)


def _raise_if(whole: bool, outcomes: Mapping[int, Outcome]) -> None:
    """Raise the first error if all of the changes are to be done or none."""
    for number in sorted(outcomes) if whole else ():
        outcome = outcomes[number]
        if isinstance(outcome, LapelError):
            raise outcome
