"""The catalogue: images with their labels, what every verb takes.

A catalogue is two tables. ``images`` has one row per image (path, item, split, domain, box, landmarks, free metadata);
``labels`` has one row per (image, attribute, value), so an image may lack an attribute or have several values of it.
A missing label means "not labelled", never "no".

On disk it is one CSV or Parquet file. In CSV an empty cell is missing, ``a|b`` is two values, ``box`` holds
``x1 y1 x2 y2`` and ``landmarks`` holds ``x y visibility`` triples, all separated by spaces, in pixels of the upright
original image. Parquet has lists in their place, and beside them what an imported data set needs: a record (where it
comes from, how it is scored, where its images lie) and relations, tables that name several images in a row (given
queries, triplets, pairs), as ``catalogue.NAME.parquet`` in the same folder.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from lapel import catalogue_file, columns, coordinates
from lapel.catalogue_file import SUFFIXES
from lapel.errors import CatalogueError, unknown
from lapel.files import atomic_path

RESERVED = ("image", "item", "split", "domain", "box", "landmarks")
SPLITS = ("train", "val", "test", "query", "gallery")


@dataclass(frozen=True, eq=False)
class Catalogue:
    """Images with their labels.

    Attributes:
        root: folder that relative image paths start from.
        images: one row per image: ``image``, ``item``, ``split``, ``domain``, ``box``, ``landmarks``, then metadata.
        labels: columns ``image`` (int32 row number in ``images``), ``attribute``, ``value``.
        attributes: attribute names in the file's column order.
        name: what messages and records call it.
        record: where an imported catalogue comes from and how it is scored (``lapel.protocol``), as JSON values.
        relations: tables that name images by their path: ``queries``, ``triplets``, ``pairs``. They go with the
            catalogue, whole, through ``take`` and ``split``.
    """

    root: Path
    images: pa.Table
    labels: pa.Table
    attributes: tuple[str, ...]
    name: str
    record: Mapping[str, Any] = field(default_factory=dict)
    relations: Mapping[str, pa.Table] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path | str, attributes: Sequence[str] | None = None, also: Sequence[str] = ()) -> Catalogue:
        """Read ``catalogue.csv`` / ``catalogue.parquet``, or a folder holding one of them.

        Args:
            path: the file or its folder.
            attributes: the columns that are attributes; the rest is metadata. By default a column is an attribute
                when its values repeat (see ``lapel.columns.is_attribute``).
            also: columns that are attributes in any case, where the file has them (those a run was trained with).

        Raises:
            CatalogueError: no such file, no ``image`` column, a malformed box or landmark, an unknown attribute.
        """
        path = catalogue_file.find(Path(path))
        table, own = catalogue_file.load(path)
        recorded = own.get("attributes")
        if table.num_rows == 0:
            raise CatalogueError(f"{path} has no rows: expected one row per image")
        free = [name for name in table.column_names if name not in RESERVED]
        wanted = [attributes] if isinstance(attributes, str) else attributes
        for name in wanted or ():
            if name not in free:
                raise CatalogueError(f"{path}: {unknown('attribute', name, free)}")
        wanted = recorded if wanted is None else wanted
        chosen = tuple(
            name
            for name in free
            if name in also or (columns.is_attribute(table[name]) if wanted is None else name in wanted)
        )
        for name in ("image", "item", "split", "domain", *chosen):
            catalogue_file.check_text(path, table, name, lists=name in chosen)
        data: dict[str, Any] = {"image": columns.required_text(table["image"], path)}
        for name in ("item", "split", "domain"):
            found = table[name] if name in table.column_names else pa.nulls(table.num_rows, pa.string())
            data[name] = columns.text(found)
        for name in ("box", "landmarks"):
            data[name] = coordinates.numbers(table, name, path)
        for name in free:
            if name not in chosen:
                # What Lapel wrote as text stays text, be it digits.
                data[name] = columns.metadata(table[name]) if recorded is None else table[name]
        labels = columns.long_labels({name: table[name] for name in chosen})
        relations = catalogue_file.read_relations(path, own.get("relations", {}))
        name = path.parent.resolve().name or path.stem
        root = catalogue_file.root(path, own)
        return cls(root, pa.table(data), labels, chosen, name, own.get("record", {}), relations)

    def write(self, path: Path | str) -> None:
        """Write as ``.csv`` or ``.parquet`` in one step; relative image paths stay as they are.

        Parquet also keeps which columns are attributes, the folder of the images, the record and the relations; a
        reader of the CSV tells attributes by ``attributes`` or by their values, and looks for images beside it.

        Raises:
            CatalogueError: another suffix, or a metadata column of a type that CSV cannot hold.
            LapelError: the disk is full or the folder cannot be written.
        """
        path = Path(path)
        if path.suffix.lower() not in SUFFIXES:
            raise CatalogueError(f"cannot write {path}: expected a name ending in .csv or .parquet")
        wide = {name: self.images[name] for name in self.images.column_names}
        lists = columns.wide_labels(self.labels, self.attributes, len(self))
        if path.suffix.lower() == ".csv":
            wide = {
                name: coordinates.join_numbers(column)
                if name in ("box", "landmarks")
                else columns.csv_cells(column, name, path)
                for name, column in wide.items()
                if name in ("image", *self.metadata) or column.null_count < len(self)
            }
            wide |= {name: columns.join_values(column) for name, column in lists.items()}
            with atomic_path(path) as temporary:
                pa.csv.write_csv(pa.table(wide), temporary)
            return
        noted = {"attributes": self.attributes, "metadata": self.metadata, "record": dict(self.record)}
        catalogue_file.write_parquet(path, pa.table(wide | lists), noted, self.relations, self.root)

    def __len__(self) -> int:
        return int(self.images.num_rows)

    @property
    def metadata(self) -> tuple[str, ...]:
        """Names of the free columns that are not attributes."""
        return tuple(name for name in self.images.column_names if name not in RESERVED)

    def paths(self) -> list[Path]:
        """Absolute path of every image."""
        root = self.root.resolve()
        return [root / name for name in self.images["image"].to_pylist()]

    def boxes(self) -> list[tuple[float, float, float, float] | None]:
        """Crop box (x1, y1, x2, y2) of every image in pixels, or None."""
        return [None if box is None else tuple(box) for box in self.images["box"].to_pylist()]

    def landmarks(self) -> npt.NDArray[np.float64]:
        """Landmarks of every image: x, y in pixels of the upright original image, and visibility.

        Six are those of an upper-body garment and four those of a lower-body one, as ``lapel.landmarks`` orders them.

        Returns:
            (N, 8, 3); NaN throughout where an image has none, 0, 0, 2 at places that its garment does not have.

        Raises:
            CatalogueError: an image has another number of them, or a visibility that is none of 0, 1 and 2.
        """
        return coordinates.landmarks(self.images, f"catalogue {self.name!r}")

    def items(self) -> list[str | None]:
        """Item of every image, or None."""
        return list(self.images["item"].to_pylist())

    def splits(self) -> tuple[str, ...]:
        """Split names present, in the customary order."""
        present = set(self.images["split"].drop_null().unique().to_pylist())
        return (*(name for name in SPLITS if name in present), *sorted(present - set(SPLITS)))

    def values(self, attribute: str) -> tuple[str, ...]:
        """Values of one attribute, sorted.

        Raises:
            CatalogueError: unknown attribute.
        """
        self._known(attribute)
        rows = self.labels.filter(pc.equal(self.labels["attribute"], attribute))
        return tuple(sorted(rows["value"].unique().to_pylist()))

    def multi_hot(self, attribute: str, values: Sequence[str] | None = None) -> npt.NDArray[np.bool_]:
        """Labels of one attribute as a (N, V) matrix; an all-False row is an image without a label.

        Args:
            attribute: one of ``attributes``.
            values: order of the columns, by default ``self.values(attribute)``; labels outside it are left out.

        Raises:
            CatalogueError: unknown attribute.
        """
        self._known(attribute)
        order = list(self.values(attribute) if values is None else values)
        rows = self.labels.filter(pc.equal(self.labels["attribute"], attribute))
        matrix = np.zeros((len(self), len(order)), bool)
        found = pc.fill_null(pc.index_in(rows["value"], pa.array(order, pa.string())), -1).to_numpy()
        images = rows["image"].to_numpy()
        matrix[images[found >= 0], found[found >= 0]] = True
        return matrix

    def values_of(self, row: int) -> dict[str, tuple[str, ...]]:
        """Labels of one image: attribute -> its values, attributes without a label left out."""
        rows = self.labels.filter(pc.equal(self.labels["image"], pa.scalar(row, pa.int32())))
        found: dict[str, tuple[str, ...]] = {}
        for attribute, value in zip(rows["attribute"].to_pylist(), rows["value"].to_pylist(), strict=True):
            found[attribute] = (*found.get(attribute, ()), value)
        return found

    def take(self, rows: npt.ArrayLike) -> Catalogue:
        """Catalogue of the given image rows, in that order; a row given twice is there twice.

        Args:
            rows: row numbers, or a (N,) bool mask.
        """
        chosen = np.asarray(rows)
        order = np.flatnonzero(chosen) if chosen.dtype == bool else chosen.astype(np.int64)
        owner = self.labels["image"].to_numpy()
        by_image = np.argsort(owner, kind="stable")
        sizes = np.bincount(owner, minlength=len(self))
        image, place = columns.spread((np.cumsum(sizes) - sizes)[order], sizes[order])
        labels = columns.take(self.labels, by_image[place])
        labels = labels.set_column(0, "image", pa.array(image.astype(np.int32)))
        return replace(self, images=columns.take(self.images, order), labels=labels)

    def with_relations(self, relations: Mapping[str, pa.Table]) -> Catalogue:
        """Return it with these relations in place of its own."""
        return replace(self, relations=dict(relations))

    def split(self, name: str) -> Catalogue:
        """Images of one split.

        Raises:
            CatalogueError: the split is unknown or empty; names are taken as they are written.
        """
        rows = np.flatnonzero(pc.fill_null(pc.equal(self.images["split"], name), False).to_numpy())
        if not len(rows):
            message = unknown("or empty split", name, self.splits())
            raise CatalogueError(f"catalogue {self.name!r}: {message}. The column 'split' takes {', '.join(SPLITS)}")
        return self.take(rows)

    def with_splits(self, seed: int = 0, shares: tuple[float, float, float] = (0.8, 0.1, 0.1)) -> Catalogue:
        """Return it with train / val / test splits: those given, else drawn 8:1:1 by item (by image without one).

        The draw depends on the seed and on the set of items, not on their order in the file. Each side gets at least
        one item; of two items one is for training and one for validation, and a single one is for training. Where any
        row has a split nothing is drawn, and rows without one belong to none.
        """
        if self.splits():
            return self
        groups = self._groups()
        unique = sorted(set(groups))
        order = np.random.default_rng(seed).permutation(len(unique))
        held: list[int] = []
        for share in shares[1:]:
            held.append(min(max(1, round(share * len(unique))), len(unique) - 1 - sum(held)) if share > 0 else 0)
        names = np.full(len(unique), "train", object)
        names[order[: held[0]]] = "val"
        names[order[held[0] : sum(held)]] = "test"
        split = dict(zip(unique, names, strict=True))
        return self._splitted([split[group] for group in groups])

    def with_validation(self, seed: int = 0, share: float = 1 / 9) -> Catalogue:
        """Return it with a ``val`` split: the given one, else a share of the training items (at least one) is moved.

        Many catalogues come with train and test only, and the best epoch must not be picked on the test split.
        """
        if "val" in self.splits() or "train" not in self.splits():
            return self
        groups, given = self._groups(), self.images["split"].to_pylist()
        unique = sorted({group for group, split in zip(groups, given, strict=True) if split == "train"})
        if len(unique) < 2:
            return self
        order = np.random.default_rng(seed).permutation(len(unique))
        held = {unique[place] for place in order[: max(1, round(share * len(unique)))]}
        return self._splitted(
            ["val" if split == "train" and group in held else split for group, split in zip(groups, given, strict=True)]
        )

    def digest(self) -> str:
        """SHA-256 over image paths, boxes and labels in their order: what a training depends on beside the pixels."""
        found = hashlib.sha256()
        for table, names in ((self.images, ("image", "box")), (self.labels, ("image", "attribute", "value"))):
            for name in names:
                for batch in pa.table({name: table[name]}).to_batches(max_chunksize=100_000):
                    found.update(json.dumps(batch.column(0).to_pylist()).encode())
        return found.hexdigest()

    def _groups(self) -> list[str]:
        """What must stay on one side of a split: the item, or the image where it has none."""
        images = self.images["image"].to_pylist()
        return [item if item is not None else f"\0{image}" for item, image in zip(self.items(), images, strict=True)]

    def _splitted(self, names: Sequence[str | None]) -> Catalogue:
        position = self.images.column_names.index("split")
        column = pa.array(names, pa.string())
        return replace(self, images=self.images.set_column(position, "split", column))

    def _known(self, attribute: str) -> None:
        if attribute not in self.attributes:
            raise CatalogueError(f"catalogue {self.name!r}: {unknown('attribute', attribute, self.attributes)}")
