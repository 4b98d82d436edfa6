"""Pins: set, moved, removed, expired, and told to the nodes that hold the files."""

from __future__ import annotations

import pytest

from common.errors import UsageError
from redirector.core import events
from redirector.core.instructions import (
    AnswerPin,
    AnswerUnpin,
    DoneWith,
    RemovePins,
    SavePins,
    SendToNode,
    SetPins,
)
from redirector.core.model import FilePins, PinOrder, PinRecord
from redirector.core.pins import Pins
from redirector.core.states import ErrorClass
from tests.support.redirector_head import START_S, Site, of_kind


@pytest.fixture
def site() -> Site:
    site = Site()
    site.join("disk1", {"/a": 1, "/b": 2})
    return site


def pins_sent(site: Site, done: list, name: str = "disk1") -> list[SetPins]:  # type: ignore[type-arg]
    return [one for one in site.sent(done, name) if isinstance(one, SetPins)]


def test_a_pin_is_saved_and_told_to_the_holder(site: Site) -> None:
    assert site.give(events.PinAsked(["/a", "/a"], "me", 60.0, "talk")) == [
        SavePins((PinRecord("/a", "me", START_S + 60.0, "talk"),)),
        SendToNode(1, SetPins((FilePins("/a", (PinOrder("me", 60.0, "talk"),)),))),
        AnswerPin(1, ()),
    ]


def test_every_holder_is_told_of_all_pins_of_its_files_only(site: Site) -> None:
    site.join("disk2", {"/b": 2})
    site.give(events.PinAsked(["/b"], "other", 30.0))
    done = site.give(events.PinAsked(["/a", "/b"], "me", 60.0))
    (first,) = pins_sent(site, done, "disk1")
    (second,) = pins_sent(site, done, "disk2")
    assert [file.lfn for file in first.files] == ["/a", "/b"]
    assert second.files == (FilePins("/b", (PinOrder("other", 30.0), PinOrder("me", 60.0))),)


def test_a_file_not_online_is_pinned_from_when_it_comes(site: Site) -> None:
    done = site.give(events.PinAsked(["/cold"], "me", 60.0))
    assert of_kind(done, AnswerPin) == [AnswerPin(1, ("/cold",))]
    site.now_s += 10.0
    start = site.start_of(site.stage("/cold"), "/cold")
    assert start.pins == (PinOrder("me", 50.0),)
    (told,) = pins_sent(site, site.publish("disk1", start))
    assert told.files == (FilePins("/cold", (PinOrder("me", 50.0),)),)


def test_a_later_pin_of_the_same_owner_moves_the_expiry(site: Site) -> None:
    site.give(events.PinAsked(["/a"], "me", 60.0))
    site.give(events.PinAsked(["/a"], "me", 10.0))
    assert of_kind(site.wait(11.0), RemovePins) == [RemovePins((("/a", "me"),))]
    assert site.wait(60.0) == []


def test_a_renewed_pin_outlives_its_first_expiry(site: Site) -> None:
    site.give(events.PinAsked(["/a"], "me", 5.0))
    site.give(events.PinAsked(["/a"], "me", 20.0))
    assert site.wait(19.0) == []
    assert of_kind(site.wait(2.0), RemovePins) == [RemovePins((("/a", "me"),))]


def test_unpinning_files_or_all_of_an_owner(site: Site) -> None:
    site.give(events.PinAsked(["/a", "/b", "/cold"], "me", 60.0))
    site.give(events.PinAsked(["/a"], "other", 60.0))
    done = site.give(events.UnpinAsked("me", ["/b", "/never"]))
    assert done == [
        RemovePins((("/b", "me"),)),
        SendToNode(1, SetPins((FilePins("/b", ()),))),
        AnswerUnpin(1),
    ]
    done = site.give(events.UnpinAsked("me"))
    assert of_kind(done, AnswerUnpin) == [AnswerUnpin(2)]
    assert pins_sent(site, done)[0].files == (FilePins("/a", (PinOrder("other", 60.0),)),)
    assert site.give(events.UnpinAsked("nobody")) == [AnswerUnpin(0)]


@pytest.mark.parametrize(
    ("owner", "lifetime_s"), [("", 5.0), ("me", 0.0), ("me", -1.0), ("me", float("nan"))]
)
def test_pins_without_owner_or_lifetime_are_refused(
    site: Site, owner: str, lifetime_s: float
) -> None:
    with pytest.raises(UsageError):
        site.give(events.PinAsked(["/a"], owner, lifetime_s))


def test_a_request_may_pin_its_files_each_from_when_it_is_online(site: Site) -> None:
    done = site.stage("/a", "/cold", pin_s=100.0)
    assert of_kind(done, SavePins) == [
        SavePins((PinRecord("/a", "r1", START_S + 100.0, "staged"),))
    ]
    start = site.start_of(done, "/cold")
    assert start.pins == (PinOrder("r1", 100.0, "staged"),)
    site.now_s += 30.0
    assert of_kind(site.publish("disk1", start), SavePins) == [
        SavePins((PinRecord("/cold", "r1", START_S + 130.0, "staged"),))
    ]


