"""Augmentation: one generator, per-image draws, padding that stays padding, landmarks that go with their garment."""

from __future__ import annotations

import colorsys
import hashlib
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from lapel.augment import LUMA, Options, View, apply_view, augment, move_landmarks, move_points, views
from lapel.config import ImageConfig
from lapel.landmarks import MIRRORED, flip_landmarks
from lapel.training.feed import view_options


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(count: int = 16, height: int = 24, width: int = 20) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, height, width), dtype=torch.uint8, generator=generator(9))


OPTIONS: list[dict[str, object]] = [
    {},
    {"flip": False, "scale": (0.6, 1.3)},
    {"brightness": 0.2, "contrast": 0.2},
    {"erase": 0.5},
    {"rotate": 20},
    {"hue": 0.3, "grey": 0.3, "rotate": 5, "erase": 0.5, "brightness": 0.1},
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
    grey = augment(batch, generator(8), grey=0.5)
    same = (plain == grey).flatten(1).all(dim=1)
    assert 2 <= int(same.sum()) <= 14
    assert (grey[~same] == grey[~same][:, :1]).all()


def test_pictures_of_the_first_recipes_are_what_they_were() -> None:
    """Only the mirror: whole levels, the same on every processor."""
    view = augment(pictures(), generator(1), scale=(1.0, 1.0), aspect=1.0)
    digest = hashlib.sha256(view.contiguous().numpy().tobytes()).hexdigest()
    assert digest.startswith("9d5217d7e51c642a0c777c92")


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"flip": False, "scale": (0.6, 1.3)},
        {"scale": (0.85, 1.0), "aspect": 1.05, "brightness": 0.2, "contrast": 0.2},
        {"brightness": 0.2},
        {"erase": 0.5},
        {"flip": False, "scale": (1.0, 1.0), "aspect": 1.0, "erase": 0.5},
    ],
    ids=str,
)
def test_pictures_are_bit_for_bit_those_of_before_rotation_and_colour(options: dict, dtype: torch.dtype) -> None:
    batch = pictures().to(dtype)
    assert torch.equal(augment(batch, generator(1), **options), before(batch, generator(1), **options))


def before(
    batch: torch.Tensor,
    source: torch.Generator,
    flip: bool = True,
    scale: tuple[float, float] = (0.8, 1.0),
    aspect: float = 1.05,
    brightness: float = 0.0,
    contrast: float = 0.0,
    erase: float = 0.0,
) -> torch.Tensor:
    """The augmentation as it was before it could rotate and change colours, in one piece."""
    count, _, height, width = batch.shape
    draws = torch.rand((count, 12), generator=source)
    image = batch.float()
    if scale != (1.0, 1.0) or aspect != 1:
        side = scale[0] + (scale[1] - scale[0]) * draws[:, 0]
        stretch = torch.exp(0.5 * math.log(aspect) * (2 * draws[:, 1] - 1))
        wide, tall = (each.clamp(max=max(1.0, scale[1])) for each in (side * stretch, side / stretch))
        across, down = (1 - wide) * (2 * draws[:, 3] - 1), (1 - tall) * (2 * draws[:, 4] - 1)
        wide = torch.where(draws[:, 2] < 0.5, -wide, wide) if flip else wide
        grid = torch.empty((count, height, width, 2))
        grid[..., 0] = (wide[:, None] * ((torch.arange(width) * 2.0 + 1) / width - 1) + across[:, None])[:, None, :]
        grid[..., 1] = (tall[:, None] * ((torch.arange(height) * 2.0 + 1) / height - 1) + down[:, None])[:, :, None]
        image = functional.grid_sample(image, grid, padding_mode="border", align_corners=False)
    elif flip:
        image = torch.where((draws[:, 2] < 0.5).view(-1, 1, 1, 1), image.flip(-1), image)
    if brightness or contrast:
        mean = image.mean(dim=(1, 2, 3), keepdim=True)
        light = 1 + brightness * (2 * draws[:, 5] - 1).view(-1, 1, 1, 1)
        spread = 1 + contrast * (2 * draws[:, 6] - 1).view(-1, 1, 1, 1)
        image = (((image - mean) * spread + mean) * light).clamp(0, 255)
    if erase:
        area, ratio = 0.02 + 0.18 * draws[:, 8], torch.exp(math.log(3) * (2 * draws[:, 9] - 1))
        mean = image.mean(dim=(2, 3), keepdim=True)
        spans = []
        for size, length, place in (
            (height, (area * ratio).sqrt(), draws[:, 10]),
            (width, (area / ratio).sqrt(), draws[:, 11]),
        ):
            length = length.clamp(max=1)
            start, at = (place * (1 - length))[:, None], (torch.arange(size) + 0.5) / size
            spans.append((at >= start) & (at < start + length[:, None]))
        hole = spans[0][:, None, :, None] & spans[1][:, None, None, :] & (draws[:, 7] < erase).view(-1, 1, 1, 1)
        image = torch.where(hole, mean, image)
    return image.round().clamp(0, 255).to(torch.uint8) if batch.dtype == torch.uint8 else image


