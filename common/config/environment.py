"""Environment variables that override the file: `PACKHORSE_<TABLE>__<KEY>`.

Names are compared without regard to case, and a `-` or `.` in a node's name is
written `_`. A value that starts with `[` or `{` is read as TOML; any other is
the text itself, which the key's type then reads.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from typing import TYPE_CHECKING, Any

from common.config.places import Problem

if TYPE_CHECKING:
    from collections.abc import Mapping

    from common.config.lines import KeyPath
    from common.config.places import Places

PREFIX = "PACKHORSE_"
SEPARATOR = "__"


def apply_environment(
    raw: dict[str, Any], environment: Mapping[str, str], places: Places
) -> list[Problem]:
    """Puts the overrides into `raw`, notes them in `places`, and tells what went wrong."""
    problems: list[Problem] = []
    for variable in sorted(environment):
        if not variable.startswith(PREFIX) or SEPARATOR not in variable:
            continue
        parts = variable.removeprefix(PREFIX).split(SEPARATOR)
        problem = _override(raw, parts, variable, environment[variable], places)
        if problem is not None:
            problems.append(problem)
    return problems


def _override(
    raw: dict[str, Any], parts: list[str], variable: str, text: str, places: Places
) -> Problem | None:
    """Sets one key; a table on the way to it that does not exist is made."""
    table = raw
    path: KeyPath = ()
    for depth, part in enumerate(parts):
        key = _existing_key(table, part)
        path = (*path, key)
        if depth == len(parts) - 1:
            break
        if depth == 1 and parts[0].upper() == "DATASERVER" and key not in table and _nodes(table):
            nearest = difflib.get_close_matches(key, _nodes(table), n=1)
            hint = f'; did you mean "{nearest[0]}"?' if nearest else ""
            places.variables[path] = variable
            return Problem(path, f"the file has no such data server{hint}")
        table = table.setdefault(key, {})
        if not isinstance(table, dict):
            return Problem(path, f"is not a table, so {variable} cannot reach into it")
    places.variables[path] = variable
    try:
        table[key] = tomllib.loads(f"value = {text}")["value"] if text[:1] in {"[", "{"} else text
    except tomllib.TOMLDecodeError as error:
        return Problem(path, f"is not TOML: {error}")
    return None


def _existing_key(table: Mapping[str, Any], part: str) -> str:
    """The table's own spelling of a part of a variable's name."""
    for key in table:
        if re.sub(r"[^A-Za-z0-9]", "_", key).upper() == part.upper():
            return key
    return part.lower()


def _nodes(dataservers: Mapping[str, Any]) -> list[str]:
    """The NAMEs of a file's `[dataserver.NAME]` tables."""
    return [name for name, value in dataservers.items() if isinstance(value, dict)]
