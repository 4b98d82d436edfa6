"""What pydantic found wrong, in words for the person who wrote the file."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

from common.config.places import Problem

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydantic import BaseModel, ValidationError

    from common.config.lines import KeyPath


def problems_of(error: ValidationError, model: type[BaseModel], at: KeyPath) -> list[Problem]:
    """Every mistake of one table that stands at `at`."""
    return [_problem(dict(found), model, at) for found in error.errors(include_url=False)]


def unknown_key(key: str, known: Iterable[str]) -> str:
    """What to say of a key that no table has."""
    names = sorted(known)
    nearest = difflib.get_close_matches(key, names, n=1, cutoff=0.6)
    if nearest:
        return f'unknown key; did you mean "{nearest[0]}"?'
    return f"unknown key; there are {', '.join(names)}"


def _problem(found: dict[str, Any], model: type[BaseModel], at: KeyPath) -> Problem:
    location: KeyPath = tuple(found["loc"])
    key = (*at, *location)
    kind, value = found["type"], found["input"]
    around = _model_at(model, location[:-1])
    if kind == "extra_forbidden" and around is not None:
        return Problem(key, unknown_key(str(location[-1]), around.model_fields))
    if kind == "missing" and around is not None:
        return Problem(key, f"required: {_first_sentence(around, str(location[-1]))}")
    if kind == "value_error":
        return Problem(key, str(found["ctx"]["error"]))
    if kind == "literal_error":
        return Problem(key, f"{_shown(value)} is not one of {found['ctx']['expected']}")
    if kind in {"model_type", "dict_type", "model_attributes_type"}:
        return Problem(key, f"{_shown(value)} is not a table")
    message = (
        str(found["msg"]).removeprefix("Input should be a valid ").removeprefix("Input should ")
    )
    if kind.endswith(("_type", "_parsing")):
        return Problem(key, f"{_shown(value)} is not a {message.split(',')[0]}")
    return Problem(key, f"{_shown(value)} will not do: it must {message}")


def _model_at(model: type[BaseModel], location: KeyPath) -> type[BaseModel] | None:
    """The model of the table that a path leads to, through lists and dicts of tables."""
    current: Any = model
    for part in location:
        if not isinstance(part, str) or part not in getattr(current, "model_fields", {}):
            continue
        current = _inner_model(current.model_fields[part].annotation)
    return current if hasattr(current, "model_fields") else None


def _inner_model(annotation: Any) -> Any:
    """The one model within `list[Model]`, `dict[str, Model]` or `Model | None`."""
    if hasattr(annotation, "model_fields"):
        return annotation
    inner = (_inner_model(part) for part in getattr(annotation, "__args__", ()))
    return next((part for part in inner if part is not None), None)


def _first_sentence(model: type[BaseModel], field: str) -> str:
    text = (model.model_fields[field].description or "").split(". ")[0].split(": ")[0]
    return text[:1].lower() + text[1:].removesuffix(".")


def _shown(value: object) -> str:
    text = f'"{value}"' if isinstance(value, str) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
