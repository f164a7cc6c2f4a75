"""Attention lands where it belongs on the photograph; sheets survive any picture."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFont

from lapel.errors import ImageError, LapelError
from lapel.evaluation.figures import (
    Tile,
    attention_to_image,
    colours,
    ellipsis,
    grid,
    open_picture,
    overlay,
    sheet,
)
from lapel.frame import Preprocessing

SIDES = st.integers(24, 160)


@st.composite
def scenes(
    draw: st.DrawFn,
) -> tuple[tuple[int, int], Preprocessing, tuple[int, int, int, int] | None, tuple[int, int]]:
    """An image size, a frame, perhaps a box, and one cell of a 7 x 5 attention map."""
    width, height = draw(SIDES), draw(SIDES)
    frame = Preprocessing(
        draw(st.integers(32, 96)), draw(st.integers(32, 96)), draw(st.sampled_from(["crop", "letterbox"]))
    )
    box = None
    if draw(st.booleans()):
        x1, y1 = draw(st.integers(0, width - 20)), draw(st.integers(0, height - 20))
        box = (x1, y1, draw(st.integers(x1 + 20, width)), draw(st.integers(y1 + 20, height)))
    return (width, height), frame, box, (draw(st.integers(0, 6)), draw(st.integers(0, 4)))


@given(scenes())
@settings(max_examples=30, deadline=None)
def test_a_hot_cell_lands_where_the_model_looked(scene) -> None:
    size, frame, box, (row, column) = scene
    attention = np.zeros((7, 5), dtype=np.float32)
    attention[row, column] = 1.0
    spread = attention_to_image(attention, size, frame, box)
    assert spread.shape == size[::-1]
    x1, y1, x2, y2 = box or (0, 0, *size)
    # The definition, in real numbers: the frame's centre is the box's centre, both axes scale alike.
    fits = frame.width / (x2 - x1), frame.height / (y2 - y1)
    scale = min(fits) if frame.resize == "letterbox" else max(fits)
    x = (x1 + x2) / 2 + ((column + 0.5) * frame.width / 5 - frame.width / 2) / scale
    y = (y1 + y2) / 2 + ((row + 0.5) * frame.height / 7 - frame.height / 2) / scale
    seen = ~np.isnan(spread)
    height = min(y2 - y1, frame.height / scale) if frame.resize == "crop" else y2 - y1
    width = min(x2 - x1, frame.width / scale) if frame.resize == "crop" else x2 - x1
    assert abs(seen.any(axis=1).sum() - height) <= 2 + 1 / scale
    assert abs(seen.any(axis=0).sum() - width) <= 2 + 1 / scale
    slack = 1.5 + 1.5 / scale  # pixels lost to rounding, in the image and in the frame
    if not (x1 + slack < x < x2 - slack and y1 + slack < y < y2 - slack):
        return  # the cell lies in the padding
    top, left = np.unravel_index(np.nanargmax(spread), spread.shape)
    # At the rim of the map the spline is flat towards the edge, so a peak may sit half a cell further out.
    rim_x = frame.width / 10 / scale if column in (0, 4) else 0.0
    rim_y = frame.height / 14 / scale if row in (0, 6) else 0.0
    assert abs(left + 0.5 - x) <= slack + rim_x
    assert abs(top + 0.5 - y) <= slack + rim_y


@pytest.mark.parametrize("resize", ["crop", "letterbox"])
@pytest.mark.parametrize("size", [(90, 210), (201, 80)])
@pytest.mark.parametrize("box", [None, (11, 5, 80, 75)])
def test_the_map_agrees_with_the_models_own_preprocessing(resize, size, box) -> None:
    from lapel import images

    left, top, right, bottom = box or (0, 0, *size)
    x, y = (left + right) // 2 + 6, (top + bottom) // 2 - 5
    pre = images.Preprocessing(height=112, width=84, resize=resize)
    spot = np.full((*size[::-1], 3), 255, dtype=np.uint8)
    spot[y - 4 : y + 4, x - 4 : x + 4] = 0
    frame = images.prepare(images.decode(Image.fromarray(spot), box), pre).numpy().astype(np.float32)
    darkness = 255.0 - frame[0]
    back = attention_to_image(darkness, size, pre, box)
    rows, columns = np.mgrid[0 : size[1], 0 : size[0]]
    mass = np.nan_to_num(back)
    centre = (rows * mass).sum() / mass.sum(), (columns * mass).sum() / mass.sum()
    assert centre == pytest.approx((y - 0.5, x - 0.5), abs=0.6)


def test_a_constant_map_stays_constant_and_needs_no_frame() -> None:
    spread = attention_to_image(np.full((3, 4), 0.25), (31, 17))
    np.testing.assert_allclose(spread, 0.25, rtol=1e-5)


@pytest.mark.parametrize(
    ("attention", "box", "message"),
    [
        (np.zeros(5), None, "(height, width) array"),
        (np.zeros((0, 3)), None, "(height, width) array"),
        (np.array([[np.nan]]), None, "finite"),
        (np.ones((2, 2)), (50, 0, 60, 10), "outside the image of 40 x 30 pixels"),
    ],
)
def test_wrong_maps_and_boxes_are_refused(attention, box, message) -> None:
    with pytest.raises(ImageError) as caught:
        attention_to_image(attention, (40, 30), Preprocessing(64, 64), box)
    assert message in str(caught.value)


def test_colours_rise_in_lightness() -> None:
    scale = colours(np.linspace(-0.5, 1.5, 64)).astype(float)
    lightness = scale @ (0.2126, 0.7152, 0.0722)
    assert (np.diff(lightness) >= -0.5).all()
    assert lightness[-1] - lightness[0] > 180


@pytest.mark.parametrize("level", [0, 128, 255])
def test_the_overlay_shows_on_any_garment(level: int) -> None:
    photo = Image.new("RGB", (120, 160), (level,) * 3)
    attention = np.zeros((7, 7))
    attention[2, 4] = 1.0
    shown = np.asarray(overlay(photo, attention), dtype=float)
    assert shown.shape == (160, 120, 3)
    hot, cold = shown[57, 77], shown[140, 15]
    assert np.abs(hot - cold).max() > 60
    assert np.ptp(hot) > 60  # coloured
    assert np.ptp(cold) < 12  # grey, as the photograph


def test_the_overlay_veils_what_was_not_seen_and_takes_a_flat_map() -> None:
    photo = Image.new("RGB", (60, 180), "black")
    shown = np.asarray(overlay(photo, np.ones((4, 4)), preprocessing=Preprocessing(64, 64)), dtype=int)
    assert np.ptp(shown[90]) == 0
    assert (shown[5] > shown[90] + 40).all()
    assert overlay(Image.new("RGB", (1, 1)), np.ones((7, 7))).size == (1, 1)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16", "I", "F", "YCbCr"])
def test_pictures_of_any_mode_open(mode: str) -> None:
    assert open_picture(Image.new(mode, (30, 20))).mode == "RGB"


def test_pictures_come_upright_small_and_on_white(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (400, 200), "red").save(tmp_path / "turned.jpg", exif=exif)
    assert open_picture(tmp_path / "turned.jpg", 100).size == (50, 100)
    assert open_picture(Image.new("RGBA", (4, 4), (0, 0, 0, 0))).getpixel((1, 1)) == (255, 255, 255)


@pytest.mark.parametrize(
    ("content", "message"), [(None, "no such file"), (b"<html>", "HTML page"), (b"", "empty file")]
)
def test_what_cannot_be_opened_says_why(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "x.jpg"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ImageError, match=message):
        open_picture(path)


@given(st.text("aW .é\n…字", max_size=60), st.integers(20, 200))
@settings(max_examples=30, deadline=None)
def test_long_names_are_cut_to_fit(text: str, width: int) -> None:
    font = ImageFont.load_default(size=13)
    short = ellipsis(text, width, font)
    assert font.getlength(short) <= width
    whole = " ".join(text.split())
    assert short == whole or (short.endswith("…") and whole.startswith(short[:-1]))


@dataclass(frozen=True)
class Hit:
    image: str
    item: str | None = None
    score: float = 0.5
    scores: dict[str, float] = field(default_factory=dict)
    labels: dict[str, tuple[str, ...]] = field(default_factory=dict)


def near(picture: Image.Image, colour: str) -> int:
    """How many pixels have about this colour."""
    wanted = np.array(Image.new("RGB", (1, 1), colour).getpixel((0, 0)))
    return int((np.abs(np.asarray(picture, dtype=int) - wanted).max(axis=-1) < 12).sum())


def test_a_sheet_frames_right_wrong_and_unknown(tmp_path: Path) -> None:
    photo = Image.new("RGB", (50, 90), "#ffffff")
    counts = []
    for right in (True, False, None):
        path = tmp_path / f"{right}.png"
        picture = sheet(photo, [Tile(photo, "item", "V-neck", 0.9, right=right)], path, title="Neckline")
        assert Image.open(path).size == picture.size
        counts.append((near(picture, "#1a7f37") > 2000, near(picture, "#c62828") > 2000))
    assert counts == [(True, False), (False, True), (False, False)]


def test_a_sheet_takes_hits_wraps_and_survives_broken_pictures(tmp_path: Path) -> None:
    Image.new("RGB", (500, 40), "blue").save(tmp_path / "wide.png")
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 cut")
    labels = {"neckline": ("Décolleté",)}
    hits = [
        Hit(str(tmp_path / "wide.png"), "Платье " * 20, 0.9, {"neckline": 0.9}, labels),
        Hit(str(tmp_path / "broken.jpg"), None, 0.8, {"neckline": 0.9, "sleeve": -0.4}, labels),
        Hit(str(tmp_path / "nowhere.jpg")),
    ]
    query = tmp_path / "wide.png"
    one = sheet(query, hits, columns=3)
    wrapped = sheet(query, hits, columns=1)
    assert wrapped.width < one.width
    assert wrapped.height > one.height
    assert near(one, "blue") > 1000
    two = sheet(rows=[(query, hits), (Tile(query, "sleeve"), [])], columns=3)
    assert two.width == one.width
    assert two.height > one.height
    assert sheet(query, []).width < one.width


def test_a_single_attribute_shows_its_label() -> None:
    tile = Tile.of(Hit("a/b.jpg", None, 0.5, {"neckline": 0.5}, {"neckline": ("V-neck", "wrap")}))
    assert (tile.caption, tile.value) == ("b.jpg", "V-neck, wrap")


def test_a_sheet_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LapelError, match="cannot write"):
        sheet(Image.new("RGB", (9, 9)), [], tmp_path / "file" / "sheet.png")


def test_a_grid_frames_and_marks_only_what_is_judged(tmp_path: Path) -> None:
    photo = Image.new("RGB", (50, 90), "#ffffff")
    rows = [[Tile(photo, tag="query"), Tile(photo, tag="rank 1", right=True)], [Tile(photo, "name", tag="map")]]
    foot = [("#f58518", "left"), ("#2f8fd8", "rechts für dich")]
    path = tmp_path / "grid.png"
    picture = grid(rows, path, title="title", headings=["first", "second"], side=120, foot=foot)
    assert Image.open(path).size == picture.size
    assert near(picture, "#1a7f37") > 1500
    assert near(picture, "#c62828") == 0
    assert near(picture, "#f58518") > 60
    assert near(picture, "#2f8fd8") > 60
    assert grid(rows[:1], side=120).height < picture.height
    assert grid([]).height > 0
