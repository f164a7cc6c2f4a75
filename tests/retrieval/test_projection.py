"""Projections keep dot products as well as any can, compose, and are told when they are not the index's."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save

from lapel.errors import SearchIndexError
from lapel.retrieval.layout import IndexRecord, Source
from lapel.retrieval.projection import Projection, load, principal

Array = np.ndarray[Any, Any]


def vectors(seed: int, count: int, dim: int) -> Array:
    """Unit vectors around a few centres, as an encoder's are: (count, dim) float32."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(5, dim)) + 1
    found = centres[rng.integers(5, size=count)] + 0.3 * rng.normal(size=(count, dim))
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


def fitted(points: Array, dim: int) -> tuple[Projection, float]:
    double = points.astype(np.float64)
    directions, kept = principal(double.T @ double, dim)
    return Projection(directions.astype(np.float32)[None]), kept


@given(st.integers(0, 10_000), st.sampled_from([8, 24, 64]))
def test_all_directions_keep_every_cosine(seed: int, dim: int) -> None:
    """To the rounding of float16, also of vectors that the directions were not found in."""
    projection, kept = fitted(vectors(seed, 50, dim), dim)
    others = vectors(seed + 1, 20, dim)
    found = projection(others[:, None])[:, 0].astype(np.float16).astype(np.float64)
    np.testing.assert_allclose(found @ found.T, others @ others.T, atol=2e-3)
    assert kept == pytest.approx(1)


@given(st.integers(0, 10_000), st.sampled_from([8, 16]))
def test_nothing_of_this_rank_keeps_dot_products_better(seed: int, dim: int) -> None:
    """The reference is the singular value decomposition: what is lost of X X^T are its other values, squared."""
    points = vectors(seed, 60, 24).astype(np.float64)
    values = np.linalg.svd(points, compute_uv=False)
    projection, kept = fitted(points, dim)
    short = points @ projection.matrices[0].astype(np.float64)
    lost = np.square(points @ points.T - short @ short.T).sum()
    assert lost == pytest.approx((values[dim:] ** 4).sum(), rel=1e-3)
    assert kept == pytest.approx(np.square(short).sum(axis=1).mean(), rel=1e-5)
    np.testing.assert_allclose(projection.matrices[0].T @ projection.matrices[0], np.eye(dim), atol=1e-5)


def test_twice_is_once() -> None:
    points = vectors(0, 50, 32)
    first, _ = fitted(points, 24)
    second, _ = fitted(first(points[:, None])[:, 0], 8)
    np.testing.assert_allclose(second.after(first)(points[:, None]), second(first(points[:, None])), atol=1e-5)
    assert second.after(None) is second


def test_of_what_is_in_no_direction_nothing_is_left() -> None:
    projection = Projection(np.eye(4, 2, dtype=np.float32)[None])
    found = projection(np.array([[[0, 0, 1, 0]], [[0.6, 0, 0, 0.8]]], np.float32))
    assert found.tolist() == [[[0, 0]], [[1, 0]]]


def record(digest: str, dim: int = 2) -> IndexRecord:
    return IndexRecord((Source("run", "f" * 64, ("a", "b", "c"), dim, digest),), "shop", "/photos")


def test_written_and_read(tmp_path: Path) -> None:
    matrices = np.random.default_rng(0).normal(size=(3, 4, 2)).astype(np.float32)
    digest = Projection(matrices).write(tmp_path, 0)
    (found,) = load(tmp_path, record(digest))
    assert found is not None
    assert found.digest == digest == hashlib.sha256((tmp_path / "projection.safetensors").read_bytes()).hexdigest()
    np.testing.assert_array_equal(found.matrices, matrices)
    assert load(tmp_path, record("")) == [None]


@pytest.mark.parametrize(
    ("data", "dim", "message"),
    [
        (
            None,
            2,
            r"projection.safetensors is missing: the vectors of index .* are 2 numbers long by it.*lapel compress",
        ),
        (b"?", 2, r"is no projection of Lapel \(.*\); restore it, or make the index again with lapel compress"),
        (save({"x": np.zeros((3, 4, 2), np.float32)}), 2, "is no projection of Lapel"),
        (save({"matrices": np.zeros((3, 4, 2), np.float32)}), 8, r"has shape \(3, 4, 2\), expected \(3, ..., 8\)"),
        (save({"matrices": np.zeros((2, 4, 2), np.float32)}), 2, r"has shape \(2, 4, 2\), expected \(3, ..., 2\)"),
    ],
)
def test_what_is_no_projection_of_the_index(tmp_path: Path, data: bytes | None, dim: int, message: str) -> None:
    if data is not None:
        (tmp_path / "projection.safetensors").write_bytes(data)
    with pytest.raises(SearchIndexError, match=message):
        load(tmp_path, record(hashlib.sha256(data or b"").hexdigest(), dim))


def test_an_altered_file(tmp_path: Path) -> None:
    Projection(np.zeros((3, 4, 2), np.float32)).write(tmp_path, 0)
    with pytest.raises(
        SearchIndexError, match=r"is not the projection that index .* was made with: SHA-256 .* aaaaaaaaaaaa;"
    ):
        load(tmp_path, record("a" * 64))
