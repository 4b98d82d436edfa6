"""`packhorse store | stores`: what was written, on its way to the archive."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from common.errors import Refused, UsageError
from packhorse.cli.options import (
    ConfigOption,
    JsonOption,
    ListOption,
    NamesArgument,
    RedirectorOption,
)
from packhorse.cli.output import counted, say, say_json, say_table
from packhorse.cli.running import names_of, with_site

if TYPE_CHECKING:
    from packhorse.values import NodeStores

PANEL = "Files"
SHOWN_STORES = 1000


def register(app: typer.Typer) -> None:
    """Adds the commands of this group."""
    for command in (store, stores):
        app.command(rich_help_panel=PANEL)(command)


def store(
    names: NamesArgument = None,
    listed: ListOption = "",
    failed: Annotated[
        bool, typer.Option("--failed", help="All files that have failed for good.")
    ] = False,
    config: ConfigOption = None,
    redirector: RedirectorOption = "",
    as_json: JsonOption = False,
) -> None:
    """Have files that were written stored in the archive now.

    They need not be named for it: data servers store what is written by themselves, and try
    again what failed. This is for what has failed for good, or cannot wait.
    """
    if failed and (names or listed):
        raise UsageError("name files, or say --failed, and not both")
    lfns = [] if failed else names_of(names, listed)
    done = with_site(config, redirector, lambda site: site.store(lfns, all_failed=failed))
    if as_json:
        say_json(done)
    else:
        say(f"{counted(len(done.taken), 'file')} to be stored now, see packhorse stores")
        for row in done.refused:
            say(f"not stored: {row.lfn}: {row.reason}")
    if done.refused:
        raise Refused(f"{counted(len(done.refused), 'file')} cannot be stored")


def stores(
    node: Annotated[
        str, typer.Option("--node", metavar="NODE", help="One data server; default: all.")
    ] = "",
    failed: Annotated[
        bool, typer.Option("--failed", help="Only what has failed for good.")
    ] = False,
    limit: Annotated[
        int, typer.Option("--limit", min=1, metavar="N", help="Rows for each data server.")
    ] = SHOWN_STORES,
    config: ConfigOption = None,
    redirector: RedirectorOption = "",
    as_json: JsonOption = False,
) -> None:
    """Show what waits to be stored in the archive, for how long, and why."""
    found = with_site(
        config, redirector, lambda site: site.stores(node, failed_only=failed, limit=limit)
    )
    if as_json:
        say_json(found)
        return
    for one in found:
        _say_stores(one)


def _say_stores(found: NodeStores) -> None:
    from common import wording
    from common.units import format_duration

    if found.problem:
        say(f"{found.node}: {found.problem}")
    elif not found.stores:
        say(f"{found.node}: nothing to store")
    else:
        say(f"{found.node}:")
        say_table(
            ("state", "size", "written", "next", "tries", "lfn", "why it failed last"),
            [
                (
                    row.state,
                    wording.size(row.size_bytes),
                    f"{format_duration(row.waiting_s)} ago",
                    format_duration(row.next_try_s) if row.next_try_s else "",
                    row.attempts,
                    row.lfn,
                    row.reason,
                )
                for row in found.stores
            ],
            right="size written next tries",
        )
