"""What every benchmark leaves out of its result file: the folders of the machine it ran on."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def nameless(value: Any) -> Any:
    """Leave of every absolute path in nested lists and tables its last part."""
    if isinstance(value, dict):
        return {key: nameless(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [nameless(item) for item in value]
    return Path(value).name if isinstance(value, str) and value.startswith("/") else value
