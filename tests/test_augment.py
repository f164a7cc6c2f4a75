"""Augmentation: one generator, per-image draws, padding that stays padding."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from lapel.augment import augment


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(count: int = 16, height: int = 24, width: int = 20) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, height, width), dtype=torch.uint8, generator=generator(9))


OPTIONS: list[dict[str, object]] = [
    {},
    {"flip": False, "scale": (0.6, 1.3)},
    {"brightness": 0.2, "contrast": 0.2},
    {"erase": 0.5},
    {"flip": False, "scale": (1.0, 1.0), "aspect": 1.0},
]


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_shape_dtype_range_and_seed(options: dict, dtype: torch.dtype) -> None:
    batch = pictures().to(dtype)
    before = batch.clone()
    view = augment(batch, generator(1), **options)
    assert view.shape == batch.shape
    assert view.dtype == dtype
    assert view.min() >= 0
    assert view.max() <= 255
    assert torch.equal(batch, before)
    assert torch.equal(view, augment(batch, generator(1), **options))


def test_all_off_is_the_identity() -> None:
    batch = pictures()
    assert torch.equal(augment(batch, generator(), flip=False, scale=(1, 1), aspect=1), batch)


def test_flip_alone_flips_about_half() -> None:
    batch = pictures(200)
    view = augment(batch, generator(2), scale=(1.0, 1.0), aspect=1)
    flipped = (view == batch.flip(-1)).flatten(1).all(dim=1)
    kept = (view == batch).flatten(1).all(dim=1)
    assert (flipped ^ kept).all()
    assert 70 <= int(flipped.sum()) <= 130


def test_images_are_drawn_one_by_one() -> None:
    view = augment(pictures(1).expand(8, -1, -1, -1), generator(3))
    assert len({image.numpy().tobytes() for image in view}) == 8


def test_window_is_the_affine_grid_of_its_draws() -> None:
    batch = pictures(6).float()
    draws = torch.rand((6, 12), generator=generator(4))
    side = 0.7 + 0.3 * draws[:, 0]
    stretch = 1.2 ** (draws[:, 1] - 0.5)
    theta = torch.zeros(6, 2, 3)
    for i in range(6):
        wide, tall = min(1, float(side[i] * stretch[i])), min(1, float(side[i] / stretch[i]))
        theta[i, 0, 0] = -wide if draws[i, 2] < 0.5 else wide
        theta[i, 1, 1] = tall
        theta[i, 0, 2] = (1 - wide) * (2 * draws[i, 3] - 1)
        theta[i, 1, 2] = (1 - tall) * (2 * draws[i, 4] - 1)
    grid = functional.affine_grid(theta, list(batch.shape), align_corners=False)
    expected = functional.grid_sample(batch, grid, padding_mode="border", align_corners=False)
    found = augment(batch, generator(4), scale=(0.7, 1.0), aspect=1.2)
    torch.testing.assert_close(found, expected, atol=1e-2, rtol=1e-4)


def test_padding_stays_padding() -> None:
    batch = torch.full((32, 3, 24, 24), 255, dtype=torch.uint8)
    batch[:, :, 6:18, 6:18] = 40
    view = augment(batch, generator(5), scale=(0.9, 1.4))
    assert (view[:, :, [0, -1]] == 255).all()
    assert (view[:, :, :, [0, -1]] == 255).all()


def test_contrast_and_brightness_move_the_levels() -> None:
    batch = torch.full((64, 3, 8, 8), 100.0)
    still = {"flip": False, "scale": (1.0, 1.0), "aspect": 1.0}
    light = augment(batch, generator(6), brightness=0.3, **still)
    levels = light[:, 0, 0, 0]
    torch.testing.assert_close(light, levels.view(-1, 1, 1, 1).expand_as(light))
    assert 69.9 <= levels.min() < 85
    assert 115 < levels.max() <= 130.1
    flat = augment(batch, generator(6), contrast=0.5, **still)
    torch.testing.assert_close(flat, batch)  # no differences to widen


def test_erasing_takes_a_rectangle_of_the_mean() -> None:
    batch = pictures(64, 40, 40).float()
    still = {"flip": False, "scale": (1.0, 1.0), "aspect": 1.0}
    view = augment(batch, generator(7), erase=0.5, **still)
    changed = (view != batch).any(dim=1)
    hit = changed.flatten(1).any(dim=1)
    assert 18 <= int(hit.sum()) <= 46
    for image, mask, before in zip(view[hit], changed[hit], batch[hit], strict=True):
        rows, columns = mask.any(dim=1).nonzero(), mask.any(dim=0).nonzero()
        tall, wide = int(rows.max() - rows.min()) + 1, int(columns.max() - columns.min()) + 1
        assert int(mask.sum()) >= 0.9 * tall * wide  # a full rectangle, but for pixels that were the mean
        assert 0.01 <= tall * wide / 1600 <= 0.25
        torch.testing.assert_close(image[:, mask].mean(dim=1), before.mean(dim=(1, 2)))


def test_one_option_leaves_the_others_draws_alone() -> None:
    batch = pictures()
    plain = augment(batch, generator(8), erase=0.0)
    erased = augment(batch, generator(8), erase=0.5)
    assert 0.5 < float((plain == erased).float().mean()) < 1
