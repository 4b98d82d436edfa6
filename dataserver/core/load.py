"""The figures of a heartbeat that the core knows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataserver.core.pool import Pool
    from dataserver.core.purging import Purging
    from dataserver.core.staging import Staging
    from dataserver.core.stores import Stores


@dataclass(frozen=True, slots=True)
class Load:
    """A node's figures at one moment; sizes in bytes."""

    used_bytes: int
    reserved_bytes: int
    protected_bytes: int
    files: int
    open_files: int
    recalls_running: int
    recalls_waiting: int
    staging_bytes_left: int
    staging_bytes_per_s: float
    peak_bytes: int
    files_purged: int
    bytes_purged: int
    quota_bytes: int
    unarchived_files: int
    unarchived_bytes: int
    stores_waiting: int
    stores_waiting_bytes: int
    stores_failed: int
    stores_oldest_s: float
    stores_trouble: str
    files_stored: int
    bytes_stored: int


def load_of(pool: Pool, staging: Staging, purging: Purging, stores: Stores, now_s: float) -> Load:
    """The figures of a node's parts now."""
    live = sum(1 for _ in staging.live())
    return Load(
        used_bytes=pool.used_bytes,
        reserved_bytes=pool.reserved_bytes,
        protected_bytes=pool.protected_bytes,
        files=len(pool),
        open_files=pool.open_files,
        recalls_running=live - staging.waiting,
        recalls_waiting=staging.waiting,
        staging_bytes_left=staging.bytes_left(),
        staging_bytes_per_s=staging.rate.bytes_per_s(),
        peak_bytes=pool.peak_bytes,
        files_purged=purging.files_purged,
        bytes_purged=purging.bytes_purged,
        quota_bytes=pool.limits.quota_bytes,
        unarchived_files=len(pool.unarchived),
        unarchived_bytes=pool.unarchived.size_bytes,
        stores_waiting=len(stores.table),
        stores_waiting_bytes=stores.table.size_bytes,
        stores_failed=stores.table.failed_files,
        stores_oldest_s=stores.table.oldest_s(now_s),
        stores_trouble=stores.trouble(now_s),
        files_stored=stores.files_stored,
        bytes_stored=stores.bytes_stored,
    )
