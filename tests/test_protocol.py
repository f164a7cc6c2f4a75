"""Protocols: in a catalogue's record, where someone's hand may slip, and under the options of `lapel evaluate`."""

from __future__ import annotations

import json
import shlex
from typing import Any

import pytest

from lapel import cli
from lapel.errors import CatalogueError, LapelError
from lapel.protocol import AttributeProtocol, ItemProtocol, Protocol, Side, TripletProtocol, from_dict, to_dict


@pytest.mark.parametrize(
    "protocol",
    [
        AttributeProtocol(),
        AttributeProtocol("val", (("skirt_length", "Skirt-l"), ("coat_length", "Coat-l")), "queries"),
        TripletProtocol("train", "lists"),
        ItemProtocol(),
        ItemProtocol(
            Side(("test",), "consumer"), Side((), "shop"), "pairs", "image", "pair", "category", ("tops",), (5,), 5,
            ("pose",),
        ),
    ],
)  # fmt: skip
def test_a_protocol_comes_back(protocol: Protocol) -> None:
    assert from_dict(to_dict(protocol)) == protocol
    assert from_dict(json.loads(json.dumps(to_dict(protocol)))) == protocol


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({}, "the record: unknown task 'None'. Known: attributes, triplets, items"),
        ({"task": "outfits"}, "unknown task 'outfits'"),
        ({"task": "items", "mach": "item"}, "unknown setting of a protocol 'mach'; did you mean 'match'"),
        ({"task": "items", "match": "imgae"}, "unknown setting match 'imgae'; did you mean 'image'"),
        ({"task": "items", "asked": "pairs"}, "unknown setting asked 'pairs'; did you mean 'pair'"),
        ({"task": "items", "query": "test"}, "'test' is nothing that the protocol's setting 'query' can be"),
        ({"task": "items", "query": {"splits": "test", "domain": None}}, "setting 'query'"),
        ({"task": "items", "gallery": {"splits": ["test"]}}, "setting 'gallery'"),
        ({"task": "items", "ks": 10}, "10 is nothing that the protocol's setting 'ks' can be"),
        ({"task": "items", "ks": ["1", "10"]}, "setting 'ks'"),
        ({"task": "items", "only": "tops"}, "setting 'only'"),
        ({"task": "items", "headline": "20"}, "setting 'headline'"),
        ({"task": "attributes", "headings": ["coat"]}, "setting 'headings'"),
        ({"task": "triplets", "split": None}, "None is nothing that the protocol's setting 'split' can be"),
    ],
)
def test_a_record_that_cannot_be_followed(data: dict[str, Any], message: str) -> None:
    with pytest.raises(CatalogueError) as caught:
        from_dict(data, "the record")
    assert message in str(caught.value)


SHOPS, ALL = Side(("test",), "shop"), Side((), "shop")


@pytest.mark.parametrize(
    ("own", "options", "changes"),
    [
        (AttributeProtocol(), "", {}),
        (AttributeProtocol(), "--split val", {"split": "val"}),
        (TripletProtocol(), "--split val", {"split": "val"}),
        (AttributeProtocol(), "--at 5 --by pose", "--by, --at: for items, but the task is attributes; leave it out"),
        (TripletProtocol(), "--gallery test", "--gallery: for items, but the task is triplets"),
        (ItemProtocol(), "--at 1 --at 5 --by pose", {"ks": (1, 5), "groups": ("pose",)}),
        (ItemProtocol(), "--split query", {"query": ("query",)}),  # what it asks anyway, against its own gallery
        (ItemProtocol(), "--split val", {"query": ("val",), "gallery": ("val",)}),
        (ItemProtocol(), "--split val --split test", {"query": ("val", "test"), "gallery": ("val", "test")}),
        (ItemProtocol(alone="skip"), "--alone miss", {"alone": "miss"}),
        (AttributeProtocol(), "--split val --split test", "val, test: attributes are measured on one split"),
        (ItemProtocol(), "--split val --gallery train", {"query": ("val",), "gallery": ("train",)}),
        (ItemProtocol(gallery=ALL), "--split test", {"query": ("test",)}),  # Street2Shop's shops have no split
        (ItemProtocol(Side(("test",)), SHOPS), "--split test", {"query": ("test",)}),
        (ItemProtocol(Side(("test",)), SHOPS), "--split val", {"query": ("val",), "gallery": ("val",)}),
    ],
)
def test_what_options_change_in_a_protocol(own: Protocol, options: str, changes: dict[str, Any] | str) -> None:
    verb = cli.parse(shlex.split(f"evaluate run {options}"))
    if isinstance(changes, str):
        with pytest.raises(LapelError, match=changes):
            verb._changes(own)
    else:
        assert verb._changes(own) == changes
