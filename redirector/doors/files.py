"""The Files door: where files are, and having them staged."""
# ruff: noqa: N802, ARG002 - the methods' names and arguments are gRPC's

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

from common.errors import NameRefused, TooLarge, UsageError
from common.grpc_options import DEFAULT_MAX_MESSAGE_BYTES
from protos.packhorse.v1 import redirector_pb2 as pb
from protos.packhorse.v1 import redirector_pb2_grpc as pb_grpc
from redirector.core.datasets import MAX_FILES
from redirector.core.events import CancelAsked, PinAsked, StageAsked, UnpinAsked
from redirector.core.instructions import AnswerCancel, AnswerPin, AnswerStage, AnswerUnpin
from redirector.core.states import RequestState
from redirector.doors.watch import watch
from redirector.ids import new_request_id
from redirector.requests_kept import KeptRequests
from redirector.wire import files as wire
from redirector.wire.datasets import facts_of
from redirector.wire.values import checked_duration, checked_label, required

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from common.names import NameMap
    from redirector.core.model import RequestFile
    from redirector.questions import Questions
    from redirector.runner import Runner
    from redirector.store.datasets import DatasetStore
    from redirector.store.history import History

#: Names in one Locate, Describe or Evict: an answer to them takes some 10 ms.
MAX_NAMES = 10_000
DEFAULT_REQUESTS = 1_000


