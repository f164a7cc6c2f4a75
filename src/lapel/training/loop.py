"""Training, top to bottom: data, model, loop, validation, checkpoints. What is trained is behind ``work.Work``.

Everything random is drawn from (seed, epoch) or (seed, step), never from the state of a generator that a crash could
lose: a run that was stopped at any moment and resumed leaves the same weights as one that was not. On a CPU that
holds to the bit; with a time limit the schedule follows the clock, which no two sittings share.
"""

from __future__ import annotations

import hashlib
import logging
import math
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning_fabric
import torch
from lightning_fabric import Fabric
from torch.optim.swa_utils import AveragedModel

from lapel.config import Recipe, TrainingConfig
from lapel.errors import RecipeError
from lapel.evaluation.record import versions
from lapel.image_source import ImageSource
from lapel.images import Preprocessing
from lapel.precision import use_bf16
from lapel.progress import bar
from lapel.runs import RunConfig, save_weights
from lapel.training.checkpoint import NAME, State, check_catalogue, check_folder, load_state, save_state
from lapel.training.interrupt import uninterrupted
from lapel.training.journal import Journal
from lapel.training.optimiser import make_optimiser, moving, set_rate
from lapel.training.stages import train_stages
from lapel.training.work import Batches, Work, work_of

SAVE_SECONDS = 120.0


