"""The demonstration: the whole main job on drawn garments, from an empty folder to a page to look at."""

from __future__ import annotations

import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from lapel.config import load_recipe
from lapel.files import atomic_write

if TYPE_CHECKING:
    from lapel.catalogue import Catalogue
    from lapel.evaluation.page import QueryView
    from lapel.retrieval.embedder import Embedder
    from lapel.retrieval.index import Index

ITEMS, VIEWS, SIZE = 800, 2, 160
# Attributes to show, with the garments that show them best.
QUERIES = (("length", "skirt"), ("pattern", "dress"), ("sleeve_length", "coat"))
SHOWN = 10


def demo(
    to: Path | str = "lapel-demo",
    quiet: bool = False,
    items: int = ITEMS,
    settings: tuple[str, ...] = (),
) -> Path:
    """Draw garments, train, measure, index, search, and write one page; minutes on two cores, without a network.

    Running it again goes on where it was stopped.

    Args:
        to: folder for everything it makes.
        quiet: no progress bars.
        items: how many garments to draw, two pictures each.
        settings: further ``section.key=value`` settings of the ``demo`` recipe.

    Returns:
        the page, ``to/report.html``.

    Raises:
        LapelError: ``to`` holds something else, or the disk is full.
    """
    console = Console(stderr=True, quiet=quiet)
    start, to = time.monotonic(), Path(to)
    console.print("[bold]1/5[/] drawing garments")
    from lapel.garments import draw_catalogue

    catalogue = draw_catalogue(to / "catalogue", items=items, views=VIEWS, seed=0, size=SIZE, quiet=quiet)
    console.print("[bold]2/5[/] training AG-MAN (loading torch first)")
    from lapel.training import train

    recipe = load_recipe("demo", [f"data.catalogue={to / 'catalogue'}", *settings])
    run = train(recipe, to / "run", resume=(to / "run" / "config.json").exists(), quiet=quiet)
    console.print("[bold]3/5[/] measuring on the test split")
    from lapel.evaluate import evaluate
    from lapel.evaluation.record import read_result
    from lapel.evaluation.tables import print_result

    result = evaluate(run, json=to / "result.json", quiet=quiet)
    print_result(result, console=Console(), title="attribute-specific retrieval, MAP in percent")
    console.print("[bold]4/5[/] indexing the catalogue")
    from lapel.retrieval.embedder import load
    from lapel.retrieval.index import Index
    from lapel.retrieval.indexing import index_catalogue

    embedder = load(run)
    index_catalogue(catalogue, embedder, to / "index", quiet=quiet)
    console.print("[bold]5/5[/] searching and writing the page")
    index = Index.open(to / "index")
    views = [view for name, kind in QUERIES if (view := show(index, embedder, catalogue, name, kind)) is not None]
    values, record = read_result(to / "result.json")
    page = to / "report.html"
    from lapel.evaluation.page import write_page

    write_page(
        page,
        "Lapel: search by attribute, on drawn garments",
        values,
        views,
        record,
        next_steps(catalogue, to),
        f"{len(catalogue)} pictures of {items} drawn garments; a small network trained for minutes from random "
        "weights. It learns colours, patterns and lengths; necklines and collars are small and want more of both.",
    )
    if not (to / ".gitignore").exists():  # ``to`` may be a folder of one's own
        atomic_write(to / ".gitignore", "*\n")
    console.print(f"done in {time.monotonic() - start:.0f} s: open [bold]{page}[/]")
    print(
        "Next, with your own photos: write a catalogue.csv (image, then a column per attribute), then\n"
        "  lapel data check PATH && lapel train laptop --set data.catalogue=PATH  (README: Your own photos)"
    )
    return page


def show(index: Index, embedder: Embedder, catalogue: Catalogue, attribute: str, kind: str) -> QueryView | None:
    """Search the index for garments like one test picture under one attribute, the garment itself left out."""
    from lapel.decoding import decode_array
    from lapel.evaluation.overlays import overlay
    from lapel.evaluation.page import HitView, QueryView

    test = catalogue.split("test")
    labels = [test.values_of(row) for row in range(len(test))]
    rows = [row for row, found in enumerate(labels) if attribute in found and found.get("category") == (kind,)]
    rows = rows or [row for row, found in enumerate(labels) if attribute in found]
    if not rows:
        return None
    row = rows[0]
    path, item, value = test.paths()[row], test.items()[row], labels[row][attribute]
    # Cropped as the indexed pictures are.
    box = test.boxes()[row]
    # A garment without a label has nothing to be right or wrong in.
    where = f"item != '{item}' AND {attribute} IS NOT NULL"
    garment = decode_array(path, box)
    hits = index.search(path, weights={attribute: 1.0}, k=SHOWN, where=where, box=box)
    attention = embedder.attention([garment], [attribute])[0, 0]
    over = overlay(path, attention, preprocessing=embedder.preprocessing, box=box)
    return QueryView(
        path,
        attribute,
        ", ".join(value),
        over,
        [
            HitView(
                hit.image,
                hit.score,
                ", ".join(hit.labels.get(attribute, ())),
                bool(set(value) & set(hit.labels[attribute])) if hit.labels.get(attribute) else None,
                ", ".join(hit.labels.get("category", ())),
                hit.scores,
            )
            for hit in hits
        ],
    )


def next_steps(catalogue: Catalogue, to: Path) -> list[str]:
    """Commands for the page's last box: more with the demonstration's index, then one's own photos."""
    picture = shlex.quote(str(catalogue.paths()[0]))
    index = shlex.quote(str(to / "index"))
    return [
        "# Search this catalogue by several attributes at once, with weights and a filter:",
        f"lapel search {index} {picture} --attribute pattern --attribute colour=0.5 --where \"category = 'dress'\"",
        "# Your own photos: a catalogue.csv with a column 'image' and one column per attribute.",
        "lapel data check PATH/catalogue.csv",
        "lapel train laptop --set data.catalogue=PATH/catalogue.csv --to runs/mine",
        "lapel evaluate runs/mine",
        "lapel index PATH/catalogue.csv --run runs/mine --to runs/mine-index",
        "lapel search runs/mine-index PHOTO.jpg --attribute neckline --sheet found.png",
    ]
