"""What several verbs say about their options."""

from __future__ import annotations

from typing import Any

from tyro.conf import arg


def hint(text: str) -> Any:
    """Return the tyro setting that names an optional value and says what happens without it."""
    name, _, without = text.partition(": ")
    return arg(metavar=name, help_behavior_hint=f"({without})")
