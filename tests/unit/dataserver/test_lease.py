"""A node lives by a lease: out of touch for most of it, it does nothing that others may do."""

from __future__ import annotations

from dataserver.core import events as ev
from dataserver.core import instructions as do
from tests.support.driven_node import Driven

LEASE_S = 60.0


def copying(*lfns: str) -> Driven:
    driven = Driven(slots=3, examines=True)
    driven.welcome(LEASE_S)
    for lfn in lfns:
        driven.order(lfn)
        driven(ev.Examined(f"r{lfn}"))
    return driven


def test_commands_are_kept_from_every_contact_on() -> None:
    driven = Driven()
    assert driven(ev.Welcomed(LEASE_S, 1000.0)) == [do.KeepCommands(1000.0 + 0.9 * LEASE_S)]
    driven.now_s = 1020.0
    assert driven(ev.InTouch(1019.0)) == [do.KeepCommands(1019.0 + 0.9 * LEASE_S)]
    # An older word says nothing new.
    assert driven(ev.InTouch(1010.0)) == [do.KeepCommands(1019.0 + 0.9 * LEASE_S)]


def test_without_a_lease_commands_are_not_looked_after() -> None:
    assert Driven()(ev.Welcomed(0.0, 1000.0)) == []


def test_after_being_stopped_a_node_publishes_nothing_that_was_verified() -> None:
    driven = copying("/a")
    driven(ev.Copied("r/a", 100))
    driven.now_s += LEASE_S
    assert driven(ev.Verified("r/a", 100, None)) == [do.StopStep("r/a")]
    driven(ev.Stopped("r/a"))
    assert driven.node.pool.get("/a") is None


def test_after_being_stopped_a_node_starts_no_command() -> None:
    driven = Driven(examines=True)
    driven.welcome(LEASE_S)
    driven.order("/a")
    driven.now_s += LEASE_S
    assert driven(ev.Examined("r/a")) == [do.StopStep("r/a")]


def test_after_being_stopped_any_event_ends_what_runs() -> None:
    driven = copying("/a", "/b")
    driven.now_s += LEASE_S
    assert set(driven(ev.Grew("r/a", 50))) == {do.StopStep("r/a"), do.StopStep("r/b")}


def test_after_being_stopped_what_clients_wrote_is_not_published() -> None:
    driven = Driven()
    driven.welcome(LEASE_S)
    driven(ev.UploadBegun("u", "/a", 100))
    driven(ev.Claimed("u"))
    driven.now_s += LEASE_S
    (end,) = driven(ev.UploadWritten("u", 100))
    assert isinstance(end, do.EndUpload)
    assert "out of touch" in end.error.message
