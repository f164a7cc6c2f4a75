"""Requests made from the OpenAPI description, right ones and wrong ones: no 5xx, and each answer as described."""

from __future__ import annotations

import json
import shutil
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.python import asgi
from schemathesis.specs.openapi import checks

from lapel.serve.queries import Queries

from .hostile import JPEG
from .shop import ATTRIBUTES, TOKEN, Shop

CHECKS = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
    checks.response_headers_conformance,
]
EXAMPLES = {GenerationMode.POSITIVE: 10, GenerationMode.NEGATIVE: 4}  # for each operation; wrong ones are slow to make
HEADERS = {"Authorization": f"Bearer {TOKEN}", "Host": "127.0.0.1"}
BOUNDED = settings(
    derandomize=True,
    deadline=None,
    database=None,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture
def api(own_shop: Shop) -> Iterator[Any]:
    """The description, and the application behind it, over an index that writes may change."""
    for seer in own_shop.seers:  # fakes cannot explain, and are not to be taken for runs
        shutil.rmtree(seer.run)
    app = own_shop.app(queue=8)
    app.state.lapel.served.open()
    yield schemathesis.openapi.from_asgi("/openapi.json", app, headers=HEADERS)
    asgi.shutdown_lifespans()


class Real:
    """Puts what there is in the place of made-up names, or nearly every request would be for nothing."""

    def __init__(self, shop: Shop) -> None:
        self.images = shop.images
        self.names: dict[str, list[Any]] = {
            "id": self.images,
            "query": [Queries.name(JPEG)],
            "of": ["shop"],
            "index": ["shop"],
            "against": ["shop"],
            "attribute": [*ATTRIBUTES, "item"],
            "where": ["price < 50", "colour = 'Red' or stock in (1, 2)", "brand is null"],
            "image": [JPEG],
            "more": [self.images[:2]],
            "less": [self.images[2:3]],
            "ids": [self.images[-1:]],
            "request": ['{"k": 3, "likely": true}'],
            "entry": [json.dumps({"id": self.images[5], "item": "new"})],
        }

    def __call__(self, value: Any, pick: int) -> Any:
        if isinstance(value, list):
            return [self(inner, pick + n) for n, inner in enumerate(value)]
        if not isinstance(value, dict):
            return value
        found = {name: self.named(name, inner, pick) for name, inner in value.items()}
        if {"id", "query"} <= found.keys():  # exactly one
            del found["query" if pick % 2 else "id"]
        if "id" not in found:
            found.pop("of", None)
        return found

    def named(self, name: str, value: Any, pick: int) -> Any:
        if value is None:
            return None
        if name == "parts":  # each with something to start from, which the description cannot say
            given = [{key: inner for key, inner in part.items() if inner is not None} for part in value]
            return [self({"id": "", **part}, pick + n) for n, part in enumerate(given)]
        if name == "weights" and isinstance(value, dict):
            return dict(zip(ATTRIBUTES, value.values(), strict=False))
        if name in self.names:
            return self.names[name][pick % len(self.names[name])]
        return self(value, pick)


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=lambda mode: mode.value)
def test_every_answer_is_as_described(mode: GenerationMode, api: Any, own_shop: Shop) -> None:
    real = Real(own_shop)
    answered: dict[str, set[int]] = defaultdict(set)

    def check(operation: Any) -> None:
        @settings(BOUNDED, max_examples=EXAMPLES[mode])
        @given(case=operation.as_strategy(generation_mode=mode), pick=st.integers(0, 99))
        def work(case: Any, pick: int) -> None:
            if mode == GenerationMode.POSITIVE and pick % 4:
                case.body, case.query = real(case.body, pick), real(case.query, pick)
                case.path_parameters = real(case.path_parameters, pick)
            response = case.call(headers=HEADERS)
            case.validate_response(response, checks=CHECKS, headers=HEADERS)
            answered[operation.label].add(response.status_code)

        work()

    failures = []
    for found in api.get_all_operations():
        operation = found.ok()
        try:
            check(operation)
        except Unsatisfiable:  # it takes nothing that could be wrong
            assert mode == GenerationMode.NEGATIVE
        except Exception as error:
            failures.append(f"{operation.label}: {error}")
    assert failures == []
    if mode == GenerationMode.POSITIVE:  # so that what was checked is more than refusals
        refused = {label: seen for label, seen in answered.items() if min(seen) >= 400}
        assert set(refused) <= {"POST /v1/explain"}  # its runs are gone
