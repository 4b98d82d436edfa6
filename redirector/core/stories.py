"""The stories of files: what happened to each of them lately.

A file gets a story when something is done about it, not when it is merely asked
for: a million queued recalls have none. Only so many are kept; the one that was
told to longest ago is forgotten first.
"""

from __future__ import annotations

from collections import OrderedDict

from common.story import Story


class Stories:
    """Stories by LFN, the latest `limit` of them."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._stories: OrderedDict[str, Story] = OrderedDict()

    def __contains__(self, lfn: str) -> bool:
        return lfn in self._stories

    def __len__(self) -> int:
        return len(self._stories)

    def of(self, lfn: str) -> Story:
        """A file's story; an empty one if there is none."""
        return self._stories.get(lfn) or Story()

    def tell(self, lfn: str, now_s: float, text: str) -> None:
        """Adds a line to a file's story."""
        story = self._stories.get(lfn)
        if story is None:
            story = self._stories[lfn] = Story()
            if len(self._stories) > self._limit:
                self._stories.popitem(last=False)
        else:
            self._stories.move_to_end(lfn)
        story.tell(now_s, text)
