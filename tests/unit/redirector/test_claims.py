"""One name has one writer in the whole site, and is not staged meanwhile."""

from __future__ import annotations

import pytest

from common.errors import AlreadyExists, BeingWritten, Refused
from redirector.core import events
from redirector.core.instructions import AnswerClaim, CancelRecall, SendInventory
from redirector.core.model import NodeRecord
from redirector.core.states import ErrorClass, FileState, RequestState
from redirector.core.vacancies import VALID_S
from tests.support.redirector_head import GB, Site, of_kind


@pytest.fixture
def site() -> Site:
    site = Site()
    site.join("disk1")
    site.join("disk2")
    return site


def next_step(site: Site, lfn: str) -> str:
    return site.head.explain(lfn, site.now_s).next


# --- giving claims ---


def test_a_free_name_is_claimed_and_explained(site: Site) -> None:
    assert site.claim("disk1", "/f") == [AnswerClaim()]
    assert next_step(site, "/f") == "is being written on disk1"
    assert site.head.node("disk1", site.now_s).claims == 1


def test_a_claimed_name_is_claimed_by_no_other_node(site: Site) -> None:
    site.claim("disk1", "/f")
    with pytest.raises(BeingWritten, match="/f is being written on disk1"):
        site.claim("disk2", "/f")


def test_a_nodes_next_claim_may_overtake_the_end_of_its_last_one(site: Site) -> None:
    site.claim("disk1", "/f", claim_id="u1")
    site.stage("/f")
    site.claim("disk1", "/f", claim_id="u2")
    assert not site.starts(site.end_claim("disk1", "/f", "u1"))
    with pytest.raises(Refused, match="/f is being written on disk1"):
        site.claim("disk2", "/f")
    assert site.starts(site.end_claim("disk1", "/f", "u2"))


def test_the_end_of_a_claim_that_was_refused_ends_no_later_one(site: Site) -> None:
    site.claim("disk2", "/f", claim_id="u1")
    with pytest.raises(Refused):
        site.claim("disk1", "/f", claim_id="u1")
    site.end_claim("disk2", "/f", "u1")
    site.claim("disk1", "/f", claim_id="u2")
    site.end_claim("disk1", "/f", "u1")
    with pytest.raises(Refused, match="/f is being written on disk1"):
        site.claim("disk2", "/f", claim_id="u2")


def test_a_name_whose_claim_has_ended_is_free_again(site: Site) -> None:
    site.claim("disk1", "/f")
    site.end_claim("disk1", "/f")
    assert next_step(site, "/f") == ""
    assert site.claim("disk2", "/f") == [AnswerClaim()]


def test_only_the_node_that_has_a_claim_ends_it(site: Site) -> None:
    site.claim("disk1", "/f")
    assert site.end_claim("disk2", "/f") == []
    assert next_step(site, "/f") == "is being written on disk1"


def test_a_file_that_is_online_is_replaced_by_its_only_holder(site: Site) -> None:
    site.change("disk1", "/f", GB)
    with pytest.raises(AlreadyExists, match="/f is online on disk1"):
        site.claim("disk1", "/f")
    with pytest.raises(AlreadyExists, match="/f is online on disk1"):
        site.claim("disk2", "/f", replaces=True)
    assert site.claim("disk1", "/f", replaces=True) == [AnswerClaim()]


def test_a_file_with_replicas_elsewhere_is_not_replaced(site: Site) -> None:
    site.change("disk1", "/f", GB)
    site.change("disk2", "/f", GB)
    with pytest.raises(AlreadyExists, match="/f is online on disk2"):
        site.claim("disk1", "/f", replaces=True)


def test_a_file_that_is_being_staged_is_not_written(site: Site) -> None:
    started = site.stage("/f")
    with pytest.raises(Refused, match=f"/f is being staged on {site.node_of(started, '/f')}"):
        site.claim("disk1", "/f")


