"""A file server that speaks WebDAV, as storage of the WLCG does."""

from __future__ import annotations

import email.utils
import re
import urllib.parse
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING, Any, Final

from archive_http import encoded
from archive_tools import Exit, Failed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from archive_http import Http
    from archive_tools import Answer

PROPERTIES: Final = (
    '<?xml version="1.0"?><propfind xmlns="DAV:"><prop>'
    "<resourcetype/><getcontentlength/><getlastmodified/></prop></propfind>"
)


class Webdav:
    """Asks a server about its files, stores, and deletes them."""

    def __init__(self, http: Http) -> None:
        self._http = http

    def stat(self, name: str) -> Answer:
        """Size and time; the adler32 sum if the server knows it."""
        _, answer = self._properties(name, depth=0)[0]
        if "size" in answer:
            head = self._http.ask("HEAD", encoded(name), headers={"Want-Digest": "adler32"})
            said = re.search(r"adler32=([0-9a-f]{8})\b", head.headers.get("Digest", "").lower())
            answer["checksum"] = f"adler32:{said[1]}" if said else None
        return answer

    def entries(self, name: str) -> Iterator[Answer]:
        """The entries of a collection."""
        found = self._properties(name, depth=1)
        own = urllib.parse.urlsplit(encoded(name)).path
        if not any(same_path(path, own) and "type" in answer for path, answer in found):
            raise Failed(Exit.NOT_FOUND, f"{name} is not a directory")
        for path, answer in found:
            if not same_path(path, own):
                last = path.rstrip("/").rpartition("/")[2]
                yield {"name": urllib.parse.unquote(last, errors="surrogateescape"), **answer}

    def store(self, path: str, name: str) -> None:
        """Puts the file, over what may be there, and makes its directories."""
        self._make_directories(name)
        self._http.upload(path, encoded(name))

    def remove(self, name: str) -> None:
        """Deletes the file."""
        reply = self._http.ask("DELETE", encoded(name))
        if not reply.is_fine:
            raise reply.failed(name)

    # --- inside ---------------------------------------------------------------------

    def _properties(self, name: str, depth: int) -> list[tuple[str, Answer]]:
        """The paths of a file, or of a directory and its entries, and what is known of them."""
        reply = self._http.ask(
            "PROPFIND",
            encoded(name),
            PROPERTIES.encode(),
            headers={"Depth": str(depth), "Content-Type": "application/xml"},
        )
        if not reply.is_fine:
            raise reply.failed(name)
        try:
            # Entities cannot make expat grow without end since 2.4.1.
            answers = ET.fromstring(reply.body).iter("{DAV:}response")  # noqa: S314
            found = [(_href(one), _described(one)) for one in answers]
        except (ET.ParseError, ValueError, TypeError) as error:
            raise Failed(Exit.LATER, f"{name}: no answer of WebDAV: {error}") from error
        if not found:
            raise Failed(Exit.LATER, f"{name}: no answer of WebDAV")
        return found

    def _make_directories(self, name: str) -> None:
        """The directories above a file; servers differ in whether they make them."""
        directory = name.rpartition("/")[0]
        if directory.endswith(("/", ":")) or directory.count("/") < 3:
            return
        made = self._http.ask("MKCOL", encoded(directory) + "/")
        # A parent is missing. What else may be wrong shows at once.
        if made.status in {404, 409}:
            self._make_directories(directory)
            self._http.ask("MKCOL", encoded(directory) + "/")


def same_path(path: str, other: str) -> bool:
    """Whether two paths are the same but for slashes."""
    one, two = (re.sub("/+", "/", written).rstrip("/") for written in (path, other))
    return one == two


def _href(response: ET.Element) -> str:
    """The path of an entry, encoded; some servers give whole URLs."""
    return urllib.parse.urlsplit(response.findtext("{DAV:}href", "").strip()).path


def _described(response: ET.Element) -> Answer:
    found: dict[str, Any] = {}
    size = response.findtext(".//{DAV:}getcontentlength")
    modified = response.findtext(".//{DAV:}getlastmodified")
    if modified:
        found["mtime"] = email.utils.parsedate_to_datetime(modified).timestamp()
    if response.find(".//{DAV:}resourcetype/{DAV:}collection") is not None:
        found["type"] = "dir"
    elif size:
        found["size"] = int(size)
    return found
