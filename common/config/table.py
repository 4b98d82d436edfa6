"""What every table of the configuration has in common, and the types of its fields.

Each type reads what a TOML file or an environment variable holds, and raises
ValueError with a message that says how to write it.
"""

from __future__ import annotations

import re
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from annotated_types import Ge, Gt
from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainValidator

from common.address import split_address
from common.command.template import PLACEHOLDERS, STORE_PLACEHOLDERS, check_template
from common.errors import ConfigError, NameRefused
from common.names import normalise_prefix
from common.units import DurationS, SizeBytes, Written

if TYPE_CHECKING:
    from collections.abc import Sequence


class Table(BaseModel):
    """A table of the TOML file: no unknown keys, and nothing changes once it is read."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _whole_number(value: object) -> object:
    """TOML's numbers, and digits from an environment variable; no booleans, no fractions."""
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise ValueError(f"{value!r} is not a whole number")  # noqa: TRY004 (pydantic's way)
    if isinstance(value, str) and not re.fullmatch(r"-?[0-9]{1,18}", value.strip()):
        raise ValueError(f"{value!r} is not a whole number")
    return int(value)


def _number(value: object) -> object:
    """TOML's numbers, and what an environment variable holds; no booleans, nothing endless."""
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", value.strip()):
        return float(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not isfinite(value):
        raise ValueError(f"{value!r} is not a number")
    return float(value)


def _absolute_path(value: object) -> object:
    if not isinstance(value, (str, Path)) or not str(value).startswith("/") or "\0" in str(value):
        raise ValueError(f'{str(value)!r} is not an absolute path; write it like "/data/disk1"')
    return Path(value)


def _listen_address(value: object) -> object:
    _split(value)
    return value


def _peer_address(value: object) -> object:
    if _split(value)[1] == 0:
        raise ValueError(f"{value!r} has port 0, which nobody can call; give the real port")
    return value


def _split(value: object) -> tuple[str, int]:
    try:
        return split_address(str(value))
    except ConfigError as error:
        raise ValueError(error.message) from None


def _export(value: object) -> object:
    if not isinstance(value, str):
        raise ValueError(f'{value!r} is not a directory; write it like "/store/"')  # noqa: TRY004 (pydantic's way)
    try:
        normalise_prefix(value)
    except NameRefused as error:
        raise ValueError(str(error)) from None
    return value


def _label(value: object) -> object:
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", value):
        raise ValueError(
            f"{value!r} will not do as a name; use up to 64 letters, digits, '.', '_' and '-'"
        )
    return value


def _label_or_none(value: object) -> object:
    return value if value == "" else _label(value)


def _argv(value: object) -> list[str]:
    """An argv list as it stands: never a line for a shell to take apart."""
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        raise ValueError(
            f'{value!r} is not a command; write it as a list, like ["cp", "{{source}}", "{{target}}"]'
        )
    if not value or not value[0]:
        raise ValueError("the command is empty")
    if any("\0" in word for word in value):
        raise ValueError("the command holds a NUL character")
    return value


def _placeholders(argv: list[str], known: Sequence[str] = PLACEHOLDERS) -> frozenset[str]:
    try:
        return check_template(argv, known)
    except ConfigError as error:
        raise ValueError(error.message) from None


def _argv_or_builtin(value: object) -> list[str]:
    """An empty list stands for "builtin"."""
    if value == "builtin":
        return []
    if isinstance(value, str):
        raise ValueError(  # noqa: TRY004 (pydantic's way)
            f'{value!r} is neither "builtin" nor a list like ["cp", "{{source}}", "{{target}}"]'
        )
    return _argv(value)


def _stage_command(value: object) -> list[str] | str:
    argv = _argv_or_builtin(value)
    if not argv:
        return "builtin"
    used = _placeholders(argv)
    # Without any placeholder it is an XRootD script, which gets both names appended.
    if used and "target" not in used:
        raise ValueError("the command has no {target}: it would not know where to put the file")
    if used and not used & {"source", "lfn"}:
        raise ValueError("the command has no {source} and no {lfn}: which file should it bring?")
    return argv


def _store_command(value: object) -> list[str] | str:
    argv = _argv_or_builtin(value)
    if not argv:
        return "builtin"
    used = _placeholders(argv, STORE_PLACEHOLDERS)
    # Without any placeholder it gets the path and the archive's name appended.
    if used and "source" not in used:
        raise ValueError("the command has no {source}: which of the pool's files should it store?")
    if used and not used & {"target", "lfn"}:
        raise ValueError("the command has no {target} and no {lfn}: where should the file go?")
    return argv


def _remove_command(value: object) -> list[str] | str:
    argv = _argv_or_builtin(value)
    if not argv:
        return "builtin"
    # Without any placeholder it gets the archive's name appended.
    if _placeholders(argv) - {"source", "lfn"}:
        raise ValueError("the command can be given {source} and {lfn} only")
    return argv


def _hint_command(value: object) -> list[str] | str:
    if value == "statcmd":
        return "statcmd"
    if isinstance(value, str):
        raise ValueError(  # noqa: TRY004 (pydantic's way)
            f'{value!r} is neither "statcmd" nor a list like ["/usr/local/libexec/hints.py"]'
        )
    return _argv(value)


def _root_url(value: object) -> str:
    """HOST:PORT out of root://HOST:PORT."""
    scheme, slashes, address = str(value).partition("://")
    if scheme not in {"root", "xroot"} or not slashes:
        raise ValueError(f'{value!r} is not written like "root://disk1.example.org:1094"')
    address = address.rstrip("/")
    return str(_peer_address(address if ":" in address else f"{address}:1094"))


def _submit_command(value: object) -> list[str]:
    """With placeholders it is told of one file, without any of many on its input."""
    argv = _argv(value)
    used = _placeholders(argv, ("key", "source", "lfn", "size"))
    if used and not used & {"source", "lfn"}:
        raise ValueError("the command has no {source} and no {lfn}: which file is it about?")
    return argv


def _ask_command(value: object) -> list[str]:
    argv = _argv(value)
    used = _placeholders(argv, ("key", "id", "source", "lfn"))
    if used and not used & {"id", "key"}:
        raise ValueError("the command has no {id} and no {key}: which request is it about?")
    return argv


def _variable_pattern(value: object) -> str:
    """The name of an environment variable, or the beginning of several names and a `*`."""
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*\*?", value):
        raise ValueError(
            f'{value!r} is no variable\'s name; write it like "AWS_PROFILE" or "AWS_*"'
        )
    return value


def _variable(value: object) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", value):
        raise ValueError(f"{value!r} is no environment variable's name")
    if value.startswith("PACKHORSE_"):
        raise ValueError(f"{value} is Packhorse's own; give the variable another name")
    return value


def _stat_command(value: object) -> list[str]:
    argv = _argv(value)
    used = _placeholders(argv)
    if not used & {"source", "lfn"}:
        raise ValueError("the command has no {source} and no {lfn}: which file is it about?")
    if used - {"source", "lfn"}:
        raise ValueError("the command can be given {source} and {lfn} only")
    return argv


Count = Annotated[int, Written("number"), BeforeValidator(_whole_number), Ge(0)]
PositiveCount = Annotated[int, Written("number"), BeforeValidator(_whole_number), Ge(1)]
PositiveNumber = Annotated[float, Written("number"), BeforeValidator(_number), Gt(0)]
PositiveSize = Annotated[SizeBytes, Gt(0)]
PositiveDuration = Annotated[DurationS, Gt(0)]
AbsolutePath = Annotated[Path, Written("path"), BeforeValidator(_absolute_path)]
#: Where a door opens; port 0 lets the system choose one.
ListenAddress = Annotated[str, Written("HOST:PORT"), BeforeValidator(_listen_address)]
#: Where somebody else's door is.
PeerAddress = Annotated[str, Written("HOST:PORT"), BeforeValidator(_peer_address)]
#: Where another program's root:// door is.
RootUrl = Annotated[str, Written("root URL"), BeforeValidator(_root_url)]
#: A directory of the name space.
Export = Annotated[str, Written("directory"), BeforeValidator(_export)]
#: A name that appears in addresses, tables and file names.
Label = Annotated[str, Written("name"), BeforeValidator(_label)]
LabelOrNone = Annotated[str, Written("name"), BeforeValidator(_label_or_none)]
Command = Annotated[list[str], Written("list of words"), PlainValidator(_argv)]
StageCommand = Annotated[
    list[str] | str, Written('list of words, or `"builtin"`'), PlainValidator(_stage_command)
]
SubmitCommand = Annotated[list[str], Written("list of words"), PlainValidator(_submit_command)]
#: A command about files that were submitted.
AskCommand = Annotated[list[str], Written("list of words"), PlainValidator(_ask_command)]
VariablePattern = Annotated[str, Written("names"), PlainValidator(_variable_pattern)]
Variable = Annotated[str, PlainValidator(_variable)]
#: Files, by the environment variables that are about them.
FilesByVariable = Annotated[dict[Variable, AbsolutePath], Written("table: VARIABLE = path")]
StoreCommand = Annotated[
    list[str] | str, Written('list of words, or `"builtin"`'), PlainValidator(_store_command)
]
RemoveCommand = Annotated[
    list[str] | str, Written('list of words, or `"builtin"`'), PlainValidator(_remove_command)
]
StatCommand = Annotated[list[str], Written("list of words"), PlainValidator(_stat_command)]
HintCommand = Annotated[
    list[str] | str, Written('list of words, or `"statcmd"`'), PlainValidator(_hint_command)
]
ListCommand = Annotated[list[str], Written("list of words"), PlainValidator(_stat_command)]
