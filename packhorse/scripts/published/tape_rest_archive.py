#!/usr/bin/env python3
"""A tape storage of the WLCG: files are brought online by its Tape REST API, copied by HTTPS.

Names are https://HOST[:PORT]/PATH, or davs://. The endpoint of the API is asked of the host
(/.well-known/wlcg-tape-rest-api). dCache, EOS, and StoRM answer in dialects of their own;
all of them are understood.
"""

from __future__ import annotations

import contextlib
import email.utils
import re
import urllib.parse
import xml.etree.ElementTree as ET
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import archive_http
from archive_http import Http, encoded
from archive_script import Archive, Exit, Failed, main, pauses, split_url

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from archive_http import Reply
    from archive_script import Answer

DISCOVERY: Final = "/.well-known/wlcg-tape-rest-api"
#: The versions that this script speaks, the best one first.
VERSIONS: Final = ("v1", "v0")
ON_TAPE: Final = {"TAPE", "DISK_AND_TAPE"}
PROPERTIES: Final = (
    '<?xml version="1.0"?><propfind xmlns="DAV:"><prop>'
    "<resourcetype/><getcontentlength/><getlastmodified/></prop></propfind>"
)


class TapeRestArchive(Archive):
    """Brings files online by the WLCG Tape REST API, and copies them by HTTPS."""

    @staticmethod
    def add_options(parser: argparse.ArgumentParser) -> None:
        """Where the API is, and what it is told."""
        archive_http.add_options(parser)
        parser.add_argument("--api", metavar="URL", help="of the API, instead of asking the host")
        parser.add_argument("--lifetime", metavar="DURATION", help="on disk, such as PT8H")
        parser.add_argument("--metadata", action="append", default=[], metavar="KEY=VALUE")
        parser.add_argument("--poll", type=float, default=60.0, help="seconds, at the most")
        parser.add_argument(
            "--until-on-tape", action="store_true", help="a store ends when tape has the file"
        )

    def __init__(self, options: argparse.Namespace) -> None:
        super().__init__(options)
        self._endpoint: tuple[str, str] | None = None

    def stage(self, name: str, part: str) -> int | None:
        """Stages, polls, copies, releases."""
        with self._online(name, part):
            return self._http.download(encoded(name), part)

    def stat(self, name: str) -> Answer:
        """Size and time; the adler32 sum if the server knows it."""
        _, answer = self._properties(name, depth=0)[0]
        if "size" in answer:
            head = self._http.ask("HEAD", encoded(name), headers={"Want-Digest": "adler32"})
            said = re.search(r"adler32=([0-9a-fA-F]{8})\b", head.headers.get("Digest", ""))
            answer["checksum"] = f"adler32:{said[1].lower()}" if said else None
        return answer

    def entries(self, name: str) -> Iterator[Answer]:
        """The entries of a collection."""
        found = self._properties(name, depth=1)
        own = urllib.parse.urlsplit(encoded(name)).path
        if not any(_same(path, own) and "type" in answer for path, answer in found):
            raise Failed(Exit.NOT_FOUND, f"{name} is not a directory")
        for path, answer in found:
            if not _same(path, own):
                last = path.rstrip("/").rpartition("/")[2]
                yield {"name": urllib.parse.unquote(last, errors="surrogateescape"), **answer}

    def store(self, path: str, name: str) -> None:
        """Puts the file, and waits for tape if that is wanted."""
        self._make_directories(name)
        self._http.upload(path, encoded(name))
        if self.options.until_on_tape:
            self._until_on_tape(name)

    def remove(self, name: str) -> None:
        """Deletes the file."""
        reply = self._http.ask("DELETE", encoded(name))
        if not reply.is_fine:
            raise reply.failed(name)

    # --- the Tape REST API -------------------------------------------------------------

    @contextlib.contextmanager
    def _online(self, name: str, part: str) -> Iterator[None]:
        """The file is on disk while the block lasts; nothing stays requested after it."""
        path = _path(name)
        request = self._submit(name, path, part)
        try:
            self._until_online(name, path, request, part)
        except BaseException:
            with contextlib.suppress(Failed):
                self._http.ask("DELETE", request)
            raise
        try:
            yield
        finally:
            self._release(name, path, request)

    def _submit(self, name: str, path: str, part: str) -> str:
        """Makes a request, and returns its URL."""
        api, site = self._api(name)
        file: dict[str, Any] = {"path": path}
        if self.options.lifetime:
            file["diskLifetime"] = self.options.lifetime
        if self.options.metadata:
            file["targetedMetadata"] = {site: dict(map(_key_value, self.options.metadata))}
        reply = self._http.ask("POST", f"{api}/stage", {"files": [file]}, waiting=part)
        if not reply.is_fine:
            raise reply.failed(name)
        answer = reply.json()
        if isinstance(answer, dict) and answer.get("requestId"):
            return f"{api}/stage/{urllib.parse.quote(str(answer['requestId']), safe='')}"
        if location := reply.headers.get("Location"):
            return urllib.parse.urljoin(f"{api}/stage", location)
        raise Failed(Exit.LATER, f"{name}: {api}/stage gave the request no name")

    def _until_online(self, name: str, path: str, request: str, part: str) -> None:
        for _ in pauses(part, self.options.poll):
            reply = self._http.ask("GET", request, waiting=part)
            if reply.status == 404:
                raise Failed(Exit.LATER, f"{name}: its stage request was forgotten")
            if not reply.is_fine:
                raise reply.failed(name)
            file = _about(path, reply.json())
            if file is not None and self._is_online(name, path, file):
                return

    def _is_online(self, name: str, path: str, file: dict[str, Any]) -> bool:
        """What is said of one file, in either form. Raises Failed if it will not come."""
        state = str(file.get("state", "")).upper()
        if file.get("error") or state == "FAILED":
            raise self._why_not(name, path, str(file.get("error") or "staging has failed"))
        # Twice: once as the standard has it, once as some clients do.
        if state in {"CANCELLED", "CANCELED"}:
            raise Failed(Exit.LATER, f"{name}: somebody has cancelled its staging")
        return state == "COMPLETED" or file.get("onDisk") is True

    def _why_not(self, name: str, path: str, said: str) -> Failed:
        """Whether it is the file's own fault that it could not be staged."""
        if self._http.ask("HEAD", encoded(name)).status == 404:
            return Failed(Exit.NOT_FOUND, f"{name}: {said}")
        lost = self._locality(name, path) == "LOST"
        return Failed(Exit.DAMAGED if lost else Exit.LATER, f"{name}: {said}")

    def _release(self, name: str, path: str, request: str) -> None:
        """Lets the disk copy go; a copy that was made is not lost for a release that fails."""
        api, _ = self._api(name)
        request_id = request.rpartition("/")[2]
        with contextlib.suppress(Failed):
            self._http.ask("POST", f"{api}/release/{request_id}", {"paths": [path]})

    def _until_on_tape(self, name: str) -> None:
        for _ in pauses("", self.options.poll):
            if self._locality(name, _path(name)) in ON_TAPE:
                return

    def _locality(self, name: str, path: str) -> str:
        """Where the file is; empty if the server does not tell."""
        api, _ = self._api(name)
        reply = self._http.ask("POST", f"{api}/archiveinfo", {"paths": [path]})
        file = _about(path, reply.json()) if reply.is_fine else None
        return str(file.get("locality", "")) if file else ""

    def _api(self, name: str) -> tuple[str, str]:
        """The address of the API, and the name of its site."""
        if self._endpoint is None and self.options.api:
            self._endpoint = (self.options.api.rstrip("/"), "default")
        elif self._endpoint is None:
            scheme, host, _ = split_url(encoded(name), "https", "http")
            url = f"{scheme}://{host}{DISCOVERY}"
            self._endpoint = _best_endpoint(url, self._http.ask("GET", url))
        return self._endpoint

    # --- WebDAV ------------------------------------------------------------------------

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

    @cached_property
    def _http(self) -> Http:
        return Http(self.options)


