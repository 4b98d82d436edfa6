#!/usr/bin/env python3
"""A tape storage of the WLCG: files are brought online by its Tape REST API, copied by HTTPS.

Names are https://HOST[:PORT]/PATH, or davs://. The endpoint of the API is asked of the host
(/.well-known/wlcg-tape-rest-api). dCache, EOS, and StoRM answer in dialects of their own;
all of them are understood.
"""

from __future__ import annotations

import contextlib
import http.client
import re
import urllib.parse
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import archive_http
from archive_http import Http, encoded
from archive_script import OrderingArchive, main
from archive_tools import Exit, Failed, pauses, refusal, split_url
from archive_webdav import Webdav, same_path

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from archive_http import Reply
    from archive_tools import Answer

DISCOVERY: Final = "/.well-known/wlcg-tape-rest-api"
#: The versions that this script speaks, the best one first.
VERSIONS: Final = ("v1", "v0")
ON_TAPE: Final = {"TAPE", "DISK_AND_TAPE"}


class TapeRestArchive(OrderingArchive):
    """Brings files online by the WLCG Tape REST API, and copies them by HTTPS."""

    @staticmethod
    def add_options(parser: argparse.ArgumentParser) -> None:
        """Where the API is, and what it is told."""
        OrderingArchive.add_options(parser)
        archive_http.add_options(parser)
        parser.add_argument("--api", metavar="URL", help="of the API, instead of asking the host")
        parser.add_argument("--lifetime", metavar="DURATION", help="on disk, such as PT8H")
        parser.add_argument("--metadata", action="append", default=[], metavar="KEY=VALUE")
        parser.add_argument(
            "--until-on-tape", action="store_true", help="a store ends when tape has the file"
        )

    def __init__(self, options: argparse.Namespace) -> None:
        super().__init__(options)
        self._apis: dict[str, tuple[str, str]] = {}

    def stage(self, name: str, part: str) -> int | None:
        """Stages, polls, copies, releases."""
        if self.options.ready:
            return self._http.download(encoded(name), part)
        with self._online(name, part):
            return self._http.download(encoded(name), part)

    def store(self, path: str, name: str) -> None:
        """Puts the file, and waits for tape if that is wanted."""
        self._dav.store(path, name)
        if self.options.until_on_tape:
            self._until_on_tape(name)

    def stat(self, name: str) -> Answer:
        """Size, time, and sum."""
        return self._dav.stat(name)

    def entries(self, name: str) -> Iterator[Answer]:
        """The entries of a collection."""
        return self._dav.entries(name)

    def remove(self, name: str) -> None:
        """Deletes the file."""
        self._dav.remove(name)

    # --- orders ------------------------------------------------------------------------

    def submit(self, files: Sequence[Answer]) -> Iterator[Answer]:
        """One request for all files of a host, so that it can choose their order."""
        for of_host in _by(lambda file: _door(file["source"]), files):
            try:
                request = self._submit([file["source"] for file in of_host])
            except Failed as failed:
                yield from (refusal(file, failed) for file in of_host)
            else:
                yield from ({"key": file["key"], "id": request} for file in of_host)

    def poll(self, orders: Sequence[Answer]) -> Iterator[Answer]:
        """Asks once for every request, whatever the number of its files."""
        for of_request in _by(lambda order: order["id"], orders):
            reply = self._http.ask("GET", of_request[0]["id"])
            if reply.status == http.client.NOT_FOUND:
                yield from ({"key": order["key"], "state": "unknown"} for order in of_request)
                continue
            if not reply.is_fine:
                raise reply.failed(of_request[0]["id"])
            answer = reply.json()
            for order in of_request:
                yield {"key": order["key"], **self._told(order, answer)}

    def cancel(self, orders: Sequence[Answer]) -> None:
        """The other files of the same requests go on."""
        for of_request in _by(lambda order: order["id"], orders):
            paths = [_path(order["source"]) for order in of_request]
            reply = self._http.ask("POST", f"{of_request[0]['id']}/cancel", {"paths": paths})
            _expect(reply, of_request[0]["id"])

    def release(self, orders: Sequence[Answer]) -> None:
        """Lets the disk copies go."""
        for of_request in _by(lambda order: order["id"], orders):
            self._release([order["source"] for order in of_request], of_request[0]["id"])

    def _told(self, order: Answer, answer: object) -> Answer:
        """What the answer to a poll says of one of its files."""
        name = order["source"]
        file = _about(_path(name), answer)
        try:
            is_online = file is not None and self._is_online(name, _path(name), file)
        except Failed as failed:
            return refusal(order, failed)
        return {"state": "ready" if is_online else "waiting"}

    # --- the Tape REST API -------------------------------------------------------------

    @contextlib.contextmanager
    def _online(self, name: str, part: str) -> Iterator[None]:
        """The file is on disk while the block lasts; nothing stays requested after it."""
        path = _path(name)
        request = self._submit([name], part)
        try:
            self._until_online(name, path, request, part)
        except BaseException:
            with contextlib.suppress(Failed):
                self._http.ask("DELETE", request)
            raise
        try:
            yield
        finally:
            # A copy that was made is not lost for a release that fails.
            with contextlib.suppress(Failed):
                self._release([name], request)

    def _submit(self, names: Sequence[str], part: str = "") -> str:
        """Makes a request for files of one host, and returns its URL."""
        name = names[0]
        api, site = self._api(name)
        more: dict[str, Any] = {}
        if self.options.lifetime:
            more["diskLifetime"] = self.options.lifetime
        if self.options.metadata:
            more["targetedMetadata"] = {site: dict(map(_key_value, self.options.metadata))}
        files = [{"path": _path(one), **more} for one in names]
        reply = self._http.ask("POST", f"{api}/stage", {"files": files}, waiting=part)
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
            if reply.status == http.client.NOT_FOUND:
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
        if self._http.ask("HEAD", encoded(name)).status == http.client.NOT_FOUND:
            return Failed(Exit.NOT_FOUND, f"{name}: {said}")
        lost = self._locality(name, path) == "LOST"
        return Failed(Exit.DAMAGED if lost else Exit.LATER, f"{name}: {said}")

    def _release(self, names: Sequence[str], request: str) -> None:
        """Lets the disk copies of a request's files go; one that is not known any more is fine."""
        api, _ = self._api(names[0])
        request_id = request.rpartition("/")[2]
        paths = [_path(name) for name in names]
        _expect(self._http.ask("POST", f"{api}/release/{request_id}", {"paths": paths}), request)

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
        if self.options.api:
            return self.options.api.rstrip("/"), "default"
        door = _door(name)
        if door not in self._apis:
            url = door + DISCOVERY
            self._apis[door] = _best_endpoint(url, self._http.ask("GET", url))
        return self._apis[door]

    @cached_property
    def _http(self) -> Http:
        return Http(self.options)

    @cached_property
    def _dav(self) -> Webdav:
        return Webdav(self._http)


