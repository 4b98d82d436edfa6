"""HTTPS and WebDAV, as storage of the WLCG speaks them: tokens, proxies, redirections.

Who asks is told as the WLCG's tools tell it: by the bearer token in BEARER_TOKEN, in the
file BEARER_TOKEN_FILE, or in bt_u<uid> below XDG_RUNTIME_DIR or /tmp; else by the proxy in
X509_USER_PROXY, or the certificate in X509_USER_CERT with X509_USER_KEY. Servers are
believed if an authority in X509_CERT_DIR, in --ca, or of the system vouches for them.
"""

from __future__ import annotations

import contextlib
import email.utils
import errno
import http.client
import json
import os
import ssl
import urllib.parse
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

from archive_tools import BLOCK_BYTES, Exit, Failed, split_url, wait

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Mapping
    from email.message import Message

MOST_REDIRECTIONS: Final = 10
#: How often a server that says when to come back is asked again.
MOST_RETRIES: Final = 30
USUAL_RETRY_S: Final = 30.0
GRID_AUTHORITIES: Final = "/etc/grid-security/certificates"
_REDIRECTIONS: Final = {301, 302, 303, 307, 308}
_BUSY: Final = {429, 503}


def add_options(parser: argparse.ArgumentParser) -> None:
    """What can be told of the connections."""
    parser.add_argument("--ca", metavar="PATH", help="certificates to believe: a file or directory")
    parser.add_argument("--timeout", type=float, default=300.0, help="seconds without a word")


@dataclass(frozen=True)
class Reply:
    """What a server has answered."""

    status: int
    headers: Message
    body: bytes = b""

    @property
    def is_fine(self) -> bool:
        """Whether it has done what it was asked."""
        return 200 <= self.status < 300

    def json(self) -> Any:
        """The body as JSON; nothing if it is none."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None

    def failed(self, name: str) -> Failed:
        """The refusal as an error; in the server's own words, where it has some (RFC 7807)."""
        problem = self.json()
        said = f"HTTP status {self.status}"
        if isinstance(problem, dict):
            words = [str(problem[key]) for key in ("title", "detail") if problem.get(key)]
            said = ": ".join([said, *words])
        code = {401: Exit.NOT_PERMITTED, 403: Exit.NOT_PERMITTED, 404: Exit.NOT_FOUND}
        return Failed(code.get(self.status, Exit.LATER), f"{name}: {said}")


