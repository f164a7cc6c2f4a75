"""The run: a folder that describes itself. ``config.json`` and ``model.safetensors`` are all that other verbs need.

No pickles: tensors are safetensors, the rest is JSON. The weights file carries a fingerprint of its tensors and of the
settings that decide an embedding, so altered weights or settings are noticed.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lapel.config import Recipe, from_dict
from lapel.errors import LapelError, RunError
from lapel.files import atomic_path, atomic_write

FORMAT = "lapel run 1"
CONFIG, WEIGHTS = "config.json", "model.safetensors"


@dataclass(frozen=True)
class RunConfig:
    """What ``config.json`` holds.

    Attributes:
        model: ``name``, ``trunk``, ``trunk_options`` and ``options`` of ``lapel.models.build``; of an item run also
            ``task``, which is ``items``, and ``tags``, the [attribute, value] of each tag that it predicts.
        attributes: attribute -> its values, both in the model's order; of an item run none.
        preprocessing: ``lapel.images.Preprocessing`` as a dictionary.
        recipe: the recipe it was trained with.
        protocol: catalogue, split counts and versions of the training.
    """

    model: Mapping[str, Any]
    attributes: Mapping[str, tuple[str, ...]]
    preprocessing: Mapping[str, Any]
    recipe: Recipe
    protocol: Mapping[str, Any]

    @property
    def task(self) -> str:
        """What its vectors tell apart: ``attributes`` or ``items``."""
        return str(self.model.get("task", "attributes"))

    @property
    def tags(self) -> tuple[tuple[str, str], ...]:
        """(attribute, value) of each tag that an item run predicts, in the model's order."""
        return tuple((str(attribute), str(value)) for attribute, value in self.model.get("tags", ()))

    def write(self, run: Path) -> None:
        """Write ``run/config.json``."""
        data = {
            "format": FORMAT,
            "model": dict(self.model),
            "attributes": [{"name": name, "values": list(values)} for name, values in self.attributes.items()],
            "preprocessing": dict(self.preprocessing),
            "recipe": self.recipe.to_dict(),
            "protocol": dict(self.protocol),
        }
        atomic_write(run / CONFIG, json.dumps(data, indent=2, ensure_ascii=False) + "\n")

    def settings(self) -> str:
        """Everything that decides an embedding beside the weights, as canonical JSON."""
        parts = {"model": self.model, "attributes": list(self.attributes), "preprocessing": self.preprocessing}
        return json.dumps(json.loads(json.dumps(parts)), sort_keys=True)


def read_config(run: Path | str) -> RunConfig:
    """Read ``config.json`` of a run folder.

    Raises:
        RunError: no such folder, not a run, or a damaged configuration.
    """
    run = Path(run)
    if not run.is_dir():
        raise RunError(f"no run folder at {run}: expected the folder that 'lapel train' wrote")
    path = run / CONFIG
    if not path.is_file():
        found = ", ".join(sorted(entry.name for entry in run.iterdir())[:6]) or "nothing"
        raise RunError(f"{run} is not a run folder: expected {CONFIG} and {WEIGHTS} in it, found {found}")
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data["format"] != FORMAT:
            raise RunError(f"{path} has format {data['format']!r}, this version of Lapel reads {FORMAT!r}")
        return RunConfig(
            data["model"],
            {entry["name"]: tuple(entry["values"]) for entry in data["attributes"]},
            data["preprocessing"],
            from_dict(data["recipe"], str(path)),
            data["protocol"],
        )
    except LapelError:
        raise
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path} is damaged ({type(error).__name__}: {error}): restore it or train again") from error


def fingerprint(tensors: Mapping[str, Any], settings: str) -> str:
    """Return the SHA-256 over settings and tensors (names, types, shapes, bytes)."""
    digest = hashlib.sha256(settings.encode())
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(_bytes()).numpy().data if tensor.numel() else b"")
    return digest.hexdigest()


def save_weights(run: Path, tensors: Mapping[str, Any], config: RunConfig, note: Mapping[str, Any]) -> str:
    """Write ``run/model.safetensors`` in one step and return its fingerprint; ``note`` is kept in the header."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    print_ = fingerprint(tensors, config.settings())
    metadata = {"format": "pt", "fingerprint": print_, "note": json.dumps(dict(note))}
    write_tensors(run / WEIGHTS, tensors, metadata)
    return print_


def write_tensors(path: Path, tensors: Mapping[str, Any], metadata: Mapping[str, str]) -> None:
    """Write a safetensors file in one step.

    Raises:
        LapelError: the disk is full or the folder cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    # Cloned, because tensors shared or strided in memory cannot be written as they are.
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    with atomic_path(path) as temporary:
        try:
            save_file(plain, temporary, dict(metadata))
        except SafetensorError as error:
            # It tells the number of the system's error in its text only.
            number = re.search(r"os error (\d+)", str(error))
            raise OSError(int(number[1]) if number else 0, str(error)) from error


def stored_fingerprint(run: Path | str) -> str:
    """Return the fingerprint in the header of a run's weights, without reading the tensors or importing torch.

    Raises:
        RunError: no weights, or no Lapel weights.
    """
    return str(_header(Path(run) / WEIGHTS)["fingerprint"])


def note(run: Path | str) -> dict[str, Any]:
    """Return what ``save_weights`` was told to keep with the weights (epoch, validation MAP).

    Raises:
        RunError: no weights, or no Lapel weights.
    """
    found: dict[str, Any] = json.loads(_header(Path(run) / WEIGHTS).get("note", "{}"))
    return found


def _header(path: Path) -> dict[str, str]:
    """Metadata in a safetensors header: 8 bytes of length, then JSON."""
    if not path.is_file():
        raise RunError(f"{path.parent} has no {WEIGHTS}: the training has not reached its first validation yet")
    try:
        with path.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if length > 100 << 20:
                raise ValueError("header too long")
            metadata = json.loads(stream.read(length)).get("__metadata__") or {}
    except (ValueError, AttributeError) as error:
        raise RunError(f"{path} is not a safetensors file: restore it or train again") from error
    if "fingerprint" not in metadata:
        raise RunError(f"{path} was not written by Lapel: it carries no fingerprint")
    return dict(metadata)


def load_weights(run: Path, config: RunConfig) -> tuple[dict[str, Any], str]:
    """Read the weights of a run and check them against their fingerprint.

    Raises:
        RunError: missing, damaged or altered weights, or settings altered since training.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    expected = stored_fingerprint(run)
    path = run / WEIGHTS
    try:
        tensors = load_file(path)
    except (SafetensorError, ValueError, OSError) as error:
        raise RunError(f"{path} is damaged ({error}): restore it or train again") from error
    found = fingerprint(tensors, config.settings())
    if found != expected:
        raise RunError(
            f"the weights or settings of {run} were altered after training: fingerprint {found[:12]}, "
            f"expected {expected[:12]}. Restore {CONFIG} and {WEIGHTS} from the same training"
        )
    return dict(tensors), found


def _bytes() -> Any:
    import torch

    return torch.uint8
