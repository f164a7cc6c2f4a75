"""Every error Lapel raises on purpose: what was expected, what was found, what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class LapelError(Exception):
    """Base class: the command line prints its message and exits with status 2."""


class CatalogueError(LapelError):
    """A catalogue cannot be read, or lacks what was asked of it."""


class DatasetError(LapelError):
    """A data set on disk lacks a file, or a file of it is not in its published format."""


class ImageError(LapelError):
    """An image cannot be decoded, or too many of them cannot."""


class RecipeError(LapelError):
    """A recipe or one of its settings is wrong."""


class RunError(LapelError):
    """A run folder is missing, incomplete or altered."""


class SearchIndexError(LapelError):
    """A search index is missing, belongs to another model, or a query against it is wrong."""


def nearest(name: str, choices: Iterable[str]) -> str | None:
    """Return the choice closest in spelling to ``name``, or None if nothing is close.

    >>> nearest("neklin", ["neckline", "colour"])
    'neckline'
    """
    lowered = {choice.lower(): choice for choice in choices}
    found = difflib.get_close_matches(name.lower(), lowered, n=1, cutoff=0.5)
    return lowered[found[0]] if found else None


def unknown(kind: str, name: object, choices: Iterable[str], limit: int = 30) -> str:
    """Return the message for a name that is not among ``choices``, with the nearest one.

    >>> unknown("attribute", "neklin", ["neckline", "colour"])
    "unknown attribute 'neklin'; did you mean 'neckline'? Known: neckline, colour"
    """
    known = list(choices)
    guess = nearest(str(name), known)
    hint = f"; did you mean {guess!r}?" if guess else "."
    shown = ", ".join(known[:limit]) + (f", ... ({len(known)} in all)" if len(known) > limit else "")
    return f"unknown {kind} {str(name)!r}{hint} Known: {shown or 'none'}"
