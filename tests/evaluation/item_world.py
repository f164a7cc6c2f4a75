"""Tiny catalogues of items, and the whole protocol of instance retrieval on them by Python loops."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from lapel.catalogue import Catalogue

BOXES = (None, [0.0, 0.0, 5.0, 9.0], [1.0, 2.0, 3.0, 4.0])


def table_of(rows: list[dict]) -> pa.Table:
    text = {name: pa.array([row[name] for row in rows], pa.string()) for name in ("image", "item", "split", "domain")}
    lists = {name: pa.array([row.get(name) for row in rows], pa.list_(pa.float64())) for name in ("box", "landmarks")}
    more = {"category": pa.array([row["category"] for row in rows], pa.string())}
    return pa.table(text | lists | more | {"pose": pa.array([row["pose"] for row in rows], pa.int64())})


def catalogue_of(rows: list[dict], pairs: list[tuple] = (), fits: list[tuple] = ()) -> Catalogue:
    columns = zip(*pairs, strict=True) if pairs else [()] * 4
    names = ("split", "query", "gallery", "item")
    relation = {name: pa.array(list(cells), pa.string()) for name, cells in zip(names, columns, strict=True)}
    labels = pa.table(
        {
            "image": pa.array([row for row, _ in fits], pa.int32()),
            "attribute": pa.array(["fit"] * len(fits), pa.string()),
            "value": pa.array([value for _, value in fits], pa.string()),
        }
    )
    return Catalogue(Path(), table_of(rows), labels, ("fit",), "tiny", {}, {"pairs": pa.table(relation)})


def random_world(seed: int, count: int = 45) -> tuple[Catalogue, list[tuple], np.ndarray]:
    """Images that repeat with the same and with other boxes, rows without item or category, pairs of absent images."""
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(count):
        item = int(rng.integers(0, 7))
        row = {
            "image": f"{rng.integers(0, count)}.jpg",
            "item": f"i{item}" if rng.random() < 0.9 else None,
            "split": str(rng.choice(["val", "test", "train"])),
            "domain": str(rng.choice(["shop", "consumer"])),
            "box": BOXES[rng.integers(0, 3)],
            "category": f"c{item % 3}" if rng.random() < 0.9 else None,
            "pose": int(rng.integers(1, 4)) if rng.random() < 0.8 else None,
        }
        if rng.random() < 0.2 and rows:  # the same photograph again
            row |= {name: rows[-1][name] for name in ("image", "box")}
        rows.append(row)
    owned = [row for row in rows if row["item"]]
    pairs = []
    for _ in range(25):
        one = owned[rng.integers(0, len(owned))]
        two = [row for row in owned if row["item"] == one["item"]]
        other = two[rng.integers(0, len(two))]
        pairs.append((str(rng.choice(["val", "test"])), one["image"], other["image"], one["item"]))
    pairs += [("test", "gone.jpg", owned[0]["image"], owned[0]["item"])]
    pairs += [("val", owned[1]["image"], "gone.jpg", owned[1]["item"])]
    fits = [(row, value) for row in range(count) for value in ("slim", "wide") if rng.random() < 0.4]
    # Directions of one length: scores are few, and most are tied.
    vectors = np.where(rng.random((count, 5)) < 0.5, -1.0, 1.0)
    return catalogue_of(rows, pairs, fits), fits, vectors


def slow(catalogue, protocol, vectors, missing):
    """Return [(query row, its rank, hits, candidates)], the gallery, and the rows left out for want of a vector."""
    rows = catalogue.images.to_pylist()

    def find(image, item):
        same = [place for place, row in enumerate(rows) if row["image"] == image]
        if len(same) < 2:
            return same[0] if same else None
        return next(place for place in same if rows[place]["item"] == item)

    if protocol.relation:
        pairs = [
            (row["split"], find(row["query"], row["item"]), find(row["gallery"], row["item"]), row["item"])
            for row in catalogue.relations[protocol.relation].to_pylist()
        ]
        asked = [pair for pair in pairs if pair[0] in protocol.query.splits and pair[1] is not None]
        ranked = [pair for pair in pairs if pair[0] in protocol.gallery.splits and pair[2] is not None]
        gallery = sorted({pair[2] for pair in ranked})
        if protocol.asked == "image":
            questions = [(q, [pair for pair in asked if pair[1] == q]) for q in sorted({pair[1] for pair in asked})]
        else:
            questions = [(pair[1], [pair]) for pair in asked]
        if protocol.match == "item":
            items = {g: {pair[3] for pair in ranked if pair[2] == g} for g in gallery}
            hits = [{g for g in gallery if items[g] & {pair[3] for pair in own}} for _, own in questions]
        else:
            hits = [{pair[2] for pair in own} & set(gallery) for _, own in questions]
        queries = [query for query, _ in questions]
    else:

        def on(side):
            domains = (side.domain,) if side.domain else ("shop", "consumer")
            places = [place for place, row in enumerate(rows) if row["domain"] in domains]
            return [place for place in places if not side.splits or rows[place]["split"] in side.splits]

        queries, gallery = [q for q in on(protocol.query) if rows[q]["item"]], on(protocol.gallery)
        hits = [{g for g in gallery if rows[g]["item"] == rows[q]["item"]} for q in queries]

    galleries = [list(gallery) for _ in queries]
    if protocol.within:
        values = [row[protocol.within] for row in rows]
        kept = [n for n, q in enumerate(queries) if values[q] and (not protocol.only or values[q] in protocol.only)]
        queries, hits = [queries[n] for n in kept], [hits[n] for n in kept]
        galleries = [[g for g in gallery if values[g] == values[q]] for q in queries]
        gallery = [g for g in gallery if values[g] in {values[q] for q in queries}]
    gone = {row for row in [*queries, *gallery] if missing[row]}
    results = []
    for query, relevant, candidates in zip(queries, hits, galleries, strict=True):
        if missing[query]:
            continue
        picture = [(row["image"], row["box"]) for row in rows]
        left = [g for g in candidates if picture[g] != picture[query] and not missing[g]]
        ranking = sorted(left, key=lambda g: (-(vectors[query] @ vectors[g]), g))
        wanted = relevant & set(left)
        rank = next((n for n, g in enumerate(ranking, start=1) if g in wanted), 0)
        results.append((query, rank, len(wanted), len(left)))
    return results, [g for g in gallery if not missing[g]], gone
