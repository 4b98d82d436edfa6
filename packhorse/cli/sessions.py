"""`packhorse sessions`: runs over datasets, of the present and the past."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from common.errors import Incomplete
from packhorse.cli.options import ConfigOption, JsonOption, RedirectorOption
from packhorse.cli.output import counted, moment, say, say_json, say_table, share
from packhorse.cli.processing import PANEL, OutputOption, deliver, show_progress
from packhorse.cli.results import check_output
from packhorse.cli.running import with_site

if TYPE_CHECKING:
    from packhorse.aio import AsyncSite
    from packhorse.values import SessionStatus

SessionArgument = Annotated[str, typer.Argument(metavar="ID", help="The session's id.")]


def register(app: typer.Typer) -> None:
    """Adds the commands of this group."""
    group = typer.Typer(
        invoke_without_command=True, help="Show sessions, watch, cancel or resume one."
    )
    group.callback()(sessions)
    for command in (show, watch, cancel, resume, result, forget):
        group.command()(command)
    app.add_typer(group, name="sessions", rich_help_panel=PANEL)


def sessions(
    context: typer.Context,
    active: Annotated[
        bool, typer.Option("--active", help="Only those that have not ended.")
    ] = False,
    config: ConfigOption = None,
    redirector: RedirectorOption = "",
    as_json: JsonOption = False,
) -> None:
    """Show the sessions of the packetizer; with a command, do something with one."""
    if context.invoked_subcommand is not None:
        return
    found = with_site(config, redirector, lambda site: site.sessions.list(active_only=active))
    if as_json:
        say_json(found)
        return
    from common.units import format_duration

    say_table(
        ("session", "state", "dataset", "function", "done", "elapsed", "created", "owner"),
        [
            (
                row.session_id,
                row.state,
                row.dataset,
                row.function_name,
                share(row.entries_done, row.entries_total),
                format_duration(row.elapsed_s),
                moment(row.created_unix_s),
                row.owner,
            )
            for row in found
        ],
        right="done elapsed",
    )


def show(
    session_id: SessionArgument,
    config: ConfigOption = None,
    redirector: RedirectorOption = "",
    as_json: JsonOption = False,
) -> None:
    """Show one session: how far it is, and what is missing from it."""
    found = with_site(config, redirector, lambda site: site.sessions.status(session_id))
    if as_json:
        say_json(found)
    else:
        _say_status(found)


def watch(
    session_id: SessionArgument,
    config: ConfigOption = None,
    redirector: RedirectorOption = "",
    as_json: JsonOption = False,
) -> None:
    """Follow a session until it has ended; leaving it (Ctrl-C) does not cancel it."""

    async def work(site: AsyncSite) -> SessionStatus:
        from packhorse.cli.progress import Bar

        with Bar(session_id, "entries") as bar:
            async for status in site.sessions.watch(session_id):
                show_progress(bar, status)
        return status

    ended = with_site(config, redirector, work)
    if as_json:
        say_json(ended)
    else:
        _say_status(ended)
    if ended.state != "done" or ended.missing:
        reason = f": {ended.reason}" if ended.reason else ""
        raise Incomplete(f"session {session_id} is {ended.state}, not complete{reason}")


def cancel(
    session_id: SessionArgument,
    config: ConfigOption = None,
    redirector: RedirectorOption = "",
) -> None:
    """End a session; what was committed stays, and `resume` takes it up again."""
    with_site(
        config, redirector, lambda site: site.sessions.cancel(session_id, "cancelled by its user")
    )
    say(f"session {session_id} is cancelled")


def resume(
    session_id: SessionArgument,
    config: ConfigOption = None,
    redirector: RedirectorOption = "",
) -> None:
    """Take up a failed or cancelled session again, for `packhorse worker` to serve."""
    with_site(config, redirector, lambda site: site.sessions.resume(session_id))
    say(f"session {session_id} goes on")


def result(
    session_id: SessionArgument,
    output: OutputOption = None,
    config: ConfigOption = None,
    redirector: RedirectorOption = "",
    as_json: JsonOption = False,
) -> None:
    """Fetch the result of a session that has ended."""
    check_output(output)
    found = with_site(config, redirector, lambda site: site.sessions.result(session_id))
    deliver(found, output, as_json=as_json)


def forget(
    session_id: SessionArgument,
    config: ConfigOption = None,
    redirector: RedirectorOption = "",
) -> None:
    """Drop a session that has ended, with its result."""
    with_site(config, redirector, lambda site: site.sessions.forget(session_id))
    say(f"session {session_id} is forgotten")


def _say_status(status: SessionStatus) -> None:
    from common import wording
    from common.units import format_duration

    reason = f" ({status.reason})" if status.reason else ""
    say(f"session {status.session_id} of {status.owner}: {status.state}{reason}")
    say(f"runs     {status.function_name} over {status.dataset}")
    say(
        f"files    {status.files_done} of {status.files} done, {status.files_online} online, "
        f"{status.files_staging} staging, {status.files_bad} bad"
    )
    done = share(status.entries_done, status.entries_total)
    say(f"entries  {status.entries_done:,} of {status.entries_total:,} ({done})")
    left = f", {format_duration(status.eta_s)} left" if status.eta_s >= 0 else ""
    say(
        f"work     {counted(status.workers, 'worker')}, {wording.size(status.bytes_read)} read "
        f"in {format_duration(status.elapsed_s)}{left}"
    )
    for row in status.missing:
        entries = f" {row.start}-{row.stop}" if row.stop else ""
        say(f"missing  {row.lfn}{entries}: {row.reason}")
