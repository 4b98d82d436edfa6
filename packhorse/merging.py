"""Merging the values that a function returned for its packets.

Values merge with `+`; dictionaries merge key by key, sets by union, and None is
nothing. Arrays must have one shape: `+` would stretch the smaller one in silence.
Tuples are refused: `+` would append where a sum was meant. A merge given by the
user replaces all of this, but for None.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from packhorse.functions import Merge


class MergeError(TypeError):
    """Two values that cannot be merged; the message names their types."""


def merge_values(one: Any, other: Any, merge: Merge | None = None) -> Any:
    """Both values in one; neither is changed, unless the user's merge does so.

    Raises MergeError.
    """
    if one is None:
        return other
    if other is None:
        return one
    if merge is None:
        return _merge(one, other, "")
    try:
        return merge(one, other)
    except Exception as error:
        raise MergeError(
            f"merge failed for {_kind(one)} and {_kind(other)}: {type(error).__name__}: {error}"
        ) from error


def _merge(one: Any, other: Any, where: str) -> Any:
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return _merge_mappings(one, other, where)
    if isinstance(one, AbstractSet) and isinstance(other, AbstractSet):
        return one | other
    if isinstance(one, tuple) or isinstance(other, tuple):
        raise MergeError(
            f"{_kind(one)} and {_kind(other)}{where} do not merge: "
            "return a dict instead of a tuple, or give a merge"
        )
    shape, other_shape = getattr(one, "shape", None), getattr(other, "shape", None)
    if shape and other_shape and shape != other_shape:
        raise MergeError(f"{_kind(one)} of shapes {shape} and {other_shape}{where} do not merge")
    try:
        return one + other
    except Exception as error:
        raise MergeError(
            f"{_kind(one)} and {_kind(other)}{where} do not merge: {type(error).__name__}: {error}"
        ) from error


def _merge_mappings(one: Mapping[Any, Any], other: Mapping[Any, Any], where: str) -> Any:
    merged = one.copy() if isinstance(one, dict) else dict(one)
    for key, value in other.items():
        mine = merged.get(key)
        if mine is None:
            merged[key] = value
        elif value is not None:
            merged[key] = _merge(mine, value, f"{where or ' in'} [{key!r}]")
    return merged


def _kind(value: Any) -> str:
    kind = type(value)
    return (
        kind.__qualname__
        if kind.__module__ == "builtins"
        else f"{kind.__module__}.{kind.__qualname__}"
    )
