"""What makes a figure comparable: the protocol record and the result file."""

from __future__ import annotations

import datetime
import json
import platform
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from lapel.errors import LapelError
from lapel.evaluation.exact import SCORES
from lapel.evaluation.metrics import AP_DEFINITION, SCORE, TIE_RULE
from lapel.files import atomic_write

PACKAGES = ("lapel", "numpy", "torch", "torchvision", "timm")
FORMAT = "lapel result 1"


@dataclass(frozen=True)
class Definitions:
    """How figures of one task are defined, in words: the metric, the score that ranks, what equal scores do."""

    metric: str
    score: str
    tie_rule: str


_AT_K = (
    "Acc@K = share of queries with a relevant image among the first K of the gallery; a query without a relevant image "
    "counts as a miss (where the protocol's 'alone' is not 'skip'); a query is never its own candidate; overall = mean "
    "over all queries"
)
_GALLERY = "equal scores keep the order of the gallery in the catalogue (stable)"
_LISTED = "equal scores keep the order in which the candidates are listed (stable)"
DEFINITIONS = {
    "attributes": Definitions(AP_DEFINITION, SCORE, TIE_RULE),
    "listed images": Definitions(AP_DEFINITION, SCORE, _LISTED),
    "listed values": Definitions(
        AP_DEFINITION.replace(
            "relevant = shares a value of the attribute",
            "every listed (image, attribute, value) is one query or one candidate, so an image that is listed twice "
            "counts twice, and one listed as both finds itself; relevant = same listed value",
        ),
        SCORE,
        _LISTED,
    ),
    "triplets": Definitions(
        "accuracy = share of triplets with cos(anchor, positive) > cos(anchor, negative); "
        "average loss = mean of max(0, margin + cos(anchor, negative) - cos(anchor, positive)) over the same triplets; "
        "overall = over all triplets",
        "cosine in float64",
        "strict: equal similarities are wrong",
    ),
    "euclidean triplets": Definitions(
        "accuracy = share of triplets with d(anchor, positive) < d(anchor, negative); average loss = mean of "
        "max(0, margin + d(anchor, positive) - d(anchor, negative)) over the same triplets; "
        "overall = over all triplets",
        "Euclidean distance d of the masked embeddings in float64, as the model's paper has it",
        "strict: equal distances are wrong",
    ),
    "items": Definitions(_AT_K, SCORES["cosine"], _GALLERY),
    "euclidean items": Definitions(_AT_K, SCORES["euclidean"], _GALLERY),
}


def protocol_record(
    *,
    split: str | None,
    preprocessing: Mapping[str, Any] | None,
    query_source: str,
    weights: str | None,
    seed: int,
    catalogue: str | None = None,
    task: str = "attributes",
    command: Sequence[str] | None = None,
    **further: Any,
) -> dict[str, Any]:
    """Return everything another person needs to know before comparing a figure with theirs.

    Args:
        split: the catalogue's split that was measured; None where the protocol says which images are asked.
        preprocessing: crop, resize, size, mean and std (``Preprocessing.to_dict()``); None without images.
        query_source: ``RetrievalResult.query_source``, or the file the lists come from.
        weights: fingerprint of the run (SHA-256 over its tensors and settings, not over the file's bytes); None for a
            system without one.
        seed: of the query draw and the bootstrap.
        catalogue: name of the catalogue.
        task: whose definitions hold, one of ``DEFINITIONS``: that of a protocol, ``listed images`` and ``listed
            values`` for attributes with given lists, or ``euclidean triplets`` and ``euclidean items`` where that is
            the model's distance.
        command: the command line, by default this process's.
        **further: anything else worth knowing, as JSON values.
    """
    return {
        "catalogue": catalogue,
        "split": split,
        "preprocessing": None if preprocessing is None else dict(preprocessing),
        **asdict(DEFINITIONS[task]),
        "queries": query_source,
        "fingerprint": weights,
        "seed": seed,
        **further,
        "versions": versions(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]] if command is None else command),
    }


def versions() -> dict[str, str | None]:
    """Return the versions of Python and the packages behind a figure, without importing them."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    return found


def write_result(path: Path | str, result: Mapping[str, Any], record: Mapping[str, Any]) -> None:
    """Write a result (``RetrievalResult.to_dict()`` or several by name) with its record as JSON, in one step.

    Raises:
        LapelError: a figure is NaN or infinite or not a JSON value; the disk is full.
    """
    try:
        text = json.dumps(
            {"format": FORMAT, "protocol": record, "result": result},
            indent=2,
            ensure_ascii=False,
            allow_nan=False,
        )
    except (TypeError, ValueError) as error:
        raise LapelError(f"cannot write {path}: {error}; results hold numbers, texts, lists and tables only") from error
    atomic_write(path, text + "\n")


def read_result(path: Path | str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return (result, record) of a file that ``write_result`` left.

    Raises:
        LapelError: no such file, no JSON, or JSON of another kind.
    """
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise LapelError(f"cannot read result file {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise LapelError(f"{path} is no result file: not JSON ({error})") from error
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        found = data.get("format") if isinstance(data, dict) else type(data).__name__
        raise LapelError(f"{path} is no result file: expected format {FORMAT!r}, found {found!r}")
    return data["result"], data["protocol"]