# How garments and their landmarks move together. The frame is not square, on purpose.
HEIGHT, WIDTH = 96, 64
OPTIONS_OF_MOVES = st.fixed_dictionaries(
    {
        "flip": st.booleans(),
        "scale": st.sampled_from([(1.0, 1.0), (0.6, 1.0), (0.8, 1.3)]),
        "aspect": st.sampled_from([1.0, 1.2]),
        "rotate": st.sampled_from([0.0, 10.0, 45.0, 180.0]),
    }
)
PLACES = st.lists(st.tuples(st.floats(6, WIDTH - 6), st.floats(6, HEIGHT - 6)), min_size=8, max_size=8).map(
    lambda points: torch.tensor(points)[None]
)


def dots(points: torch.Tensor) -> torch.Tensor:
    """(8, 3, HEIGHT, WIDTH): a soft white dot at each of (1, 8, 2) on an image of its own."""
    x, y = torch.arange(WIDTH) + 0.5, torch.arange(HEIGHT) + 0.5
    square = (x - points[0, :, 0, None])[:, None, :] ** 2 + (y - points[0, :, 1, None])[:, :, None] ** 2
    return (255 * torch.exp(-square / 8))[:, None].expand(-1, 3, -1, -1)


def centre(image: torch.Tensor) -> torch.Tensor:
    """Where the dot of (3, h, w) is: x, y."""
    weight = image[0] / image[0].sum()
    x, y = torch.arange(image.shape[2]) + 0.5, torch.arange(image.shape[1]) + 0.5
    return torch.stack([(weight.sum(0) * x).sum(), (weight.sum(1) * y).sum()])


@given(st.integers(0, 2**31), OPTIONS_OF_MOVES, PLACES)
def test_points_move_as_dots_in_the_image_do(seed: int, options: dict, points: torch.Tensor) -> None:
    view = views(1, generator(seed), **options)
    seen = apply_view(dots(points), View(*(part if part is None else part.expand(8, *part.shape[1:]) for part in view)))
    moved = move_points(points, view, HEIGHT, WIDTH)
    for place in range(8):
        # What was the left collar is the right one of a mirrored garment.
        x, y = moved[0, MIRRORED[place] if view.flipped[0] else place].tolist()
        if 10 < x < WIDTH - 10 and 10 < y < HEIGHT - 10:  # the whole dot, also one twice its size
            assert (centre(seen[place]) - torch.tensor([x, y])).abs().max() < 0.75


def test_a_quarter_turn_is_exact_on_a_frame_that_is_not_square() -> None:
    """Counter-clockwise, in pixels: a point 20 to the right of the centre comes to lie 20 above it."""
    angle = torch.tensor([math.pi / 2])
    view = View(torch.tensor([False]), torch.tensor([[1.0, 1.0, 0.0, 0.0]]), angle, None, None, None)
    points = torch.tensor([[[WIDTH / 2 + 20, HEIGHT / 2]] * 4 + [[WIDTH / 2, HEIGHT / 2 - 7]] * 4])
    moved = move_points(points, view, HEIGHT, WIDTH)
    torch.testing.assert_close(moved[0, 0], torch.tensor([WIDTH / 2, HEIGHT / 2 - 20]))
    torch.testing.assert_close(moved[0, 4], torch.tensor([WIDTH / 2 - 7, HEIGHT / 2]))
    square = torch.zeros(1, 3, HEIGHT, WIDTH)
    square[..., 43:53, 47:57] = 255  # 10 x 10 around 52, 48
    turned = apply_view(square, view)
    expected = torch.zeros(1, 3, HEIGHT, WIDTH)
    expected[..., 23:33, 27:37] = 255
    torch.testing.assert_close(turned, expected, atol=0.05, rtol=0)


