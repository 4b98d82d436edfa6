"""`packhorse up | redirector | dataserver | packetizer | worker`: what keeps running."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from common.errors import ConfigError
from packhorse.cli.options import ConfigOption, RedirectorOption, duration, size
from packhorse.cli.running import load_config
from packhorse.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable

    from common.config.check import Role
    from common.config.load import LoadedConfig
    from common.config.model import DataServerConfig, SiteConfig
    from common.config.reloading import Part
    from common.service import Service

PANEL = "Servers"


def register(app: typer.Typer) -> None:
    """Adds the commands of this group."""
    for command in (up, redirector, dataserver, packetizer, worker):
        app.command(rich_help_panel=PANEL)(command)


def up(config: ConfigOption = None) -> None:
    """Run every server of the configuration in one process.

    For a site on one machine. Each server prints one JSON line to stdout once it is ready;
    logs go to stderr. Ctrl-C or SIGTERM stops them.
    """
    loaded = load_config(config)
    site = loaded.site
    servers: list[_Server] = []
    if site.redirector is not None:
        servers.append(_redirector(loaded))
    many = len(site.dataservers) > 1
    servers += [_dataserver(loaded, name, waits=many) for name in site.dataservers]
    if site.packetizer is not None:
        servers.append(_packetizer(loaded))
    if not servers:
        raise ConfigError(f"{loaded.path}: there is no server in it to run")
    _run(loaded, *servers)


def redirector(config: ConfigOption = None) -> None:
    """Run the redirector: where every file is, and who stages the next one."""
    loaded = load_config(config)
    _run(loaded, _redirector(loaded))


def dataserver(
    config: ConfigOption = None,
    name: Annotated[
        list[str] | None,
        typer.Option(
            "--name",
            metavar="NAME",
            help="Which one, if the file has several; again for each disk of this machine.",
        ),
    ] = None,
) -> None:
    """Run a data server: one pool, its bytes, its purge, its stage commands.

    A machine with several disks has one for each, all in one process.
    """
    loaded = load_config(config)
    from common.config.check import node_name

    names = list(dict.fromkeys(node_name(loaded, one) for one in name or ())) or [
        node_name(loaded, None)
    ]
    _run(loaded, *(_dataserver(loaded, one, waits=len(names) > 1) for one in names))


def packetizer(config: ConfigOption = None) -> None:
    """Run the packetizer: which worker does which part of which file."""
    loaded = load_config(config)
    _run(loaded, _packetizer(loaded))


def worker(
    config: ConfigOption = None,
    redirector: RedirectorOption = "",
    workers: Annotated[
        int | None,
        typer.Option("--workers", metavar="N", min=1, help="How many; default: one per core."),
    ] = None,
    host: Annotated[
        str,
        typer.Option(
            "--host",
            metavar="LABEL",
            help="Host label: files on a data server with the same one are read by path. "
            "Default: PACKHORSE_HOST, or this machine's name.",
        ),
    ] = "",
    rack: Annotated[str, typer.Option("--rack", metavar="LABEL", help="A wider label.")] = "",
    site: Annotated[str, typer.Option("--site", metavar="LABEL", help="A still wider one.")] = "",
    session: Annotated[
        str,
        typer.Option("--session", metavar="ID", help="Serve this session only, and end with it."),
    ] = "",
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
    patience: Annotated[
        float,
        typer.Option(
            "--patience",
            parser=duration,
            show_default=False,
            metavar="DURATION",
            help="Give up when the packetizer is out of reach for so long; 0: never.",
        ),
    ] = 0.0,
) -> None:
    """Run workers here: they pull packets of any session, until they are stopped."""
    from packhorse.aio.processing import usable_cores
    from packhorse.finding import find_site
    from packhorse.worker import run_workers, worker_options

    found = find_site(config, redirector)
    label = host or os.environ.get("PACKHORSE_HOST", "")
    options = worker_options(
        found.redirector,
        workers=usable_cores() if workers is None else workers,
        hosts=[label] if label else [],
        rack=rack,
        site=site,
        session_id=session,
        memory_bytes=memory,
        patience_s=patience,
    )
    held = bool(os.environ.get("PACKHORSE_EXIT_WITH_PARENT"))
    raise typer.Exit(run_workers(options, end_with_parent=held))


#: A server to run, and what of its configuration can change while it runs.
_Server = tuple["Service", "Part"]


def _run(loaded: LoadedConfig, *servers: _Server) -> None:
    from common.config.reloading import Reloading

    reloading = Reloading(loaded, [part for _service, part in servers])
    _serve(*(service for service, _part in servers), reload=reloading.reload)


def _serve(*services: Service, reload: Callable[[], None]) -> None:
    from common.service import run_service

    raise typer.Exit(run_service(*services, reload=reload))


def _redirector(loaded: LoadedConfig) -> _Server:
    _check(loaded, "redirector")
    from common.config.reloading import Part
    from redirector.service import RedirectorService

    service = RedirectorService(loaded.site, version=__version__)

    def take_over(site: SiteConfig) -> None:
        assert site.redirector is not None, "only keys of tables that are there are taken over"
        service.reconfigure(site.redirector)

    return service, Part(("redirector",), service.LIVE, take_over)


def _dataserver(loaded: LoadedConfig, name: str, *, waits: bool) -> _Server:
    _check(loaded, "dataserver", name, waits=waits)
    from common.config.reloading import Part
    from dataserver.keeper import KeptDataServer
    from dataserver.service import DataServerService

    site = loaded.site
    groups = site.redirector.groups if site.redirector is not None else {}

    def make(config: DataServerConfig) -> DataServerService:
        return DataServerService(
            config,
            site.mss,
            site.name_map(),
            root=site.root,
            groups=groups,
            version=__version__,
        )

    kept = KeptDataServer(site.dataservers[name], make, waits=waits)
    part = Part(
        loaded.nodes[name],
        DataServerService.LIVE,
        lambda site: kept.reconfigure(site.dataservers[name]),
        frozenset({(("redirector",), "groups.share"), (("redirector",), "groups.paths")}),
    )
    return kept, part


def _packetizer(loaded: LoadedConfig) -> _Server:
    _check(loaded, "packetizer")
    from common.config.reloading import Part
    from packetizer.service import PacketizerService

    service = PacketizerService(loaded.site)

    def take_over(site: SiteConfig) -> None:
        assert site.packetizer is not None, "only keys of tables that are there are taken over"
        service.reconfigure(site.packetizer)

    return service, Part(("packetizer",), service.LIVE, take_over)


def _check(
    loaded: LoadedConfig, role: Role, name: str | None = None, *, waits: bool = False
) -> None:
    """Raises ConfigError with all that keeps the role from starting on this machine."""
    from common.config.check import check_for_role

    problems = check_for_role(loaded, role, name, waits=waits)
    if problems:
        raise loaded.error(problems)
