"""Evaluating an item run: by the model's own distance, with what its branches predict; and from the shell, trained."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from lapel import cli
from lapel.catalogue import Catalogue
from lapel.errors import CatalogueError, LapelError
from lapel.evaluate import evaluate, resolve_protocol
from lapel.evaluate_items import outputs_of, trained_branches
from lapel.evaluation.instances import ItemResult
from lapel.evaluation.record import read_result
from lapel.image_source import ImageSource
from lapel.images import normalise
from lapel.item_outputs import landmark_result, tag_result
from lapel.models import build_item
from lapel.protocol import AttributeProtocol, ItemProtocol, Side, TripletProtocol, to_dict
from lapel.retrieval.embedder import load
from lapel.runs import read_config, save_weights

from .item_run import draw_run
from .item_stand_in import draw


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Catalogue:
    """Items in the splits train, val and test; each fourth item has one image."""
    whole = draw(tmp_path_factory.mktemp("world") / "shop", items=16, views=3)
    items = [item or "" for item in whole.items()]
    keep = [row for row in range(len(whole)) if not items[row] or int(items[row][1:]) % 4 or row % 3 == 1]
    whole = whole.take(keep)
    splits = [("train", "val", "test")[row % 48 // 16] for row in keep]
    place = whole.images.column_names.index("split")
    return replace(whole, images=whole.images.set_column(place, "split", pa.array(splits, pa.string())))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, world: Catalogue) -> Path:
    return draw_run(tmp_path_factory.mktemp("runs") / "run", world)


def slow_ranks(catalogue: Catalogue, vectors: np.ndarray, rows: list[int], gone: set[int]) -> dict[int, int]:
    """Leave-one-out among some rows by the Euclidean distance: query -> rank; without those that nobody can find."""
    items, near = catalogue.items(), [row for row in rows if row not in gone]
    found = {}
    for query in near:
        others = [row for row in near if row != query]
        others.sort(key=lambda row: (float(np.square(vectors[row].astype(float) - vectors[query]).sum()), row))
        right = [place for place, row in enumerate(others, 1) if items[row] == items[query]]
        if items[query] is not None and right:
            found[query] = right[0]
    return found


def of_splits(catalogue: Catalogue, *splits: str) -> list[int]:
    return [row for row, split in enumerate(catalogue.images["split"].to_pylist()) if split in splits]


def unreadable(catalogue: Catalogue) -> set[int]:
    return {row for row, path in enumerate(catalogue.paths()) if path.name == "07.png"}


@pytest.mark.parametrize("splits", [("test",), ("val", "test"), ("train", "val")], ids="+".join)
def test_each_image_is_asked_for_the_others_by_the_models_distance(
    run: Path, world: Catalogue, splits: tuple[str, ...]
) -> None:
    """Vectors have lengths of their own, and cosine would rank otherwise."""
    sides = {} if splits == ("test",) else {"query": splits, "gallery": splits}
    protocol = resolve_protocol(world, run=run, ks=(1, 2, 5), **sides)
    assert protocol == ItemProtocol(Side(splits), Side(splits), ks=(1, 2, 5), headline=5, alone="skip")
    result = evaluate(run, world, protocol=protocol, quiet=True)
    assert isinstance(result, ItemResult)
    vectors = outputs_of(load(run), world, 0.5, quiet=True).vectors
    expected = slow_ranks(world, vectors, of_splits(world, *splits), unreadable(world))
    ranks = dict(zip(result.rows.tolist(), result.ranks.rank.tolist(), strict=True))
    assert {query: rank for query, rank in ranks.items() if rank} == expected
    # Asked, and not to be found: the other images of its item cannot be read.
    assert all(world.items()[row] == "i2" for row, rank in ranks.items() if not rank)
    lone = [row for row in of_splits(world, *splits) if world.items()[row] is not None and row not in ranks]
    assert result.notes["queries_without_another_image"] == len([row for row in lone if row not in unreadable(world)])
    lengths = np.linalg.norm(vectors, axis=1)
    assert lengths.max() > 1.01 * lengths[lengths > 0].min()


def test_tags_and_landmarks_stand_beside(run: Path, world: Catalogue, tmp_path: Path) -> None:
    result = evaluate(run, world, json=tmp_path / "result.json", quiet=True)
    assert isinstance(result, ItemResult)
    part = world.take(of_splits(world, "test"))
    embedder = load(run)
    outputs = outputs_of(embedder, part, quiet=True)
    tags, points = tag_result(outputs, part, embedder.tags), landmark_result(outputs, part, embedder.preprocessing)
    assert tags is not None
    assert points is not None
    assert result.tags is not None
    assert (result.tags.map, result.tags.chance) == (pytest.approx(tags.map), pytest.approx(tags.chance))
    assert result.landmarks is not None
    assert result.landmarks.error == pytest.approx(points.error)
    written, record = read_result(tmp_path / "result.json")
    assert written["tags"]["overall"]["map"] == pytest.approx(100 * tags.map, abs=1e-3)
    assert written["landmarks"]["overall"]["error"] == pytest.approx(points.error, abs=1e-5)
    assert record["distance"] == "euclidean"
    assert record["score"].startswith("Euclidean distance")
    assert record["vectors"] == "the item's, as the model gives them"
    assert record["protocol"]["alone"] == "skip"
    assert record["images"] == len(part)
    assert "reranked" not in record


def test_outputs_at_hand_are_not_computed_again(run: Path, world: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    part = world.take(of_splits(world, "test"))
    expected, outputs = evaluate(run, world, quiet=True), outputs_of(load(run), part, quiet=True)
    monkeypatch.setattr("lapel.evaluate_items.item_outputs", None)
    assert evaluate(run, world, quiet=True, outputs=outputs).to_dict() == expected.to_dict()


def test_what_the_run_or_the_catalogue_lacks_is_not_shown(world: Catalogue, tmp_path: Path) -> None:
    plain = draw_run(tmp_path / "plain", world, tags=False)
    place = world.images.column_names.index("landmarks")
    bare = replace(
        world, images=world.images.set_column(place, "landmarks", pa.nulls(len(world), pa.list_(pa.float64())))
    )
    found = evaluate(plain, bare, quiet=True).to_dict()
    assert not {"tags", "landmarks"} & set(found)
    untrained = read_config(plain)
    training = replace(untrained.recipe.training, losses={"id": 1.0})
    replace(untrained, recipe=replace(untrained.recipe, training=training)).write(plain)
    assert "landmarks" not in evaluate(plain, world, quiet=True).to_dict()  # its head says nothing that it was taught


def test_what_the_stages_before_were_trained_to_predict_counts(world: Catalogue, tmp_path: Path) -> None:
    run = draw_run(tmp_path / "run", world)

    def trained(folder: Path, losses: dict[str, float], init: str = "") -> None:
        config = read_config(folder)
        training, model = replace(config.recipe.training, losses=losses), replace(config.recipe.model, init=init)
        replace(config, recipe=replace(config.recipe, training=training, model=model)).write(folder)

    draw_run(run / "stage1", world)
    trained(run, {"id": 1.0}, str(run / "stage1"))
    for losses in ({"tags": 1.0}, {"landmarks": 1.0, "tags": 0.0}, {"simclr": 1.0}):
        trained(run / "stage1", losses)
        assert trained_branches(load(run)) == {name for name in losses if losses[name] and name != "simclr"}
    trained(run / "stage1", {"tags": 1.0}, str(run))
    assert trained_branches(load(run)) == {"tags"}, "in a circle"
    moved = run.rename(tmp_path / "moved")
    assert trained_branches(load(moved)) == {"tags", "landmarks"}, "where a stage began is not there"
    trained(moved / "stage1", {"tags": 1.0})
    assert trained_branches(load(moved)) == {"tags"}


def test_by_the_catalogues_own_protocol(run: Path, world: Catalogue) -> None:
    own = ItemProtocol(Side(("train",), "consumer"), Side(("train", "val"), "shop"), ks=(1, 3), headline=3)
    asked = replace(world, record={"protocol": to_dict(own)})
    assert resolve_protocol(asked, run=run) == own
    result = evaluate(run, asked, quiet=True)
    assert isinstance(result, ItemResult)
    assert result.ks == (1, 3)
    assert {world.images["domain"][row].as_py() for row in result.rows.tolist()} == {"consumer"}
    by_attribute = replace(world, record={"protocol": to_dict(AttributeProtocol(relation="queries"))})
    assert resolve_protocol(by_attribute, run=run) == resolve_protocol(world, "items")
    assert isinstance(evaluate(run, by_attribute, quiet=True), ItemResult)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            {"protocol": AttributeProtocol()},
            LapelError,
            r"cannot be measured by attributes.*--task items.*such as agman",
        ),
        ({"protocol": TripletProtocol()}, LapelError, "cannot be measured by triplets"),
        ({"split": "val"}, LapelError, "split was given, but the task 'items' has none"),
        ({"rerank": -1}, LapelError, "rerank is -1: expected how many"),
        ({"rerank": 5}, LapelError, "model 'ahbn' scores no pairs of images, as grnet_style does"),
        ({"protocol": ItemProtocol()}, CatalogueError, "unknown or empty split 'query'"),
    ],
)
def test_what_an_item_run_cannot_do(
    run: Path, world: Catalogue, change: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        evaluate(run, world, quiet=True, **change)


def test_the_first_results_are_put_in_the_order_of_the_models_pair_scores(world: Catalogue, tmp_path: Path) -> None:
    options = {"dim": 8, "scales": 2, "region_dim": 6, "node_dim": 5}
    torch.manual_seed(0)
    model: Any = build_item("grnet_style", 0, "test_resnet", **options).eval()
    config = read_config(draw_run(tmp_path / "run", world, tags=False))
    spec = {"name": "grnet_style", "trunk": "test_resnet", "trunk_options": {}, "options": options}
    config = replace(config, model=spec | {"task": "items", "tags": []})
    config.write(tmp_path / "run")
    save_weights(tmp_path / "run", model.state_dict(), config, {})

    protocol = resolve_protocol(world, "items", query=("val", "test"), gallery=("val", "test"))
    first = evaluate(tmp_path / "run", world, protocol=protocol, quiet=True)
    result = evaluate(tmp_path / "run", world, protocol=protocol, rerank=6, json=tmp_path / "r.json", quiet=True)
    assert isinstance(first, ItemResult)
    assert isinstance(result, ItemResult)
    rows = [row for row in of_splits(world, "val", "test") if row not in unreadable(world)]
    embedder, items = load(tmp_path / "run"), world.items()
    source = ImageSource(world.paths(), embedder.preprocessing, world.boxes(), max_failed=0.5)
    features, vectors = {}, outputs_of(embedder, world, 0.5, quiet=True).vectors.astype(np.float64)
    with torch.inference_mode():
        for row in rows:
            features[row] = model.features(normalise(source.batch([row])[1], embedder.preprocessing))
    changed = 0
    for query, rank, before in zip(result.rows.tolist(), result.ranks.rank, first.ranks.rank, strict=True):
        near = [row for row in rows if row != query]
        near.sort(key=lambda row: (float(np.square(vectors[row] - vectors[query]).sum()), row))
        with torch.inference_mode():
            asked = model.regions(features[query])
            scores = {row: float(model.pair_scores(asked, model.regions(features[row])[None])) for row in near[:6]}
        near = sorted(near[:6], key=lambda row: -scores[row]) + near[6:]
        assert rank == next((place for place, row in enumerate(near, 1) if items[row] == items[query]), 0)
        changed += rank != before
    assert changed > 3
    assert read_result(tmp_path / "r.json")[1]["reranked"] == "the first 6 of each query, by the model's score of pairs"


def test_an_attribute_run_scores_no_pairs(garments: Catalogue, trained: Path) -> None:
    protocol = resolve_protocol(garments, "items", run=trained)
    assert resolve_protocol(garments, run=trained) == AttributeProtocol()
    with pytest.raises(LapelError, match="rerank was given, but model 'agman' scores no pairs"):
        evaluate(trained, garments, protocol=protocol, rerank=3, quiet=True)
    with pytest.raises(LapelError, match="rerank was given, but the task 'attributes' has none"):
        evaluate(trained, garments, rerank=3, quiet=True)


def test_from_the_shell(run: Path, world: Catalogue, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world.write(tmp_path / "catalogue.parquet")
    line = (
        f"evaluate {run} --catalogue {tmp_path} --split val --split test --at 1 --at 2 --json {tmp_path}/r.json --quiet"
    )
    assert cli.main(shlex.split(line)) == 0
    shown = capsys.readouterr().out
    for words in ("Acc@1", "Acc@2", "left out:", "attributes that the model predicts", "left collar", "mAP"):
        assert words in shown
    written, record = read_result(tmp_path / "r.json")
    assert record["protocol"]["query"] == record["protocol"]["gallery"] == {"splits": ["val", "test"], "domain": None}
    protocol = resolve_protocol(world, run=run, query=("val", "test"), gallery=("val", "test"), ks=(1, 2))
    expected = evaluate(run, world, protocol=protocol, quiet=True)
    assert written == json.loads(json.dumps(expected.to_dict()))
    assert cli.main(shlex.split(f"evaluate {run} --catalogue {tmp_path} --task attributes --quiet")) == 2
    assert "cannot be measured by attributes" in capsys.readouterr().err


TINY = (
    "model.trunk=test_resnet model.weights=none model.options.dim=16 model.options.width=16 model.options.sketch=64 "
    "model.options.common=2 image.height=48 image.width=48 training.batch=16 training.per_item=2 training.epochs=1 "
    "training.min_steps=0 training.precision=fp32 training.losses.tags=0.1 training.losses.landmarks=0.5 data.tags=9"
)


def test_trained_and_scored_on_a_drawn_benchmark(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In-Shop: drawn, imported, an item model trained, its queries ranked against the gallery as loops rank them."""
    monkeypatch.chdir(tmp_path)
    settings = " ".join(f"--set {setting}" for setting in TINY.split())
    for line in (
        "data render deepfashion-inshop --to data --items 16 --size 64 --quiet",
        "data import deepfashion-inshop data --to shop --quiet",
        f"train items-laptop --set data.catalogue=shop {settings} --to run --quiet",
        "evaluate run --json result.json --quiet",
    ):
        assert cli.main(shlex.split(line)) == 0, capsys.readouterr().err
    shown = capsys.readouterr().out
    assert all(words in shown for words in ("Acc@50", "by pose of the query", "mAP", "left waistline"))

    whole, embedder = Catalogue.read("shop"), load("run")
    queries, gallery = of_splits(whole, "query"), of_splits(whole, "gallery")
    source = ImageSource(whole.paths(), embedder.preprocessing, whole.boxes())
    model: Any = embedder.model
    with torch.inference_mode():
        features = model.features(normalise(source.batch(range(len(whole)))[1], embedder.preprocessing))
        vectors, logits = model.embed(features).numpy().astype(np.float64), model.tag_logits(features).numpy()
    items, ranks = whole.items(), []
    for query in queries:
        near = sorted(gallery, key=lambda row: (float(np.square(vectors[row] - vectors[query]).sum()), row))
        ranks.append(next((place for place, row in enumerate(near, 1) if items[row] == items[query]), 0))
    written, record = read_result("result.json")
    for k, figure in written["overall"]["accuracy_at"].items():
        expected = 100 * np.mean([0 < rank <= int(k) for rank in ranks])
        assert figure["accuracy"] == pytest.approx(expected, abs=1e-3), k
    assert (written["overall"]["queries"], written["overall"]["gallery"]) == (len(queries), len(gallery))
    assert record["score"].startswith("Euclidean distance" if model.distance == "euclidean" else "cosine")

    precisions = []
    for place, (attribute, value) in enumerate(embedder.tags):
        told = {row: whole.values_of(row).get(attribute, ()) for row in sorted(queries + gallery)}
        asked = sorted((row for row in told if told[row]), key=lambda row: -logits[row, place])
        right = [value in told[row] for row in asked]
        if any(right):
            precisions.append(np.mean([sum(right[: n + 1]) / (n + 1) for n in range(len(right)) if right[n]]))
    assert written["tags"]["overall"]["map"] == pytest.approx(100 * np.mean(precisions), abs=0.01)
    visible = np.nan_to_num(whole.landmarks()[sorted(queries + gallery)], nan=2)[..., 2] == 0
    assert written["landmarks"]["overall"]["count"] == int(visible.sum())
    assert 0 < written["landmarks"]["overall"]["error"] < 1
