"""Reading a site's TOML file, and telling every mistake in it at once."""

from __future__ import annotations

import os
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import ValidationError

from common.config.cross import cross_check
from common.config.derive import fill_in
from common.config.environment import apply_environment
from common.config.explain import problems_of, unknown_key
from common.config.lines import KeyPath, find_lines
from common.config.model import (
    DataServerConfig,
    MssConfig,
    PacketizerConfig,
    RedirectorConfig,
    RootConfig,
    SiteConfig,
    Table,
)
from common.config.places import Places, Problem, dotted
from common.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

TABLES = ("mss", "redirector", "dataserver", "packetizer", "root")
SomeTable = TypeVar("SomeTable", bound=Table)


@dataclass(frozen=True, slots=True)
class LoadedConfig:
    """A site's configuration, and where each of its values came from.

    `nodes` are the key paths of the data servers' tables by their NAME:
    `("dataserver", "disk1")`, or just `("dataserver",)` for a single one.
    """

    path: Path
    site: SiteConfig
    places: Places
    nodes: dict[str, KeyPath]

    @property
    def origins(self) -> dict[str, str]:
        """For every key, such as `dataserver.disk1.quota`: default, FILE:LINE or variable."""
        return {dotted(key): self.places.origin(key) for key, _ in self.values()}

    def values(self) -> Iterator[tuple[KeyPath, Any]]:
        """Every effective value, written as TOML would have it (`"500GB"`); None if unset."""
        tables: list[tuple[KeyPath, Table | None]] = [
            (("mss",), self.site.archive),
            (("redirector",), self.site.redirector),
            *((path, self.site.dataservers[name]) for name, path in self.nodes.items()),
            (("packetizer",), self.site.packetizer),
            (("root",), self.site.root),
        ]
        for path, table in tables:
            if table is not None:
                yield from _leaves(path, table.model_dump(mode="json", exclude_none=False))

    def error(self, problems: Sequence[Problem]) -> ConfigError:
        """All problems, each with its place in the file, in one error."""
        return self.places.error(problems)


def load(path: str | os.PathLike[str], env: Mapping[str, str] = os.environ) -> LoadedConfig:
    """Reads the file and the overrides in the environment; raises ConfigError with all mistakes."""
    file = Path(path)
    raw, places = _parse(file)
    problems = apply_environment(raw, env, places)
    nodes = _split_nodes(raw, problems)
    fill_in(raw, nodes, places)
    reader = _Reader(problems)
    mss = reader.table(raw, "mss", MssConfig)
    redirector = reader.table(raw, "redirector", RedirectorConfig)
    packetizer = reader.table(raw, "packetizer", PacketizerConfig)
    root = reader.read(("root",), raw.get("root", {}), RootConfig)
    servers = {
        path: server
        for path, node in nodes.items()
        if (server := reader.read(path, node, DataServerConfig)) is not None
    }
    problems += [Problem((key,), unknown_key(key, TABLES)) for key in raw if key not in TABLES]
    if "mss" not in raw and ("redirector" in raw or nodes):
        problems.append(Problem((), "there is no [mss] table: what is the archive, and its names?"))
    problems += cross_check(mss, redirector, servers, packetizer)
    if problems:
        # A default taken from a mistaken key is mistaken too, which helps nobody to know.
        written = [problem for problem in problems if not places.is_derived(problem.key)]
        raise places.error(written or problems)
    assert root is not None, "what is wrong with a table is a problem"
    by_name = {path[1] if len(path) == 2 else server.name: path for path, server in servers.items()}
    site = SiteConfig(
        mss=mss,
        redirector=redirector,
        dataservers={str(name): servers[path] for name, path in by_name.items()},
        packetizer=packetizer,
        root=root,
    )
    return LoadedConfig(file, site, places, {str(name): path for name, path in by_name.items()})


def _parse(file: Path) -> tuple[dict[str, Any], Places]:
    """The file as tomllib reads it, and the lines of its keys."""
    try:
        text = file.read_bytes().decode()
        raw = tomllib.loads(text)
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ConfigError(f"{file}:{line}: is not UTF-8 text") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(_syntax_error(file, str(error))) from None
    return raw, Places(str(file), find_lines(text.replace("\r\n", "\n")))


class _Reader:
    """Reads tables one by one and collects what is wrong with them."""

    def __init__(self, problems: list[Problem]) -> None:
        self._problems = problems

    def table(self, raw: Mapping[str, Any], name: str, model: type[SomeTable]) -> SomeTable | None:
        """A table of the top level, or None if it is not there or not right."""
        return self.read((name,), raw[name], model) if name in raw else None

    def read(self, path: KeyPath, raw: object, model: type[SomeTable]) -> SomeTable | None:
        """One table, or None if it is not right."""
        try:
            return model.model_validate(raw)
        except ValidationError as error:
            self._problems += problems_of(error, model, path)
            return None


def _split_nodes(raw: dict[str, Any], problems: list[Problem]) -> dict[KeyPath, dict[str, Any]]:
    """The data servers' tables by their paths: one `[dataserver]`, or many `[dataserver.NAME]`."""
    if "dataserver" not in raw:
        return {}
    found = raw["dataserver"]
    if not isinstance(found, dict):
        problems.append(Problem(("dataserver",), "is not a table"))
        return {}
    tables = {name: value for name, value in found.items() if isinstance(value, dict)}
    if not tables:
        return {("dataserver",): found}
    either = "give either one [dataserver] or several [dataserver.NAME], not both"
    problems.extend(Problem(("dataserver", name), either) for name in found if name not in tables)
    return {("dataserver", name): table for name, table in tables.items()}


def _leaves(path: KeyPath, value: Any) -> Iterator[tuple[KeyPath, Any]]:
    """The values of a dumped table; those of its inner tables one by one."""
    for key, inner in value.items():
        if isinstance(inner, dict):
            yield from _leaves((*path, key), inner)
        else:
            yield (*path, key), inner


def _syntax_error(file: Path, message: str) -> str:
    """tomllib's message, with its line where all other messages have it."""
    match = re.fullmatch(r"(.*) \(at line (\d+), column (\d+)\)", message)
    if match is None:
        return f"{file}: is not TOML: {message}"
    return f"{file}:{match[2]}: is not TOML: {match[1]}, at column {match[3]}"
