"""`packhorse dataset register | verify | list | show | remove`: named lists of files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from common.errors import Incomplete, UsageError
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
from packhorse.cli.running import files_of, with_site

if TYPE_CHECKING:
    from packhorse.aio import AsyncSite
    from packhorse.aio.datasets import Mode
    from packhorse.values import DatasetFile, DatasetSummary, DatasetVerification

PANEL = "Datasets"

DatasetArgument = Annotated[str, typer.Argument(metavar="NAME", help="The dataset's name.")]


def register(app: typer.Typer) -> None:
    """Adds the commands of this group."""
    group = typer.Typer(no_args_is_help=True, help="Register, verify and look at datasets.")
    group.command("register")(register_dataset)
    for command in (verify, show, remove):
        group.command()(command)
    group.command("list")(list_datasets)
    app.add_typer(group, name="dataset", rich_help_panel=PANEL)


def register_dataset(
    name: DatasetArgument,
    names: NamesArgument = None,
    listed: ListOption = "",
    pick: Annotated[
        str,
        typer.Option(
            "--pick", metavar="NAME", help="Which dataset of a fileset; default: the same name."
        ),
    ] = "",
    tree: Annotated[
        str, typer.Option("--tree", metavar="TREE", help="The tree its entries are counted in.")
    ] = "",
    group: Annotated[
        str, typer.Option("--group", metavar="NAME", help="Whose quota it counts against.")
    ] = "",
    replace: Annotated[
        bool, typer.Option("--replace", help="These files, and no others, if it exists.")
    ] = False,
    update: Annotated[
        bool, typer.Option("--update", help="These files besides those it has.")
    ] = False,
    title: Annotated[str, typer.Option("--title", metavar="TEXT", help="A line for people.")] = "",
    config: ConfigOption = None,
    redirector: RedirectorOption = "",
    as_json: JsonOption = False,
) -> None:
    """Register files under a name. Nothing is staged; see `dataset verify --stage`."""
    if replace and update:
        raise UsageError("give either --replace or --update")
    from packhorse.listing import Listing, listed_files

    mode: Mode = "replace" if replace else "update" if update else "new"
    listing = files_of(listed, pick or name)
    files = Listing((*listed_files(names or ()), *listing.files), title or listing.title)
    done = with_site(
        config,
        redirector,
        lambda site: site.datasets.register(name, files, tree=tree, group=group, mode=mode),
    )
    if as_json:
        say_json(done)
        return
    repeated = f"; {counted(done.duplicates, 'repetition')} left out" if done.duplicates else ""
    say(f"{name}: {counted(done.files, 'file')}, {done.added} of them new{repeated}")


def verify(
    name: DatasetArgument,
    stage: Annotated[
        bool, typer.Option("--stage", help="Stage what is not online, and wait for it.")
    ] = False,
    pin: Annotated[
        float,
        typer.Option(
            "--pin",
            parser=duration,
            show_default=False,
            metavar="DURATION",
            help="With --stage: keep them so long.",
        ),
    ] = 0.0,
    priority: PriorityOption = 0,
    activity: ActivityOption = "",
    config: ConfigOption = None,
    redirector: RedirectorOption = "",
    as_json: JsonOption = False,
) -> None:
    """Find out where every file is, its size, checksum and entries, and name the bad ones."""

    async def work(site: AsyncSite) -> DatasetVerification:
        from packhorse.cli.progress import Bar

        with Bar(f"verifying {name}", "files") as bar:
            return await site.datasets.verify(
                name,
                stage=stage,
                pin_s=pin,
                priority=priority,
                activity=activity,
                on_progress=lambda step: bar.update(
                    step.summary.online, step.summary.files, _states(step.summary)
                ),
            )

    found = with_site(config, redirector, work)
    summary = found.summary
    if as_json:
        say_json(found)
    else:
        _say_summary(summary)
        for row in found.problems:
            say(f"{row.lfn}: {row.state}: {row.reason}")
    bad = summary.missing + summary.corrupt + summary.failed
    if stage:
        bad = summary.files - summary.online
    if bad:
        raise Incomplete(f"{bad} of {counted(summary.files, 'file')} of {name} cannot be used")


def list_datasets(
    pattern: Annotated[
        str, typer.Argument(metavar="PATTERN", help="A shell pattern, like 'run7*'; default: all.")
    ] = "",
    group: Annotated[str, typer.Option("--group", metavar="NAME", help="Of one group.")] = "",
    config: ConfigOption = None,
    redirector: RedirectorOption = "",
    as_json: JsonOption = False,
) -> None:
    """Show the datasets there are, and how much of each group's quota they take."""
    found = with_site(config, redirector, lambda site: site.datasets.list(pattern, group=group))
    if as_json:
        say_json(found)
        return
    from common import wording

    say_table(
        ("dataset", "files", "online", "size", "entries", "verified", "group", "owner"),
        [
            (
                row.name,
                row.files,
                row.online,
                wording.size(row.bytes_known),
                f"{row.entries_known:,}",
                moment(row.verified_unix_s),
                row.group,
                row.owner,
            )
            for row in found.datasets
        ],
        right="files online size entries",
    )
    for quota in found.groups:
        limit = f" of {wording.size(quota.quota_bytes)}" if quota.quota_bytes else ""
        say(f"group {quota.group}: {wording.size(quota.registered_bytes)}{limit} registered")


