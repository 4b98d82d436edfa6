"""A tape storage with WebDAV and the WLCG Tape REST API, on real sockets, in three dialects.

A file has bytes, and is on disk or not. A request brings its files to disk after it has
been polled some times; what is not on disk cannot be read.
"""

from __future__ import annotations

import email.utils
import itertools
import json
import threading
import urllib.parse
import zlib
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, ClassVar, Self, cast
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable


@dataclass(frozen=True)
class Dialect:
    """How one implementation differs from others, as far as clients have to care."""

    name: str
    base: str = "/api/v1"
    #: "state" or "onDisk".
    form: str = "state"
    submitted: int = 201
    done: int = 200
    #: Whether unfinished requests have a `completedAt`, of 0.
    has_zero_completed: bool = False
    cancelled: str = "CANCELLED"
    #: Whether the id is in the Location alone.
    only_location: bool = False
    #: Whether files are served by another server, to which the door redirects.
    redirects: bool = False
    #: What releasing an unknown request is answered.
    unknown_release: int = 200
    #: Whether the first answer of a poll leaves the files out.
    answers_in_parts: bool = False


DIALECTS = (
    Dialect("dcache", base="/api/v1/tape", redirects=True, cancelled="CANCELED"),
    Dialect("eos", form="onDisk", submitted=200, done=204, answers_in_parts=True),
    Dialect("storm", has_zero_completed=True, unknown_release=404, only_location=True),
)


@dataclass
class Request:
    """One stage request."""

    paths: list[str]
    polls_left: int
    polls: int = 0
    errors: dict[str, str] = field(default_factory=dict)
    cancelled: bool = False


class TapeRestServer:
    """Enter it to start it. What it was asked is in `asked`, in order."""

    def __init__(self, dialect: Dialect = DIALECTS[0], tls: ssl.SSLContext | None = None) -> None:
        self.dialect = dialect
        self.files: dict[str, bytes] = {}
        self.directories = {"/", "/store"}
        self.on_disk: set[str] = set()
        self.on_tape: set[str] = set()
        self.lost: set[str] = set()
        self.polls_needed = 2
        #: A bearer token that everybody must have at the door.
        self.token = ""
        #: The next answers are that it is busy, with these headers.
        self.busy: list[dict[str, str]] = []
        self.requests: dict[str, Request] = {}
        self.asked: list[tuple[str, str, Any, dict[str, str]]] = []
        #: Called with every request of the API, before it is answered.
        self.on_request: Callable[[str, str], None] = lambda _method, _path: None
        self._ids = itertools.count(1)
        self._lock = threading.Lock()
        self._scheme = "http" if tls is None else "https"
        self._door = _serve(self, is_door=True, tls=tls)
        self._pool = _serve(self, is_door=False, tls=tls)

    @property
    def url(self) -> str:
        """Of the door, without a slash at its end."""
        return f"{self._scheme}://localhost:{self._door.server_port}"

    @property
    def pool_url(self) -> str:
        """Of the server that has the bytes."""
        return f"{self._scheme}://localhost:{self._pool.server_port}"

    def put(self, path: str, content: bytes, *, on_disk: bool = False) -> None:
        """A file of the archive."""
        self.files[path] = content
        self.on_tape.add(path)
        parts = path.split("/")
        self.directories |= {"/".join(parts[:end]) or "/" for end in range(1, len(parts))}
        if on_disk:
            self.on_disk.add(path)

    def count(self, method: str, suffix: str) -> int:
        """How many requests of a method went to a path with this in it."""
        return sum(one[0] == method and suffix in one[1] for one in self.asked)

    def __enter__(self) -> Self:
        for server in (self._door, self._pool):
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for server in (self._door, self._pool):
            server.shutdown()
            server.server_close()

    # --- the API --------------------------------------------------------------------

    def stage(self, content: Any) -> tuple[int, dict[str, str], Any]:
        """POST stage."""
        paths = [_single(file["path"]) for file in content["files"]]
        name = f"id/{next(self._ids)}"
        request = Request(list(dict.fromkeys(paths)), self.polls_needed)
        for path in paths:
            if path not in self.files:
                request.errors[path] = "no such file, it seems"
            elif path in self.lost:
                request.errors[path] = "the tape is torn"
        self.requests[name] = request
        quoted = urllib.parse.quote(name, safe="")
        headers = {"Location": f"{self.url}{self.dialect.base}/stage/{quoted}"}
        body = {} if self.dialect.only_location else {"requestId": name}
        return self.dialect.submitted, headers, body

    def poll(self, name: str) -> tuple[int, dict[str, str], Any]:
        """GET stage/ID."""
        request = self.requests.get(name)
        if request is None:
            return 404, {}, {"status": 404, "title": "Not found"}
        request.polls += 1
        request.polls_left -= 1
        if request.polls_left < 0 and not request.cancelled:
            self.on_disk |= {path for path in request.paths if path not in request.errors}
        answer: dict[str, Any] = {"id": name, "createdAt": 1, "startedAt": 1}
        if self.dialect.has_zero_completed:
            answer["completedAt"] = 0
        is_partial = self.dialect.answers_in_parts and request.polls == 1
        # A slash too many is nothing that a client may stumble over.
        answer["files"] = [
            {"path": f"/{path}", **self._standing(request, path)}
            for path in request.paths
            if not is_partial
        ]
        return 200, {}, answer

    def _standing(self, request: Request, path: str) -> dict[str, Any]:
        is_online = path in self.on_disk
        error = request.errors.get(path) if request.polls_left < 0 else None
        if self.dialect.form == "onDisk":
            return {"onDisk": is_online, **({"error": error} if error else {})}
        state = "FAILED" if error else "COMPLETED" if is_online else "STARTED"
        if request.cancelled:
            state = self.dialect.cancelled
        return {"state": state, "startedAt": 1, **({"error": error} if error else {})}

    def cancel(self, name: str, content: Any) -> tuple[int, dict[str, str], Any]:
        """POST stage/ID/cancel; what is not in the request cancels nothing."""
        if name not in self.requests:
            return 404, {}, {"status": 404, "title": "Not found"}
        if not set(content["paths"]) <= set(self.requests[name].paths):
            return 400, {}, {"status": 400, "title": "File missing from stage request"}
        return self.dialect.done, {}, None

    def delete(self, name: str) -> tuple[int, dict[str, str], Any]:
        """DELETE stage/ID."""
        known = self.requests.pop(name, None)
        return (self.dialect.done if known else 404), {}, None

    def release(self, name: str) -> tuple[int, dict[str, str], Any]:
        """POST release/ID."""
        if name not in self.requests:
            return self.dialect.unknown_release, {}, None
        self.on_disk -= set(self.requests[name].paths)
        return self.dialect.done, {}, None

    def archiveinfo(self, content: Any) -> tuple[int, dict[str, str], Any]:
        """POST archiveinfo."""
        return 200, {}, [{"path": path, **self._locality(path)} for path in content["paths"]]

    def _locality(self, path: str) -> dict[str, str]:
        if path not in self.files:
            return {"error": "USER ERROR: file does not exist"}
        if path in self.lost:
            return {"locality": "LOST"}
        disk, tape = path in self.on_disk, path in self.on_tape
        return {"locality": "DISK_AND_TAPE" if disk and tape else "TAPE" if tape else "DISK"}


