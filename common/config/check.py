"""Whether this machine is as a role's table says: directories, commands, addresses.

`load` only reads the file, which may describe other machines too. What is asked
here is asked on the machine that runs the role: by the server when it starts,
and by `packhorse config check`.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from common.config.places import Problem
from common.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from common.config.lines import KeyPath
    from common.config.load import LoadedConfig
    from common.config.model import DataServerConfig, SiteConfig

Role = Literal["redirector", "dataserver", "packetizer"]
ROLES: tuple[Role, ...] = ("redirector", "dataserver", "packetizer")


#: The keys of [mss] that hold commands.
COMMANDS: Final = (
    "stagecmd",
    "statcmd",
    "listcmd",
    "hintcmd",
    "storecmd",
    "removecmd",
    "submitcmd",
    "pollcmd",
    "cancelcmd",
    "releasecmd",
)


def check_for_role(
    config: LoadedConfig, role: Role, node: str | None = None, *, waits: bool = False
) -> list[Problem]:
    """What keeps a role from starting here; empty if nothing does.

    `node` names one data server; without it every one of the file is looked at. A data server
    that `waits` for its disk starts without it.
    Raises ConfigError if the file has no such role.
    """
    site = config.site
    if role == "dataserver":
        names = list(site.dataservers) if node is None else [node_name(config, node)]
        if not names:
            raise ConfigError(f"{config.path}: there is no [dataserver] table")
        found = [
            problem
            for name in names
            for problem in _check_node(config.nodes[name], site.dataservers[name], waits=waits)
        ]
        return [*_check_commands(site), *found]
    table = site.redirector if role == "redirector" else site.packetizer
    if table is None:
        raise ConfigError(f"{config.path}: there is no [{role}] table")
    return list(_check_state((role, "state"), table.state))


def node_name(config: LoadedConfig, name: str | None) -> str:
    """The NAME of the data server meant: the only one, or the one of that name.

    Raises ConfigError if there is none, or several to choose from.
    """
    nodes = config.site.dataservers
    known = ", ".join(nodes) or "none"
    if name is None and len(nodes) == 1:
        return next(iter(nodes))
    if name is None:
        raise ConfigError(f"{config.path}: which data server is meant? There are: {known}")
    for table, node in nodes.items():
        if name in {table, node.name}:
            return table
    raise ConfigError(f'{config.path}: there is no data server "{name}"; there are: {known}')


def _check_node(path: KeyPath, node: DataServerConfig, *, waits: bool) -> Iterator[Problem]:
    if not waits:
        yield from _check_pool((*path, "pool"), node)
    if node.purgecmd is not None:
        yield from _check_program((*path, "purgecmd"), node.purgecmd[0])


def _check_pool(key: KeyPath, node: DataServerConfig) -> Iterator[Problem]:
    if not node.pool.exists():
        yield Problem(key, f"{node.pool} does not exist; is its disk mounted? It is not made here")
    elif not node.pool.is_dir():
        yield Problem(key, f"{node.pool} is not a directory")
    elif not os.access(node.pool, os.R_OK | os.W_OK | os.X_OK):
        yield Problem(key, f"{node.pool} cannot be written to by this user")


def _check_commands(site: SiteConfig) -> Iterator[Problem]:
    for key in COMMANDS:
        command = getattr(site.mss, key)
        if isinstance(command, list):
            yield from _check_program(("mss", key), command[0])
    for key in ("credential_files", "credential_contents"):
        for name, path in getattr(site.mss, key).items():
            if not path.is_file():
                yield Problem(("mss", key, name), f"{path} is not a file that is there")
            elif not os.access(path, os.R_OK):
                yield Problem(("mss", key, name), f"{path} cannot be read by this user")


def _check_program(key: KeyPath, program: str) -> Iterator[Problem]:
    if shutil.which(program) is not None:
        return
    if "/" not in program:
        yield Problem(
            key, f"there is no program {program!r} on PATH ({os.environ.get('PATH', '')})"
        )
    elif not Path(program).exists():
        yield Problem(key, f"{program} does not exist")
    elif Path(program).is_dir():
        yield Problem(key, f"{program} is a directory")
    else:
        yield Problem(key, f"{program} is not executable; chmod +x would make it so")


def _check_state(key: KeyPath, state: Path) -> Iterator[Problem]:
    """The directory must be there, or possible to make, and writable."""
    if state.exists() and not state.is_dir():
        yield Problem(key, f"{state} is not a directory")
        return
    nearest = next(path for path in (state, *state.parents) if path.exists())
    if not nearest.is_dir():
        yield Problem(key, f"{state} cannot be made: {nearest} is not a directory")
    elif not os.access(nearest, os.W_OK | os.X_OK):
        verb = "written to" if nearest == state else f"made in {nearest}"
        yield Problem(key, f"{state} cannot be {verb} by this user")
