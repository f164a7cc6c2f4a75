"""A run as one ONNX file: images in, embeddings out, checked against torch when it is written."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lapel.errors import LapelError
from lapel.files import atomic_path

if TYPE_CHECKING:
    from lapel.retrieval.embedder import Embedder

TOLERANCE = 1e-4


def export_onnx(embedder: Embedder, path: Path | str) -> None:
    """Write ``path``: input ``images`` (B, 3, H, W) float32, normalised; output ``embeddings`` (B, A, D), unit length.

    Of an item run A is 1, its attribute ``item``; branches that only training and evaluation ask for are left out.
    Attributes, preprocessing and the run's fingerprint go into the file's metadata, so that it can be used alone.

    Raises:
        LapelError: the trunk has an operation that ONNX lacks, or ONNX Runtime gives other embeddings than torch.
    """
    import onnx
    import onnxruntime
    import torch
    from torch import Tensor, nn
    from torch.nn import functional

    class Whole(nn.Module):
        """The model under all of its attributes, or as its item."""

        def __init__(self) -> None:
            super().__init__()
            self.model = embedder.model
            self.numbers: Tensor
            self.register_buffer("numbers", torch.arange(len(embedder.attributes)))

        def forward(self, images: Tensor) -> Tensor:
            features = self.model.features(images)
            if embedder.items:
                return functional.normalize(self.model.embed(features), dim=1)[:, None]
            vectors: Tensor = self.model.embed(features, self.numbers)
            return vectors

    pre = embedder.preprocessing
    whole = Whole().eval().cpu()
    images = torch.rand(2, 3, pre.height, pre.width, generator=torch.Generator().manual_seed(0)) * 2 - 1
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        # The exporter reports every step on standard output and warns of its own future.
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), torch.inference_mode():
            warnings.simplefilter("ignore")
            batch = {"images": {0: torch.export.Dim("batch", min=1, max=4096)}}
            program = torch.onnx.export(
                whole,
                (images,),
                input_names=["images"],
                output_names=["embeddings"],
                dynamo=True,
                dynamic_shapes=batch,
                verbose=False,
            )
            expected = whole(images[:1]).numpy()
        assert program is not None
        proto = program.model_proto
    except Exception as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise LapelError(f"cannot export {embedder.run} to ONNX: {first[:200]}") from error
    finally:
        embedder.model.to(embedder.device)
    facts = {
        "fingerprint": embedder.fingerprint,
        "attributes": json.dumps(list(embedder.attributes)),
        "preprocessing": json.dumps(pre.to_dict()),
    }
    for key, value in facts.items():
        proto.metadata_props.add(key=key, value=value)
    with atomic_path(path) as temporary:
        onnx.save(proto, str(temporary))
        session = onnxruntime.InferenceSession(str(temporary), providers=["CPUExecutionProvider"])
        found = session.run(None, {"images": images[:1].numpy()})[0]
        worst = float(np.abs(found - expected).max())
        if not worst <= TOLERANCE:
            raise LapelError(f"ONNX embeddings of {embedder.run} differ from torch's by {worst:.2g}; not written")
