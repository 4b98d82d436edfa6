"""`packhorse fsck`: a pool's directory, looked at without a data server."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from common.errors import Damaged
from packhorse.cli.options import JsonOption
from packhorse.cli.output import counted, say, say_json, say_table

if TYPE_CHECKING:
    from dataserver.fsck import Report

PANEL = "Servers"


def register(app: typer.Typer) -> None:
    """Adds the commands of this group."""
    app.command(rich_help_panel=PANEL)(fsck)


def fsck(
    pool: Annotated[
        Path, typer.Argument(metavar="POOL", help="The pool's directory, on this machine.")
    ],
    checksums: Annotated[
        bool, typer.Option("--checksums", help="Read every file, and compare its checksum too.")
    ] = False,
    repair: Annotated[
        bool, typer.Option("--repair", help="Do what can be done about what is found.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Check a pool while its data server is stopped: what is missing, stray, or damaged.

    Nothing is changed without --repair. A repair deletes only what the archive has, and what
    recalls left half-way; anything that may be an only copy is moved to the pool's quarantine.
    Ends with exit code 14 if something is wrong still.
    """
    from dataserver.fsck import check_pool
    from packhorse.cli.progress import Bar

    with Bar("reading", "bytes") as bar:
        report = asyncio.run(
            check_pool(pool.absolute(), sums=checksums, repair=repair, on_progress=bar.update)
        )
    if as_json:
        say_json(_plain(report))
    else:
        _say(report, repaired=repair)
    if report.unsettled:
        wrong = f"{counted(report.unsettled, 'thing')} wrong in {report.pool}"
        raise Damaged(wrong if repair else f"{wrong}; --repair does what can be done about it")


def _plain(report: Report) -> dict[str, object]:
    return {
        "pool": report.pool,
        "files": report.files,
        "size_bytes": report.size_bytes,
        "sums_compared": report.sums_compared,
        "kept_apart": report.kept_apart,
        "findings": [
            {
                "kind": one.finding.kind,
                "path": one.finding.path,
                "size_bytes": one.finding.size_bytes,
                "archived": one.finding.archived,
                "why": one.finding.why,
                "remedy": one.finding.remedy,
                "done": one.done,
            }
            for one in report.settled
        ],
    }


def _say(report: Report, *, repaired: bool) -> None:
    from common import wording

    if report.settled:
        say_table(
            ("kind", "size", "path", "why", "done" if repaired else "repair"),
            [
                (
                    one.finding.kind,
                    wording.size(one.finding.size_bytes),
                    one.finding.path,
                    one.finding.why,
                    one.done or one.finding.remedy,
                )
                for one in report.settled
            ],
            right="size",
        )
        say()
    say(f"pool        {report.pool}")
    say(f"files       {report.files:,}, {wording.size(report.size_bytes)}")
    say(f"checksums   {report.sums_compared:,} compared")
    say(f"quarantine  {counted(report.kept_apart, 'thing')} kept apart")
    say(f"wrong       {len(report.settled):,} found, {report.unsettled:,} left")
