"""A data server's node without a shell: events are fed to it, and it is checked after each."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from dataserver.core import events as ev
from dataserver.core.node import Node
from dataserver.core.policies import LRU
from dataserver.core.pool import Pool
from dataserver.core.replica import Found, Limits

if TYPE_CHECKING:
    from dataserver.core.events import Event
    from dataserver.core.instructions import Instruction
    from dataserver.core.policies import PurgePolicy
    from dataserver.core.stores import StoreRules

Kind = TypeVar("Kind")


class Driven:
    """A node whose invariants are checked after every event."""

    def __init__(
        self,
        quota_bytes: int = 1000,
        *,
        max_files: int = 0,
        slots: int = 2,
        examines: bool = False,
        asks: bool = False,
        policy: PurgePolicy = LRU,
        found: list[Found] | None = None,
        store_rules: StoreRules | None = None,
        withdraws: bool = False,
    ) -> None:
        pool = Pool(Limits.of(quota_bytes, max_files, 0.9, 0.5))
        pool.load(found or [])
        self.node = Node(
            pool,
            slots=slots,
            examines=examines,
            policy=policy,
            asks_purge_command=asks,
            store_rules=store_rules,
            withdraws=withdraws,
        )
        self.now_s = 1000.0

    def __call__(self, event: Event) -> list[Instruction]:
        done = self.node.handle(event, self.now_s)
        self.node.check()
        return done

    def welcome(self, lease_s: float = 60.0) -> None:
        self(ev.Welcomed(lease_s, self.now_s))
        self(ev.PinsOrdered((), complete=True))

    def order(
        self, lfn: str, size_bytes: int | None = 100, reserve_bytes: int = 0
    ) -> list[Instruction]:
        return self(ev.RecallOrdered(f"r{lfn}", lfn, size_bytes, reserve_bytes=reserve_bytes))

    def stage(self, lfn: str, size_bytes: int = 100) -> None:
        self.order(lfn, size_bytes)
        self(ev.Copied(f"r{lfn}", size_bytes))
        self(ev.Verified(f"r{lfn}", size_bytes, None))
        self(ev.Published(f"r{lfn}"))


def only(done: list[Instruction], kind: type[Kind]) -> Kind:
    assert len(done) == 1, done
    assert isinstance(done[0], kind), done
    return done[0]


def of_kind(done: list[Instruction], kind: type[Kind]) -> list[Kind]:
    return [one for one in done if isinstance(one, kind)]


def files(count: int, size_bytes: int = 100) -> list[Found]:
    return [Found(f"/old{number}", size_bytes, float(number)) for number in range(count)]
