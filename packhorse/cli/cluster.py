"""`packhorse status | nodes | forget`: the site as its admin sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from packhorse.cli.options import ConfigOption, JsonOption, RedirectorOption
from packhorse.cli.output import counted, say, say_json, say_table, share
from packhorse.cli.running import with_site

if TYPE_CHECKING:
    from packhorse.values import NodeStatus, SiteStatus

PANEL = "Site"


def register(app: typer.Typer) -> None:
    """Adds the commands of this group."""
    for command in (status, nodes, forget):
        app.command(rich_help_panel=PANEL)(command)


def status(
    stuck: Annotated[
        bool, typer.Option("--stuck", help="Only what makes no progress, and why; else nothing.")
    ] = False,
    config: ConfigOption = None,
    redirector: RedirectorOption = "",
    as_json: JsonOption = False,
) -> None:
    """Show the whole site in one look: space, recalls, nodes, and what is stuck."""
    found = with_site(config, redirector, lambda site: site.status())
    if as_json:
        say_json({"stuck": found.stuck} if stuck else found)
        return
    if stuck:
        for line in found.stuck:
            say(line)
        return
    _say_status(found)
    say()
    _say_nodes(found.nodes)


def nodes(
    config: ConfigOption = None, redirector: RedirectorOption = "", as_json: JsonOption = False
) -> None:
    """Show every data server: its state, space, load, and what a new recall would wait for."""
    found = with_site(config, redirector, lambda site: site.nodes())
    if as_json:
        say_json(found)
    else:
        _say_nodes(found)


def forget(
    node: Annotated[str, typer.Argument(metavar="NODE", help="A data server's name.")],
    config: ConfigOption = None,
    redirector: RedirectorOption = "",
    as_json: JsonOption = False,
) -> None:
    """Forget a data server that is gone for good, or whose pool was replaced by another one.

    Until then no other pool can take its name: an empty pool is more often a disk that is
    not mounted than a new one.
    """
    with_site(config, redirector, lambda site: site.forget(node))
    if as_json:
        say_json({"node": node})
    else:
        say(f"{node} is forgotten")


def _say_status(found: SiteStatus) -> None:
    from common import wording
    from common.units import format_duration

    usable = f"{wording.size(found.available_bytes)} of {wording.size(found.quota_bytes)} available"
    say(f"redirector   version {found.version}, up {format_duration(found.uptime_s)}")
    say(f"packetizers  {', '.join(found.packetizers) or 'none'}")
    say(f"pools        {counted(found.replicas, 'replica')}, {usable}")
    say(
        f"recalls      {found.recalls_running} running, {found.recalls_queued} queued, "
        f"{found.recalls_done} done, {found.recalls_failed} failed"
    )
    say(f"requests     {found.requests_active} active")
    _say_stores(found.nodes)
    for line in found.stuck:
        say(f"stuck        {line}")


def _say_stores(nodes: tuple[NodeStatus, ...]) -> None:
    """What the archive does not have yet, if there is anything."""
    from common import wording
    from common.units import format_duration

    loads = [node.load for node in nodes if node.load.unarchived_files]
    if not loads:
        return
    waiting = sum(load.stores_waiting for load in loads)
    kept = sum(load.unarchived_files for load in loads) - waiting
    size = wording.size(sum(load.stores_waiting_bytes for load in loads))
    oldest = format_duration(max(load.stores_oldest_s for load in loads))
    parts = [f"{counted(waiting, 'file')} ({size}) to store in the archive"]
    if waiting:
        parts.append(f"the oldest written {oldest} ago")
    if failed := sum(load.stores_failed for load in loads):
        parts.append(f"{failed} failed for good")
    if kept:
        parts.append(f"{counted(kept, 'other')} kept in the pools only")
    say(f"stores       {', '.join(parts)}")


def _say_nodes(found: tuple[NodeStatus, ...]) -> None:
    from common import wording
    from common.units import format_duration

    say_table(
        (
            "node",
            "state",
            "host",
            "used",
            "quota",
            "full",
            "files",
            "recalls",
            "cpu",
            "wait",
            "note",
        ),
        [
            (
                node.address.node,
                f"{node.state}, draining" if node.draining else node.state,
                node.address.host,
                wording.size(node.load.used_bytes),
                wording.size(node.load.quota_bytes),
                share(node.load.used_bytes + node.load.reserved_bytes, node.load.quota_bytes),
                f"{node.load.files:,}",
                f"{node.load.recalls_running}+{node.load.recalls_waiting}",
                f"{node.load.cpu_percent:.0f}%",
                format_duration(node.cost_s),
                node.load.trouble,
            )
            for node in sorted(found, key=lambda node: node.address.node)
        ],
        right="used quota full files recalls cpu wait",
    )