def test_a_turn_is_the_affine_grid_of_its_matrix() -> None:
    batch = pictures(6).float()
    _, _, height, width = batch.shape
    view = views(6, generator(4), scale=(0.7, 1.0), rotate=30)
    assert view.window is not None
    assert view.angle is not None
    assert view.angle.abs().max() <= math.radians(30)
    assert view.angle.min() < 0 < view.angle.max()
    theta = torch.zeros(6, 2, 3)
    for i in range(6):
        # Right to left: the mirror, the window, then in pixels the turn.
        a = float(view.angle[i])
        wide, tall, across, down = view.window[i].tolist()
        mirror = np.diag([-1.0 if view.flipped[i] else 1.0, 1, 1])
        window = np.array([[wide, 0, across], [0, tall, down], [0, 0, 1]])
        pixels = np.diag([width / 2, height / 2, 1])
        turn = np.array([[math.cos(a), -math.sin(a), 0], [math.sin(a), math.cos(a), 0], [0, 0, 1]])
        theta[i] = torch.from_numpy((np.linalg.inv(pixels) @ turn @ pixels @ window @ mirror)[:2])
    grid = functional.affine_grid(theta, list(batch.shape), align_corners=False)
    expected = functional.grid_sample(batch, grid, padding_mode="border", align_corners=False)
    torch.testing.assert_close(apply_view(batch, view), expected, atol=1e-2, rtol=1e-4)


def test_a_turned_letterbox_keeps_its_padding() -> None:
    batch = torch.full((16, 3, 24, 24), 255, dtype=torch.uint8)
    batch[:, :, 9:15, 9:15] = 40
    view = augment(batch, generator(5), rotate=180, scale=(1.0, 1.0), aspect=1)
    assert (view[:, :, [0, -1]] == 255).all()
    assert (view[:, :, :, [0, -1]] == 255).all()


@given(PLACES, st.integers(0, 99))
def test_two_mirrors_are_none(points: torch.Tensor, seed: int) -> None:
    still = {"scale": (1.0, 1.0), "aspect": 1.0}
    view = views(1, generator(seed), flip=False, **still)._replace(flipped=torch.tensor([True]))
    batch = pictures(1, HEIGHT, WIDTH)
    assert torch.equal(apply_view(apply_view(batch, view), view), batch)
    moved = move_points(points, view, HEIGHT, WIDTH)
    torch.testing.assert_close(move_points(moved, view, HEIGHT, WIDTH), points, atol=1e-4, rtol=0)
    known = flip_landmarks(np.concatenate([points[0].numpy(), np.zeros((8, 1))], axis=1), WIDTH)
    torch.testing.assert_close(moved[0].double(), torch.from_numpy(known[:, :2]), atol=1e-4, rtol=0)
    weights = torch.arange(8.0)[None]
    once = move_landmarks(points, weights, view, HEIGHT, WIDTH)
    assert once[1][0].tolist() == [1, 0, 3, 2, 5, 4, 7, 6]
    assert torch.equal(move_landmarks(*once, view, HEIGHT, WIDTH)[1], weights)


def test_a_landmark_that_leaves_the_frame_counts_nothing() -> None:
    points = torch.rand((50, 8, 2), generator=generator(3)) * torch.tensor([WIDTH, HEIGHT])
    weights = torch.rand((50, 8), generator=generator(4)) + 0.5
    view = views(50, generator(5), scale=(0.5, 0.9), rotate=20)
    moved, counted = move_landmarks(points, weights, view, HEIGHT, WIDTH)
    assert torch.equal(moved, move_points(points, view, HEIGHT, WIDTH))
    for row in range(50):
        for place in range(8):
            x, y = moved[row, place].tolist()
            was = float(weights[row, MIRRORED[place] if view.flipped[row] else place])
            assert float(counted[row, place]) == (was if 0 <= x <= WIDTH and 0 <= y <= HEIGHT else 0)
    assert 0.1 < float((counted == 0).float().mean()) < 0.9
    still = views(50, generator(5), flip=False, scale=(1.0, 1.0), aspect=1)
    moved, counted = move_landmarks(points, weights, still, HEIGHT, WIDTH)
    torch.testing.assert_close(moved, points)
    assert torch.equal(counted, weights)