def show(
    name: DatasetArgument,
    files: Annotated[bool, typer.Option("--files", help="Every file, as last verified.")] = False,
    config: ConfigOption = None,
    redirector: RedirectorOption = "",
    as_json: JsonOption = False,
) -> None:
    """Show one dataset, as it was last verified."""

    async def work(site: AsyncSite) -> tuple[DatasetSummary, tuple[DatasetFile, ...]]:
        summary = await site.datasets.show(name)
        return summary, await site.datasets.files(name) if files else ()

    summary, rows = with_site(config, redirector, work)
    if as_json:
        say_json({"summary": summary, "files": rows if files else None})
        return
    from common import wording

    _say_summary(summary)
    if files:
        say_table(
            ("state", "size", "entries", "lfn", "reason"),
            [
                (
                    row.state,
                    wording.size(row.size_bytes) if row.size_bytes else "-",
                    f"{row.entries:,}" if row.entries_known else "-",
                    row.lfn,
                    row.reason,
                )
                for row in rows
            ],
            right="size entries",
        )


def remove(
    name: DatasetArgument,
    config: ConfigOption = None,
    redirector: RedirectorOption = "",
    as_json: JsonOption = False,
) -> None:
    """Forget a dataset. Its files stay where they are."""
    files = with_site(config, redirector, lambda site: site.datasets.remove(name))
    if as_json:
        say_json({"name": name, "files": files})
    else:
        say(f"{name} is removed; its {counted(files, 'file')} stay")


def _say_summary(summary: DatasetSummary) -> None:
    from common import wording

    title = f": {summary.title}" if summary.title else ""
    unsized = summary.files_of_unknown_size
    unknown = f", {counted(unsized, 'file')} of unknown size" if unsized else ""
    uncounted = summary.files_of_unknown_entries
    unread = f", {counted(uncounted, 'file')} not counted" if uncounted else ""
    say(f"{summary.name}{title}")
    say(f"files     {summary.files:,}: {_states(summary)}")
    say(f"size      {wording.size(summary.bytes_known)}{unknown}")
    tree = f" in {summary.tree}" if summary.tree else ""
    say(f"entries   {summary.entries_known:,}{tree}{unread}")
    say(f"verified  {moment(summary.verified_unix_s)}")


def _states(summary: DatasetSummary) -> str:
    states = ("online", "staging", "nearline", "missing", "corrupt", "failed")
    counts = [(getattr(summary, state), state) for state in states]
    return ", ".join(f"{count} {state}" for count, state in counts if count) or "not verified"
