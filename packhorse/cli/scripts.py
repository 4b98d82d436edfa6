"""`packhorse scripts list | install | check`: ready-made scripts for the site's archive."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from common.errors import ConfigError, StageFailed, UsageError
from packhorse.cli.options import JsonOption, duration
from packhorse.cli.output import say, say_json, say_table

if TYPE_CHECKING:
    from packhorse.scripts import Kind, Trial

PANEL = "Configuration"
KindArgument = Annotated[
    str, typer.Argument(metavar="KIND", help="Of archive; `packhorse scripts list` shows them.")
]


def register(app: typer.Typer) -> None:
    """Adds the commands of this group."""
    group = typer.Typer(no_args_is_help=True, help="Ready-made scripts for the site's archive.")
    group.command(name="list")(list_kinds)
    group.command()(install)
    group.command()(check)
    app.add_typer(group, name="scripts", rich_help_panel=PANEL)


def list_kinds(as_json: JsonOption = False) -> None:
    """Show the kinds of archives there are scripts for, and what each script needs."""
    from packhorse.scripts import KINDS

    if as_json:
        say_json(
            [
                {"kind": kind.name, "about": kind.about, "needs": kind.needs, "files": kind.files}
                for kind in KINDS
            ]
        )
    else:
        rows = [(kind.name, kind.about, kind.needs) for kind in KINDS]
        say_table(("kind", "archive", "needs"), rows)


def install(
    kind: KindArgument,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where they are written.")],
    force: Annotated[bool, typer.Option("--force", help="Write over what is there.")] = False,
) -> None:
    """Write the scripts of a kind into a directory, and show how the site's file uses them."""
    from packhorse import scripts

    example = scripts.install(scripts.find_kind(kind), folder, force=force)
    say(example.read_text().rstrip("\n"))


def check(
    kind: KindArgument,
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="-- [--OPTION=VALUE...] [NAME]",
            help="Options of the script, and the archive's name of a file to try.",
        ),
    ] = None,
    deadline: Annotated[
        float,
        typer.Option(
            "--deadline",
            metavar="DURATION",
            parser=duration,
            help="How long staging may take; default: 6h.",
        ),
    ] = 21_600.0,
    as_json: JsonOption = False,
) -> None:
    """Tell whether what a script needs is there; given a file, also ask for it and stage it.

    The script runs with the environment that a data server would give it. The staged file is
    deleted again. Exits with 3 if something is missing, with 9 if the file cannot be had.
    """
    from packhorse.scripts import find_kind

    found = find_kind(kind)
    options = [word for word in words or () if word.startswith("-")]
    names = [word for word in words or () if not word.startswith("-")]
    if len(names) > 1:
        raise UsageError(f"{names[1]}: one file is tried; options are written --OPTION=VALUE")
    trials = asyncio.run(_trials(found, "".join(names), options, deadline, as_json))
    if as_json:
        say_json(trials)
    last = trials[-1]
    if not last.is_fine:
        kind_of_error = ConfigError if last.action == "needs" else StageFailed
        raise kind_of_error(f"{found.name}: {last.action}: {last.said}")


async def _trials(
    kind: Kind, name: str, options: list[str], deadline_s: float, as_json: bool
) -> list[Trial]:
    """All of them; each is told as soon as it has been made."""
    from packhorse.scripts import try_kind

    trials = []
    async for trial in try_kind(kind, name, options, deadline_s):
        trials.append(trial)
        if trial.is_fine and not as_json:
            say(f"{trial.action}: {trial.said} ({trial.duration_s:.1f} s)")
    return trials