class Http:
    """Asks servers, follows where they send us, and comes back when they say so."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._timeout_s: float = options.timeout
        self._authorities: str | None = options.ca
        self._token = _token()

    def ask(
        self,
        method: str,
        url: str,
        content: object = None,
        *,
        headers: Mapping[str, str] | None = None,
        waiting: str = "",
    ) -> Reply:
        """Sends a request, with content as it is or as JSON.

        `waiting` is a file to touch while the server wants to be left alone.
        """
        sent = dict(headers or {})
        body = content if isinstance(content, bytes) else None
        if content is not None and body is None:
            body = json.dumps(content).encode()
            sent["Content-Type"] = "application/json"
        with self._answer(method, url, body, sent, waiting) as answer:
            return Reply(answer.status, answer.headers, answer.read())

    def download(self, url: str, part: str) -> int | None:
        """Writes what is there into a file; its size, if it is told. Raises Failed."""
        with self._answer("GET", url, None, {}, part) as answer:
            if answer.status != http.client.OK:
                raise Reply(answer.status, answer.headers, answer.read()).failed(url)
            size_bytes = answer.length
            with Path(part).open("wb") as file:
                while block := answer.read(BLOCK_BYTES):
                    _write(file, block)
        return size_bytes

    def upload(self, path: str, url: str) -> None:
        """Puts a file there, over what may be there. Raises Failed."""
        size_bytes = Path(path).stat().st_size
        headers = {"Content-Length": str(size_bytes), "Content-Type": "application/octet-stream"}
        with self._answer("PUT", url, Path(path), headers, "") as answer:
            reply = Reply(answer.status, answer.headers, answer.read())
        if not reply.is_fine:
            raise reply.failed(url)

    # --- inside ---------------------------------------------------------------------

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        return _tls(self._authorities)

    @contextlib.contextmanager
    def _answer(
        self,
        method: str,
        url: str,
        body: bytes | Path | None,
        headers: Mapping[str, str],
        waiting: str,
    ) -> Iterator[http.client.HTTPResponse]:
        """The answer of the server that does the work, after redirections and pauses."""
        asked, token = url, self._token
        redirections = retries = 0
        while True:
            with self._exchange(method, asked, body, headers, token) as answer:
                sent_to = answer.headers.get("Location") if answer.status in _REDIRECTIONS else None
                pause_s = _retry_after(answer) if answer.status in _BUSY else None
                if sent_to is None and (pause_s is None or retries == MOST_RETRIES):
                    yield answer
                    return
            if sent_to is not None:
                redirections += 1
                if redirections > MOST_REDIRECTIONS:
                    raise Failed(Exit.LATER, f"{url}: redirected without end")
                there = urllib.parse.urljoin(asked, sent_to)
                # The token is meant for the door; what other servers need is in the address.
                if urllib.parse.urlsplit(there)[:2] != urllib.parse.urlsplit(asked)[:2]:
                    token = ""
                asked = there
            elif pause_s is not None:
                retries += 1
                wait(waiting, pause_s)

    @contextlib.contextmanager
    def _exchange(
        self,
        method: str,
        url: str,
        body: bytes | Path | None,
        headers: Mapping[str, str],
        token: str,
    ) -> Iterator[http.client.HTTPResponse]:
        """One request to one server, on a connection of its own."""
        scheme, host, path = split_url(url, "https", "http")
        sent = {"Accept": "*/*", "User-Agent": "packhorse", **headers}
        connection = http.client.HTTPConnection(host, timeout=self._timeout_s)
        if scheme == "https":
            connection = http.client.HTTPSConnection(
                host, timeout=self._timeout_s, context=self._tls
            )
            # Anybody on the way could read it otherwise.
            if token:
                sent["Authorization"] = f"Bearer {token}"
        try:
            with contextlib.ExitStack() as opened:
                if isinstance(body, Path):
                    connection.request(method, path, opened.enter_context(body.open("rb")), sent)
                else:
                    connection.request(method, path, body, sent)
            yield connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            what = str(error) or type(error).__name__
            raise Failed(Exit.UNAVAILABLE, f"{scheme}://{host}: {what}") from error
        finally:
            connection.close()


def encoded(name: str) -> str:
    """The URL of a file by its name, in which every character stands for itself."""
    scheme, host, path = split_url(name, "https", "http", "davs", "dav")
    quoted = urllib.parse.quote(path.encode(errors="surrogateescape"))
    return f"{scheme.replace('dav', 'http')}://{host}{quoted}"


def _write(file: IO[bytes], block: bytes) -> None:
    try:
        file.write(block)
    except OSError as error:
        full = error.errno in {errno.ENOSPC, errno.EDQUOT}
        raise Failed(Exit.NO_SPACE if full else Exit.LATER, str(error)) from error


def _retry_after(answer: http.client.HTTPResponse) -> float | None:
    """How long a busy server wants to be left alone, in seconds; None if it does not say."""
    said = answer.headers.get("Retry-After")
    if said is None:
        return None
    if said.strip().isdecimal():
        return float(said)
    try:
        when = email.utils.parsedate_to_datetime(said)
        # By its own clock, not by ours.
        now = email.utils.parsedate_to_datetime(answer.headers.get("Date", ""))
        return max(0.0, (when - now).total_seconds())
    except (ValueError, TypeError):
        return USUAL_RETRY_S


def _token() -> str:
    """The bearer token, found by the WLCG's rules; empty if there is none."""
    if token := os.environ.get("BEARER_TOKEN", "").strip():
        return token
    given = os.environ.get("BEARER_TOKEN_FILE")
    usual = Path(os.environ.get("XDG_RUNTIME_DIR", "/tmp"), f"bt_u{os.geteuid()}")  # noqa: S108
    try:
        return Path(given or usual).read_text().strip()
    except FileNotFoundError:
        if not given:
            return ""
        raise Failed(Exit.SET_UP_WRONGLY, f"BEARER_TOKEN_FILE={given}: no such file") from None
    except OSError as error:
        raise Failed(Exit.SET_UP_WRONGLY, f"no bearer token: {error}") from error


def _tls(authorities: str | None) -> ssl.SSLContext:
    """Whom we believe, and who we say we are."""
    context = ssl.create_default_context()
    environment = os.environ
    grid = environment.get("X509_CERT_DIR", GRID_AUTHORITIES)
    proxy = environment.get("X509_USER_PROXY")
    certificate = proxy or environment.get("X509_USER_CERT")
    key = proxy or environment.get("X509_USER_KEY")
    if authorities is not None and not Path(authorities).exists():
        raise Failed(Exit.SET_UP_WRONGLY, f"--ca {authorities}: no such file or directory")
    try:
        for path in filter(None, (authorities, grid)):
            if Path(path).is_dir():
                context.load_verify_locations(capath=path)
            elif Path(path).exists():
                context.load_verify_locations(cafile=path)
        if certificate:
            context.load_cert_chain(certificate, key)
    except OSError as error:
        what = f"{certificate or authorities or grid}: {error}"
        raise Failed(Exit.SET_UP_WRONGLY, f"certificates cannot be used: {what}") from error
    return context
