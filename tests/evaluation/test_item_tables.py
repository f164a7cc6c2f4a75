"""What the branches of an item model predict, printed beside its ranking."""

from __future__ import annotations

from io import StringIO

import numpy as np
import pytest
from rich.console import Console

from lapel.evaluation.instances import ItemResult
from lapel.evaluation.metrics import Interval
from lapel.evaluation.prediction import AttributePrecision, LandmarkResult, PredictionResult
from lapel.evaluation.ranking import Ranks
from lapel.evaluation.tables import print_result
from lapel.landmarks import LANDMARKS


def printed(width: int = 100, **beside: PredictionResult | LandmarkResult) -> list[str]:
    one = np.ones(1, np.int64)
    result = ItemResult((1,), (Interval(0.5, 0.4, 0.6),), (0.1,), 1, 9, 0, 0, Ranks(one, one, one), one, **beside)
    console = Console(file=StringIO(), width=width, force_terminal=False)
    print_result(result, console=console)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def tags(**aps: float) -> PredictionResult:
    rows = {name: AttributePrecision(ap, 0.1, 5, 20) for name, ap in aps.items()}
    return PredictionResult(rows, float(np.mean([*aps.values()])), 0.1, {"colour=puce": "none of 20 images has it"})


def test_a_ranking_alone_has_nothing_beside() -> None:
    assert not any("beside" in line for line in printed())


def test_tags_with_the_best_and_the_worst() -> None:
    aps = {f"t{number}": number / 10 for number in (3, 9, 1, 7, 5, 8, 2)}
    lines = printed(tags=tags(**aps))
    at = lines.index("beside the ranking: attributes that the model predicts")
    assert lines[at + 1 : at + 4] == [
        "mAP 50.00, chance 10.00, over 7 tags, 1 more have no image here",
        "best: t9 90.00, t8 80.00, t7 70.00",
        "worst: t3 30.00, t2 20.00, t1 10.00",
    ]
    lines = printed(tags=tags(t=0.4))
    assert "mAP 40.00, chance 10.00, over 1 tag, 1 more have no image here" in lines
    assert not any(line.startswith("worst") for line in lines)


@pytest.mark.parametrize("width", [40, 60, 120])
def test_landmarks_one_by_one(width: int) -> None:
    errors = np.array([0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.07, np.nan])
    counts = np.array([10, 20, 30, 40, 50, 60, 1234, 0])
    lines = printed(width, landmarks=LandmarkResult(0.0456, errors, counts, 3))
    text = "\n".join(lines)
    assert max(map(len, lines)) <= width
    cells = {" ".join(line.split()[:-2]): line.split()[-2:] for line in lines if len(line.split()) > 2}
    if width > 40:
        assert cells["left collar"] == ["0.0100", "10"]
        assert cells["left hem"] == ["0.0700", "1,234"]
        assert cells["right hem"] == ["-", "0"]
        assert cells["all visible ones"] == ["0.0456", "1,444"]
        assert [name for name in LANDMARKS if name not in cells] == []
    assert "0.0456" in text
    assert "1,234" in text
