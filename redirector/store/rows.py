"""Values that several tables write in the same way."""

from __future__ import annotations

from redirector.core.model import Checksum


def checksum_text(checksum: Checksum | None) -> str:
    """ALGORITHM:VALUE, or "" for None."""
    return "" if checksum is None else f"{checksum.algorithm}:{checksum.value}"


def checksum_of(text: str) -> Checksum | None:
    """What `checksum_text` wrote."""
    if not text:
        return None
    algorithm, _, value = text.partition(":")
    return Checksum(algorithm, value)
