"""One run of one row of a table: trained unless it is, measured unless it was, and what both left behind.

Beside the run's own files its folder then holds ``trained.json`` (that the training reached its end, and what it took),
``result.json`` (as ``lapel evaluate`` writes it) and ``answers.npz`` (each query's AP, or each triplet right or wrong,
or whether each query found its item among the first K), from which differences between rows are told without embedding
an image again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lapel.catalogue import Catalogue
from lapel.config import Recipe
from lapel.errors import RunError
from lapel.evaluate import evaluate
from lapel.evaluation.comparison import Answers
from lapel.evaluation.instances import ItemResult
from lapel.evaluation.localisation import localise, read_regions
from lapel.evaluation.protocols import RetrievalResult, query_keys
from lapel.evaluation.triplets import TripletsResult
from lapel.files import atomic_path, atomic_write
from lapel.protocol import ItemProtocol, Protocol, to_dict
from lapel.reproduction.pace import images_per_step
from lapel.retrieval.embedder import load
from lapel.runs import CONFIG, read_config, stored_fingerprint
from lapel.training import train
from lapel.training.checkpoint import NAME as STATE
from lapel.training.checkpoint import begun, check_folder
from lapel.training.stages import layout

TRAINED, RESULT, ANSWERS = "trained.json", "result.json", "answers.npz"
TAGS, LANDMARKS = "tag mAP", "landmark error"
"""Headings of what the branches of an item run predict, in percent; the error of the image's size."""


@dataclass(frozen=True)
class RowRun:
    """A run of a row.

    Attributes:
        folder: of the run.
        recipe: with the run's seed in it.
        data: SHA-256 of the catalogue's file; the files of its relations are named in it by theirs.
    """

    folder: Path
    recipe: Recipe
    data: str

    def check(self) -> None:
        """Refuse a folder that holds a run of other settings, or no run.

        Raises:
            RecipeError, RunError: which setting, or what else is wrong.
        """
        laid_out = layout(self.recipe, self.folder)
        if not begun(self.folder):
            check_folder(self.folder, laid_out[0][0], False)
        for recipe, folder in laid_out:
            if (folder / CONFIG).is_file():
                check_folder(folder, recipe, True)

    @property
    def trained(self) -> Mapping[str, Any] | None:
        """What the training took, where it reached its end on this catalogue and its weights are still those."""
        note = _read_json(self.folder / TRAINED)
        if note is None or note.get("catalogue") != self.data:
            return None
        try:
            return note if note.get("fingerprint") == stored_fingerprint(self.folder) else None
        except RunError:
            return None

    def train(self, quiet: bool = False) -> None:
        """Train to the end, from where it was left; a finished run is left as it is.

        Raises:
            LapelError: what ``lapel.training.train`` raises.
            KeyboardInterrupt: stopped; the same call goes on.
        """
        if self.trained is not None:
            return
        train(self.recipe, self.folder, resume=begun(self.folder), quiet=quiet)
        took = _took([folder for _, folder in layout(self.recipe, self.folder)])
        note = {"fingerprint": stored_fingerprint(self.folder), "catalogue": self.data} | took
        atomic_write(self.folder / TRAINED, json.dumps(note, indent=2) + "\n")

    def measure(self, catalogue: Catalogue, protocol: Protocol, quiet: bool = False) -> None:
        """Evaluate, unless these weights were evaluated on this catalogue by this protocol.

        Raises:
            LapelError: what ``lapel.evaluate.evaluate`` raises.
        """
        if self._measured(protocol):
            return
        result = evaluate(self.folder, catalogue, json=self.folder / RESULT, quiet=quiet, protocol=protocol)
        arrays: dict[str, Any] = {"stamp": np.array(self._stamp(protocol))}
        if isinstance(result, RetrievalResult):
            answers: Answers = {row.attribute: (query_keys(row.rows), row.aps) for row in result.attributes}
            arrays["chance"] = np.array(result.chance)
        elif isinstance(result, TripletsResult):
            answers = {name: (row.places, row.right) for name, row in result.attributes.items()}
            arrays |= {"chance": np.array(0.5), "loss": np.array(result.overall.loss)}
        else:
            assert isinstance(protocol, ItemProtocol)
            answers = item_answers(result)
            chances = dict(zip(answers, result.chance, strict=True))
            arrays |= {"chance": np.array(chances[f"Acc@{protocol.headline}"]), **_numbers("chances", chances)}
            arrays |= _numbers("branches", self._branches(result, catalogue, protocol, quiet))
        arrays |= _packed("answers", answers)
        if not isinstance(result, ItemResult) and (regions := read_regions(catalogue)):
            whole = catalogue.with_splits(self.recipe.data.split_seed)
            looked = localise(load(self.folder), whole, regions, split="test")
            arrays |= _packed("pointing", looked.answers()) | {"pointing_chance": np.array(looked.overall.chance)}
        with atomic_path(self.folder / ANSWERS) as temporary:
            np.savez_compressed(temporary, **arrays)

    def _branches(
        self, result: ItemResult, catalogue: Catalogue, protocol: ItemProtocol, quiet: bool
    ) -> dict[str, float]:
        """What the branches predict, those of the stages before too: of a branch that was trained to."""
        *before, (last, _) = layout(self.recipe, self.folder)
        found = branch_figures(last, result)
        for number, (stage, folder) in enumerate(before, 1):
            if stage.training.losses.get("tags") or stage.training.losses.get("landmarks"):
                measured = evaluate(folder, catalogue, quiet=quiet, protocol=protocol)
                assert isinstance(measured, ItemResult)
                found |= {f"{name}, stage {number}": value for name, value in branch_figures(stage, measured).items()}
        return {name: found[name] for name in sorted(found, key=lambda name: not name.startswith(TAGS))}

    def _measured(self, protocol: Protocol) -> bool:
        if not (self.folder / RESULT).is_file():
            return False
        stored = self._arrays()
        return stored is not None and str(stored["stamp"]) == self._stamp(protocol)

    def _stamp(self, protocol: Protocol) -> str:
        """What the answers depend on."""
        return json.dumps([stored_fingerprint(self.folder), self.data, to_dict(protocol)])

    def _arrays(self) -> dict[str, Any] | None:
        try:
            with np.load(self.folder / ANSWERS, allow_pickle=False) as stored:
                return dict(stored)
        except (OSError, ValueError, KeyError):
            return None

    def read(self) -> dict[str, Any]:
        """Return ``answers``, ``chance``, ``trained``, and as far as known ``loss``, ``pointing``, ``pointing_chance``.

        Of items also ``chances``, of each column, and ``branches``, what the model's branches predict.

        Raises:
            RunError: it was not measured.
        """
        stored = self._arrays()
        if stored is None:
            raise RunError(f"{self.folder} was not measured: run the same command again")
        found: dict[str, Any] = {"answers": _unpacked("answers", stored), "trained": self.trained or {}}
        if pointing := _unpacked("pointing", stored):
            found["pointing"] = pointing
        for kind in ("chances", "branches"):
            if kind in stored:
                found[kind] = dict(zip(stored[kind].tolist(), stored[f"{kind}_values"].tolist(), strict=True))
        return found | {name: float(stored[name]) for name in ("chance", "loss", "pointing_chance") if name in stored}


