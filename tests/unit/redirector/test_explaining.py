"""Explanations: the story of a file, what happens next, what is stuck."""

from __future__ import annotations

from redirector.core import events
from redirector.core.model import NodeLoad
from redirector.core.settings import HeadSettings
from redirector.core.states import ErrorClass, FileState
from tests.support.redirector_head import GB, Site


def story(site: Site, lfn: str) -> list[str]:
    return [line.text for line in site.head.explain(lfn, site.now_s).story]


def next_step(site: Site, lfn: str) -> str:
    return site.head.explain(lfn, site.now_s).next


def test_a_file_never_heard_of_has_no_story() -> None:
    explanation = Site().head.explain("/f", 1_000_000.0)
    assert explanation.state is FileState.NEARLINE
    assert (explanation.story, explanation.replicas, explanation.next) == ([], [], "")


def test_the_story_tells_who_asked_which_node_why_what_ran_and_how_it_ended() -> None:
    site = Site()
    site.join("disk1")
    site.join("disk2")
    done = site.stage("/f", owner="alice", priority=1)
    site.stage("/f", owner="bob")
    first = site.node_of(done, "/f")
    tail = "mounting V00123\nrobot arm stuck\n"
    site.end(
        first,
        site.start_of(done, "/f"),
        ErrorClass.TRANSIENT,
        "the stage command failed",
        exit_code=75,
        command_s=3.0,
        output_tail=tail,
    )
    assert next_step(site, "/f").startswith("retry in 2.")
    assert next_step(site, "/f").endswith("on another node")
    done = site.wait(3.0)
    second = site.node_of(done, "/f")
    start = site.start_of(done, "/f")
    site.now_s += 5.0
    site.publish(second, start, 2 * GB)
    site.end(second, start, command_s=4.5)
    told = story(site, "/f")
    assert told[0] == "asked for by alice (request r1, priority 1)"
    assert told[1].startswith(f"attempt 1 given to {first}, 2 GB reserved: {first} costs")
    assert told[2] == "asked for by bob (request r2)"
    assert told[3] == (
        f"attempt 1 on {first} failed (transient): the stage command failed "
        "[exit code 75 after 3 s]"
    )
    assert told[4:6] == ["stderr: mounting V00123", "stderr: robot arm stuck"]
    assert told[6].startswith("tried again in 2.")
    assert told[7].startswith(f"attempt 2 given to {second}")
    assert told[8] == f"online on {second}: 2 GB in 5 s"
    assert told[9] == "its command took 4.5 s"
    explanation = site.head.explain("/f", site.now_s)
    assert explanation.replicas == [(second, 2 * GB)]
    assert explanation.request_ids == []


def test_a_queued_file_tells_who_waits_for_it() -> None:
    site = Site()
    site.stage("/f", owner="alice")
    site.stage("/f")
    assert story(site, "/f") == [
        "asked for by alice (request r1)",
        "asked for by somebody (request r2)",
    ]
    assert site.head.explain("/f", site.now_s).request_ids == ["r1", "r2"]


def test_next_tells_why_a_queued_recall_waits() -> None:
    site = Site()
    site.stage("/f", sizes={"/f": 8 * GB})
    assert next_step(site, "/f").startswith("no data server can take recalls")
    site.join("disk1", quota_bytes=10 * GB, slots=1, load=NodeLoad(pinned_bytes=9 * GB))
    assert next_step(site, "/f") == (
        "needs 8 GB; the most that is neither pinned nor promised is 1 GB on disk1"
    )
    site.stage("/small", "/small2", "/small3", "/small4", sizes={}, priority=-1)
    site.give(events.NodeHeartbeat(1, NodeLoad(), quota_bytes=900 * GB))
    assert next_step(site, "/small4") == "waits for its turn: 2 recalls before it"
    assert next_step(site, "/small2") == "waits for a node to have fewer recalls"


def test_next_tells_that_a_run_is_being_stopped() -> None:
    site = Site()
    site.join("disk1")
    site.stage("/f")
    site.give(events.CancelAsked("r1"))
    assert next_step(site, "/f") == "its run on disk1 is being stopped"
    assert site.head.explain("/f", site.now_s).state is FileState.NEARLINE


def test_a_purged_files_story_tells_that() -> None:
    site = Site()
    site.join("disk1")
    start = site.start_of(site.stage("/f"), "/f")
    site.publish("disk1", start)
    site.change("disk1", "/f", GB, dropped=True)
    assert story(site, "/f")[-1] == "dropped by disk1: purged"


def test_stories_are_bounded() -> None:
    site = Site(HeadSettings(stories_remembered=3))
    site.join("disk1", slots=10)
    for number in range(5):
        site.publish("disk1", site.start_of(site.stage(f"/f{number}"), f"/f{number}"))
    assert [len(story(site, f"/f{number}")) for number in range(5)] == [0, 0, 3, 3, 3]


def test_nothing_is_stuck_where_all_is_well() -> None:
    site = Site()
    site.join("disk1")
    site.stage("/f")
    assert site.head.stuck(site.now_s) == []


def test_what_makes_no_progress_is_reported() -> None:
    site = Site(HeadSettings(stuck_after_s=60.0))
    site.join("disk1", slots=1)
    start = site.start_of(site.stage("/runs", "/crawls", "/waits"), "/runs")
    site.wait(50.0)
    site.give(events.RecallProgressed(1, start.recall_id, 10, GB, "copying"))
    site.wait(20.0)
    assert site.head.stuck(site.now_s) == [
        "/crawls: runs on disk1, no progress for 70 s",
        "/waits: queued for 70 s: waits for a node to have fewer recalls",
    ]
    site.lose("disk1")
    site.wait(10.0)
    assert "node disk1: out of touch for 10 s" in site.head.stuck(site.now_s)
    site.wait(60.0)
    assert "node disk1: dropped, out of touch for 70 s" in site.head.stuck(site.now_s)


def test_a_node_in_trouble_is_reported_in_its_own_words() -> None:
    site = Site()
    site.join("disk1", load=NodeLoad(trouble="the pool is read-only"))
    assert site.head.stuck(site.now_s) == ["node disk1: the pool is read-only"]


def test_files_that_do_not_come_into_the_archive_are_stuck() -> None:
    site = Site()
    site.join("disk1", load=NodeLoad(stores_waiting=7, stores_failed=2))
    assert site.head.stuck(site.now_s) == [
        "node disk1: 2 files cannot be stored, see packhorse stores --failed"
    ]
    down = "the archive has taken nothing for 3 h: no tape"
    site.beat("disk1", NodeLoad(stores_waiting=7, stores_failed=2, stores_trouble=down))
    assert site.head.stuck(site.now_s) == [f"node disk1: 7 files wait to be stored: {down}"]
    site.beat("disk1", NodeLoad(stores_waiting=7))
    assert site.head.stuck(site.now_s) == []
