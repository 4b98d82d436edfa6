"""Stage requests wherever they are kept: in the head while they are active, on disk after."""

from __future__ import annotations

from typing import TYPE_CHECKING

from common.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redirector.core.figures import RequestFigures
    from redirector.core.model import RequestFile
    from redirector.runner import Runner
    from redirector.store.history import History


class KeptRequests:
    """Finds requests, those of an earlier life of the redirector among them."""

    def __init__(self, runner: Runner, history: History) -> None:
        self._runner = runner
        self._history = history

    async def find(self, request_id: str) -> tuple[RequestFigures, Sequence[RequestFile]]:
        """A request and its files. Raises NotFound."""
        try:
            figures = self._runner.head.request(request_id)
            return figures, self._runner.head.request_files(request_id)
        except NotFound:
            # It may have ended a moment ago, and be on its way to the disk.
            await self._runner.journal.keep(())
            kept = await self._history.request(request_id)
            if kept is None:
                raise
            return kept
