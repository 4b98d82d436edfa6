"""Taking over a changed configuration file while servers run, without losing anything.

Each server names the keys of its table that can change while it runs, and is handed the new
values of those. A change of any other key is named, and waits for a restart. A file with a
mistake in it changes nothing at all.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

from common.config.load import load
from common.config.places import dotted
from common.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from common.config.lines import KeyPath
    from common.config.load import LoadedConfig
    from common.config.model import SiteConfig, Table

log = logging.getLogger(__name__)

SomeTable = TypeVar("SomeTable", bound="Table")

#: Tables that every server reads, and none can take over while it runs.
_SHARED: Final = (("mss",), ("root",))


@dataclass(frozen=True, slots=True)
class Part:
    """A server of this process: its table, and which of its keys can change while it runs.

    The keys of inner tables, as of `[redirector.groups.NAME]`, are written `groups.quota`.
    """

    table: KeyPath
    live: frozenset[str]
    #: Is handed the new configuration, of which it takes over those keys and no others.
    take_over: Callable[[SiteConfig], None]
    #: Keys of other tables, with these, that it reads when it starts.
    reads: frozenset[tuple[KeyPath, str]] = frozenset()


class Reloading:
    """The configuration that is in force in this process."""

    def __init__(self, loaded: LoadedConfig, parts: Sequence[Part]) -> None:
        self._path = loaded.path
        self._parts = parts
        self._in_force = dict(loaded.values())

    def reload(self) -> None:
        """Reads the file again and says, in the log, what of it is in force now, and what is not."""
        try:
            loaded = load(self._path)
        except ConfigError as error:
            log.error("the configuration was not reloaded, and nothing has changed: %s", error)
            return
        wanted = dict(loaded.values())
        # A server whose table is gone goes on as it is.
        parts = [part for part in self._parts if any(_is_in(key, part.table) for key in wanted)]
        changed = [key for key in self._keys(wanted) if self._differs(key, wanted)]
        live = [key for key in changed if any(_is_live(key, part) for part in parts)]
        for part in parts:
            if any(_is_in(key, part.table) for key in live):
                part.take_over(loaded.site)
        for key in live:
            self._put_in_force(key, wanted)
        self._tell(live, [key for key in changed if key not in live], wanted)

    # --- inside -------------------------------------------------------------

    def _keys(self, wanted: Mapping[KeyPath, Any]) -> list[KeyPath]:
        """The keys of this process's tables, in the file or in force."""
        tables = [*_SHARED, *(part.table for part in self._parts)]
        reads = [one for part in self._parts for one in part.reads]
        return [
            key
            for key in dict.fromkeys([*self._in_force, *wanted])
            if any(_is_in(key, table) for table in tables)
            or any(_is_in(key, table) and _name(key, table) == name for table, name in reads)
        ]

    def _differs(self, key: KeyPath, wanted: Mapping[KeyPath, Any]) -> bool:
        # An inner table that is not there is the same as one that says nothing.
        return (self._in_force.get(key) or None) != (wanted.get(key) or None)

    def _put_in_force(self, key: KeyPath, wanted: Mapping[KeyPath, Any]) -> None:
        if key in wanted:
            self._in_force[key] = wanted[key]
        else:
            del self._in_force[key]

    def _tell(
        self, live: Sequence[KeyPath], later: Sequence[KeyPath], wanted: Mapping[KeyPath, Any]
    ) -> None:
        if not live and not later:
            log.info("configuration reloaded: nothing has changed")
        if live:
            now = ", ".join(f"{dotted(key)} is {wanted.get(key, 'gone')}" for key in live)
            log.info("configuration reloaded, in force now: %s", now)
        if later:
            names = ", ".join(map(dotted, later))
            log.warning("configuration reloaded, but in force only after a restart: %s", names)


def taken_over(old: SomeTable, new: SomeTable, live: Collection[str]) -> SomeTable:
    """A table of which only the `live` keys are new; inner tables as a whole."""
    fields = {key.partition(".")[0] for key in live}
    return old.model_copy(update={field: getattr(new, field) for field in fields})


def _name(key: KeyPath, table: KeyPath) -> str:
    """A key of a table without the names of inner tables: `quota`, `groups.quota`."""
    inner = key[len(table) :]
    return str(inner[0]) if len(inner) == 1 else f"{inner[0]}.{inner[-1]}"


def _is_live(key: KeyPath, part: Part) -> bool:
    return _is_in(key, part.table) and _name(key, part.table) in part.live


def _is_in(key: KeyPath, table: KeyPath) -> bool:
    return key[: len(table)] == table
