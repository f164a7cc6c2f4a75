"""Evaluate a run on a split of a catalogue: the protocol, the table, the result file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from lapel.catalogue import Catalogue
from lapel.errors import CatalogueError
from lapel.evaluation.protocols import QueryLists, RetrievalResult, attribute_retrieval
from lapel.evaluation.record import protocol_record, write_result
from lapel.progress import bar
from lapel.retrieval.embedder import Embedder, Vectors, load


def evaluate(
    run: Path | str,
    catalogue: Path | str | None = None,
    split: str = "test",
    json: Path | str | None = None,
    share: float = 0.2,
    seed: int = 0,
    quiet: bool = False,
    queries: QueryLists | None = None,
) -> RetrievalResult:
    """Measure attribute-specific retrieval (MAP) of a run.

    Args:
        run: run folder.
        catalogue: catalogue file or folder, by default the one the run was trained on.
        split: which of its splits.
        json: where to write the result with its protocol record.
        share: share of each attribute's labelled images that become queries.
        seed: of the query draw and the bootstrap.
        quiet: no progress bar.
        queries: given query and candidate rows of the split, instead of drawing them with ``share`` and ``seed``.

    Raises:
        RunError: not a run, or altered weights.
        CatalogueError: unreadable catalogue, empty split, or none of the run's attributes in it.
        ImageError: too many images cannot be read.
        LapelError: nothing to evaluate.
    """
    embedder = load(run)
    config = embedder.config
    path = config.recipe.data.catalogue if catalogue is None else str(catalogue)
    if catalogue is None and not Path(path).exists():
        raise CatalogueError(
            f"the catalogue that {run} was trained on is no longer at {path}: name it with --catalogue"
        )
    draw = config.recipe.data.split_seed
    whole = Catalogue.read(path, also=embedder.attributes).with_splits(draw).with_validation(draw)
    attributes = [name for name in embedder.attributes if name in whole.attributes]
    if not attributes:
        raise CatalogueError(
            f"catalogue {whole.name!r} has none of the run's attributes ({', '.join(embedder.attributes)}); "
            f"found: {', '.join(whole.attributes) or 'no attribute'}"
        )
    chosen = whole.split(split)
    vectors, missing = embed_catalogue(embedder, chosen, config.recipe.data.max_failed, quiet)
    # By name, which copies one attribute's vectors at a time.
    result = attribute_retrieval(
        lambda name: vectors[:, embedder.attributes.index(name)],
        chosen,
        attributes,
        queries,
        share=share,
        seed=seed,
        missing=missing,
    )
    absent = {name: "not in this catalogue" for name in embedder.attributes if name not in attributes}
    result = replace(result, not_evaluated={**result.not_evaluated, **absent})
    if json is not None:
        record = protocol_record(
            split=split,
            preprocessing=embedder.preprocessing.to_dict(),
            query_source=result.query_source,
            weights=embedder.fingerprint,
            seed=seed,
            catalogue=whole.name,
            run=str(Path(run)),
            images=len(chosen),
            skipped=[{"image": str(failure.path), "reason": failure.reason} for failure in embedder.failures],
        )
        write_result(json, result.to_dict(), record)
    return result


def embed_catalogue(
    embedder: Embedder, catalogue: Catalogue, max_failed: float = 0.05, quiet: bool = False
) -> tuple[Vectors, np.ndarray]:
    """Embed every image of a catalogue.

    Returns:
        vectors (N, A, D) float32, and (N,) bool: images that could not be read, whose vectors are zero.
    """
    vectors = np.zeros((len(catalogue), len(embedder.attributes), embedder.dim), np.float32)
    missing = np.ones(len(catalogue), bool)
    with bar("img", quiet) as progress:
        task = progress.add_task("embedding", total=len(catalogue), note="")
        for rows, found in embedder.embed_paths(catalogue.paths(), catalogue.boxes(), max_failed=max_failed):
            vectors[rows], missing[rows] = found, False
            progress.update(task, completed=int(rows[-1]) + 1)
    return vectors, missing
