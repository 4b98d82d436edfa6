"""`packhorse purge`: what would be purged now, and what another policy would have kept."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from common.errors import NotFound, UsageError
from packhorse.cli.options import ConfigOption, JsonOption, RedirectorOption, size
from packhorse.cli.output import say, say_json, say_table
from packhorse.cli.running import load_config, with_site

if TYPE_CHECKING:
    from dataserver.replaying import Replay
    from packhorse.values import PurgePlan

PANEL = "Site"
SHOWN_VERDICTS = 1000


def register(app: typer.Typer) -> None:
    """Adds the commands of this group."""
    group = typer.Typer(
        invoke_without_command=True, help="Show what would be purged, or would have been."
    )
    group.callback()(purge)
    group.command()(replay)
    app.add_typer(group, name="purge", rich_help_panel=PANEL)


def purge(
    context: typer.Context,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Show what would go or stay, and why. Required, unless a command follows.",
        ),
    ] = False,
    node: Annotated[
        str, typer.Option("--node", metavar="NODE", help="One data server; default: all.")
    ] = "",
    to: Annotated[
        int,
        typer.Option(
            "--to",
            parser=size,
            show_default=False,
            metavar="SIZE",
            help="Down to so much; 0: to the low watermark.",
        ),
    ] = 0,
    limit: Annotated[
        int, typer.Option("--limit", min=1, metavar="N", help="Rows for each data server.")
    ] = SHOWN_VERDICTS,
    config: ConfigOption = None,
    redirector: RedirectorOption = "",
    as_json: JsonOption = False,
) -> None:
    """Show what each data server's next purge would take; nothing is purged.

    Data servers purge by themselves, above their high watermark. To drop certain files
    now, see `packhorse evict`. With a command, look at what was purged before.
    """
    if context.invoked_subcommand is not None:
        return
    if not dry_run:
        raise typer.BadParameter(
            "data servers purge by themselves; only --dry-run is possible here. "
            "To drop certain files now, use: packhorse evict LFN..."
        )
    plans = with_site(
        config,
        redirector,
        lambda site: site.purge_plan(node, target_bytes=to, limit=limit),
    )
    if as_json:
        say_json(plans)
        return
    for plan in plans:
        _say_plan(plan)


def replay(
    policies: Annotated[
        list[str] | None,
        typer.Option(
            "--policy", metavar="POLICY", help="One to try; may be given again. Default: all."
        ),
    ] = None,
    quota: Annotated[
        int,
        typer.Option(
            "--quota",
            parser=size,
            show_default=False,
            metavar="SIZE",
            help="As if the pool had this one; default: its own.",
        ),
    ] = 0,
    max_files: Annotated[
        int | None,
        typer.Option(
            "--max-files",
            min=0,
            metavar="N",
            help="As if it had this limit; 0: none. Default: its own.",
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option("--name", metavar="NAME", help="Which data server, if the file has several."),
    ] = None,
    log: Annotated[
        Path | None,
        typer.Option(
            "--log",
            metavar="DIR",
            help="Where the log lies. Default: in the pool, on this machine.",
        ),
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Play a pool's access log again: what other policies or quotas would have kept.

    Says for each how often what was wanted was here, and how much had to be recalled again
    because it had been purged. What was open, pinned or not yet archived, and what a purge
    command said, is not in a log, and left out.
    """
    from common.config.check import node_name
    from dataserver.core.policies import POLICIES
    from dataserver.replaying import replay_log

    loaded = load_config(config)
    server = loaded.site.dataservers[node_name(loaded, name)]
    for policy in policies or ():
        if policy not in POLICIES:
            raise UsageError(f"--policy {policy} is none of {', '.join(POLICIES)}")
    folder = log if log is not None else server.pool / ".packhorse"
    groups = loaded.site.redirector.groups if loaded.site.redirector is not None else {}
    found = replay_log(
        folder,
        server,
        groups,
        list(dict.fromkeys(policies or POLICIES)),
        quota_bytes=quota or server.quota,
        max_files=server.max_files if max_files is None else max_files,
    )
    if found is None:
        raise NotFound(
            f"there is no access log in {folder}; it is kept if `access_log` is above 0, and "
            "written every half minute"
        )
    if as_json:
        say_json(found)
    else:
        _say_replay(found)


def _say_replay(found: Replay) -> None:
    from common import wording
    from packhorse.cli.output import moment

    say(
        f"{found.lines:,} lines from {moment(found.from_unix_s)} to {moment(found.to_unix_s)}; "
        f"played again with a quota of {wording.size(found.quota_bytes)}"
    )
    say_table(
        (
            "policy",
            "wanted",
            "wanted-bytes",
            "hits",
            "recalled",
            "bytes",
            "again",
            "again-bytes",
            "purged",
            "refused",
        ),
        [
            (
                name,
                f"{one.wanted:,}",
                wording.size(one.wanted_bytes),
                f"{one.hit_rate:.1%}",
                f"{one.recalled:,}",
                wording.size(one.recalled_bytes),
                f"{one.recalled_again:,}",
                wording.size(one.recalled_again_bytes),
                f"{one.purged:,}",
                f"{one.refused:,}",
            )
            for name, one in (("(as it was)", found.as_it_was), *found.outcomes.items())
        ],
        right="wanted wanted-bytes hits recalled bytes again again-bytes purged refused",
    )


def _say_plan(plan: PurgePlan) -> None:
    from common import wording
    from common.units import format_duration

    say(f"{plan.node}: {plan.problem or plan.summary}")
    if plan.verdicts:
        say_table(
            ("verdict", "size", "unused", "lfn", "why"),
            [
                (
                    "goes" if row.goes else "stays",
                    wording.size(row.size_bytes),
                    format_duration(row.unused_s),
                    row.lfn,
                    row.why,
                )
                for row in plan.verdicts
            ],
            right="size unused",
        )
    say()
