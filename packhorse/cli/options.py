"""Options and arguments that several commands share, and how their values are read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="The site's configuration file. Default: the one that PACKHORSE_CONFIG names.",
    ),
]
RedirectorOption = Annotated[
    str,
    typer.Option(
        "--redirector",
        metavar="HOST:PORT",
        help="The site's redirector, instead of a configuration file.",
    ),
]
JsonOption = Annotated[
    bool,
    typer.Option("--json", help="Answer in JSON, for programs: bytes, seconds, full names."),
]
NamesArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="LFN...", help="Logical file names, or URLs whose path is one."),
]
NameArgument = Annotated[
    str, typer.Argument(metavar="LFN", help="A logical file name, or a URL whose path is one.")
]
PriorityOption = Annotated[
    int,
    typer.Option(
        "--priority",
        metavar="N",
        help="Higher goes first, among those of the same owner; 1 counts as much as an hour of waiting.",
    ),
]
ActivityOption = Annotated[
    str,
    typer.Option(
        "--activity",
        metavar="NAME",
        help="What it is for, as in production: the site may give activities parts of their own.",
    ),
]
ListOption = Annotated[
    str,
    typer.Option(
        "--from",
        metavar="FILE",
        help="Names from a list: text, FileStager .def, coffea .json; - for standard input.",
    ),
]


def size(text: str | int) -> int:
    """Reads an option's size in bytes, such as 2GB."""
    from common.units import parse_size

    try:
        return parse_size(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def duration(text: str | float) -> float:
    """Reads an option's duration in seconds, such as 2h."""
    from common.units import parse_duration

    try:
        return parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