@pytest.mark.parametrize("shape", [(2, 8, 3), (1, 8, 2), (2, 6, 2), (2, 16)])
def test_points_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected points of shape \(2, 8, 2\), found"):
        move_points(torch.zeros(shape), views(2, generator()), 10, 10)


STILL = {"flip": False, "scale": (1.0, 1.0), "aspect": 1.0}


def test_hue_turns_the_chroma_plane_and_keeps_the_brightness() -> None:
    # Colours near grey, which no turn takes out of 0..255.
    batch = 110 + 30 * torch.rand((64, 3, 6, 5), generator=generator(2))
    seen = augment(batch, generator(6), hue=0.25, **STILL)
    luma = torch.tensor(LUMA).view(3, 1, 1)
    torch.testing.assert_close((seen * luma).sum(1), (batch * luma).sum(1), atol=1e-2, rtol=0)
    view = views(64, generator(6), hue=0.25, **STILL)
    assert view.colour is not None
    turned = view.colour[:, 0].tolist()
    assert -math.pi / 2 <= min(turned) < -1 < 1 < max(turned) <= math.pi / 2
    for angle, was, now in zip(turned, batch[:, :, 0, 0].tolist(), seen[:, :, 0, 0].tolist(), strict=True):
        y, i, q = colorsys.rgb_to_yiq(*was)
        i, q = i * math.cos(angle) - q * math.sin(angle), i * math.sin(angle) + q * math.cos(angle)
        inverse = np.linalg.inv(np.array([colorsys.rgb_to_yiq(*row) for row in np.eye(3)]).T)
        assert now == pytest.approx((inverse @ [y, i, q]).tolist(), abs=1.0)  # colorsys rounds its matrix to 2 digits


def test_a_whole_turn_of_hue_and_greys_stay() -> None:
    batch = pictures(4).float()
    view = views(4, generator(), hue=0.5, **STILL)
    whole = view._replace(colour=torch.tensor([[2 * math.pi, 1.0]]).expand(4, 2))
    torch.testing.assert_close(apply_view(batch, whole), batch, atol=1e-2, rtol=0)
    grey = batch[:, :1].expand(-1, 3, -1, -1)
    torch.testing.assert_close(apply_view(grey, view), grey, atol=1e-2, rtol=0)


def test_grey_takes_the_colour_of_so_many() -> None:
    batch = pictures(200)
    seen = augment(batch, generator(2), grey=0.3, hue=0.2, **STILL)
    grey = (seen == seen[:, :1]).flatten(1).all(dim=1)
    assert 35 <= int(grey.sum()) <= 85
    luma = (batch[grey].float() * torch.tensor(LUMA).view(3, 1, 1)).sum(1, keepdim=True)
    assert (seen[grey].float() - luma).abs().max() <= 0.501
    everywhere = augment(batch, generator(2), grey=1.0, **STILL)
    assert (everywhere == everywhere[:, :1]).all()


def test_all_of_it_runs_where_the_batch_is() -> None:
    """A device without memory refuses tensors of another one, as a graphics processor does."""
    options = {"scale": (0.8, 1.0), "rotate": 10, "brightness": 0.2, "hue": 0.1, "grey": 0.2, "erase": 0.5}
    seen = augment(pictures(4, HEIGHT, WIDTH).to("meta"), generator(), **options)
    assert (seen.device.type, seen.shape, seen.dtype) == ("meta", (4, 3, HEIGHT, WIDTH), torch.uint8)
    view = views(4, generator(), device="meta", **options)
    moved, weights = move_landmarks(
        torch.zeros((4, 8, 2), device="meta"), torch.ones((4, 8), device="meta"), view, HEIGHT, WIDTH
    )
    assert (moved.device.type, weights.device.type) == ("meta", "meta")


def test_a_recipe_can_ask_for_all_of_it() -> None:
    plain = view_options(ImageConfig())
    assert plain.keys() == Options.__annotations__.keys()
    assert torch.equal(
        augment(pictures(), generator(), **plain), before(pictures(), generator(), True, (1.0, 1.0), 1.0)
    )
    asked = view_options(ImageConfig(rotate=7, hue=0.1, grey=0.2, erase=0.3, zoom=0.8, jitter=0.4))
    assert asked == {
        "flip": True, "scale": (0.8, 1.0), "aspect": 1.05, "brightness": 0.4, "contrast": 0.4, "rotate": 7, "hue": 0.1,
        "grey": 0.2, "erase": 0.3,
    }  # fmt: skip