def _path(name: str) -> str:
    """The path on the host, with single slashes, as servers give it back."""
    return re.sub("/+", "/", split_url(name, "https", "http", "davs", "dav")[2])


def _about(path: str, answer: object) -> dict[str, Any] | None:
    """What an answer says of one file; servers may answer a part of what they were asked."""
    files = answer.get("files") if isinstance(answer, dict) else answer
    for file in files if isinstance(files, list) else ():
        if isinstance(file, dict) and _same(str(file.get("path", "")), path):
            return file
    return None


def _same(path: str, other: str) -> bool:
    """Whether two paths are the same but for slashes."""
    one, two = (re.sub("/+", "/", written).rstrip("/") for written in (path, other))
    return one == two


def _best_endpoint(url: str, reply: Reply) -> tuple[str, str]:
    """Of what a host has announced, the API of the best version, and the site's name."""
    if not reply.is_fine:
        failed = reply.failed(url)
        if failed.code == Exit.NOT_FOUND:
            raise Failed(Exit.SET_UP_WRONGLY, f"{failed}; if it has a Tape REST API, give --api")
        raise failed
    answer = reply.json()
    offered = answer.get("endpoints") if isinstance(answer, dict) else None
    for version in VERSIONS:
        for endpoint in offered if isinstance(offered, list) else ():
            if isinstance(endpoint, dict) and _major(endpoint.get("version")) == version:
                return str(endpoint.get("uri", "")).rstrip("/"), str(answer.get("sitename", ""))
    raise Failed(Exit.SET_UP_WRONGLY, f"{url}: no Tape REST API of version v1 is offered")


def _major(version: object) -> str:
    """`"v1"` of v1, V1.2, or 1."""
    found = re.match(r"[vV]?(\d+)", str(version))
    return f"v{found[1]}" if found else ""


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


def _key_value(written: str) -> tuple[str, str]:
    key, separator, value = written.partition("=")
    if not separator:
        raise Failed(Exit.USAGE, f"--metadata {written} is not written KEY=VALUE")
    return key, value


if __name__ == "__main__":
    main(TapeRestArchive)
