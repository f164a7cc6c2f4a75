"""From plain data, as YAML and JSON have it, to typed dataclasses; what does not fit is named."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import typing
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from lapel.errors import RecipeError, unknown


def section(data: Any, source: str, name: str) -> dict[str, Any]:
    """Return a section, of which an empty one in YAML is None."""
    if data is not None and not isinstance(data, Mapping):
        raise RecipeError(f"{source}: expected {name} to hold sections or keys, found {data!r}")
    return dict(data or {})


def inside(data: dict[str, Any], sections: Sequence[str], where: str) -> dict[str, Any]:
    """Return the section of nested dictionaries; where it is not there yet it is made."""
    for section in sections:
        if data.get(section) is None:
            data[section] = {}
        data = data[section]
        if not isinstance(data, dict):
            raise RecipeError(f"{where}: {section!r} holds a value, not a section")
    return data


def build(kind: Any, data: Any, source: str, prefix: str) -> Any:
    """Build a dataclass from nested dictionaries, as the types of its fields say.

    Args:
        kind: the dataclass.
        data: section and key -> value; what is not there keeps its default.
        source: where it comes from, for messages.
        prefix: what stands before each key in messages: ``training.``, or nothing.

    Raises:
        RecipeError: an unknown key (names the nearest one), a value of the wrong type.
    """
    hints = typing.get_type_hints(kind)
    values: dict[str, Any] = {}
    for key, value in section(data, source, prefix.rstrip(".") or "a recipe").items():
        if key not in hints:
            raise RecipeError(f"{source}: {unknown('key', f'{prefix}{key}', [f'{prefix}{name}' for name in hints])}")
        hint = hints[key]
        name = f"{prefix}{key}"
        values[key] = (
            build(hint, value, source, f"{name}.")
            if dataclasses.is_dataclass(hint)
            else _convert(hint, value, name, source)
        )
    return kind(**values)


def _convert(hint: Any, value: Any, name: str, source: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        if value not in arguments:
            raise RecipeError(f"{source}: {unknown(f'value of {name}', value, arguments)}")
        return value
    if origin is tuple:
        items = value.split(",") if isinstance(value, str) else value
        if isinstance(items, list | tuple):
            stripped = [item.strip() if isinstance(item, str) else item for item in items]
            return tuple(_convert(arguments[0], item, name, source) for item in stripped if item != "")
    elif origin is dict:
        if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
            if arguments[1] is Any:
                return dict(value)
            return {key: _convert(arguments[1], item, f"{name}.{key}", source) for key, item in value.items()}
    elif hint is float and isinstance(value, int | float | str) and not isinstance(value, bool):
        # YAML reads 1e-4 as text.
        with contextlib.suppress(ValueError):
            if math.isfinite(float(value)):
                return float(value)
    elif isinstance(value, hint) and not (hint is int and isinstance(value, bool)):
        return value
    elif name == "model.weights" and value is None:
        return "none"
    raise RecipeError(f"{source}: expected {name} to be {_WANTED[origin or hint]}, found {value!r}")


_WANTED = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    tuple: "a list",
    dict: "keys with values",
}
