"""What is told of files on their way to the archive, as messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dataserver.wire import NAMES_IN_A_PIECE
from protos.packhorse.v1 import redirector_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dataserver.core.instructions import TellStores
    from dataserver.core.store_table import StoreStanding


def stores(query_id: int, standings: Sequence[StoreStanding]) -> Iterator[pb.NodeMessage]:
    """How the storing of files stands, in pieces."""
    for start in range(0, len(standings), NAMES_IN_A_PIECE):
        piece = standings[start : start + NAMES_IN_A_PIECE]
        infos = [
            pb.StoreInfo(
                lfn=one.lfn,
                size_bytes=one.size_bytes,
                state=one.state,
                waiting_s=one.waiting_s,
                next_try_s=one.next_try_s,
                attempts=one.attempts,
                reason=one.reason,
            )
            for one in piece
        ]
        yield pb.NodeMessage(stores=pb.Stores(query_id=query_id, stores=infos))
    yield pb.NodeMessage(stores=pb.Stores(query_id=query_id, last=True))


def taken(told: TellStores) -> pb.NodeMessage:
    """Which files are stored now."""
    return pb.NodeMessage(
        stores_taken=pb.StoresTaken(
            query_id=told.query_id,
            taken=told.taken,
            refused=[pb.EvictReply.Refusal(lfn=lfn, reason=why) for lfn, why in told.refused],
        )
    )
