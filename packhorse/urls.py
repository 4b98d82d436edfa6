"""Names as people have them: logical names, or URLs whose path is one.

Lists of files come from catalogues, from colleagues and from other tools, and most
of them hold URLs. What counts is the path: `root://anywhere//store/a.root` is
`/store/a.root` here, whatever server the URL names.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

from common.errors import NameRefused
from common.names import normalise, normalise_all

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:(?=/)")
# ATLAS FileStager marks what it should stage by putting this before the URL.
_STAGING_MARK = "gridcopy://"
# An SRM end point hides the path in its query.
_SITE_FILE_NAME = re.compile(r"[?&]SFN=([^&]*)")


def lfn_of(name: str) -> str:
    """The logical file name that a name or URL stands for; raises NameRefused.

    A URL is percent-decoded, once; a plain name is taken as it is.
    """
    url = name.removeprefix(_STAGING_MARK) if name.startswith(_STAGING_MARK) else name
    scheme = _SCHEME.match(url)
    if scheme is None:
        return normalise(url)
    rest = url[scheme.end() :]
    hidden = _SITE_FILE_NAME.search(rest)
    path = hidden[1] if hidden else _path_of(rest, name)
    try:
        return normalise(unquote_to_bytes(path).decode())
    except UnicodeError as error:
        raise NameRefused(f"{name!r}: its path is not UTF-8 once percent-decoded") from error


def lfns_of(names: str | Iterable[str]) -> Sequence[str]:
    """The logical names of one name or of many, in their order; raises NameRefused."""
    listed = [names] if isinstance(names, str) else list(names)
    if any(not name.startswith("/") for name in listed):
        return [lfn_of(name) for name in listed]
    return normalise_all(listed)


def _path_of(rest: str, name: str) -> str:
    """What follows the host in `//host//path?query`, or the whole of `/path`."""
    rest = rest.partition("?")[0]
    if not rest.startswith("//"):
        return rest
    _, slash, path = rest[2:].partition("/")
    if not slash or not path.strip("/"):
        raise NameRefused(f"{name!r} names a server, but no file")
    return f"/{path}"
