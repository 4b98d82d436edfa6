"""Promises 1 and 3: one recall a file, and nothing that stays of a cancelled one."""

from __future__ import annotations

from tests.simulation.promises.promise import Promise
from tests.simulation.spelling import canonical


class OneRecallPerFile(Promise):
    """At most one live recall per file in the whole system.

    Live is what runs: the processes of the stage command, those of killed and of stopped
    servers too. A file that is being written counts as well: by one client, on one node.
    """

    number = 1

    def check(self) -> None:
        """Counts processes and writers over all machines."""
        running: set[str] = set()
        for node in self.site.nodes:
            for spelt in node.commands.running().values():
                lfn = canonical(spelt)
                if lfn in running:
                    raise self.broken(f"two recalls of {lfn} are live", lfn)
                running.add(lfn)
        written: set[str] = set()
        for node in self.site.nodes:
            for lfn in node.written():
                if lfn in written:
                    raise self.broken(f"two clients write {lfn}", lfn)
                if lfn in running:
                    raise self.broken(f"{lfn} is staged while it is written", lfn)
                written.add(lfn)


class CancelLeavesNothing(Promise):
    """Cancel reaches the process group: no process, temp file or queue entry stays.

    On a living server nothing runs, and nothing lies in the incoming directory, that is not
    of a live recall or upload (but for what a bad disk refuses to remove: the next start
    sweeps it). At peace there is nothing at all.
    """

    number = 3

    def check(self) -> None:
        """Compares processes and temporary files with what is live."""
        for node in self.touched():
            recalls = {one.recall_id for one in node.node.staging.live()}
            for recall_id, lfn in node.commands.running().items():
                if recall_id not in recalls:
                    raise self.broken(
                        f"{node.name} runs a command for {lfn} ({recall_id}), which is no recall",
                        lfn,
                    )
            live = recalls | {one.upload_id for one in node.node.uploads.live()} | node.left_over
            for holder, file in node.disk.incoming.items():
                if holder not in live:
                    raise self.broken(
                        f"{node.name} keeps a temporary file of {file.lfn} ({holder})", file.lfn
                    )

    def check_at_peace(self) -> None:
        """Nothing runs, waits, or is in the way."""
        for node in self.site.nodes:
            if node.commands.running():
                raise self.broken(f"{node.name} still runs {node.commands.running()}")
            left = node.disk.incoming.keys() - node.left_over
            if left:
                raise self.broken(f"{node.name} keeps {sorted(left)}")
            if not node.node.is_idle or node.node.claims() or node.node.pool.reserved_bytes:
                raise self.broken(f"{node.name} is not idle")
            figures = self.site.head.head.node(node.name, self.site.head.now_s())
            if figures.claims or figures.recalls or figures.promised_bytes:
                raise self.broken(f"the head has not done with {node.name}: {figures}", node.name)
        status = self.site.head.head.status(self.site.head.now_s())
        if status.recalls_queued or status.recalls_running:
            raise self.broken(f"recalls are still queued or running: {status}")
