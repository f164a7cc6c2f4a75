"""Embeds query images with ONNX Runtime, so that a search need not wait for torch to load."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lapel.decoding import Source, decode_array
from lapel.errors import SearchIndexError
from lapel.frame import Preprocessing, prepare_array

if TYPE_CHECKING:
    from lapel.decoding import Box


class QueryEncoder:
    """Images to embeddings from the file that ``lapel.export.export_onnx`` writes.

    Attributes:
        attributes: names of axis A.
        fingerprint: of the run it was exported from.
        preprocessing: how images are prepared.

    Raises:
        SearchIndexError: not such a file.
    """

    def __init__(self, path: Path | str) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
            facts: dict[str, Any] = self._session.get_modelmeta().custom_metadata_map
            self.fingerprint: str = facts["fingerprint"]
            self.attributes: tuple[str, ...] = tuple(json.loads(facts["attributes"]))
            self.preprocessing = Preprocessing.from_dict(json.loads(facts["preprocessing"]))
        except Exception as error:  # ONNX Runtime raises types of its own
            raise SearchIndexError(f"{path} is no query encoder of Lapel ({error}): index again to write it") from error

    def __call__(self, images: Sequence[Source], boxes: Sequence[Box | None] | None = None) -> npt.NDArray[np.float32]:
        """Embed images: (N, A, D) float32, unit vectors.

        Raises:
            ImageError: an image cannot be read.
        """
        crops = boxes if boxes is not None else [None] * len(images)
        batch = [
            prepare_array(decode_array(image, box), self.preprocessing)
            for image, box in zip(images, crops, strict=True)
        ]
        found: npt.NDArray[np.float32] = self._session.run(None, {"images": np.stack(batch)})[0]
        return found
