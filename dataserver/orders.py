"""What the redirector orders, done: events for the core, or work that ends in an answer."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from dataserver import wire, wire_stores
from dataserver.core import events, instructions
from dataserver.core.failure import Failure, FailureKind
from protos.packhorse.v1 import redirector_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Sequence

    from common.errors import PackhorseError
    from dataserver.archive import Archive
    from dataserver.catalogue import Catalogue
    from dataserver.core.store_table import StoreStanding
    from dataserver.describing import Describer
    from dataserver.engine import Engine
    from dataserver.losses import Losses
    from dataserver.purger import Purger

log = logging.getLogger(__name__)

#: Names asked of the archive before the first of them are told.
EXAMINED_AT_A_TIME: Final = 500
#: The same of files whose places on tape were asked for.
HINTS_IN_A_PIECE: Final = 2_000

#: Files a purge plan names if nobody said how many.
DEFAULT_PLAN_FILES: Final = 1_000

#: Files on their way to the archive that are named if nobody said how many.
DEFAULT_STORES: Final = 1_000


class Orders:
    """Carries out the commands of a redirector."""

    def __init__(
        self,
        engine: Engine,
        archive: Archive,
        catalogue: Catalogue,
        describer: Describer,
        purger: Purger,
        losses: Losses,
    ) -> None:
        self._engine = engine
        self._archive = archive
        self._catalogue = catalogue
        self._describer = describer
        self._purger = purger
        self._losses = losses

    def obey(
        self, command: pb.NodeCommand, answer: Callable[[pb.NodeMessage], None]
    ) -> Coroutine[Any, Any, None] | None:
        """Does what a command says, or returns the work it takes, which ends in answers.

        Raises PackhorseError for a command that makes no sense.
        """
        match command.WhichOneof("command"):
            case "start_recall":
                self._engine.post(wire.recall_ordered(command.start_recall))
            case "cancel_recall":
                cancel = command.cancel_recall
                self._engine.post(events.RecallRevoked(cancel.recall_id, cancel.reason))
            case "set_pins":
                self._engine.post(wire.pins_ordered(command.set_pins))
            case "evict":
                evict = command.evict
                self._engine.post(
                    events.EvictionOrdered(
                        evict.query_id, tuple(evict.lfns), soft=evict.soft, owner=evict.owner
                    )
                )
            case "done_with":
                self._engine.post(events.DoneWith(tuple(command.done_with.lfns)))
            case "describe":
                return self._describe(command.describe, answer)
            case "examine":
                return self._examine(command.examine, answer)
            case "list_archive":
                return self._list(command.list_archive, answer)
            case "stat_replicas":
                return self._stat(command.stat_replicas, answer)
            case "note_uses":
                self._note_uses(command.note_uses.lfns)
            case "check_replicas":
                return self._losses.check(command.check_replicas.lfns)
            case "tell_stores":
                self._tell_stores(command.tell_stores, answer)
            case "store_files":
                self._store_files(command.store_files)
            case "make_purge_plan":
                return self._plan(command.make_purge_plan, answer)
            case other:
                log.warning("%s: not understood: command %s", self._engine.name, other)
        return None

    async def _describe(
        self, said: pb.DescribeFiles, answer: Callable[[pb.NodeMessage], None]
    ) -> None:
        pieces = self._describer.describe(said.lfns, wait_for_content=said.wait_for_content)
        async for infos, not_online in pieces:
            described = pb.Described(query_id=said.query_id, files=infos, not_online=not_online)
            answer(pb.NodeMessage(described=described))
        answer(pb.NodeMessage(described=pb.Described(query_id=said.query_id, last=True)))

    async def _examine(
        self, said: pb.ExamineArchive, answer: Callable[[pb.NodeMessage], None]
    ) -> None:
        if said.hints:
            await self._hint(said, answer)
            return
        for start in range(0, len(said.lfns), EXAMINED_AT_A_TIME):
            found = await self._archive.examine(said.lfns[start : start + EXAMINED_AT_A_TIME])
            answer(wire.examined(said.query_id, found, last=False))
        answer(wire.examined(said.query_id, (), last=True))

    async def _hint(
        self, said: pb.ExamineArchive, answer: Callable[[pb.NodeMessage], None]
    ) -> None:
        found = await self._archive.hints(said.lfns)
        for start in range(0, len(found), HINTS_IN_A_PIECE):
            piece = found[start : start + HINTS_IN_A_PIECE]
            answer(wire.examined(said.query_id, piece, last=False))
        answer(wire.examined(said.query_id, (), last=True))

    async def _list(self, said: pb.ListArchive, answer: Callable[[pb.NodeMessage], None]) -> None:
        for piece in wire.listed(said.query_id, await self._archive.list_directory(said.directory)):
            answer(piece)

    async def _stat(self, said: pb.StatReplicas, answer: Callable[[pb.NodeMessage], None]) -> None:
        held = [lfn for lfn in dict.fromkeys(said.lfns) if self._engine.node.is_visible(lfn)]
        wants_sums = said.with_checksums
        for start in range(0, len(held), wire.NAMES_IN_A_PIECE):
            names = held[start : start + wire.NAMES_IN_A_PIECE]
            stats = await self._catalogue.stats(names, said.algorithm if wants_sums else None)
            answer(wire.replica_stats(said.query_id, stats, with_checksums=wants_sums))
        answer(wire.replica_stats(said.query_id, {}, last=True))

    def _tell_stores(self, said: pb.TellStores, answer: Callable[[pb.NodeMessage], None]) -> None:
        node, now_s = self._engine.node, self._engine.now_s()
        standings: Sequence[StoreStanding | None]
        if said.lfns:
            standings = [node.stores.standing(lfn, now_s) for lfn in dict.fromkeys(said.lfns)]
        else:
            limit = said.limit or DEFAULT_STORES
            standings = node.stores.standings(now_s, limit, failed_only=said.failed_only)
        for piece in wire_stores.stores(said.query_id, [one for one in standings if one]):
            answer(piece)

    def _store_files(self, said: pb.StoreFiles) -> None:
        lfns = tuple(said.lfns) or tuple(self._engine.node.stores.table.failed_names())
        self._engine.post(events.StoresOrdered(said.query_id, lfns))

    def _note_uses(self, lfns: Iterable[str]) -> None:
        node, now_s = self._engine.node, self._engine.now_s()
        for lfn in lfns:
            if node.is_visible(lfn):
                node.pool.touch(lfn, now_s)
                self._catalogue.note_use(lfn, now_s)

    async def _plan(self, said: pb.MakePurgePlan, answer: Callable[[pb.NodeMessage], None]) -> None:
        plan = await self._purger.plan(said.target_bytes, said.limit or DEFAULT_PLAN_FILES)
        answer(wire.purge_plan(said.query_id, plan))


def refusal(said: pb.StartRecall, error: PackhorseError) -> instructions.TellEnded:
    """The end of a recall whose order makes no sense."""
    failure = Failure(FailureKind.PERMANENT, str(error))
    return instructions.TellEnded(said.recall_id, said.lfn, failure, None, None, events.Ran(), 0.0)