class _Handler(BaseHTTPRequestHandler):
    """One request to the door or the pool."""

    protocol_version = "HTTP/1.1"
    storage: ClassVar[TapeRestServer]
    is_door: ClassVar[bool]

    def log_message(self, *_: object) -> None:
        """Says nothing."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("do_"):
            return self._handle
        raise AttributeError(name)

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        storage = self.storage
        with storage._lock:
            content = _parsed(body) if "json" in self.headers.get("Content-Type", "") else body
            path = self.path if self.is_door else f"pool:{self.path}"
            storage.asked.append((self.command, path, content, dict(self.headers)))
            answer = self._answer(content)
        storage.on_request(self.command, self.path)
        self._send(*answer)

    def _answer(self, content: Any) -> tuple[int, dict[str, str], Any]:
        storage = self.storage
        path = urllib.parse.unquote(self.path, errors="surrogateescape")
        if self.is_door and storage.busy:
            return 429, storage.busy.pop(0), None
        wanted = f"Bearer {storage.token}" if storage.token else None
        if self.is_door and wanted and self.headers.get("Authorization") != wanted:
            return 401, {}, {"status": 401, "title": "Unauthorized", "detail": "who are you?"}
        if not self.is_door:
            # It is told in the address who has been sent here; nobody's token is its business.
            if "Authorization" in self.headers:
                return 400, {}, {"status": 400, "title": "a token came to the wrong server"}
            return self._file(path.partition("?")[0], content)
        if path == "/.well-known/wlcg-tape-rest-api":
            offered = [("v9", "/future"), ("v1", storage.dialect.base)]
            endpoints = [{"uri": storage.url + uri, "version": v} for v, uri in offered]
            return 200, {}, {"sitename": "test-site", "endpoints": endpoints}
        if path.startswith(storage.dialect.base + "/"):
            return self._api(self.path.removeprefix(storage.dialect.base + "/"), content)
        if storage.dialect.redirects and self.command in {"GET", "PUT"}:
            return 307, {"Location": f"{storage.pool_url}{self.path}?ticket=1"}, None
        return self._file(path, content)

    def _api(self, path: str, content: Any) -> tuple[int, dict[str, str], Any]:
        storage = self.storage
        what, _, rest = path.partition("/")
        quoted, _, verb = rest.partition("/")
        name = urllib.parse.unquote(quoted)
        match self.command, what:
            case "POST", "stage" if verb == "cancel":
                return storage.cancel(name, content)
            case "POST", "stage":
                return storage.stage(content)
            case "GET", "stage":
                return storage.poll(name)
            case "DELETE", "stage":
                return storage.delete(name)
            case "POST", "release":
                return storage.release(name)
            case "POST", "archiveinfo":
                return storage.archiveinfo(content)
        return 404, {}, {"status": 404, "title": "Not found"}

    def _file(self, path: str, content: Any) -> tuple[int, dict[str, str], Any]:
        storage = self.storage
        path = _single(path)
        bare = path.rstrip("/") or "/"
        if self.command == "MKCOL":
            if bare in storage.directories:
                return 405, {}, None
            if (bare.rpartition("/")[0] or "/") not in storage.directories:
                return 409, {}, None
            storage.directories.add(bare)
            return 201, {}, None
        if self.command == "PUT":
            if (path.rpartition("/")[0] or "/") not in storage.directories:
                return 409, {}, None
            storage.files[path] = content
            storage.on_disk.add(path)
            return 201, {}, None
        if self.command == "PROPFIND" and bare in storage.directories:
            return self._propfind(bare)
        if path not in storage.files:
            return 404, {}, None
        return self._existing(path)

    def _existing(self, path: str) -> tuple[int, dict[str, str], Any]:
        storage = self.storage
        content = storage.files[path]
        match self.command:
            case "PROPFIND":
                return self._propfind(path)
            case "DELETE":
                del storage.files[path]
                return 204, {}, None
            case "HEAD":
                return 200, {"Digest": f"adler32={zlib.adler32(content):08x}"}, None
            case "GET" if path in storage.on_disk:
                return 200, {}, content
        return 409, {}, {"status": 409, "title": "not on disk"}

    def _propfind(self, path: str) -> tuple[int, dict[str, str], Any]:
        storage = self.storage
        shown = [path]
        if self.headers["Depth"] == "1" and path in storage.directories:
            below = path.rstrip("/") + "/"
            shown += [
                one
                for one in (*storage.files, *storage.directories)
                if one.startswith(below) and one != below and "/" not in one[len(below) :]
            ]
        return 207, {"Content-Type": "application/xml"}, _multistatus(storage, shown)

    def _send(self, status: int, headers: dict[str, str], content: Any) -> None:
        body = b""
        if isinstance(content, bytes):
            body = content
        elif content is not None:
            body = json.dumps(content).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD" and status != 204:
            self.wfile.write(body)


def _multistatus(storage: TapeRestServer, paths: list[str]) -> bytes:
    responses = []
    for path in paths:
        href = escape(urllib.parse.quote(path, errors="surrogateescape"))
        kind = "<d:collection/>" if path in storage.directories else ""
        size = f"<d:getcontentlength>{len(storage.files.get(path, b''))}</d:getcontentlength>"
        modified = email.utils.formatdate(1_700_000_000, usegmt=True)
        responses.append(
            f"<d:response><d:href>{href}</d:href><d:propstat><d:prop>"
            f"<d:resourcetype>{kind}</d:resourcetype>{size}"
            f"<d:getlastmodified>{modified}</d:getlastmodified>"
            "</d:prop><d:status>HTTP/1.1 200 OK</d:status></d:propstat></d:response>"
        )
    body = "".join(responses)
    return f'<?xml version="1.0"?><d:multistatus xmlns:d="DAV:">{body}</d:multistatus>'.encode()


def _serve(
    storage: TapeRestServer, *, is_door: bool, tls: ssl.SSLContext | None
) -> ThreadingHTTPServer:
    own = {"storage": storage, "is_door": is_door}
    handler = cast("type[_Handler]", type("Handler", (_Handler,), own))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    return server


def _parsed(body: bytes) -> Any:
    return json.loads(body)


def _single(path: str) -> str:
    while "//" in path:
        path = path.replace("//", "/")
    return path
