"""`packhorse stage | requests | cancel`: having files brought online."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from common.errors import NotFound, StageFailed, UsageError
from packhorse.cli.options import (
    ActivityOption,
    ConfigOption,
    JsonOption,
    ListOption,
    NamesArgument,
    PriorityOption,
    RedirectorOption,
    duration,
)
from packhorse.cli.output import counted, moment, say, say_json, say_table
from packhorse.cli.running import names_of, with_site

if TYPE_CHECKING:
    from packhorse.aio import AsyncSite, AsyncStaging
    from packhorse.values import SessionStatus, StageRequest

PANEL = "Staging"


def register(app: typer.Typer) -> None:
    """Adds the commands of this group."""
    for command in (stage, requests, cancel):
        app.command(rich_help_panel=PANEL)(command)


def stage(
    names: NamesArgument = None,
    listed: ListOption = "",
    dataset: Annotated[
        str, typer.Option("--dataset", metavar="NAME", help="The files of a dataset.")
    ] = "",
    wait: Annotated[bool, typer.Option("--wait", help="Until all is online, or failed.")] = False,
    pin: Annotated[
        float,
        typer.Option(
            "--pin",
            parser=duration,
            show_default=False,
            metavar="DURATION",
            help="Keep each file for so long from when it comes online.",
        ),
    ] = 0.0,
    priority: PriorityOption = 0,
    activity: ActivityOption = "",
    deadline: Annotated[
        float,
        typer.Option(
            "--deadline",
            parser=duration,
            show_default=False,
            metavar="DURATION",
            help="Give up after so long; 0: the site's own default.",
        ),
    ] = 0.0,
    config: ConfigOption = None,
    redirector: RedirectorOption = "",
    as_json: JsonOption = False,
) -> None:
    """Have files brought online from the archive.

    The request is kept by the redirector from when it is accepted: it goes on when this
    command ends, with or without --wait.
    """
    if dataset and (names or listed):
        raise UsageError("give either files or --dataset")
    lfns = [] if dataset else names_of(names, listed)

    async def work(site: AsyncSite) -> None:
        staging = await site.stage(
            lfns,
            dataset=dataset,
            pin_s=pin,
            priority=priority,
            deadline_s=deadline,
            activity=activity,
        )
        if not as_json:
            files = counted(staging.files, "file")
            say(f"request {', '.join(staging.request_ids)} accepted: {files}")
            sys.stdout.flush()
        if wait:
            await _wait(staging, as_json=as_json)
        elif as_json:
            say_json({"request_ids": staging.request_ids, "files": staging.files})

    with_site(config, redirector, work)


def requests(
    request_id: Annotated[
        str, typer.Argument(metavar="ID", help="One request, with its files; default: all.")
    ] = "",
    active: Annotated[
        bool, typer.Option("--active", help="Only those that have not ended.")
    ] = False,
    config: ConfigOption = None,
    redirector: RedirectorOption = "",
    as_json: JsonOption = False,
) -> None:
    """Show stage requests of the present and the recent past."""
    found = with_site(
        config,
        redirector,
        lambda site: site.requests(request_id, active_only=active, with_files=bool(request_id)),
    )
    if request_id and not found:
        raise NotFound(f"there is no request {request_id}")
    if as_json:
        say_json(found)
        return
    _say_requests(found)
    for request in found:
        if request.file:
            say()
            say_table(
                ("state", "lfn", "reason"),
                [(row.state, row.lfn, row.reason) for row in request.file],
            )


def cancel(
    request_id: Annotated[
        str, typer.Argument(metavar="ID", help="A stage request's or a session's.")
    ],
    config: ConfigOption = None,
    redirector: RedirectorOption = "",
    as_json: JsonOption = False,
) -> None:
    """Cancel a stage request, with its running recalls, or a session."""

    async def work(site: AsyncSite) -> dict[str, object]:
        try:
            return {"files_cancelled": await site.cancel(request_id)}
        except NotFound:
            if request_id not in {row.session_id for row in await _sessions(site)}:
                raise
        await site.sessions.cancel(request_id, "cancelled by its user")
        return {"session_id": request_id}

    done = with_site(config, redirector, work)
    if as_json:
        say_json(done)
    elif "session_id" in done:
        say(f"session {request_id} is cancelled")
    else:
        say(f"request {request_id} is cancelled: {done['files_cancelled']} files given up")


async def _sessions(site: AsyncSite) -> tuple[SessionStatus, ...]:
    """The sessions there are; none if the site has no packetizer to ask."""
    from common.errors import PackhorseError

    try:
        return await site.sessions.list()
    except PackhorseError:
        return ()


async def _wait(staging: AsyncStaging, *, as_json: bool) -> None:
    """Waits with a progress bar; the outcome is told even if some files failed."""
    from packhorse.cli.progress import Bar

    with Bar("staging", "files") as bar:
        try:
            await staging.wait(
                on_progress=lambda now: bar.update(
                    now.online, now.files, f"{now.failed} failed" if now.failed else ""
                )
            )
        except StageFailed:
            await _say_outcome(staging, as_json=as_json)
            raise
    await _say_outcome(staging, as_json=as_json)


async def _say_outcome(staging: AsyncStaging, *, as_json: bool) -> None:
    from packhorse.values import FileState

    ended = await staging.requests(with_files=True)
    if as_json:
        say_json({"request_ids": staging.request_ids, "files": staging.files, "requests": ended})
        return
    for request in ended:
        lost = f", {request.failed + request.cancelled} not" if request.done < request.files else ""
        say(f"request {request.request_id} {request.state}: {request.done} online{lost}")
        for row in request.file:
            if row.state not in {FileState.ONLINE, FileState.CORRUPT}:
                say(f"{row.lfn}: {row.state}: {row.reason}")


def _say_requests(found: list[StageRequest]) -> None:
    say_table(
        (
            "request",
            "state",
            "files",
            "online",
            "failed",
            "cancelled",
            "created",
            "owner",
            "activity",
            "dataset",
        ),
        [
            (
                row.request_id,
                row.state,
                row.files,
                row.done,
                row.failed,
                row.cancelled,
                moment(row.created_unix_s),
                row.owner,
                row.activity,
                row.dataset,
            )
            for row in found
        ],
        right="files online failed cancelled",
    )
