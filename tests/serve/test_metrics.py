"""Figures for Prometheus."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from lapel import __version__
from lapel.serve.batching import Pass
from lapel.serve.metrics import CONTENT_TYPE, Metrics


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


def test_requests_are_counted_by_route_and_status() -> None:
    metrics = Metrics()
    metrics.begin()
    metrics.begin()
    assert value(metrics, "lapel_http_in_flight") == 2
    metrics.end("GET", "/v1/images/{id}", 200, 0.03, 0, 500)
    metrics.end("BREW", "/v1/search", 429, 0.2, 40, 60)
    assert value(metrics, "lapel_http_in_flight") == 0
    assert value(metrics, "lapel_http_requests_total", method="GET", route="/v1/images/{id}", status="200") == 1
    assert value(metrics, "lapel_http_requests_total", method="other", route="/v1/search", status="429") == 1
    assert value(metrics, "lapel_http_request_seconds_sum", method="GET", route="/v1/images/{id}") == 0.03
    assert value(metrics, "lapel_http_received_bytes_total") == 40
    assert value(metrics, "lapel_http_sent_bytes_total") == 560


def test_passes_are_counted_for_each_index() -> None:
    metrics = Metrics()
    count = metrics.encoded("shop")
    count(Pass(3, 1, (0.1, 0.2, 0.3), 0.5))
    count(Pass(1, 0, (0.0,), 0.25))
    metrics.encoded("other")
    assert value(metrics, "lapel_encode_batch_images_sum", index="shop") == 4
    assert value(metrics, "lapel_encode_batch_images_count", index="shop") == 2
    assert value(metrics, "lapel_encode_batch_images_bucket", index="shop", le="2.0") == 1
    assert value(metrics, "lapel_encode_seconds_sum", index="shop") == 0.75
    assert value(metrics, "lapel_encode_wait_seconds_count", index="shop") == 4
    assert value(metrics, "lapel_encode_wait_seconds_sum", index="shop") == pytest.approx(0.6)
    assert value(metrics, "lapel_encode_failed_images_total", index="shop") == 1
    assert value(metrics, "lapel_encode_batch_images_count", index="other") == 0


def test_a_new_version_takes_the_place_of_the_old() -> None:
    metrics = Metrics()
    for version in range(20):
        metrics.index("shop", 100 + version, str(version), "59ce986856e0")
    metrics.index("other", 7, "1", "")
    assert value(metrics, "lapel_index_images", index="shop") == 119
    assert value(metrics, "lapel_index_info", index="shop", version="19", runs="59ce986856e0") == 1
    assert metrics.text().decode().count("lapel_index_info{") == 2


def test_hits_and_values_that_are_asked_for() -> None:
    metrics = Metrics()
    for found in (True, True, False):
        metrics.looked_up(found)
    waiting = [1, 2, 3]
    metrics.watch("encode_waiting", "Photographs that wait", lambda: len(waiting))
    assert value(metrics, "lapel_encode_waiting") == 3
    waiting.pop()
    assert value(metrics, "lapel_encode_waiting") == 2
    metrics.watch("encode_waiting", "Photographs that wait", lambda: 9)  # of another batcher, in its place
    assert value(metrics, "lapel_encode_waiting") == 9
    assert value(metrics, "lapel_query_vectors_total", result="hit") == 2
    assert value(metrics, "lapel_query_vectors_total", result="miss") == 1


def test_the_text_is_prometheus_and_each_application_has_its_own() -> None:
    metrics, other = Metrics(), Metrics()
    metrics.begin()
    families = {family.name: family for family in text_string_to_metric_families(metrics.text().decode())}
    assert CONTENT_TYPE.startswith("text/plain")
    assert families["lapel_info"].samples[0].labels == {"version": __version__}
    assert families["process_resident_memory_bytes"].samples[0].value > 0
    assert all(family.documentation for family in families.values())
    assert value(other, "lapel_http_in_flight") == 0