class FilesDoor(pb_grpc.FilesServicer):
    """Clients and packetizers come in here."""

    def __init__(
        self,
        runner: Runner,
        questions: Questions,
        history: History,
        datasets: DatasetStore,
        names: NameMap,
    ) -> None:
        self._runner = runner
        self._questions = questions
        self._history = history
        self._requests = KeptRequests(runner, history)
        self._datasets = datasets
        self._names = names

    async def Locate(self, request: pb.LocateRequest, context: object) -> pb.LocateReply:
        """Where files are."""
        lfns = self._checked("Locate", request.lfns)
        return wire.locate_reply(self._runner.head.locate(lfns, self._runner.now_s()))

    async def Describe(
        self, request: pb.DescribeRequest, context: object
    ) -> AsyncIterator[pb.DescribeReply]:
        """What is known of online files; every name is answered exactly once."""
        lfns = list(dict.fromkeys(self._checked("Describe", request.lfns)))
        answers = self._questions.describe(lfns, wait_for_content=request.wait_for_content)
        async with aclosing(answers):
            async for description in answers:
                yield pb.DescribeReply(files=description.files, not_online=description.not_online)

    async def Stage(self, request: pb.StageRequest, context: object) -> pb.StageReply:
        """Accepts a stage request."""
        lfns: Sequence[str] = self._names.check_all(list(request.lfns))
        facts = {}
        if request.dataset:
            dataset = await self._datasets.find(request.dataset)
            files = await self._datasets.all_files(dataset.number)
            lfns = [*lfns, *(file.lfn for file in files)]
            facts = facts_of(files)
        lfns = list(dict.fromkeys(lfns))
        if not lfns:
            raise UsageError("Stage: no file was named")
        if len(lfns) > MAX_FILES:
            raise TooLarge(f"Stage: {len(lfns):,} files are more than {MAX_FILES:,}; split them")
        answer = await self._runner.ask(
            StageAsked(
                request_id=new_request_id(),
                lfns=lfns,
                owner=checked_label("Stage: owner", request.owner),
                priority=request.priority,
                pin_s=checked_duration("Stage: pin_s", request.pin_s),
                deadline_s=checked_duration("Stage: deadline_s", request.deadline_s),
                idempotency_key=checked_label("Stage: idempotency_key", request.idempotency_key),
                dataset=request.dataset,
                activity=checked_label("Stage: activity", request.activity),
                facts=facts,
            )
        )
        assert isinstance(answer, AnswerStage)
        return pb.StageReply(request_id=answer.request_id, files=answer.files, online=answer.online)

    async def Cancel(self, request: pb.CancelRequest, context: object) -> pb.CancelReply:
        """Gives up a stage request, or some of its files."""
        answer = await self._runner.ask(
            CancelAsked(
                request_id=required("Cancel: request_id", request.request_id),
                lfns=self._names.check_all(list(request.lfns)),
                reason="cancelled by a client",
            )
        )
        assert isinstance(answer, AnswerCancel)
        return pb.CancelReply(files_cancelled=answer.files_cancelled)

    async def ListRequests(
        self, request: pb.ListRequestsRequest, context: object
    ) -> pb.ListRequestsReply:
        """Stage requests, the latest first; of the past, as far as it is remembered."""
        if request.request_id:
            figures, files = await self._requests.find(request.request_id)
            message = wire.request_message(figures, files if request.with_files else ())
            return _fitting(pb.ListRequestsReply(requests=[message]))
        limit = request.limit or DEFAULT_REQUESTS
        found = {
            figures.record.request_id: figures
            for figures in self._runner.head.requests(active_only=request.active_only)
        }
        if not request.active_only:
            for figures in await self._history.ended_requests(limit):
                found.setdefault(figures.record.request_id, figures)
        latest = sorted(found.values(), key=lambda figures: -figures.record.created_unix_s)
        reply = pb.ListRequestsReply()
        for figures in latest[:limit]:
            files = []
            if request.with_files:
                _, files = await self._requests.find(figures.record.request_id)
            reply.requests.append(wire.request_message(figures, files))
        return _fitting(reply)

    async def Watch(
        self, request: pb.WatchRequest, context: object
    ) -> AsyncIterator[pb.WatchReply]:
        """How files stand, then what happens to them."""
        selections = [bool(request.lfns), bool(request.dataset), bool(request.request_id)]
        if selections.count(True) + request.all != 1:
            raise UsageError("Watch: one of names, a dataset, a request or all files is watched")
        lfns: Sequence[str] | None = None
        ended: Sequence[RequestFile] | None = None
        if request.lfns:
            lfns = self._names.check_all(list(request.lfns))
        elif request.dataset:
            dataset = await self._datasets.find(request.dataset)
            lfns = [file.lfn for file in await self._datasets.all_files(dataset.number)]
        elif request.request_id:
            figures, files = await self._requests.find(request.request_id)
            lfns = [file.lfn for file in files]
            if figures.state is not RequestState.ACTIVE:
                ended = files
        replies = watch(self._runner, lfns, request.request_id, ended)
        async with aclosing(replies):
            async for reply in replies:
                yield reply

    async def Pin(self, request: pb.PinRequest, context: object) -> pb.PinReply:
        """Keeps files from being purged."""
        lifetime_s = checked_duration("Pin: lifetime_s", request.lifetime_s)
        if not lifetime_s:
            raise UsageError("Pin: lifetime_s is missing")
        answer = await self._runner.ask(
            PinAsked(
                lfns=list(dict.fromkeys(self._checked("Pin", request.lfns))),
                owner=checked_label("Pin: owner", required("Pin: owner", request.owner)),
                lifetime_s=lifetime_s,
                reason=checked_label("Pin: reason", request.reason),
            )
        )
        assert isinstance(answer, AnswerPin)
        return pb.PinReply(pinned=answer.pinned, not_online=answer.not_online)

    async def Unpin(self, request: pb.UnpinRequest, context: object) -> pb.UnpinReply:
        """Lets files go."""
        answer = await self._runner.ask(
            UnpinAsked(
                owner=required("Unpin: owner", request.owner),
                lfns=self._names.check_all(list(request.lfns)),
                done=request.done,
            )
        )
        assert isinstance(answer, AnswerUnpin)
        return pb.UnpinReply(unpinned=answer.unpinned)

    async def Evict(self, request: pb.EvictRequest, context: object) -> pb.EvictReply:
        """Drops every replica of files that are neither pinned nor in use, or has them go first."""
        lfns = list(dict.fromkeys(self._checked("Evict", request.lfns)))
        owner = checked_label("Evict: owner", request.owner)
        eviction = await self._questions.evict(lfns, owner=owner, soft=request.soft)
        return pb.EvictReply(
            evicted=len(eviction.evicted),
            refused=[
                pb.EvictReply.Refusal(lfn=lfn, reason=reason) for lfn, reason in eviction.refused
            ],
        )

    async def Explain(self, request: pb.ExplainRequest, context: object) -> pb.ExplainReply:
        """The story of a file."""
        lfn = self._names.check(request.lfn)
        try:
            archive_name = self._names.archive_name(lfn)
        except NameRefused:
            # Exported, but no rule says what the archive calls it.
            archive_name = ""
        explanation = self._runner.head.explain(lfn, self._runner.now_s())
        stores = await self._questions.store_lines(lfn)
        drops = await self._history.drops(lfn)
        return wire.explain_reply(explanation, archive_name, stores, drops)

    def _checked(self, what: str, lfns: Sequence[str]) -> Sequence[str]:
        if len(lfns) > MAX_NAMES:
            raise UsageError(f"{what}: {len(lfns):,} names are more than {MAX_NAMES:,} in one call")
        return self._names.check_all(list(lfns))


def _fitting(reply: pb.ListRequestsReply) -> pb.ListRequestsReply:
    if reply.ByteSize() > DEFAULT_MAX_MESSAGE_BYTES:
        raise TooLarge(
            "these requests have more files than fit into one answer; "
            "ask for fewer of them, or watch one of them"
        )
    return reply
