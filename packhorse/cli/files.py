"""`packhorse locate | explain | pin | unpin | evict | cp`: single files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from common.errors import Refused, UsageError
from packhorse.cli.options import (
    ConfigOption,
    JsonOption,
    ListOption,
    NameArgument,
    NamesArgument,
    RedirectorOption,
    duration,
)
from packhorse.cli.output import counted, moment, say, say_json, say_table
from packhorse.cli.running import names_of, with_site

if TYPE_CHECKING:
    from packhorse.aio import AsyncSite
    from packhorse.values import Explanation

PANEL = "Files"

PinOwner = Annotated[
    str,
    typer.Option("--owner", metavar="NAME", help="Whose pin; default: you, on this machine."),
]


def register(app: typer.Typer) -> None:
    """Adds the commands of this group."""
    for command in (locate, explain, pin, unpin, evict, cp):
        app.command(rich_help_panel=PANEL)(command)


def locate(
    names: NamesArgument = None,
    listed: ListOption = "",
    config: ConfigOption = None,
    redirector: RedirectorOption = "",
    as_json: JsonOption = False,
) -> None:
    """Show where files are, and how those stand that are not online."""
    lfns = names_of(names, listed)
    found = with_site(config, redirector, lambda site: site.locate(lfns))
    if as_json:
        say_json(found)
        return
    from common import wording

    say_table(
        ("state", "size", "nodes", "lfn", "reason"),
        [
            (
                row.state,
                wording.size(row.size_bytes) if row.nodes else "-",
                ",".join(node.node for node in row.nodes) or "-",
                row.lfn,
                row.reason,
            )
            for row in found
        ],
        right="size",
    )


def explain(
    name: NameArgument,
    config: ConfigOption = None,
    redirector: RedirectorOption = "",
    as_json: JsonOption = False,
) -> None:
    """Tell a file's story: who asked for it, which node and why, what ran, what comes next."""
    found = with_site(config, redirector, lambda site: site.explain(name))
    if as_json:
        say_json(found)
    else:
        _say_explanation(found)


def pin(
    names: NamesArgument = None,
    listed: ListOption = "",
    lifetime: Annotated[
        float,
        typer.Option(
            "--for",
            parser=duration,
            show_default=False,
            metavar="DURATION",
            help="How long, from now; default: a day.",
        ),
    ] = 86400.0,
    owner: PinOwner = "",
    reason: Annotated[
        str, typer.Option("--reason", metavar="TEXT", help="What for; shown to others.")
    ] = "",
    config: ConfigOption = None,
    redirector: RedirectorOption = "",
    as_json: JsonOption = False,
) -> None:
    """Keep files from being purged for a while; pinning again moves the end."""
    lfns = names_of(names, listed)
    if lifetime <= 0:
        raise UsageError("a pin must last: give a duration with --for, or use unpin")
    done = with_site(
        config,
        redirector,
        lambda site: site.pin(lfns, lifetime_s=lifetime, owner=owner, reason=reason),
    )
    if as_json:
        say_json(done)
        return
    say(f"{counted(done.pinned, 'file')} pinned")
    for lfn in done.not_online:
        say(f"not online yet, pinned from when it comes: {lfn}")


def unpin(
    names: NamesArgument = None,
    listed: ListOption = "",
    everything: Annotated[bool, typer.Option("--all", help="Every pin of the owner.")] = False,
    owner: PinOwner = "",
    config: ConfigOption = None,
    redirector: RedirectorOption = "",
    as_json: JsonOption = False,
) -> None:
    """Take pins back."""
    if everything and (names or listed):
        raise UsageError("give either files or --all")
    lfns = [] if everything else names_of(names, listed)
    unpinned = with_site(config, redirector, lambda site: site.unpin(lfns, owner=owner))
    if as_json:
        say_json({"unpinned": unpinned})
    else:
        say(f"{counted(unpinned, 'pin')} taken back")


def evict(
    names: NamesArgument = None,
    listed: ListOption = "",
    soft: Annotated[
        bool,
        typer.Option(
            "--soft", help="Not now, but before all others once room is needed, unless used again."
        ),
    ] = False,
    config: ConfigOption = None,
    redirector: RedirectorOption = "",
    as_json: JsonOption = False,
) -> None:
    """Drop files from the pools now; what is open, pinned or in flight stays."""
    lfns = names_of(names, listed)
    done = with_site(config, redirector, lambda site: site.evict(lfns, soft=soft))
    if as_json:
        say_json(done)
    else:
        what = "to go first, once room is needed" if soft else "evicted"
        say(f"{counted(done.evicted, 'file')} {what}")
        for row in done.refused:
            say(f"stays: {row.lfn}: {row.reason}")
    if done.refused:
        raise Refused(f"{counted(len(done.refused), 'file')} could not be evicted")


def cp(
    name: NameArgument,
    destination: Annotated[
        str, typer.Argument(metavar="DEST", help="A path, or a directory to copy into.")
    ],
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    no_stage: Annotated[
        bool, typer.Option("--no-stage", help="Fail if the file is not online.")
    ] = False,
    config: ConfigOption = None,
    redirector: RedirectorOption = "",
    as_json: JsonOption = False,
) -> None:
    """Copy a file to here, staging it first if need be; its checksum is verified."""

    async def work(site: AsyncSite) -> Path:
        from packhorse.cli.progress import Bar

        with Bar(name.rpartition("/")[2], "bytes") as bar:
            return await site.cp(
                name,
                destination,
                stage=not no_stage,
                overwrite=force,
                on_progress=bar.update,
            )

    target = with_site(config, redirector, work)
    if as_json:
        say_json({"path": target, "size_bytes": target.stat().st_size})
    else:
        say(str(target))


def _say_explanation(found: Explanation) -> None:
    from common import wording
    from common.units import format_duration

    say(f"{found.lfn} is {found.state}")
    if found.archive_name:
        where = "its name in the archive" if found.stores else "in the archive"
        say(f"{where}: {found.archive_name}")
    for replica in found.replicas:
        say(f"replica on {replica.node}, {wording.size(replica.size_bytes)}")
    for standing in found.stores:
        say(standing)
    for pinned in found.pins:
        reason = f": {pinned.reason}" if pinned.reason else ""
        say(f"pinned by {pinned.owner} for {format_duration(pinned.expires_in_s)}{reason}")
    if found.request_ids:
        say(f"asked for by {', '.join(found.request_ids)}")
    for line in found.story:
        say(f"{moment(line.unix_s)}  {line.text}")
    if found.next:
        say(f"next: {found.next}")