def test_the_pins_of_a_request_go_when_it_is_cancelled_also_after_its_end(site: Site) -> None:
    site.stage("/a", "/b", pin_s=100.0)
    done = site.give(events.CancelAsked("r1", ["/b"]))
    assert of_kind(done, RemovePins) == [RemovePins((("/b", "r1"),))]
    done = site.give(events.CancelAsked("r1"))
    assert of_kind(done, RemovePins) == [RemovePins((("/a", "r1"),))]


def test_the_pin_of_a_request_says_who_asked(site: Site) -> None:
    done = site.stage("/a", pin_s=100.0, owner="ann")
    assert [one.pins[0].reason for one in of_kind(done, SavePins)] == ["staged for ann"]


# --- done with ----------------------------------------------------------------


def done_told(site: Site, done: list, name: str = "disk1") -> list[DoneWith]:  # type: ignore[type-arg]
    return [one for one in site.sent(done, name) if isinstance(one, DoneWith)]


def test_what_an_owner_has_done_with_is_told_to_its_holders(site: Site) -> None:
    site.join("disk2", {"/b": 2})
    site.give(events.PinAsked(["/a", "/b"], "session:1", 60.0))
    done = site.give(events.UnpinAsked("session:1", ["/a", "/b", "/nowhere"], done=True))
    assert done_told(site, done) == [DoneWith(("/a", "/b"))]
    assert done_told(site, done, "disk2") == [DoneWith(("/b",))]


def test_what_others_have_pinned_or_wait_for_is_not_done_with(site: Site) -> None:
    site.give(events.PinAsked(["/a", "/b"], "session:1", 60.0))
    site.give(events.PinAsked(["/a"], "session:2", 60.0))
    site.stage("/cold")
    done = site.give(events.UnpinAsked("session:1", ["/a", "/b", "/cold"], done=True))
    assert done_told(site, done) == [DoneWith(("/b",))]
    done = site.give(events.UnpinAsked("session:2", ["/a"], done=True))
    assert done_told(site, done) == [DoneWith(("/a",))]


def test_merely_letting_go_says_nothing_of_being_done(site: Site) -> None:
    site.give(events.PinAsked(["/a"], "ann", 60.0))
    assert done_told(site, site.give(events.UnpinAsked("ann", ["/a"]))) == []


def test_a_pinned_file_may_be_evicted_softly_only(site: Site) -> None:
    site.give(events.PinAsked(["/a"], "ann", 60.0))
    assert site.head.plan_evict(["/a"], site.now_s).refused == [
        ("/a", "pinned by ann for another 60 s")
    ]
    assert site.head.plan_evict(["/a"], site.now_s, soft=True).by_connection == {1: ["/a"]}


def test_a_failed_file_is_not_pinned(site: Site) -> None:
    start = site.start_of(site.stage("/cold", pin_s=100.0), "/cold")
    site.end("disk1", start, ErrorClass.PERMANENT)
    assert site.head.explain("/cold", site.now_s).pins == []


def test_a_joining_node_is_told_all_pins_of_what_it_holds_and_that_there_are_no_others(
    site: Site,
) -> None:
    site.give(events.PinAsked(["/a", "/elsewhere"], "me", 60.0))
    site.lose("disk1")
    site.now_s += 20.0
    assert pins_sent(site, site.hello("disk1")) == []
    (told,) = pins_sent(site, site.inventory("disk1", {"/a": 1, "/b": 2}))
    assert told == SetPins((FilePins("/a", (PinOrder("me", 40.0),)),), complete=True)


def test_pins_outlive_a_restart_and_expire_when_they_should() -> None:
    pins = (PinRecord("/a", "me", START_S + 5.0), PinRecord("/b", "me", START_S - 5.0))
    site = Site(restored=events.Restored(pins=pins))
    assert [one.owner for one in site.head.explain("/a", site.now_s).pins] == ["me"]
    assert site.head.explain("/b", site.now_s).pins == [], "its time is over"
    assert of_kind(site.wait(0.0), RemovePins) == [RemovePins((("/b", "me"),))]
    assert of_kind(site.wait(6.0), RemovePins) == [RemovePins((("/a", "me"),))]


def test_renewing_a_pin_a_thousand_times_takes_no_memory() -> None:
    pins = Pins()
    for number in range(1_000):
        pins.set("/f", "me", 100.0 + number, "")
    assert pins.next_expiry_s() == 100.0
    assert pins.expire(500.0) == []
    assert pins.next_expiry_s() == 1_099.0
    assert len(pins) == 1
    pins.check()
