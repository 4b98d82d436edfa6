"""`packhorse process`: a function over every packet of a dataset."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from common.errors import Incomplete
from packhorse.cli.options import ConfigOption, JsonOption, RedirectorOption, size
from packhorse.cli.output import counted, say, say_json, say_table, share
from packhorse.cli.results import check_output, value_to_json, value_to_text, write_value
from packhorse.cli.running import with_site

if TYPE_CHECKING:
    from packhorse.aio import AsyncSite
    from packhorse.cli.progress import Bar
    from packhorse.functions import Merge
    from packhorse.result import Report, Result
    from packhorse.values import MissingRange, SessionStatus

PANEL = "Processing"
SHOWN_RANGES = 20

OutputOption = Annotated[
    Path | None,
    typer.Option(
        "--output",
        metavar="FILE",
        help="Write the value to .json, .npy or .npz; any other name gets a pickle.",
    ),
]


class Missing(StrEnum):
    """What to do about files that are not online."""

    WAIT = "wait"
    SKIP = "skip"
    ABORT = "abort"


def register(app: typer.Typer) -> None:
    """Adds the commands of this group."""
    app.command(rich_help_panel=PANEL)(process)


def process(
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help="A registered dataset.")],
    function: Annotated[
        str,
        typer.Argument(
            metavar="MODULE:FUNCTION",
            help="A function of one packet; modules are looked for here first.",
        ),
    ],
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers",
            metavar="N",
            min=0,
            help="How many to start here; default: one per core; 0: others do the work.",
        ),
    ] = None,
    missing: Annotated[
        Missing,
        typer.Option(
            "--missing",
            metavar="wait|skip|abort",
            help="Files that are not online: wait for their staging, skip and name them, or abort.",
        ),
    ] = Missing.WAIT,
    output: OutputOption = None,
    merge: Annotated[
        str,
        typer.Option(
            "--merge", metavar="MODULE:FUNCTION", help="How two values merge; default: with +."
        ),
    ] = "",
    tree: Annotated[
        str, typer.Option("--tree", metavar="TREE", help="Instead of the dataset's own.")
    ] = "",
    max_bad: Annotated[
        int,
        typer.Option("--max-bad", metavar="N", min=0, help="Stop after N bad packets; 0: never."),
    ] = 0,
    memory: Annotated[
        int,
        typer.Option(
            "--memory",
            parser=size,
            show_default=False,
            metavar="SIZE",
            help="The most one worker may use; 0: no limit.",
        ),
    ] = 0,
    config: ConfigOption = None,
    redirector: RedirectorOption = "",
    as_json: JsonOption = False,
) -> None:
    """Run a function over every packet of a dataset, and merge what it returns.

    Exits with 10 if some entries are missing from the result; they are named. Ctrl-C
    cancels the session; what was committed stays, and `sessions resume` takes it up again.
    """
    check_output(output)
    from packhorse.functions import load_function

    loaded = load_function(function)
    # A function of two values, not of a packet; only its name is checked here.
    merging = cast("Merge", load_function(merge)) if merge else None

    async def work(site: AsyncSite) -> Result:
        from packhorse.cli.progress import Bar

        with Bar(dataset, "entries") as bar:
            return await site.process(
                dataset,
                loaded,
                workers=workers,
                merge=merging,
                missing=missing.value,
                tree=tree,
                max_bad_packets=max_bad,
                memory_bytes=memory,
                on_progress=lambda status: show_progress(bar, status),
            )

    deliver(with_site(config, redirector, work), output, as_json=as_json)


def show_progress(bar: Bar, status: SessionStatus) -> None:
    """One step of a session's progress bar."""
    from common import wording
    from common.units import format_duration

    note = f"{status.files_online} of {counted(status.files, 'file')} online"
    if status.files_staging:
        note += f", {status.files_staging} staging"
    if status.files_bad:
        note += f", {status.files_bad} bad"
    note += f"; {counted(status.workers, 'worker')}, {wording.size(status.bytes_read)} read"
    if status.rate > 0:
        note += f", {status.rate:,.0f} entries/s"
    if status.eta_s >= 0:
        note += f", {format_duration(status.eta_s)} left"
    bar.update(status.entries_done + status.entries_bad, status.entries_total, note)


def deliver(result: Result, output: Path | None, *, as_json: bool) -> None:
    """Writes or shows a result; raises Incomplete if anything is missing from it."""
    if output is not None:
        write_value(output, result.value)
    if as_json:
        say_json(
            {
                "complete": result.complete,
                "report": result.report,
                "missing": result.missing,
                "value": _json_or_none(result.value),
                "output": output,
            }
        )
    else:
        _say_report(result.report)
        say(f"the value is in {output}" if output else value_to_text(result.value))
        if result.missing:
            say()
            _say_missing(result.missing)
    if result.missing:
        files = len({row.lfn for row in result.missing})
        entries = sum(row.stop - row.start for row in result.missing)
        raise Incomplete(
            f"the result lacks {entries:,} known entries of {counted(files, 'file')}; "
            f"`packhorse sessions show {result.report.session_id}` names them"
        )


def _say_report(report: Report) -> None:
    from common import wording
    from common.units import format_duration

    say(
        f"session {report.session_id}: {report.entries:,} entries of "
        f"{counted(report.files, 'file')} in {format_duration(report.seconds)} "
        f"({report.entries_per_s:,.0f} entries/s), {wording.size(report.bytes_read)} read, "
        f"{share(report.entries_local, report.entries)} on the host that held them"
    )


def _say_missing(missing: tuple[MissingRange, ...]) -> None:
    say_table(
        ("lfn", "entries", "reason"),
        [
            (row.lfn, f"{row.start}-{row.stop}" if row.stop else "all", row.reason)
            for row in missing[:SHOWN_RANGES]
        ],
    )
    if len(missing) > SHOWN_RANGES:
        say(f"... and {counted(len(missing) - SHOWN_RANGES, 'range')} more (--json shows all)")
    traceback = next((row.traceback for row in missing if row.traceback), "")
    if traceback:
        say(f"\nthe first failure in the function was:\n{traceback.rstrip()}")


def _json_or_none(value: object) -> object:
    try:
        return value_to_json(value)
    except TypeError:
        return None