def item_answers(result: ItemResult) -> Answers:
    """Return which queries found their item among the first K, for every K of the result."""
    keys, rank = query_keys(result.rows), result.ranks.rank
    return {f"Acc@{k}": (keys, (rank > 0) & (rank <= k)) for k in result.ks}


def branch_figures(recipe: Recipe, result: ItemResult) -> dict[str, float]:
    """Return what the branches of a run predict, in percent: those that its recipe trains to."""
    losses, found = recipe.training.losses, {}
    if losses.get("tags") and result.tags is not None:
        found[TAGS] = 100 * result.tags.map
    if losses.get("landmarks") and result.landmarks is not None:
        found[LANDMARKS] = 100 * result.landmarks.error
    return found


def _took(folders: list[Path]) -> dict[str, Any]:
    """Steps, images and seconds of a training, over all its stages."""
    from safetensors import safe_open

    total = {"steps": 0, "images": 0, "seconds": 0.0}
    for folder in folders:
        with safe_open(folder / STATE, "pt") as stored:
            state = json.loads(stored.metadata()["state"])
        batch = images_per_step(read_config(folder))
        total["steps"] += state["step"]
        total["images"] += state["step"] * batch * state.get("processes", 1)
        total["seconds"] += state["elapsed"]
    return total


def _numbers(kind: str, found: Mapping[str, float]) -> dict[str, Any]:
    return {kind: np.array([*found], str), f"{kind}_values": np.array([*found.values()], float)}


def _packed(kind: str, answers: Answers) -> dict[str, Any]:
    names = [*answers]
    arrays: dict[str, Any] = {f"{kind}": np.array(names)}
    for number, name in enumerate(names):
        arrays[f"{kind}_{number}_keys"], arrays[f"{kind}_{number}_values"] = answers[name]
    return arrays


def _unpacked(kind: str, stored: Mapping[str, Any]) -> Answers:
    names = stored[kind].tolist() if kind in stored else []
    return {
        str(name): (stored[f"{kind}_{number}_keys"], stored[f"{kind}_{number}_values"])
        for number, name in enumerate(names)
    }


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None