def train(recipe: Recipe, to: Path | str, resume: bool = False, quiet: bool = False) -> Path:
    """Train a recipe and leave a run folder.

    The folder holds ``config.json``, ``model.safetensors`` (best on the validation split), ``last.safetensors`` (the
    state to resume from), ``metrics.jsonl`` and TensorBoard events. Of a recipe with stages the folder is that of the
    last one, and ``stage1``, ... in it are those before.

    Args:
        recipe: what to do; ``recipe.data.catalogue`` must be set.
        to: the run folder.
        resume: continue in ``to`` where it was stopped; the result is that of an uninterrupted run.
        quiet: no progress bar.

    Returns:
        the run folder.

    Raises:
        CatalogueError: the catalogue cannot be read, or has nothing to train or validate on.
        RecipeError: the recipe does not fit the model, or another recipe trained in ``to``.
        RunError: ``to`` already holds a run (without ``resume``), its state is damaged, or the run to start from is.
        ImageError: too many images cannot be read.
    """
    if recipe.stages:
        return train_stages(recipe, Path(to), resume, lambda stage, run, go_on: train(stage, run, go_on, quiet))
    run, settings = Path(to), recipe.training
    work = work_of(recipe)
    fabric = start_fabric(settings)
    recipe = _whole_paths(recipe)
    check_folder(run, recipe, resume)
    fabric.barrier()
    lightning_fabric.seed_everything(settings.seed, verbose=False)

    restored = resume and (run / NAME).exists()
    model = work.model(restored)
    pre = preprocessing(recipe, model)
    check_size(model, pre)
    if recipe.model.init and not restored:
        work.start_from(model, recipe.model.init)
    feed = work.feed(pre, fabric)
    config = describe(work, recipe, model, pre, feed)
    if restored:
        check_catalogue(run, config)
    objective = work.objective(model, pre)
    optimiser = make_optimiser(objective, settings)
    average = AveragedModel(model, use_buffers=True, avg_fn=moving(settings)) if settings.average else None
    objective_ = objective.to(memory_format=torch.channels_last)
    trainable = any(parameter.requires_grad for parameter in objective.parameters())
    if trainable:
        objective_, optimiser = fabric.setup(objective_, optimiser)
    else:
        objective_.to(fabric.device)
    if average is not None:
        average = average.to(fabric.device).to(memory_format=torch.channels_last)

    unseen = ImageSource(
        work.validation.paths(),
        pre,
        work.validation.boxes(),
        int(recipe.image.cache_gb * 2**30 / 8),
        max_failed=recipe.data.max_failed,
    )
    state = load_state(run, objective, optimiser, average) if restored else State()
    if fabric.is_global_zero:
        config.write(run)
    journal = Journal(run, state.step, state.validated, enabled=fabric.is_global_zero)

    total = settings.steps or max(settings.epochs, math.ceil(settings.min_steps / feed.steps)) * feed.steps
    if not trainable:
        total = 0  # the frozen trunk: it is measured and kept as it is
    clock, saved, whole = time.monotonic() - state.elapsed, time.monotonic(), True
    with bar("img", quiet or not fabric.is_global_zero) as progress:
        task = progress.add_task("training", total=total * feed.images, completed=state.step * feed.images, note="")
        try:
            while True:
                if _due(state, settings, feed.steps, total):
                    journal.check(state)
                    if fabric.is_global_zero:
                        kept = objective.model if average is None else average.module
                        score = work.validate(kept, config, unseen, run, fabric)
                        epoch = math.ceil(state.step / feed.steps)
                        journal.validation(state, epoch, score)
                        # Saved before the state: a crash in between repeats this validation, to the same end.
                        measure, figure = next(iter(score.items()))
                        if figure > state.best:
                            save_weights(run, kept.state_dict(), config, {"step": state.step, "epoch": epoch} | score)
                            state.best, state.measure = figure, measure
                    state.validated = state.step
                    if fabric.is_global_zero:
                        save_state(run, objective, optimiser, average, state)
                        saved = time.monotonic()
                    fabric.barrier()
                if state.done or state.step >= total:
                    break
                objective_.train()
                for images, targets in feed.epoch(state.step // feed.steps, state.step % feed.steps):
                    with uninterrupted():
                        whole = False
                        state.elapsed = time.monotonic() - clock
                        share = _share(state, total, settings, fabric)
                        set_rate(optimiser, settings, share, state.step // feed.steps)
                        torch.manual_seed(settings.seed * 1_000_003 + state.step)
                        loss = objective_(images, targets)
                        optimiser.zero_grad()
                        fabric.backward(loss)
                        if settings.clip:
                            fabric.clip_gradients(
                                objective_, optimiser, max_norm=settings.clip, error_if_nonfinite=False
                            )
                        optimiser.step()
                        state.step += 1
                        if average is not None:
                            average.update_parameters(objective.model)
                        state.done = settings.minutes > 0 and share >= 1.0
                        whole = True
                        journal.step(state, loss, optimiser.param_groups[0]["lr"], feed.images)
                    if journal.shown:
                        expected = total if settings.minutes <= 0 else min(total, state.step / max(share, 1e-9))
                        note = _note(journal, state)
                        progress.update(
                            task, completed=state.step * feed.images, total=int(expected) * feed.images, note=note
                        )
                    if fabric.is_global_zero and time.monotonic() - saved > SAVE_SECONDS:
                        journal.check(state)
                        save_state(run, objective, optimiser, average, state)
                        saved = time.monotonic()
                    if state.done or state.step >= total:
                        break
        except KeyboardInterrupt:
            # Weights of half a step would not be those of an uninterrupted training: the last state stands.
            if fabric.is_global_zero and whole:
                save_state(run, objective, optimiser, average, state)
            raise
        finally:
            journal.close(feed.failures + unseen.failures)
        done = state.step * feed.images
        progress.update(task, completed=done, total=done, note=_note(journal, state))
    return run


def _whole_paths(recipe: Recipe) -> Recipe:
    """Return it with absolute paths, as the run records them."""
    data = replace(recipe.data, catalogue=str(Path(recipe.data.catalogue).resolve()))
    init = recipe.model.init and str(Path(recipe.model.init).resolve())
    return replace(recipe, data=data, model=replace(recipe.model, init=init))


def start_fabric(settings: TrainingConfig) -> Fabric:
    """Fabric for this process: one device, or as many processes as torchrun started."""
    # Banners of its precision and processes; its warnings stay.
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    processes, local = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    fabric = Fabric(
        accelerator="cuda" if torch.cuda.is_available() else "cpu",
        devices=local,
        num_nodes=processes // local,
        strategy="ddp" if processes > 1 else "auto",
        precision="bf16-mixed" if use_bf16(settings.precision) else "32-true",
    )
    fabric.launch()
    return fabric


def describe(work: Work, recipe: Recipe, model: Any, pre: Preprocessing, feed: Batches) -> RunConfig:
    """What the run says of itself."""
    spec = recipe.model
    model_too, protocol_too = work.record(feed)
    return RunConfig(
        {"name": spec.name, "trunk": spec.trunk, "dim": model.dim}
        | {"trunk_options": spec.trunk_options, "options": spec.options, **model_too},
        work.values,
        pre.to_dict(),
        recipe,
        {
            "catalogue": work.catalogue.name,
            "train": len(work.training),
            "val": len(work.validation),
            "digest": hashlib.sha256(work.digest(feed).encode()).hexdigest(),
            "versions": versions(),
            **protocol_too,
        },
    )


def preprocessing(recipe: Recipe, model: Any) -> Preprocessing:
    """The run's preprocessing: the recipe's frame, the recipe's or the trunk's normalisation."""
    image, spec = recipe.image, recipe.model
    mean, std = spec.mean or model.trunk.mean, spec.std or model.trunk.std
    return Preprocessing(image.height, image.width, image.resize, tuple(mean), tuple(std))


def check_size(model: Any, pre: Preprocessing) -> None:
    """Refuse a trunk that cannot take the recipe's images, before any of them is read.

    Raises:
        RecipeError: what the trunk says.
    """
    try:
        with torch.no_grad():
            model.eval().features(torch.zeros(1, 3, pre.height, pre.width))
    except (AssertionError, RuntimeError, ValueError) as error:
        raise RecipeError(
            f"trunk {model.trunk.name!r} cannot take images of {pre.height} x {pre.width}: {error}. Change "
            "image.height and image.width, or set model.trunk_options={img_size: [HEIGHT, WIDTH]} where it has that"
        ) from error


def _due(state: State, settings: TrainingConfig, steps: int, total: int) -> bool:
    """Whether the weights as they are have a validation to come."""
    if total == 0:
        return state.best == -math.inf
    end = state.done or state.step >= total or state.step % (steps * settings.validate_every) == 0
    return end and state.validated < state.step


def _share(state: State, total: int, settings: TrainingConfig, fabric: Fabric) -> float:
    """Share of the training done, by steps or by the time limit, whichever is further; the same on every process."""
    share = state.step / max(total, 1)
    if settings.minutes > 0:
        share = max(share, state.elapsed / (60 * settings.minutes))
        share = float(fabric.broadcast(share))
    return min(share, 1.0)


def _note(journal: Journal, state: State) -> str:
    parts = [f"loss {journal.loss:.3f}"] if math.isfinite(journal.loss) else []  # none yet since a resume
    name = {"map": "MAP"}.get(state.measure, state.measure)
    parts += [f"val {name} {state.best:.1f}"] if state.best > -math.inf else []
    return ", ".join(parts)
