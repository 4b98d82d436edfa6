"""The text of `docs/configuration.md`, made from the models so that it is never out of date."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

from common.config.model import (
    DataServerConfig,
    GroupConfig,
    MssConfig,
    NameRuleConfig,
    PacketizerConfig,
    RedirectorConfig,
    RootConfig,
    ShareConfig,
)
from common.units import Written

if TYPE_CHECKING:
    from pathlib import Path

    from pydantic import BaseModel
    from pydantic.fields import FieldInfo

TABLES: tuple[tuple[str, type[BaseModel]], ...] = (
    ("## `[mss]`", MssConfig),
    ("### Elements of `mss.names`", NameRuleConfig),
    ("## `[redirector]`", RedirectorConfig),
    ("### `[redirector.groups.NAME]`", GroupConfig),
    ("### `[redirector.activities.NAME]`, `[redirector.owners.NAME]`", ShareConfig),
    ("## `[dataserver]` or `[dataserver.NAME]`", DataServerConfig),
    ("## `[packetizer]`", PacketizerConfig),
    ("## `[root]`", RootConfig),
)

INTRODUCTION = """\
# Configuration

A site has one TOML file. Every role reads the tables it needs from it, so the same file can lie on every
machine. This is the smallest one; everything else has a default:

```toml
{smallest}```

`packhorse config check` reads the file, tells every mistake with its line, and looks whether this machine is
as the file says. `packhorse config show` prints every value in force and where it came from.

**How values are written**

| type | written as | meaning |
|---|---|---|
| size | `"500GB"`, `"2TiB"`, `1500000` | bytes; `KB MB GB TB PB` are powers of 1000, `KiB MiB GiB TiB PiB` of 1024; a plain number is bytes |
| duration | `"500ms"`, `"30s"`, `"5m"`, `"1h30m"`, `"7d"` | a plain number is seconds |
| percent | `"95%"` | always with the sign |
| HOST:PORT | `"head.example.org:1213"`, `"[::1]:1213"` | |
| name | `"disk1"` | up to 64 letters, digits, `.`, `_` and `-` |
| root URL | `"root://disk1.example.org:1094"` | |
| path | `"/data/disk1"` | absolute; no variables are expanded |
| list of words | `["cp", "{{source}}", "{{target}}"]` | a program and its arguments, run as they are and never through a shell |

**Environment variables** override the file: `PACKHORSE_<TABLE>__<KEY>`, with two underscores between
the parts of a key, for example `PACKHORSE_REDIRECTOR__LISTEN=127.0.0.1:2213` or
`PACKHORSE_DATASERVER__DISK1__QUOTA=1TB` for `[dataserver.disk1]`. A `-` or `.` in a data server's name is written `_`.
A value that starts with `[` or `{{` is read as TOML.
"""


def configuration_page(smallest: str) -> str:
    """The whole page; `smallest` is the text of the smallest site's file, without its comments."""
    parts = [INTRODUCTION.format(smallest=smallest)]
    parts += [_table(heading, model) for heading, model in TABLES]
    return "\n".join(parts)


def _table(heading: str, model: type[BaseModel]) -> str:
    rows = "".join(_row(name, field, model) for name, field in model.model_fields.items())
    about = (model.__doc__ or "").split("\n\n")[0]
    return (
        f"{heading}\n\n{about}\n\n| key | type | default | what it is |\n|---|---|---|---|\n{rows}"
    )


def _row(name: str, field: FieldInfo, model: type[BaseModel]) -> str:
    cells = (f"`{name}`", _kind(field), _default(name, field, model), field.description or "")
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def _kind(field: FieldInfo) -> str:
    """What the field is called, by the marker of its type or else by the type itself."""
    annotation: Any = field.annotation
    if get_origin(annotation) is dict and not field.metadata:
        return "tables"
    for found in (*field.metadata, *_inner(annotation)):
        if isinstance(found, Written):
            return _several(field) + found.kind
    if get_origin(annotation) is Literal:
        return " or ".join(f"`{json.dumps(choice)}`" for choice in get_args(annotation))
    if get_origin(annotation) is list:
        return "list of tables"
    return "true or false" if annotation is bool else "text"


def _several(field: FieldInfo) -> str:
    """A list whose elements, not the list itself, bear the marker."""
    marked = any(isinstance(found, Written) for found in field.metadata)
    return "list: " if get_origin(field.annotation) is list and not marked else ""


def _inner(annotation: Any) -> list[Any]:
    """The markers within `X | None` and `list[X]`."""
    found: list[Any] = []
    for part in get_args(annotation):
        found += getattr(part, "__metadata__", ()) or _inner(part)
    return found


def _default(name: str, field: FieldInfo, model: type[BaseModel]) -> str:
    """The default as it would be written, "required", or nothing where the text tells it."""
    if "Default:" in (field.description or ""):
        return ""
    if field.is_required():
        return "**required**"
    if field.default is None or field.default in ({}, []):
        return "none"
    defaults = model.model_construct().model_dump(mode="json", include={name})
    return f"`{json.dumps(defaults[name])}`"


def example_text(path: Path) -> str:
    """An example file without the comments at its top."""
    lines = path.read_text().splitlines(keepends=True)
    while lines and (lines[0].startswith("#") or not lines[0].strip()):
        del lines[0]
    return "".join(lines)