def test_a_node_that_is_not_in_touch_claims_nothing(site: Site) -> None:
    with pytest.raises(Refused, match="disk3, which has not joined"):
        site.claim("disk3", "/f")
    with pytest.raises(Refused, match="in an earlier life"):
        site.claim("disk1", "/f", boot="boot0")
    site.lose("disk1")
    with pytest.raises(Refused, match="disk1, which is not in touch"):
        site.claim("disk1", "/f")
    site.hello("disk1")
    with pytest.raises(Refused, match="disk1, which is not in touch"):
        site.claim("disk1", "/f")
    site.inventory("disk1")
    assert site.claim("disk1", "/f") == [AnswerClaim()]


def test_after_a_restart_nothing_is_claimed_before_all_nodes_have_joined() -> None:
    known = (NodeRecord("disk1", "pool-disk1"), NodeRecord("disk2", "pool-disk2"))
    site = Site(restored=events.Restored(nodes=known))
    site.join("disk1")
    with pytest.raises(Refused, match="disk2 must join the restarted redirector first; try again"):
        site.claim("disk1", "/f")
    site.wait(60.0)
    assert site.claim("disk1", "/f") == [AnswerClaim()]


# --- what the archive was asked about ---


def test_what_was_found_free_is_so_for_the_next_claim_and_not_for_long(site: Site) -> None:
    for lfn in ("/f", "/late"):
        site.head.found_vacant(lfn, site.now_s)
    assert site.claim("disk1", "/f") == [AnswerClaim(archive_was_asked=True)]
    site.end_claim("disk1", "/f")
    assert site.claim("disk1", "/f") == [AnswerClaim()]
    assert site.claim("disk1", "/other") == [AnswerClaim()]
    site.now_s += VALID_S + 1
    assert site.claim("disk1", "/late") == [AnswerClaim()]


def test_what_is_written_or_online_is_not_taken_for_free(site: Site) -> None:
    site.join("disk3", {"/online": 1})
    site.claim("disk1", "/f")
    site.head.found_vacant("/f", site.now_s)
    site.head.found_vacant("/online", site.now_s)
    site.end_claim("disk1", "/f")
    assert site.claim("disk1", "/f") == [AnswerClaim()]
    assert site.claim("disk3", "/online", replaces=True) == [AnswerClaim()]


# --- staging what is being written ---


def test_a_recall_of_a_file_that_is_written_waits_and_is_done_when_it_is_online(
    site: Site,
) -> None:
    site.claim("disk1", "/f")
    assert not site.starts(site.stage("/f") + site.wait(30.0))
    assert site.head.standing(["/f"], site.now_s)[0].state is FileState.STAGING
    assert next_step(site, "/f") == "waits for the client that writes it on disk1"
    site.change("disk1", "/f", GB)
    assert site.head.request("r1").state is RequestState.DONE
    assert not site.starts(site.end_claim("disk1", "/f"))


def test_a_recall_of_a_file_whose_writing_was_given_up_starts(site: Site) -> None:
    site.claim("disk1", "/f")
    site.stage("/f")
    assert site.starts(site.end_claim("disk1", "/f"))


def test_a_recall_that_waits_for_a_writer_can_be_cancelled(site: Site) -> None:
    site.claim("disk1", "/f")
    site.stage("/f")
    site.give(events.CancelAsked("r1"))
    assert not site.starts(site.end_claim("disk1", "/f"))


def test_a_recall_that_waits_long_for_a_writer_is_reported(site: Site) -> None:
    site.claim("disk1", "/f")
    site.stage("/f")
    assert site.head.stuck(site.now_s) == []
    site.wait(900.0)
    assert site.head.stuck(site.now_s) == [
        "/f: held for 15 min: waits for the client that writes it on disk1"
    ]


# --- nodes that come and go ---


def test_a_node_that_joins_anew_keeps_the_claims_it_lists(site: Site) -> None:
    site.claim("disk1", "/kept")
    site.claim("disk1", "/gone")
    site.lose("disk1")
    site.hello("disk1", claims=["/kept"])
    assert next_step(site, "/gone") == "is being written on disk1", "it may be in the inventory"
    site.inventory("disk1")
    assert next_step(site, "/kept") == "is being written on disk1"
    assert next_step(site, "/gone") == ""


def test_a_recall_waits_for_the_inventory_of_a_node_that_wrote_its_file(site: Site) -> None:
    site.claim("disk1", "/f")
    site.stage("/f")
    site.lose("disk1")
    done = site.hello("disk1") + site.inventory("disk1", {"/f": GB})
    assert not site.starts(done)
    assert site.head.request("r1").state is RequestState.DONE


