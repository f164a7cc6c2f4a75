"""The paper's printed rows add up to its printed averages, weighted by queries; where they do not, we know."""

from __future__ import annotations

import numpy as np
import pytest

from lapel.evaluation.metrics import query_weighted_mean
from lapel.evaluation.published import AGMAN, DEEPFASHION_SHARES, FASHIONAI_QUERIES

COUNTS = [422, 623, 535, 422, 341, 289, 703, 265]


def rows(dataset: str) -> dict[tuple[float, ...], str]:
    """Figures -> name of the distinct rows of the tables that print a MAP on this data."""
    tables = [table for table in AGMAN.values() if table.dataset == dataset]
    return {figures: name for table in reversed(tables) for name, figures in table.rows.items()}


def test_all_tables_are_here_and_whole():
    assert list(AGMAN) == list(range(2, 11))
    for number, table in AGMAN.items():
        assert table.number == number
        assert {len(figures) for figures in table.rows.values()} == {len(table.columns)}
        assert all(np.isfinite(figures).all() for figures in table.rows.values())
    assert [len(table.rows) for table in AGMAN.values()] == [4, 4, 4, 4, 4, 5, 5, 3, 3]
    assert AGMAN[4].columns == ("Average loss", "Accuracy (%)")


def test_eleven_fashionai_rows_are_weighted_by_queries():
    assert list(FASHIONAI_QUERIES.values()) == COUNTS
    assert sum(COUNTS) == 3600
    found = rows("FashionAI")
    assert len(found) == 11
    for *maps, printed in found:
        assert round(query_weighted_mean(maps, COUNTS), 4) == printed
        assert abs(np.mean(maps) - printed) > 0.1
    *maps, printed = AGMAN[2].rows["AG-MAN"]
    assert (round(float(np.mean(maps)), 4), printed) == (64.0062, 62.8788)


def deepfashion_mean(maps) -> float:
    """Shares are rounded to five places and add up to 1.00001, so divide by their sum as for counts."""
    return query_weighted_mean(maps, [round(1e5 * share) for share in DEEPFASHION_SHARES.values()])


def test_ten_deepfashion_rows_share_one_set_of_weights():
    found = {figures: name for figures, name in rows("DeepFashion").items() if name != "AttnFashion"}
    assert len(found) == 10
    for *maps, printed in found:
        assert abs(deepfashion_mean(maps) - printed) < 1e-4


def test_one_deepfashion_row_does_not_add_up():
    """AttnFashion: five values that imply 6.6990, and 6.8060 in print; which of the six is wrong is not known."""
    *maps, printed = AGMAN[3].rows["AttnFashion"]
    assert printed == 6.8060
    assert deepfashion_mean(maps) == pytest.approx(6.6990, abs=1e-4)
    assert AGMAN[10].rows["AttnFashion"] == AGMAN[3].rows["AttnFashion"]
    for number in (3, 10):
        assert any("6.6990" in fault for fault in AGMAN[number].faults)


def test_a_part_beats_the_whole_on_deepfashion():
    assert AGMAN[6].rows["classification loss only"][-1] > AGMAN[6].rows["AG-MAN"][-1]
    assert any("above the full model" in fault for fault in AGMAN[6].faults)
