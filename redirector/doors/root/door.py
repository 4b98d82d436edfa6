"""The redirector's root:// door: who comes in, and which part answers what."""

from __future__ import annotations

from typing import TYPE_CHECKING

from common.writable import Writable
from redirector.doors.root.archive import ArchiveView
from redirector.doors.root.changing import Changing
from redirector.doors.root.listing import Listing
from redirector.doors.root.looking import Looking
from redirector.doors.root.naming import Names
from redirector.doors.root.nearness import Nearness
from redirector.doors.root.opening import Opening
from redirector.doors.root.preparing import Preparing
from redirector.doors.root.querying import Querying
from redirector.doors.root.staging import Bringing
from redirector.requests_kept import KeptRequests
from xroot import requests
from xroot.protocol import STAT_VFS, Code, ServerFlag

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from common.config.root import RootConfig
    from common.names import NameMap
    from common.root_server import Connection
    from redirector.questions import Questions
    from redirector.runner import Runner
    from redirector.store.history import History
    from xroot.decoder import Data, Item
    from xroot.requests import Message


class RootDoor:
    """What all connections share."""

    flags = ServerFlag.IS_MANAGER | ServerFlag.SUPPORTS_PAGES | ServerFlag.SUPPORTS_POSC

    def __init__(
        self,
        runner: Runner,
        questions: Questions,
        history: History,
        name_map: NameMap,
        config: RootConfig,
        version: str,
        *,
        removes: bool = False,
    ) -> None:
        """`version` is told to clients that ask for it; `removes`: they may remove what is in
        the archive.
        """
        names = Names(name_map, Writable(name_map, config.writable))
        archive = ArchiveView(questions)
        bringing = Bringing(runner, questions, config.open_deadline)
        opening = Opening(runner, names, Nearness(), bringing, archive)
        self.looking = Looking(runner, names, opening, archive)
        listing = Listing(runner, names, self.looking, questions)
        preparing = Preparing(
            runner, names, archive, questions, KeptRequests(runner, history), config.prepare_pin
        )
        querying = Querying(runner, names, opening, self.looking, archive, preparing, version)
        changing = Changing(runner, names, opening, archive, listing, removes=removes)
        self.open = opening.open
        self.answers: dict[type, Callable[[Connection, bytes, Any], None]] = {
            requests.Stat: self.looking.stat,
            requests.Statx: self.looking.statx,
            requests.Locate: self.looking.locate,
            requests.DirList: listing.dirlist,
            requests.Query: querying.query,
            requests.Prepare: preparing.prepare,
            requests.MkDir: changing.mkdir,
            requests.RmDir: changing.rmdir,
            requests.Rm: changing.change_file,
            requests.Mv: changing.change_file,
            requests.Chmod: changing.change_file,
            requests.Truncate: changing.change_file,
            requests.FAttr: changing.change_file,
        }

    def welcome(self, connection: Connection) -> RootClient:
        """Whoever answers this connection's requests."""
        return RootClient(self, connection)


class RootClient:
    """One client. It has nothing open here, so there is nothing to remember of it."""

    def __init__(self, door: RootDoor, connection: Connection) -> None:
        self._door = door
        self._connection = connection

    def request(self, stream_id: bytes, message: Message) -> None:
        """Answers a request. Raises PackhorseError."""
        if isinstance(message, requests.Open):
            self._door.open(self._connection, stream_id, message.path, message.cgi, message.options)
            return
        answer = self._door.answers.get(type(message))
        if answer is not None and not _is_by_handle(message):
            answer(self._connection, stream_id, message)
        else:
            reason = f"{type(message).__name__.lower()} is for an open file, and none is open here"
            self._connection.fail(stream_id, Code.FILE_NOT_OPEN, reason)

    def reads(self, _items: Sequence[Item], _start: int, /) -> int:
        """Nothing is open here, so none is a usual one."""
        return 0

    def data(self, piece: Data) -> None:
        """Nobody can write here: it has been answered so already."""

    def gone(self) -> None:
        """There is nothing to close."""


def _is_by_handle(message: Message) -> bool:
    """Whether a request that may bear a name has a handle instead."""
    if isinstance(message, requests.Stat):
        return not message.path and not message.options & STAT_VFS
    return isinstance(message, requests.Truncate | requests.FAttr) and not message.path