def _expect(reply: Reply, request: str) -> None:
    """Raises Failed for a refusal, but not of what has been forgotten."""
    if not reply.is_fine and reply.status != http.client.NOT_FOUND:
        raise reply.failed(request)


def _by(key: Callable[[Answer], str], files: Sequence[Answer]) -> Iterable[Sequence[Answer]]:
    """Files that have the same key, together."""
    groups: dict[str, list[Answer]] = {}
    for file in files:
        groups.setdefault(key(file), []).append(file)
    return groups.values()


def _door(name: str) -> str:
    """Scheme and host of a file's URL."""
    scheme, host, _ = split_url(encoded(name), "https", "http")
    return f"{scheme}://{host}"


def _path(name: str) -> str:
    """The path on the host, with single slashes, as servers give it back."""
    return re.sub("/+", "/", split_url(name, "https", "http", "davs", "dav")[2])


def _about(path: str, answer: object) -> dict[str, Any] | None:
    """What an answer says of one file; servers may answer a part of what they were asked."""
    files = answer.get("files") if isinstance(answer, dict) else answer
    for file in files if isinstance(files, list) else ():
        if isinstance(file, dict) and same_path(str(file.get("path", "")), path):
            return file
    return None


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


def _key_value(written: str) -> tuple[str, str]:
    key, separator, value = written.partition("=")
    if not separator:
        raise Failed(Exit.USAGE, f"--metadata {written} is not written KEY=VALUE")
    return key, value


if __name__ == "__main__":
    main(TapeRestArchive)
