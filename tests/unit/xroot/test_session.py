"""What a server accepts when."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest

from tests.support.root_messages import HANDLE, LFN, SESSION_ID, STREAM_ID
from xroot import responses
from xroot.decoder import Handshake, ResponseDecoder
from xroot.errors import Misuse
from xroot.protocol import ASYNC_ABLE, PROTOCOL_VERSION, Code, ServerFlag, Status
from xroot.requests import (
    Auth,
    Bind,
    Close,
    EndSession,
    Login,
    Open,
    Ping,
    Protocol,
    Read,
    Set,
    Unknown,
)
from xroot.session import Session, Stage

if TYPE_CHECKING:
    from xroot.requests import Message
    from xroot.responses import Response

FLAGS = ServerFlag.IS_SERVER | ServerFlag.SUPPORTS_PAGES
LOGIN = Login(1, "analyst", capability=ASYNC_ABLE | 5)
ID = b"0123456789abcdef"


def at(stage: Stage, flags: int = FLAGS) -> Session:
    """A session that has come so far."""
    session = Session(ID, flags)
    if stage is not Stage.NEW:
        session.answer(b"\0\0", Handshake())
    if stage is Stage.LOGGED_IN:
        session.answer(STREAM_ID, LOGIN)
    if stage is Stage.BOUND:
        session.bind()
    assert session.stage is stage
    return session


def told(session: Session, message: Message | Handshake) -> Response | None:
    """The answer, if the session gives one."""
    answer = session.answer(STREAM_ID, message)
    if answer is None:
        return None
    (response,) = ResponseDecoder().feed(answer)
    return response


def refusal(session: Session, message: Message) -> tuple[int, str]:
    answer = told(session, message)
    assert answer is not None
    assert (answer.stream_id, answer.status) == (STREAM_ID, Status.ERROR)
    return responses.number_of(answer.body), responses.text_of(answer.body)


@pytest.mark.parametrize(("flags", "kind"), [(ServerFlag.IS_SERVER, 1), (ServerFlag.IS_MANAGER, 0)])
def test_the_usual_course(flags: int, kind: int) -> None:
    session = Session(ID, flags)
    assert session.stage is Stage.NEW
    answer = told(session, Handshake())
    assert answer == responses.Response(b"\0\0", 0, struct.pack(">ii", PROTOCOL_VERSION, kind))
    answer = told(session, Protocol(flags=11, expect=3))
    assert answer == responses.Response(STREAM_ID, 0, struct.pack(">ii", PROTOCOL_VERSION, flags))
    assert not session.takes_async
    answer = told(session, LOGIN)
    assert answer == responses.Response(STREAM_ID, 0, ID)
    assert session.stage is Stage.LOGGED_IN
    assert session.login == LOGIN
    assert session.takes_async
    for message in (Ping(), Set("appid x")):
        assert told(session, message) == responses.Response(STREAM_ID, 0, b"")
    for message in (Open(LFN), Read(HANDLE, 0, 1), EndSession(SESSION_ID), Unknown(4711)):
        assert told(session, message) is None


def test_a_client_that_says_nothing_of_it_takes_no_late_answers() -> None:
    session = at(Stage.SHAKEN)
    session.answer(STREAM_ID, Login(1, "old", capability=1))
    assert not session.takes_async


def test_every_flag_can_be_told() -> None:
    answer = told(at(Stage.SHAKEN, 0xFFFFFFFF), Protocol())
    assert answer is not None
    assert answer.body[4:] == b"\xff\xff\xff\xff"


@pytest.mark.parametrize("message", [Open(LFN), Read(HANDLE, 0, 1), Ping(), Set(""), Unknown(1)])
def test_nothing_is_asked_before_login(message: Message) -> None:
    code, text = refusal(at(Stage.SHAKEN), message)
    assert code == Code.INVALID_REQUEST
    assert "log in" in text


@pytest.mark.parametrize("stage", [Stage.LOGGED_IN, Stage.BOUND])
@pytest.mark.parametrize("message", [LOGIN, Bind(SESSION_ID)], ids=["login", "bind"])
def test_a_connection_has_one_session(stage: Stage, message: Message) -> None:
    session = at(stage)
    code, text = refusal(session, message)
    assert code == Code.INVALID_REQUEST
    assert "session already" in text
    assert session.stage is stage


def test_binding_is_for_the_server_to_judge() -> None:
    session = at(Stage.SHAKEN)
    assert told(session, Bind(SESSION_ID)) is None
    assert session.stage is Stage.SHAKEN
    session.bind()
    for message in (Open(LFN), Close(HANDLE), Ping(), EndSession(SESSION_ID)):
        code, text = refusal(session, message)
        assert code == Code.INVALID_REQUEST
        assert "first connection" in text
    assert told(session, Protocol()) is not None


def test_a_lost_session_can_be_ended_before_login() -> None:
    assert told(at(Stage.SHAKEN), EndSession(SESSION_ID)) is None


@pytest.mark.parametrize("stage", [Stage.SHAKEN, Stage.LOGGED_IN, Stage.BOUND])
def test_nobody_is_asked_for_credentials(stage: Stage) -> None:
    code, _ = refusal(at(stage), Auth(b"ztn\0", b"token"))
    assert code == Code.UNSUPPORTED


@pytest.mark.parametrize("session_id", [b"", ID[:-1], ID + b"g"])
def test_a_session_s_id_has_sixteen_bytes(session_id: bytes) -> None:
    with pytest.raises(Misuse):
        Session(session_id, FLAGS)
