"""What people do with a site: they stage, pin, write, read, change their minds.

They spell names as people do, and come in by doors that put the spelling right. What they
were promised is remembered here, for the checks.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from common import names
from common.errors import PackhorseError
from redirector.core import events as head_ev
from redirector.core import instructions as head_do
from tests.simulation.broken import PromiseBroken

if TYPE_CHECKING:
    from tests.simulation.cluster.site import Site

ASK_AGAIN_S = 2.0


class Clients:
    """All clients of a site."""

    def __init__(self, site: Site) -> None:
        self.site = site
        #: Directories that clients were told are there.
        self.directories: set[str] = set()
        #: (LFN, owner) → when a pin that somebody was told of ends, by the head's clock.
        self.pins: dict[tuple[str, str], float] = {}
        #: (node, LFN) → content: what clients were told is kept, and nobody removed since.
        self.kept: dict[tuple[str, str], str] = {}
        #: (node, LFN) that clients asked to remove or to write anew, and did not hear of yet.
        self.changing: set[tuple[str, str]] = set()
        #: Idempotency keys that requests were made with.
        self.keys: set[str] = set()
        self.reads = 0
        self._numbers = itertools.count(1)

    def spell(self, lfn: str) -> str:
        """A name as somebody may write it, put right by the door it comes in by."""
        spelt = self.site.world.rng.choice(
            [lfn, lfn, lfn.replace("/", "//", 1), lfn.replace("/", "/./", 1), f"{lfn}/"]
        )
        return names.normalise(spelt)

    # --- requests ------------------------------------------------------------------

    def stage(self, lfns: list[str], *, pin_s: float = 0.0, deadline_s: float = 0.0) -> str:
        """A client asks until it is told that its request was accepted; its key."""
        world, head = self.site.world, self.site.head
        key = f"request-{next(self._numbers)}"
        self.keys.add(key)
        attempts = itertools.count(1)
        spelt = [self.spell(lfn) for lfn in lfns]
        answered = False

        def accepted(_: object) -> None:
            nonlocal answered
            answered = True

        def ask() -> None:
            if answered:
                return
            event = head_ev.StageAsked(
                f"{key}.{next(attempts)}", spelt, "client", 0, pin_s, deadline_s, key
            )
            head.ask(event, accepted)
            if world.rng.random() < 0.1:
                ask()  # Somebody in between has sent it twice.
            world.after(ASK_AGAIN_S, ask)

        world.after(0.0, ask)
        return key

    def cancel_something(self) -> None:
        """Somebody changes their mind about an accepted request."""
        waiting = self.site.head.unfinished()
        if waiting:
            self.site.head.ask(head_ev.CancelAsked(self.site.world.rng.choice(waiting)))

    def pin(self, lfn: str, lifetime_s: float) -> None:
        """Somebody pins a file."""
        head = self.site.head
        owner = f"owner-{next(self._numbers)}"

        def pinned(_: object) -> None:
            record = head.database.pins.get((lfn, owner))
            if record is None:
                raise PromiseBroken(5, f"a pin of {lfn} was promised and is not kept", lfn)
            self.pins[lfn, owner] = record.expires_unix_s

        head.ask(head_ev.PinAsked([self.spell(lfn)], owner, lifetime_s), pinned)

    # --- files -----------------------------------------------------------------------

    def read(self, lfn: str, lasts_s: float) -> None:
        """Somebody reads a file, if it is online; what they read is what was written."""
        site = self.site
        if not site.head.answers:
            return
        address = site.head.head.choose_reader(self.spell(lfn))
        if address is None:
            return
        node = site.named(address.node)

        def done(content: str | None) -> None:
            if content is None:
                return
            self.reads += 1
            tape = site.archive.find(lfn)
            if content != (tape.content if tape is not None else "") and " by " not in content:
                raise PromiseBroken(2, f"{lfn} was read, and was {content}", lfn)

        node.read(lfn, lasts_s, done)

    def write(self, lfn: str, size_bytes: int) -> None:
        """A client asks where to write a file, again and again, until it is sent somewhere.

        As a door does, it asks the archive first: what that has, nobody writes anew.
        """
        world, head, archive = self.site.world, self.site.head, self.site.archive
        host = world.rng.choice(self.site.nodes).name
        lfn = self.spell(lfn)

        def ask() -> None:
            if archive.find(lfn) is not None:
                world.tell(f"client: {lfn} is in the archive")
                return
            if head.answers and not archive.is_down:
                try:
                    address = head.head.choose_writer(lfn, size_bytes, host, (), head.now_s())
                except PackhorseError as error:
                    world.tell(f"client: {error}")
                else:
                    world.after(
                        world.delay_s(0.01), lambda: self._write(address.node, lfn, size_bytes)
                    )
                    return
            world.after(ASK_AGAIN_S, ask)

        world.after(0.0, ask)

    def _write(self, name: str, lfn: str, size_bytes: int) -> None:
        node = self.site.named(name)

        def told(is_there: bool) -> None:
            if is_there:
                self.kept[name, lfn] = node.disk.files[lfn].content
            self.changing.discard((name, lfn))

        self.changing.add((name, lfn))
        node.write(lfn, size_bytes, told)

    def remove_something(self) -> None:
        """A client removes a file it wrote."""
        if self.kept:
            name, lfn = self.site.world.rng.choice(sorted(self.kept))
            self.changing.add((name, lfn))
            del self.kept[name, lfn]
            self.site.named(name).remove(lfn)

    def make_directory(self, lfn: str) -> None:
        """A client makes a directory; what it is told is there must stay."""
        asked = head_ev.MakeDirectoryAsked(lfn, parents=True)
        self.site.head.ask(asked, lambda _: self.directories.add(lfn))

    def drain(self, name: str, lasts_s: float) -> None:
        """An admin drains a node for a while."""
        self.site.head.ask(head_ev.DrainAsked(name))
        undo = head_ev.DrainAsked(name, undo=True)
        self.site.world.after(lasts_s, lambda: self._until_done(undo))

    def _until_done(self, event: head_ev.Event) -> None:
        """Asks again while the head is down."""
        done = False

        def take(answer: object) -> None:
            nonlocal done
            done = isinstance(answer, head_do.AnswerDrain | PackhorseError)

        def ask() -> None:
            if not done:
                self.site.head.ask(event, take, take)
                self.site.world.after(1.0, ask)

        ask()
