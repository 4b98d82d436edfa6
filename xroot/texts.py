"""The lines in replies: how stat, locations, listings and sums are written, and read back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from xroot.errors import ProtocolError
from xroot.protocol import Code, StatFlag

if TYPE_CHECKING:
    from collections.abc import Iterable


#: The owner or group of what belongs to nobody in particular.
_NOBODY: Final = "-"


class StatText(NamedTuple):
    """What is known of one name. Times are Unix seconds; `flags` are `StatFlag`s.

    With a `mode` the longer form is told: other times, permissions, owner and group, which
    are single words.
    """

    size_bytes: int
    flags: int
    mtime_s: int = 0
    identity: int = 0
    ctime_s: int = 0
    atime_s: int = 0
    mode: int | None = None
    owner: str = ""
    group: str = ""

    def __str__(self) -> str:
        said = f"{self.identity} {self.size_bytes} {self.flags} {self.mtime_s}"
        if self.mode is None:
            return said
        times = f"{self.ctime_s} {self.atime_s}"
        return f"{said} {times} {self.mode:04o} {self.owner or _NOBODY} {self.group or _NOBODY}"

    @property
    def is_directory(self) -> bool:
        """Whether it can be listed."""
        return bool(self.flags & StatFlag.DIRECTORY)


def read_stat(text: str) -> StatText:
    """A stat as a server has told it. Raises ProtocolError."""
    words = _ended(text).split()
    try:
        identity, size_bytes, flags, mtime_s = map(int, words[:4])
        short = StatText(size_bytes, flags, mtime_s, identity)
        if size_bytes < 0 or flags < 0:
            raise ValueError
        # A checksum may come behind either form, in three words: "[ adler32:021700dc ]".
        if len(words) < 9:
            return short
        ctime_s, atime_s, mode = int(words[4]), int(words[5]), int(words[6], 8)
    except ValueError:
        raise ProtocolError(Code.BAD_PAYLOAD, f"a stat that reads {text[:80]!r}") from None
    owner, group = ("" if word == _NOBODY else word for word in words[7:9])
    return short._replace(ctime_s=ctime_s, atime_s=atime_s, mode=mode, owner=owner, group=group)


class Location(NamedTuple):
    """Where something is: at a server or (`is_manager`) at whom to ask.

    `is_pending`: it is on its way there. `address` is HOST:PORT.
    """

    address: str
    is_manager: bool = False
    is_pending: bool = False
    can_write: bool = False

    def __str__(self) -> str:
        kind = "M" if self.is_manager else "S"
        if self.is_pending:
            kind = kind.lower()
        return f"{kind}{'w' if self.can_write else 'r'}{self.address}"


def read_locations(text: str) -> list[Location]:
    """Locations as a server has told them. Raises ProtocolError."""
    locations = []
    for word in _ended(text).split():
        if len(word) < 3 or word[0] not in "MmSs" or word[1] not in "rw":
            raise ProtocolError(Code.BAD_PAYLOAD, f"a location that reads {word[:80]!r}")
        locations.append(Location(word[2:], word[0] in "Mm", word[0] in "ms", word[1] == "w"))
    return locations


#: A listing that tells more than names begins with this.
STAT_LISTING: Final = ".\n0 0 0 0"


def listing(entries: Iterable[tuple[str, StatText | None]]) -> str:
    """A directory's entries; with what is known of them, if it is told of all."""
    entries = list(entries)
    if not entries or any(about is None for _, about in entries):
        return "\n".join(name for name, _ in entries)
    return "\n".join((STAT_LISTING, *(f"{name}\n{about}" for name, about in entries)))


def read_listing(text: str) -> list[tuple[str, StatText | None]]:
    """A listing as a server has told it. Raises ProtocolError."""
    lines = [line for line in _ended(text).split("\n") if line]
    if lines[:1] != ["."]:
        return [(name, None) for name in lines]
    pairs = lines[2:]
    if len(pairs) % 2:
        raise ProtocolError(Code.BAD_PAYLOAD, "a listing that is cut off")
    return [(name, read_stat(about)) for name, about in zip(pairs[::2], pairs[1::2], strict=True)]


def cgi_values(cgi: str) -> dict[str, str]:
    """What stands behind a name: `a=1&b=2`. The last of a key counts; what has no "=" is left out."""
    pairs = (part.partition("=") for part in cgi.split("&"))
    return {key: value for key, equals, value in pairs if equals}


def space(*, total_bytes: int, free_bytes: int, largest_bytes: int, used_bytes: int) -> str:
    """The answer to a query of space."""
    return (
        f"oss.cgroup=public&oss.space={total_bytes}&oss.free={free_bytes}"
        f"&oss.maxf={largest_bytes}&oss.used={used_bytes}&oss.quota=-1"
    )


def vfs(*, nodes: int, free_mb: int, used_percent: int, stagers: int) -> str:
    """The answer to a stat of the space below a name: for writing, then for staging."""
    return f"{nodes} {free_mb} {used_percent} {stagers} {free_mb} {used_percent}"


def _ended(text: str) -> str:
    """A text up to the NUL that ends it, if one does."""
    return text.partition("\0")[0]
