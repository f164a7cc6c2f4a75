"""Evaluating a run: the table, the result file with its record, and what cannot be evaluated."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image

from lapel.catalogue import Catalogue
from lapel.config import from_dict
from lapel.errors import CatalogueError, ImageError, LapelError, RunError
from lapel.evaluate import catalogue_of, embed_catalogue, evaluate, resolve_protocol
from lapel.evaluation.instances import ItemResult, instance_retrieval
from lapel.evaluation.protocols import RetrievalResult, attribute_retrieval
from lapel.evaluation.queries import QueryLists
from lapel.evaluation.triplets import TripletsResult, triplet_prediction
from lapel.images import Preprocessing
from lapel.models import build
from lapel.protocol import AttributeProtocol, ItemProtocol, Side, TripletProtocol, to_dict
from lapel.retrieval.embedder import load
from lapel.runs import RunConfig, save_weights

COLOURS = {"Red": (200, 30, 30), "Green": (30, 200, 30), "Blue": (30, 30, 200)}


def write_catalogue(folder: Path, rows: list[dict[str, str]]) -> Path:
    path = folder / "catalogue.csv"
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shop")
    generator = np.random.default_rng(0)
    rows = []
    for number in range(36):
        colour = list(COLOURS)[number % 3]
        pixels = np.clip(np.array(COLOURS[colour]) + generator.integers(-25, 25, (40, 32, 3)), 0, 255)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number:02}.png")
        split = "test" if number < 30 else "train"
        cells = {"colour": colour, "size": "SML"[number % 2], "price": "9"}
        rows.append({"image": f"{number:02}.png", "item": f"i{number}", "split": split, **cells})
    return write_catalogue(folder, rows)


def make_run(folder: Path, attributes: tuple[str, ...], catalogue: Path | str = "") -> Path:
    torch.manual_seed(0)
    config = RunConfig(
        {"name": "agman", "trunk": "test_resnet", "dim": 16, "trunk_options": {}, "options": {"width": 16}},
        dict.fromkeys(attributes, ("a", "b")),
        Preprocessing(32, 32).to_dict(),
        from_dict({"data": {"catalogue": str(catalogue)}}),
        {},
    )
    config.write(folder)
    save_weights(folder, build("agman", len(attributes), "test_resnet", width=16).state_dict(), config, {})
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, catalogue: Path) -> Path:
    return make_run(tmp_path_factory.mktemp("runs") / "run", ("size", "colour"), catalogue)


def test_it_is_the_protocol_on_the_embeddings(run: Path, catalogue: Path) -> None:
    result = evaluate(run, share=0.3, seed=5, quiet=True)
    chosen = Catalogue.read(catalogue).split("test")
    vectors = load(run).embed(chosen.paths())
    expected = attribute_retrieval(vectors, chosen, ["size", "colour"], share=0.3, seed=5)
    assert [found.attribute for found in result.attributes] == ["size", "colour"]
    assert result.map == pytest.approx(expected.map)
    for name in ("size", "colour"):
        assert result[name].map == pytest.approx(expected[name].map)
        assert result[name].queries == 9
        assert result[name].candidates == 21
        assert result[name].low <= result[name].map <= result[name].high
    assert not result.not_evaluated


def test_the_result_file_carries_its_record(run: Path, catalogue: Path, tmp_path: Path) -> None:
    result = evaluate(run, json=tmp_path / "out" / "result.json", quiet=True)
    data = json.loads((tmp_path / "out" / "result.json").read_text())
    text = json.dumps(data)
    assert json.dumps(round(100 * result.map, 4)) in text
    record = data["protocol"]
    assert record["split"] == "test"
    assert record["fingerprint"] == load(run).fingerprint
    assert record["run"] == str(run)
    assert record["images"] == 30
    assert record["skipped"] == []
    assert record["seed"] == 0
    for part in ("height", "resize", "share", "torch"):
        assert part in json.dumps(record), part


def test_the_same_twice(run: Path) -> None:
    assert evaluate(run, quiet=True).to_dict() == evaluate(run, quiet=True).to_dict()


def test_attributes_that_only_one_side_has(catalogue: Path, tmp_path: Path) -> None:
    result = evaluate(make_run(tmp_path / "run", ("neckline", "colour")), catalogue, quiet=True)
    assert [found.attribute for found in result.attributes] == ["colour"]
    assert result.not_evaluated == {"neckline": "not in this catalogue"}
    chosen = Catalogue.read(catalogue).split("test")
    vectors = load(tmp_path / "run").embed(chosen.paths(), attributes=["colour"])
    assert result.map == pytest.approx(attribute_retrieval(vectors, chosen, ["colour"]).map)


def test_images_that_cannot_be_read_are_left_out_and_listed(run: Path, catalogue: Path, tmp_path: Path) -> None:
    with catalogue.open() as stream:
        rows = list(csv.DictReader(stream))
    for row in rows:
        row["image"] = str(catalogue.parent / row["image"])
    (tmp_path / "broken.jpg").write_text("<html>")
    rows[3]["image"] = str(tmp_path / "broken.jpg")
    changed = write_catalogue(tmp_path, rows)
    result = evaluate(run, changed, json=tmp_path / "result.json", quiet=True)
    assert sum(found.missing for found in result.attributes) == 2
    (skipped,) = json.loads((tmp_path / "result.json").read_text())["protocol"]["skipped"]
    assert skipped["image"] == str(tmp_path / "broken.jpg")
    assert skipped["reason"]
    vectors, missing = embed_catalogue(load(run), Catalogue.read(changed).split("test"), quiet=True)
    assert np.flatnonzero(missing).tolist() == [3]
    assert not vectors[3].any()
    for row in rows[:4]:
        row["image"] = str(tmp_path / "broken.jpg")
    rows = [{**row, "image": str(tmp_path / f"no{n}.jpg")} if n < 4 else row for n, row in enumerate(rows)]
    with pytest.raises(ImageError, match="cannot be read"):
        evaluate(run, write_catalogue(tmp_path, rows), quiet=True)


def test_what_cannot_be_evaluated_is_said(run: Path, catalogue: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no run folder"):
        evaluate(tmp_path / "nowhere", quiet=True)
    with pytest.raises(CatalogueError, match="no catalogue at"):
        evaluate(run, tmp_path / "nowhere.csv", quiet=True)
    with pytest.raises(CatalogueError, match="'vall'"):
        evaluate(run, split="vall", quiet=True)
    other = make_run(tmp_path / "other", ("neckline", "sleeve"))
    with pytest.raises(CatalogueError, match=r"has none of the run's attributes \(neckline, sleeve\); found: .*colour"):
        evaluate(other, catalogue, quiet=True)
    alike = [{"image": str(catalogue.parent / f"{n:02}.png"), "split": "test", "colour": "Red"} for n in range(6)]
    with pytest.raises(LapelError, match=r"nothing to evaluate in catalogue .*colour: all 6 labelled images"):
        evaluate(run, write_catalogue(tmp_path, alike), quiet=True)


@pytest.fixture
def recorded(catalogue: Path) -> Catalogue:
    """The catalogue as an import would leave it: a record, lists for its colours, triplets for both attributes."""
    whole = Catalogue.read(catalogue)
    rng = np.random.default_rng(3)
    names = np.array([f"{number:02}.png" for number in range(36)], object)
    queries, candidates = rng.integers(0, 12, 8), rng.integers(6, 24, 40)
    lists = pa.table(
        {
            "split": ["test"] * 48,
            "role": ["query"] * 8 + ["candidate"] * 40,
            "attribute": ["colour"] * 48,
            "value": [str(value) for value in rng.integers(0, 3, 48)],
            "image": list(names[np.concatenate([queries, candidates])]),
        }
    )
    rows = rng.integers(0, 20, (50, 3))
    triplets = pa.table(
        {"split": ["test"] * 50, "attribute": list(rng.choice(["size", "colour", "toe"], 50))}
        | {role: list(names[rows[:, side]]) for side, role in enumerate(("anchor", "positive", "negative"))}
    )
    record = {"format": "asen", "title": "ASEN", "variant": "FashionAI", "left_out": 2, "absent": 5, "notes": []}
    protocol = to_dict(AttributeProtocol(relation="queries", headings=(("colour", "Col"),)))
    return replace(whole, record=record | {"protocol": protocol}, relations={"queries": lists, "triplets": triplets})


def test_given_lists_are_followed_and_only_their_images_embedded(
    run: Path, recorded: Catalogue, tmp_path: Path
) -> None:
    result = evaluate(run, recorded, json=tmp_path / "result.json", quiet=True)
    assert isinstance(result, RetrievalResult)
    chosen = recorded.split("test")
    lists = QueryLists.of_relation(recorded.relations["queries"], chosen, "test", "lists")
    vectors = load(run).embed(chosen.paths())
    expected = attribute_retrieval(vectors[:, 1:], chosen, ["colour"], lists)
    np.testing.assert_allclose(result["colour"].aps, expected["colour"].aps, atol=1e-6)
    np.testing.assert_array_equal(result["colour"].rows, expected["colour"].rows)
    assert result["colour"].shared == expected["colour"].shared > 0
    assert result.not_evaluated == {"size": "no queries of it are listed"}
    record = json.loads((tmp_path / "result.json").read_text())["protocol"]
    assert record["images"] == len(lists.rows(30)) < 30
    assert record["protocol"] == json.loads(json.dumps(to_dict(resolve_protocol(recorded))))
    assert record["data"] == {"format": "asen", "title": "ASEN", "variant": "FashionAI", "left_out": 2, "absent": 5}
    assert record["boxes"] is True
    assert record["split"] == "test"
    assert "same listed value" in record["metric"]
    assert record["queries"] == f"relation 'queries' of catalogue {recorded.name!r}"
    given = evaluate(run, recorded, queries=lists, quiet=True)
    assert given.to_dict() == result.to_dict()


def test_lists_from_a_file(run: Path, recorded: Catalogue, tmp_path: Path) -> None:
    rows = recorded.relations["queries"].to_pylist()
    cells = [
        "role,attribute,value,image",
        *(",".join((r["role"], r["attribute"], r["value"], r["image"])) for r in rows),
    ]
    (tmp_path / "lists.csv").write_text("\n".join(cells) + "\n")
    from_file = evaluate(run, recorded, queries=tmp_path / "lists.csv", quiet=True)
    assert from_file.to_dict() == evaluate(run, recorded, quiet=True).to_dict()
    assert from_file.query_source.startswith(f"{tmp_path / 'lists.csv'}, SHA-256")
    evaluate(run, recorded, queries=tmp_path / "lists.csv", json=tmp_path / "result.json", quiet=True)
    record = json.loads((tmp_path / "result.json").read_text())["protocol"]
    assert record["queries"] == from_file.query_source
    assert record["protocol"]["relation"] == ""  # the catalogue's own lists were not asked
    with pytest.raises(CatalogueError, match="no query lists at"):
        evaluate(run, recorded, queries=tmp_path / "gone.csv", quiet=True)


def test_attributes_of_the_papers_table_alone_make_its_average(run: Path, recorded: Catalogue) -> None:
    drawn = AttributeProtocol(headings=(("colour", "Col"), ("hem", "Hem")))
    result = evaluate(run, recorded, protocol=drawn, quiet=True)
    assert [[row.attribute for row in side] for side in (result.attributes, result.beside)] == [["colour"], ["size"]]
    assert result.map == result["colour"].map
    both = evaluate(run, recorded, protocol=AttributeProtocol(headings=(("hem", "Hem"),)), quiet=True)
    assert [row.attribute for row in both.attributes] == ["size", "colour"]
    assert both.beside == ()


def test_triplets_by_name(run: Path, recorded: Catalogue, tmp_path: Path) -> None:
    protocol = resolve_protocol(recorded, "triplets")
    assert protocol == TripletProtocol()
    result = evaluate(run, recorded, protocol=protocol, json=tmp_path / "result.json", quiet=True)
    assert isinstance(result, TripletsResult)
    vectors = load(run).embed(recorded.paths())
    expected = triplet_prediction(vectors, ["size", "colour"], recorded, table := recorded.relations["triplets"])
    assert result.overall.accuracy == pytest.approx(expected.overall.accuracy)
    assert result.overall.loss == pytest.approx(expected.overall.loss, abs=1e-6)
    record = json.loads((tmp_path / "result.json").read_text())["protocol"]
    assert record["images"] <= 20
    assert record["protocol"]["task"] == "triplets"
    assert "equal similarities are wrong" in record["tie_rule"]
    with pytest.raises(CatalogueError, match="unknown split 'val'"):
        evaluate(run, recorded, "val", protocol=protocol, quiet=True)
    toes = table.filter(pa.compute.equal(table["attribute"], "toe"))
    with pytest.raises(CatalogueError, match=r"none of the run's attributes \(size, colour\); found: toe"):
        evaluate(run, recorded.with_relations({"triplets": toes}), protocol=protocol, quiet=True)


def test_items_by_all_attributes_together(run: Path, catalogue: Path, tmp_path: Path) -> None:
    """Twelve items in three views; of the splits only the two that the protocol names are embedded."""
    whole = Catalogue.read(catalogue)
    columns = {
        "item": [f"i{n // 3}" if n < 33 else None for n in range(36)],
        "split": ["train" if n < 6 else "query" if n % 3 == 0 else "gallery" for n in range(36)],
    }
    images = whole.images
    for name, cells in columns.items():
        images = images.set_column(images.column_names.index(name), name, pa.array(cells, pa.string()))
    protocol = ItemProtocol(ks=(1, 3), headline=3, groups=("size",))
    whole = replace(whole, images=images, record={"format": "shop", "protocol": to_dict(protocol)})
    result = evaluate(run, whole, json=tmp_path / "result.json", distractors=(2, 5), quiet=True)
    assert isinstance(result, ItemResult)
    vectors = load(run).embed(whole.paths())
    assert vectors.shape == (36, 2, 16)
    expected = instance_retrieval(vectors.reshape(36, -1), whole, protocol, distractors=(2, 5))
    assert result.to_dict(ranks=True) == expected.to_dict(ranks=True)
    assert (result.queries, result.gallery) == (9, 20)
    assert result.rows.tolist() == list(range(6, 33, 3))
    assert set(result.groups["size"]) == {"S", "M"}
    data = json.loads((tmp_path / "result.json").read_text())
    record = data["protocol"]
    assert record["images"] == 29  # neither those for training nor the query without an item
    assert record["split"] is None
    assert record["metric"].startswith("Acc@K")
    assert record["protocol"]["query"] == {"splits": ["query"], "domain": None}
    assert record["data"]["format"] == "shop"
    assert record["vectors"] == "those of 2 attributes, each of length one, end to end"
    assert data["result"] == json.loads(json.dumps(expected.to_dict()))
    with pytest.raises(CatalogueError, match="unknown or empty split 'querry'"):
        evaluate(run, whole, protocol=replace(protocol, query=Side(("querry",))), quiet=True)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"protocol": TripletProtocol(relation="triplet")}, CatalogueError, "unknown relation 'triplet'; .*'triplets'"),
        (
            {"protocol": TripletProtocol(), "queries": Path("q.csv")},
            LapelError,
            "queries was given, but the task 'trip",
        ),
        ({"protocol": ItemProtocol(), "split": "test"}, LapelError, "split was given, but the task 'items' has none"),
        ({"distractors": (10,)}, LapelError, "distractors was given, but the task 'attributes' has none"),
        ({"protocol": ItemProtocol(), "distractors": (4, -3)}, LapelError, "distractors is -3: expected .* 0 or more"),
        ({"protocol": AttributeProtocol(relation="queries", split="train")}, CatalogueError, "unknown split 'train'"),
    ],
)
def test_what_does_not_go_together(run: Path, recorded: Catalogue, change, error, message) -> None:
    with pytest.raises(error, match=message):
        evaluate(run, recorded, quiet=True, **change)


def test_without_boxes_whole_pictures_are_embedded(run: Path, recorded: Catalogue, tmp_path: Path) -> None:
    at = recorded.images.column_names.index("box")
    boxed = replace(recorded, images=recorded.images.set_column(at, "box", pa.array([[0.0, 0.0, 9.0, 9.0]] * 36)))
    whole = evaluate(run, boxed, boxes=False, json=tmp_path / "result.json", quiet=True)
    np.testing.assert_array_equal(whole["colour"].aps, evaluate(run, recorded, quiet=True)["colour"].aps)
    assert json.loads((tmp_path / "result.json").read_text())["protocol"]["boxes"] is False
    assert not np.array_equal(embed_catalogue(load(run), boxed, quiet=True)[0], embed_catalogue(load(run), recorded)[0])


def test_the_protocol_comes_from_the_record(recorded: Catalogue, catalogue: Path) -> None:
    assert resolve_protocol(Catalogue.read(catalogue)) == AttributeProtocol(split="test")
    assert resolve_protocol(recorded).relation == "queries"
    assert resolve_protocol(recorded, "attributes", split="val", relation=None) == AttributeProtocol(
        "val", (("colour", "Col"),), "queries"
    )
    items = resolve_protocol(recorded, "items", gallery=Side(("val", "test"), "shop"), ks=[5, 1, 5], groups="pose")
    expected = ItemProtocol(Side(("test",)), Side(("val", "test"), "shop"), ks=(1, 5), headline=5, groups=("pose",))
    assert items == expected  # no split is called query or gallery: the test images are asked
    assert resolve_protocol(recorded, "items", gallery=["val"], query="test").gallery == Side(("val",))
    assert resolve_protocol(recorded, "items", match="image", asked="pair", ks=20).ks == (20,)
    newer = replace(recorded, record={"protocol": {"task": "outfits"}})
    with pytest.raises(CatalogueError, match=r"catalogue '.*': unknown task 'outfits'"):
        resolve_protocol(newer)


@pytest.mark.parametrize(
    ("task", "changes", "message"),
    [
        ("item", {}, "unknown task 'item'; did you mean 'items'"),
        (None, {"match": "item"}, "unknown setting of the protocol for attributes 'match'"),
        ("items", {"split": "test"}, "unknown setting of the protocol for items 'split'"),
        ("items", {"mach": "item"}, "did you mean 'match'"),
        ("items", {"match": "pair"}, "unknown setting match 'pair'"),
        ("items", {"ks": [0, 5]}, "expected at least one K, each 1 or more"),
        ("items", {"ks": []}, "expected at least one K"),
        ("items", {"headline": 7}, "headline is 7: expected one of the ks, 1, 10"),
    ],
)
def test_settings_that_a_protocol_does_not_have(recorded: Catalogue, task, changes, message) -> None:
    with pytest.raises(LapelError, match=message):
        resolve_protocol(recorded, task, **changes)


def test_the_runs_own_catalogue(run: Path, catalogue: Path, tmp_path: Path) -> None:
    assert catalogue_of(run).name == catalogue.parent.name
    lost = make_run(tmp_path / "run", ("colour",), tmp_path / "gone.csv")
    with pytest.raises(CatalogueError, match=r"trained on is no longer at .*gone.csv: name it with --catalogue"):
        catalogue_of(lost)
