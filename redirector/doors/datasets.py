"""The Datasets door: registering, verifying, showing and removing datasets."""
# ruff: noqa: N802, ARG002 - the methods' names and arguments are gRPC's

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

from common.errors import TooLarge, UsageError
from protos.packhorse.v1 import redirector_pb2 as pb
from protos.packhorse.v1 import redirector_pb2_grpc as pb_grpc
from redirector.core.datasets import MAX_FILES, check_header
from redirector.verifying import StagingWish, Verification
from redirector.wire import datasets as wire
from redirector.wire.values import checked_duration, checked_label, required

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from common.names import NameMap
    from redirector.core.datasets import DatasetFile, DatasetHeader, Mode
    from redirector.questions import Questions
    from redirector.runner import Runner
    from redirector.store.datasets import Dataset, DatasetStore, Quotas
    from redirector.store.history import History

#: Files in one message, well below the largest message for names of any usual length.
PIECE_FILES = 5_000
MAX_PROBLEMS_BYTES = 8 << 20


class DatasetsDoor(pb_grpc.DatasetsServicer):
    """Named lists of files."""

    def __init__(
        self,
        runner: Runner,
        questions: Questions,
        history: History,
        store: DatasetStore,
        names: NameMap,
        quotas: Quotas,
    ) -> None:
        self._runner = runner
        self._questions = questions
        self._history = history
        self._store = store
        self._names = names
        self.quotas = quotas

    async def Register(
        self, request_iterator: AsyncIterator[pb.RegisterRequest], context: object
    ) -> pb.RegisterReply:
        """Registers files, all of them or none."""
        header: DatasetHeader | None = None
        mode: Mode
        announced = 0
        given: list[DatasetFile] = []
        async for request in request_iterator:
            part = request.WhichOneof("part")
            if (part == "header") != (header is None):
                raise UsageError("Register: one header is expected, and files after it")
            if header is None:
                header, mode = wire.header_of(request.header)
                announced = request.header.files
                check_header(header, self.quotas.by_group)
            else:
                given += self._files(request.files)
                if len(given) > MAX_FILES:
                    raise TooLarge(
                        f"dataset {header.name}: more than {MAX_FILES:,} files; split it"
                    )
        if header is None:
            raise UsageError("Register: the header is missing")
        if len(given) != announced:
            raise UsageError(
                f"dataset {header.name}: {announced:,} files were announced, but {len(given):,} came"
            )
        registration = await self._store.register(
            header, mode, given, self.quotas, self._runner.now_s()
        )
        return pb.RegisterReply(
            files=registration.volume.files,
            added=registration.added,
            duplicates=registration.duplicates,
            bytes_known=registration.volume.bytes_known,
        )

    async def Verify(
        self, request: pb.VerifyRequest, context: object
    ) -> AsyncIterator[pb.VerifyReply]:
        """Finds out how each file stands, staging what is not online if that is wished.

        Problems that are too many for one message, tens of thousands of them, come
        in several; the last one says that it is complete.
        """
        wish = None
        if request.stage:
            wish = StagingWish(
                owner=checked_label("Verify: owner", request.owner),
                priority=request.priority,
                pin_s=checked_duration("Verify: pin_s", request.pin_s),
                activity=checked_label("Verify: activity", request.activity),
            )
        dataset = await self._store.find(required("Verify: name", request.name))
        verification = Verification(
            self._runner, self._questions, self._history, self._store, dataset
        )
        async with aclosing(verification.run(wish)) as progress:
            async for _ in progress:
                yield pb.VerifyReply(
                    summary=wire.summary_message(dataset, verification.tally()),
                    request_id=verification.request_id,
                )
        reply = pb.VerifyReply(
            summary=wire.summary_message(await verification.finish()),
            request_id=verification.request_id,
        )
        size_bytes = 0
        for problem in map(wire.file_message, verification.problems()):
            size_bytes += problem.ByteSize()
            if size_bytes > MAX_PROBLEMS_BYTES:
                yield reply
                del reply.problems[:]
                size_bytes = problem.ByteSize()
            reply.problems.append(problem)
        reply.complete = True
        yield reply

    async def List(self, request: pb.ListDatasetsRequest, context: object) -> pb.ListDatasetsReply:
        """Datasets by name, and what their groups have registered."""
        datasets = await self._store.list(request.pattern, request.group)
        everything = await self._store.list()
        return pb.ListDatasetsReply(
            datasets=map(wire.summary_message, datasets), groups=self._groups(everything)
        )

    async def Show(
        self, request: pb.ShowDatasetRequest, context: object
    ) -> AsyncIterator[pb.ShowDatasetReply]:
        """One dataset, with its files if asked for."""
        dataset = await self._store.find(required("Show: name", request.name))
        yield pb.ShowDatasetReply(summary=wire.summary_message(dataset))
        if request.with_files:
            async with aclosing(self._store.pieces(dataset.number)) as pieces:
                async for files in pieces:
                    for piece in wire.in_pieces(files, PIECE_FILES):
                        yield pb.ShowDatasetReply(files=piece)

    async def Remove(
        self, request: pb.RemoveDatasetRequest, context: object
    ) -> pb.RemoveDatasetReply:
        """Forgets a dataset; its files stay where they are."""
        files = await self._store.remove(required("Remove: name", request.name))
        return pb.RemoveDatasetReply(files=files)

    def _files(self, message: pb.RegisterFiles) -> list[DatasetFile]:
        lfns = self._names.check_all([file.lfn for file in message.files])
        return [wire.file_of(file, lfn) for lfn, file in zip(lfns, message.files, strict=True)]

    def _groups(self, datasets: list[Dataset]) -> list[pb.GroupInfo]:
        used = dict.fromkeys(self.quotas.by_group, 0)
        for dataset in datasets:
            group = dataset.header.group
            if group:
                counted = dataset.volume.counted_bytes(self.quotas.assumed_bytes)
                used[group] = used.get(group, 0) + counted
        return [
            pb.GroupInfo(
                group=group,
                registered_bytes=registered_bytes,
                quota_bytes=self.quotas.by_group.get(group, 0),
            )
            for group, registered_bytes in sorted(used.items())
        ]
