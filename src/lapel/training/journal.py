"""What training writes down as it goes: ``metrics.jsonl`` and TensorBoard events."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from lapel.errors import LapelError
from lapel.files import atomic_write

if TYPE_CHECKING:
    from lapel.image_source import Failure
    from lapel.training.checkpoint import State

EVERY = 10


class Journal:
    """Lines of metrics, one every ``EVERY`` steps and one per validation.

    Args:
        run: the run folder.
        step: step resumed from; later lines of an interrupted sitting are dropped, they will be written again.
        validated: step of the last validation before it; later validations are dropped in the same way.
        enabled: False on all processes but the first.

    Attributes:
        loss: mean loss of the last ``EVERY`` steps.
        shown: whether the last call to ``step`` wrote a line.
    """

    def __init__(self, run: Path, step: int, validated: int = 0, enabled: bool = True) -> None:
        self.enabled = enabled
        self.loss = float("nan")
        self.shown = False
        self._losses: list[Tensor] = []
        self._clock = time.monotonic()
        if not enabled:
            return
        from torch.utils.tensorboard import SummaryWriter

        self.path = run / "metrics.jsonl"
        self.skipped = run / "skipped.json"
        kept = []
        if self.path.exists():
            for line in self.path.read_text(encoding="utf-8").splitlines():
                # A line cut short by a crash is the last one, and past the saved step.
                if line.endswith("}"):
                    entry = json.loads(line)
                    if entry["step"] <= (validated if "epoch" in entry else step):
                        kept.append(line + "\n")
        atomic_write(self.path, "".join(kept))
        self._stream = self.path.open("a", encoding="utf-8")
        self._board = SummaryWriter(str(run / "tensorboard"), purge_step=step + 1 if step else None)

    def step(self, state: State, loss: Tensor, rate: float, images: int) -> None:
        """Count one optimiser step; reading the loss off the device waits for it, so that is done rarely."""
        self._losses.append(loss.detach())
        self.shown = state.step % EVERY == 0
        if not self.shown:
            return
        self.check(state)
        self.loss = float(sum(float(found) for found in self._losses) / len(self._losses))
        seconds, self._clock = time.monotonic() - self._clock, time.monotonic()
        speed = images * len(self._losses) / max(seconds, 1e-9)
        self._losses = []
        self._write({"step": state.step, "loss": self.loss, "lr": rate, "images_per_s": round(speed, 1)}, "train")

    def check(self, state: State) -> None:
        """Stop a training that can no longer recover.

        Raises:
            LapelError: a loss since the last line is NaN or infinite.
        """
        if not all(math.isfinite(loss) for loss in self._losses):
            raise LapelError(
                f"the loss is no longer finite at step {state.step}: lower training.lr and training.head_lr, "
                "or set training.clip=5, and start another run with --to"
            )

    def validation(self, state: State, epoch: int, scores: dict[str, float]) -> None:
        """Record a validation: MAP overall and per attribute, in percent."""
        line = {"step": state.step, "epoch": epoch, "seconds": round(state.elapsed, 1)}
        self._write(line | {f"val_{name}": round(score, 4) for name, score in scores.items()}, "val")

    def _write(self, line: dict[str, Any], group: str) -> None:
        if not self.enabled:
            return
        self._stream.write(json.dumps(line) + "\n")
        self._stream.flush()
        for name, value in line.items():
            if name != "step":
                self._board.add_scalar(f"{group}/{name.removeprefix('val_')}", value, line["step"])

    def close(self, skipped: Sequence[Failure] = ()) -> None:
        """Close the files and list the images that were left out, with reasons."""
        if not self.enabled:
            return
        self._stream.close()
        self._board.close()
        if skipped:
            # An earlier sitting may have met others.
            before = json.loads(self.skipped.read_text(encoding="utf-8")) if self.skipped.exists() else []
            lines = {line["image"]: line for line in before}
            lines |= {str(found.path): {"image": str(found.path), "reason": found.reason} for found in skipped}
            atomic_write(self.skipped, json.dumps(list(lines.values()), indent=2, ensure_ascii=False) + "\n")