def test_a_claim_that_ends_while_an_inventory_comes_ends_with_it(site: Site) -> None:
    site.claim("disk1", "/f")
    site.stage("/f")
    site.change_numbers["disk1"] = 5
    assert SendInventory() in site.sent(site.change("disk1", "/other", 1), "disk1"), "a gap"
    assert not site.starts(site.end_claim("disk1", "/f"))
    site.inventory("disk1", {"/f": GB}, number=6)
    assert site.head.request("r1").state is RequestState.DONE
    assert site.claim("disk1", "/f", replaces=True) == [AnswerClaim()]


def test_claims_are_taken_back_after_a_restart() -> None:
    site = Site(restored=events.Restored(nodes=(NodeRecord("disk1", "pool-disk1"),)))
    site.stage("/f")
    site.hello("disk1", claims=["/f"])
    assert not site.starts(site.inventory("disk1"))
    assert next_step(site, "/f") == "waits for the client that writes it on disk1"
    site.join("disk2")
    with pytest.raises(Refused, match="is being written on disk1"):
        site.claim("disk2", "/f")
    started = site.end_claim("disk1", "/f", "the id it had before the restart")
    assert site.starts(started)


def test_the_earlier_of_two_writers_keeps_the_claim(site: Site) -> None:
    site.claim("disk1", "/f")
    site.lose("disk2")
    site.hello("disk2", claims=["/f"])
    site.inventory("disk2")
    assert next_step(site, "/f") == "is being written on disk1"
    story = [line.text for line in site.head.explain("/f", site.now_s).story]
    assert story[-1] == "disk2 joined and lets a client write it, but disk1 does so already"
    site.end_claim("disk2", "/f")
    assert next_step(site, "/f") == "is being written on disk1"


def test_a_recall_that_runs_goes_before_a_claim_that_is_told_later(site: Site) -> None:
    started = site.stage("/f")
    runs_on = site.node_of(started, "/f")
    other = "disk2" if runs_on == "disk1" else "disk1"
    site.lose(other)
    site.hello(other, claims=["/f"])
    site.inventory(other)
    site.publish(runs_on, site.start_of(started, "/f"))
    assert site.head.request("r1").state is RequestState.DONE


def test_a_run_of_a_file_that_is_being_written_is_stopped_and_its_recall_waits() -> None:
    known = (NodeRecord("disk1", "pool-disk1"), NodeRecord("disk2", "pool-disk2"))
    site = Site(restored=events.Restored(nodes=known))
    site.stage("/f")
    site.hello("disk1", claims=["/f"])
    site.inventory("disk1")
    stopped = site.sent(site.hello("disk2", running=[("old.1", "/f", GB)]), "disk2")
    assert of_kind(stopped, CancelRecall) == [CancelRecall("old.1", "the file is being written")]
    site.inventory("disk2")
    ended = events.RecallEnded(site.connections["disk2"], "old.1", "/f")
    assert not site.starts(site.give(ended))
    assert next_step(site, "/f") == "waits for the client that writes it on disk1"
    assert site.starts(site.end_claim("disk1", "/f"))


def test_a_recall_that_is_to_be_tried_again_waits_for_a_writer_that_was_told_later(
    site: Site,
) -> None:
    started = site.stage("/f")
    name = site.node_of(started, "/f")
    site.end(name, site.start_of(started, "/f"), ErrorClass.TRANSIENT)
    site.lose("disk1")
    site.hello("disk1", claims=["/f"])
    site.inventory("disk1")
    assert not site.starts(site.wait(10.0))
    assert next_step(site, "/f") == "waits for the client that writes it on disk1"
    assert site.starts(site.end_claim("disk1", "/f"))


def test_the_claims_of_a_lost_node_live_as_long_as_its_lease(site: Site) -> None:
    site.claim("disk1", "/f")
    site.stage("/f")
    site.lose("disk1")
    assert not site.starts(site.wait(59.0))
    with pytest.raises(Refused, match="is being written on disk1"):
        site.claim("disk2", "/f")
    assert site.node_of(site.wait(2.0), "/f") == "disk2"
