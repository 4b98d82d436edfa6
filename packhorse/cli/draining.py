"""`packhorse drain`: taking a data server out, and what that leaves to be done."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Annotated, Final

import typer

from common.errors import TimedOut, Unreachable
from packhorse.cli.options import ConfigOption, JsonOption, RedirectorOption, duration
from packhorse.cli.output import counted, say, say_json, to_plain
from packhorse.cli.running import with_site

if TYPE_CHECKING:
    from packhorse.aio import AsyncSite
    from packhorse.values import DrainReport

PANEL = "Site"
#: How often it is looked whether a node is drained.
LOOK_AGAIN_S: Final = 2.0
#: Of the pinned files that only one node has, so many are named to people.
PINNED_SHOWN: Final = 20


def register(app: typer.Typer) -> None:
    """Adds the commands of this group."""
    app.command(rich_help_panel=PANEL)(drain)


def drain(
    node: Annotated[str, typer.Argument(metavar="NODE", help="A data server's name.")],
    undo: Annotated[bool, typer.Option("--undo", help="Give it recalls again.")] = False,
    wait: Annotated[
        bool, typer.Option("--wait", help="Return once it can be switched off without a loss.")
    ] = False,
    timeout: Annotated[
        float,
        typer.Option(
            "--timeout",
            parser=duration,
            show_default=False,
            metavar="DURATION",
            help="Wait no longer than this; 0: for ever.",
        ),
    ] = 0.0,
    config: ConfigOption = None,
    redirector: RedirectorOption = "",
    as_json: JsonOption = False,
) -> None:
    """Give a data server no more recalls; it goes on serving what it holds.

    Tells what is under way there, and what only that node has: files that the archive has
    not, and pinned ones, which would have to be recalled elsewhere.
    """
    if undo and wait:
        raise typer.BadParameter("--undo and --wait are opposites")

    async def work(site: AsyncSite) -> DrainReport:
        report = await site.drain(node, undo=undo)
        return await _until_drained(site, node, report, timeout) if wait else report

    report = with_site(config, redirector, work)
    if as_json:
        say_json({"node": node, "draining": not undo, **to_plain(report)})
    elif undo:
        say(f"{node} gets recalls again")
    else:
        _say_drain(node, report)


async def _until_drained(
    site: AsyncSite, node: str, report: DrainReport, timeout_s: float
) -> DrainReport:
    """Looks again and again. Raises Unreachable, TimedOut."""
    from packhorse.cli.progress import Bar

    started_s = time.monotonic()
    with Bar(f"draining {node}", "files") as bar:
        while not report.is_drained:
            if report.out_of_touch:
                raise Unreachable(f"{node} is out of touch; it last had {_left(report)}")
            waited_s = time.monotonic() - started_s
            if timeout_s and waited_s >= timeout_s:
                raise TimedOut(f"{node} is not drained: it has {_left(report)}")
            bar.update(0, 0, _left(report))
            await asyncio.sleep(LOOK_AGAIN_S)
            report = await site.drain(node, look=True)
    return report


def _left(report: DrainReport) -> str:
    """What keeps a node from being switched off; "nothing left"."""
    from common import wording

    parts = [
        (report.recalls_left, "recall", report.recalls_left_bytes),
        (report.writes_left, "upload", 0),
        (report.open_files, "open file", 0),
        (report.unarchived_files, "unarchived file", report.unarchived_bytes),
    ]
    said = [
        counted(count, what) + (f" ({wording.size(size_bytes)})" if size_bytes else "")
        for count, what, size_bytes in parts
        if count
    ]
    return (", ".join(said) or "nothing") + " left"


def _say_drain(node: str, report: DrainReport) -> None:
    from common import wording

    if report.is_drained:
        say(f"{node} is drained: it can be switched off")
    else:
        say(f"{node} is draining: {_left(report)}")
    if report.out_of_touch:
        say("it is out of touch; this is what it said last")
    if report.unarchived_files:
        say("leave it running until what the archive has not is stored, see packhorse stores")
    if report.pinned_files:
        files = counted(report.pinned_files, "pinned file")
        say(
            f"only it has {files} ({wording.size(report.pinned_bytes)}), to be recalled elsewhere "
            "if they are needed once it is gone:"
        )
        for file in report.pinned[:PINNED_SHOWN]:
            say(f"  {file.lfn}")
        if report.pinned_files > PINNED_SHOWN:
            say("  ... and others, see --json")
