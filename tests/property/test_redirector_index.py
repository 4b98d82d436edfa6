"""The replica index agrees with a plain dict of sets, whatever is done to both."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from common.errors import AlreadyExists, NotFound, Refused
from redirector.core.books import Books
from redirector.core.browsing import Browsing
from redirector.core.events import MakeDirectoryAsked, RemoveDirectoryAsked
from redirector.core.index import ReplicaIndex
from redirector.core.settings import HeadSettings

if TYPE_CHECKING:
    from collections.abc import Iterable

LFNS = ["/f0", "/f1", "/a/f0", "/a/f1", "/a/b/f0", "/a/b/c/d/f0", "/e/f0", "/e/f0/under"]
DIRECTORIES = ["/", "/a", "/a/b", "/a/b/c", "/a/b/c/d", "/a/x", "/a/x/y", "/e", "/e/f0", "/f0"]
NODES = [1, 2, 3]

names = st.sampled_from(LFNS)
numbers = st.sampled_from(NODES)
directories = st.sampled_from(DIRECTORIES)


def above(path: str) -> list[str]:
    """The directories a path lies in, from the top on."""
    parts = path.split("/")[1:-1]
    return ["/", *("/" + "/".join(parts[: end + 1]) for end in range(len(parts)))]


class IndexMachine(RuleBasedStateMachine):
    """The model: per node a dict of its visible files; the slots as the head uses them."""

    def __init__(self) -> None:
        super().__init__()
        self.books = Books(HeadSettings(made_directories=4), "E", random.Random(1), 0.0)
        self.index = self.books.index
        self.browsing = Browsing(self.books)
        self.model: dict[int, dict[str, int]] = {node: {} for node in NODES}
        self.slots: dict[int, list[int]] = {node: [] for node in NODES}
        self.reported: dict[int, set[str]] = {node: set() for node in NODES}
        self.made: set[str] = set()

    @rule(node=numbers)
    def begin_inventory(self, node: int) -> None:
        self.slots[node].append(self.index.open_slot(node))
        self.reported[node] = set()

    @precondition(lambda self: any(self.slots.values()))
    @rule(node=numbers, lfn=names, size_bytes=st.integers(0, 2**40), fresh=st.booleans())
    def put(self, node: int, lfn: str, size_bytes: int, fresh: bool) -> None:
        if self.slots[node]:
            online = any(lfn in files for files in self.model.values())
            # Mostly another string each time, as from the wire.
            told = "/".join(lfn.split("/")) if fresh else lfn
            assert self.index.put(self.slots[node][-1], told, size_bytes) == (not online)
            self.model[node][lfn] = size_bytes
            self.reported[node].add(lfn)

    @rule(node=numbers)
    def complete_inventory(self, node: int) -> None:
        for slot in self.slots[node][:-1]:
            self.index.close_slot(slot)
        if len(self.slots[node]) > 1:
            kept = self.reported[node]
            self.model[node] = {lfn: s for lfn, s in self.model[node].items() if lfn in kept}
        self.slots[node] = self.slots[node][-1:]

    @rule(node=numbers, lfn=names)
    def drop(self, node: int, lfn: str) -> None:
        held = self.model[node].pop(lfn, None) is not None
        assert self.index.drop(self.slots[node], lfn) == held

    @rule(node=numbers)
    def lose_node(self, node: int) -> None:
        for slot in self.slots[node]:
            self.index.close_slot(slot)
        self.slots[node] = []
        self.model[node] = {}

    @rule(limit=st.integers(1, 4))
    def sweep(self, limit: int) -> None:
        for gone in self.index.sweep(limit):
            assert gone.lfn not in self.model[gone.node]

    @rule(path=directories, parents=st.booleans())
    def make_directory(self, path: str, parents: bool) -> None:
        there = self.directories_there()
        missing = [one for one in above(path) if one not in there]
        try:
            self.browsing.make(MakeDirectoryAsked(path, parents))
        except AlreadyExists:
            assert path in there or path in self.online()
        except NotFound:
            assert missing
            assert not parents
        except Refused:
            too_many = len(self.made) + len(missing) + 1 > 4
            assert too_many or self.online().keys() & set(missing)
        else:
            assert path not in there | self.online().keys()
            self.made |= {path, *missing}

    @rule(path=directories)
    def remove_directory(self, path: str) -> None:
        there = self.directories_there()
        below = [one for one in (*there, *self.online()) if one.startswith(f"{path}/")]
        try:
            self.browsing.remove(RemoveDirectoryAsked(path))
        except NotFound:
            assert path not in there
        except Refused:
            assert below or path == "/"
        else:
            assert not below
            self.made.remove(path)

    def online(self) -> dict[str, int]:
        """Every online file, with the size that one of its holders tells."""
        return {lfn: size for files in self.model.values() for lfn, size in files.items()}

    def directories_there(self) -> set[str]:
        """Those that were made, and all that something lies in."""
        there = {"/", *self.made}
        for path in (*self.online(), *self.made):
            there.update(above(path))
        return there

    @invariant()
    def both_agree(self) -> None:
        self.index.check()
        columns = self.index.locate(LFNS, float)
        more = {(row, node) for row, node in columns.more}
        for row, lfn in enumerate(LFNS):
            holders = sorted(node for node in NODES if lfn in self.model[node])
            assert columns.holders[row] == (holders[0] if holders else 0)
            assert columns.sizes_bytes[row] == (self.model[holders[0]][lfn] if holders else 0)
            assert {node for at, node in more if at == row} == set(holders[1:])
            assert self.index.online(lfn) == bool(holders)
            assert self.index.sole_holder(lfn) in (-1, columns.holders[row])
        assert self.index.total == sum(map(len, self.model.values()))

    @invariant()
    def the_tree_agrees(self) -> None:
        there, online = self.directories_there(), self.online()
        for path in DIRECTORIES:
            assert self.browsing.is_directory(path) == (path in there), path
            listing = self.browsing.list(path)
            listed = {lfn for piece in listing.pieces for lfn in piece}
            lfns = {lfn for lfn in listed if self.index.online(lfn)}
            assert lfns == {f"{path.rstrip('/')}/{name}" for name in children(path, online)}
            assert sorted(listing.directories) == sorted(children(path, there - {"/"}))


def children(path: str, lfns: Iterable[str]) -> set[str]:
    """The last parts of those that lie in a directory itself."""
    return {lfn.rpartition("/")[2] for lfn in lfns if above(lfn)[-1] == path}


TestIndex = IndexMachine.TestCase
TestIndex.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32), favoured=st.sampled_from(["oldest", "latest", "any"]))
def test_a_large_directory_keeps_pace_with_what_comes_and_goes(seed: int, favoured: str) -> None:
    rng = random.Random(seed)
    index = ReplicaIndex()
    slot = index.open_slot(1)
    held: list[str] = []
    for number in range(3_000):
        lfn = f"/store/f{rng.randrange(1500)}"
        if rng.random() < 0.55:
            index.put(slot, lfn, number)
            held = [one for one in held if one != lfn] + [lfn]
        elif held:
            place = {"oldest": 0, "latest": -1, "any": rng.randrange(len(held))}[favoured]
            index.drop([slot], held.pop(place))
        if not number % 100:
            index.check()
    index.check()
    store = index.directories.find("/store")
    assert store is not None
    assert sorted(lfn for lfn, _size in index.sizes_of(store.names())) == sorted(held)
    for lfn in held:
        index.drop([slot], lfn)
    assert index.directories.find("/store") is None
    index.check()
