"""Promise 10: every entry counts once."""

from __future__ import annotations

from collections import Counter

from tests.simulation.promises.promise import Promise


class CountedOnce(Promise):
    """Every entry of a dataset is counted exactly once in the result, or is named as missing.

    No range is committed twice: the packetizer's database asserts that with every commit.
    The result itself is added up once the session has ended.
    """

    number = 10

    def check_at_peace(self) -> None:
        """Adds up what the workers' results say, entry by entry."""
        desk = self.laboratory.desk
        if desk is None:
            return
        end = desk.disk.end
        if end is None:
            raise self.broken("the session never ended")
        counted: Counter[tuple[str, int]] = Counter()
        for result in desk.disk.results.values():
            for (lfn, start, stop), times in result.items():
                for entry in range(start, stop):
                    counted[lfn, entry] += times
        lost = {one.lfn for one in end.missing if one.start == one.stop == 0}
        named = {(one.lfn, entry) for one in end.missing for entry in range(one.start, one.stop)}
        for file in desk.disk.files:
            if file.lfn in lost:
                continue
            for entry in range(self.site.archive.tapes[file.lfn].entries):
                times = counted.pop((file.lfn, entry), 0)
                if times != (0 if (file.lfn, entry) in named else 1):
                    raise self.broken(f"{file.lfn} entry {entry} is counted {times} times")
        if counted:
            raise self.broken(f"counted, and not part of the dataset: {counted}")
