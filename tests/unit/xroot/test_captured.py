"""What XRootD's own clients and server have said is understood, and can be said again."""

from __future__ import annotations

import pytest

from tests.support.captured_root import CAPTURED, Captured
from tests.support.root_messages import PLAIN, WRITES
from tests.support.root_wire import answered, check_retelling, heard, messages
from xroot import texts
from xroot.protocol import ASYNC_ABLE, OpenFlag, Status
from xroot.requests import (
    Auth,
    Bind,
    Close,
    EndSession,
    FAttr,
    Login,
    Open,
    PgRead,
    PgWrite,
    Prepare,
    Query,
    Statx,
    Truncate,
    WriteV,
)
from xroot.responses import number_of, promised, text_of

ABOUT = [captured.about for captured in CAPTURED]


def captured(begins: str) -> Captured:
    """The first one that is about this."""
    return next(each for each in CAPTURED if each.about.startswith(begins))


@pytest.mark.parametrize("said", CAPTURED, ids=ABOUT)
def test_requests_are_understood_and_said_again(said: Captured) -> None:
    check_retelling(said.client)


@pytest.mark.parametrize("said", CAPTURED, ids=ABOUT)
def test_answers_are_understood_and_said_again(said: Captured) -> None:
    assert answered(said.server)


@pytest.mark.parametrize("said", CAPTURED, ids=ABOUT)
def test_every_answer_is_to_a_request(said: Captured) -> None:
    asked = {stream_id for stream_id, _ in heard(said.client)}
    told = {answer.stream_id for answer in answered(said.server)}
    if "by other connections" not in said.about:
        assert told == asked


def test_nearly_every_kind_of_request_was_captured() -> None:
    kinds = {type(message) for said in CAPTURED for message in messages(heard(said.client))}
    known = {type(message) for message in PLAIN} | {type(message) for message, _ in WRITES}
    # Without security nobody proves who he is, and no client of today asks for statx.
    assert known - kinds == {Auth, Statx}


def test_a_download() -> None:
    said = messages(heard(captured("xrdcp 5.5.3 copies a file to").client))
    login, opened, read, closed = said[2:]
    assert isinstance(login, Login)
    assert (login.user, login.ability, login.capability) == ("root", 0xDD, ASYNC_ABLE | 5)
    assert "xrd.appname=xrdcp&" in login.info
    flags = OpenFlag.READ | OpenFlag.ASYNC | OpenFlag.RETSTAT
    assert opened == Open("/store/small.root", options=flags)
    assert read == PgRead(bytes(4), 0, 21)
    assert closed == Close(bytes(4))


def test_an_upload() -> None:
    said = messages(heard(captured("xrdcp 5.5.3 --posc").client))
    opened = next(message for message in said if isinstance(message, Open))
    assert opened == Open("/store/up.root", "oss.asize=21", 0x1468, 0o644)
    assert opened.options & OpenFlag.WRITING
    assert PgWrite(bytes(4), 0, 25) in said


def test_a_promised_sum() -> None:
    said = captured("xrdcp 5.5.3 --cksum")
    assert Query(3, "/store/sums.root?cks.type=adler32") in messages(heard(said.client))
    answers = answered(said.server)
    (promise,) = [answer for answer in answers if answer.status == Status.WAITRESP]
    assert number_of(promise.body) == 600
    (kept,) = [answer for answer in answers if answer.status == Status.ATTN]
    answer = promised(kept.body)
    assert (answer.stream_id, answer.status) == (promise.stream_id, Status.OK)
    assert answer.body == b"adler32 10e6034d\0"


def test_reads_by_other_connections() -> None:
    said = messages(heard(captured("xrdcp 5.5.3 -S 2").client))
    assert {message.path_id for message in said if isinstance(message, PgRead)} == {1, 2}
    bound = messages(heard(captured("one of these").client))
    assert [type(message) for message in bound[2:]] == [Bind]


def test_a_redirect() -> None:
    (answer,) = [
        answer
        for answer in answered(captured("xrdcp 5.5.3 is sent").server)
        if answer.status == Status.REDIRECT
    ]
    assert number_of(answer.body) > 0
    assert text_of(answer.body) == "127.0.0.1"


def test_coming_back_to_an_open_file() -> None:
    said = messages(heard(captured("pip's xrootd 6.2.1, whose").client))
    assert isinstance(said[3], EndSession)
    # To read it, although no flag says so.
    assert said[4] == Open("/store/small.root", options=0)


def test_texts() -> None:
    answers = answered(captured("xrdfs").server)
    bodies = [
        answer.body.decode(errors="replace") for answer in answers if answer.status == Status.OK
    ]
    about = texts.read_stat(bodies[3])
    assert str(about) + "\0" == bodies[3]
    (location,) = {body for body in bodies if body.startswith("Sw[")}
    assert "".join(map(str, texts.read_locations(location))) + "\0" == location
    listings = [body for body in bodies if body.startswith(texts.STAT_LISTING)]
    names = [[name for name, _ in texts.read_listing(body)] for body in listings]
    # The same directory, then with checksums, then an empty one.
    assert names[0] == names[1] != names[2] == []
    assert texts.listing(texts.read_listing(listings[0])) + "\0" == listings[0]


def test_other_forms() -> None:
    said = [message for each in CAPTURED for message in messages(heard(each.client))]
    assert Truncate(bytes(4), 20, "/store/new/renamed.root") in said
    assert any(isinstance(message, WriteV) and len(message.chunks) == 2 for message in said)
    assert any(isinstance(message, FAttr) and not message.path for message in said)
    assert any(isinstance(message, Prepare) and message.option_x for message in said)
