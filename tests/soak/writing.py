"""Writing a file by root://, as a client that is sent on and gives up at the first trouble."""

from __future__ import annotations

import asyncio
from typing import Final

from tests.support.root_client import RootClient, redirect_of
from xroot import requests
from xroot.protocol import OpenFlag, Status
from xroot.responses import text_of

TIMEOUT_S: Final = 30.0


class WriteFailed(Exception):
    """The site did not take the file, or did not say that it had."""


async def write_file(address: str, lfn: str, content: bytes) -> None:
    """Returns when the file is there. Raises WriteFailed, OSError, TimeoutError."""
    opening = requests.Open(lfn, "", OpenFlag.NEW | OpenFlag.MKPATH, 0o644)
    async with asyncio.timeout(TIMEOUT_S):
        async with RootClient(address) as head:
            answer = await head.ask(opening)
            if answer.status != Status.REDIRECT:
                raise WriteFailed(text_of(answer.body))
            node = redirect_of(answer)
        async with RootClient(node.address) as client:
            opened = await client.ask(opening._replace(cgi=node.cgi))
            if opened.status != Status.OK:
                raise WriteFailed(text_of(opened.body))
            handle = opened.body[:4]
            for step in (
                (requests.Write(handle, 0, len(content)), content),
                (requests.Close(handle), b""),
            ):
                answer = await client.ask(*step)
                if answer.status != Status.OK:
                    raise WriteFailed(text_of(answer.body))
