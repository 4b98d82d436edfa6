"""Sessions over real streams: a real redirector, scripted data servers and workers."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import TYPE_CHECKING

import pytest

from common.errors import NotFound, Refused, Unreachable, UsageError
from common.grpc_client import call
from protos.packhorse.v1 import packetizer_pb2 as pb
from protos.packhorse.v1 import redirector_pb2, types_pb2
from tests.support.packet_site import PacketSite, content, is_over, lfn, poll
from tests.support.scripted_worker import counted

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

Kind = pb.PacketFailure


@pytest.fixture(autouse=True)
def nothing_went_wrong(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Whatever a test does to it, the packetizer itself has no errors to tell of."""
    yield
    records = [*caplog.get_records("call"), *caplog.get_records("setup"), *caplog.records]
    assert [record.getMessage() for record in records if record.levelno >= logging.ERROR] == []


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[PacketSite]:
    async with PacketSite(tmp_path) as site:
        await site.start()
        yield site


# --- the main job --------------------------------------------------------------------


async def test_a_dataset_is_staged_and_processed_to_the_end(site: PacketSite) -> None:
    await site.dataset("d", files=6)
    session_id = await site.open("d", function_name="count", owner="ann")
    async with site.worker("w1") as one, site.worker("w2", "host of n2") as two:
        await asyncio.gather(one.work(), two.work())
    status = await site.ended(session_id)
    assert status.state == pb.SESSION_STATE_DONE
    assert (status.files, status.files_done, status.files_recalled) == (6, 6, 6)
    assert (status.entries_total, status.entries_done, status.entries_bad) == (600, 600, 0)
    assert status.entries_local > 0
    assert (status.dataset, status.owner, status.function_name) == ("d", "ann", "count")
    assert status.first_lease_s >= 0
    assert status.first_packet_s >= status.first_lease_s
    assert status.bytes_read == 100 * status.packets_done
    await site.counts_every_entry_once(session_id, 6)


async def test_packets_tell_what_to_read_and_where(site: PacketSite) -> None:
    await site.dataset("d", files=1)
    site.put(0)
    await site.open("d", packet_entries=30)
    async with site.worker(rack="r", site="s") as worker:
        assert worker.welcome is not None
        assert worker.welcome.commit_s == pytest.approx(0.1)
        assert worker.welcome.max_result_bytes == 256_000_000
        (packet,) = await worker.get()
    assert (packet.lfn, packet.tree, packet.start, packet.stop) == (lfn(0), "events", 0, 30)
    assert packet.format == types_pb2.Content.FORMAT_ROOT
    assert packet.file_size_bytes == 1_000
    assert packet.attempt == 1
    origin = getattr(packet, "from")
    assert (origin.node, origin.address, origin.host) == ("n1", "127.0.0.1:9", "host of n1")


async def test_every_packet_has_a_record(site: PacketSite) -> None:
    await site.dataset("d", files=2)
    session_id = await site.open("d", packet_entries=50)
    async with site.worker() as worker:
        await worker.work()
    records = await site.records(session_id)
    assert sorted((r.lfn, r.start, r.stop) for r in records) == [
        (lfn(number), start, start + 50) for number in (0, 1) for start in (0, 50)
    ]
    record = records[0]
    assert (record.worker, record.host) == ("w1", "host of n1")
    assert record.local == (record.node == "n1")
    assert record.compute_s == pytest.approx(0.007)
    assert record.ended_unix_s > 1e9


async def test_the_function_comes_back_as_it_was_sent(site: PacketSite) -> None:
    await site.dataset("d", files=1)
    function = bytes(range(256)) * 10
    session_id = await site.open("d", function=function)
    for _ in range(2):
        reply = await call(site.stub.GetFunction(pb.GetFunctionRequest(session_id=session_id)))
        assert reply.function == function


async def test_online_files_come_first_and_their_number_is_told(site: PacketSite) -> None:
    await site.dataset("d", files=6)
    for node in site.node.values():
        node.archive = None
    for number in (1, 4):
        site.put(number)
    session_id = await site.open("d")
    async with site.worker() as worker:
        (packet, *_) = await worker.get()
        assert packet.lfn == lfn(1)
        status = await site.status(session_id)
        assert status.files_recalled_at_first_packet == 2
        assert status.files_online == 2
        assert status.files_staging == 4


async def test_results_so_far_can_be_had_at_any_time(site: PacketSite) -> None:
    await site.dataset("d", files=1)
    session_id = await site.open("d", packet_entries=10)
    async with site.worker() as worker:
        assert not await site.results(session_id)
        await worker.get(2)
        await worker.until(lambda: len(worker.packets) == 2)
        await worker.commit()
        assert sum(counted(await site.results(session_id)).values()) == 20


async def test_two_sessions_on_one_dataset_share_its_recalls(site: PacketSite) -> None:
    await site.dataset("d", files=4)
    sessions = [await site.open("d") for _ in range(2)]
    async with site.worker("w1") as one, site.worker("w2") as two:
        await asyncio.gather(one.work(sessions=2), two.work(sessions=2))
    for session_id in sessions:
        await site.counts_every_entry_once(session_id, 4)
    recalled = [recall.lfn for node in site.node.values() for recall in node.recalls]
    assert sorted(recalled) == [lfn(number) for number in range(4)]


# --- pins and requests ----------------------------------------------------------------------


async def test_files_are_pinned_while_they_are_needed(site: PacketSite) -> None:
    await site.dataset("d", files=2)
    session_id = await site.open("d", packet_entries=100)
    owner = f"session:{session_id}"
    await site.until(session_id, lambda status: status.files_online == 2)
    assert await site.pins_of(lfn(0)) == [owner]
    async with site.worker() as worker:
        await worker.get(1)
        (packet,) = worker.packets
        await worker.commit()
        node = site.node[getattr(packet, "from").node]
        await node.until(lambda: not node.pins.get(packet.lfn))
        await node.until(lambda: node.done_with == [packet.lfn])
        await worker.get(1)
        (last,) = worker.packets
        await worker.commit()
    await site.ended(session_id)
    for number in (0, 1):
        assert not await site.pins_of(lfn(number))
    # The last file was done with when the session was; that is told before its pins go.
    told = [one for node in site.node.values() for one in node.done_with]
    assert sorted(told) == [lfn(0), lfn(1)] == sorted({packet.lfn, last.lfn})


async def test_a_cancelled_session_leaves_no_request_and_no_pin(site: PacketSite) -> None:
    await site.dataset("d", files=4)
    for node in site.node.values():
        node.archive = None
    site.put(0)
    session_id = await site.open("d")
    await site.until(session_id, lambda status: status.files_staging == 3)
    recall = await asyncio.wait_for(_any_recall(site), 30)
    async with site.worker() as worker:
        await call(
            site.stub.CancelSession(pb.CancelSessionRequest(session_id=session_id, reason="enough"))
        )
        await worker.until(lambda: worker.ended == [session_id])
    status = await site.ended(session_id)
    assert (status.state, status.reason) == (pb.SESSION_STATE_CANCELLED, "enough")
    cancelled = await asyncio.wait_for(site.node[recall[0]].cancelled.get(), 30)
    assert cancelled.recall_id
    await _until_released(site)
    assert not await site.pins_of(lfn(0))


async def _any_recall(site: PacketSite) -> tuple[str, redirector_pb2.StartRecall]:
    tasks = {asyncio.create_task(node.next_recall()): name for name, node in site.node.items()}
    done, waiting = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in waiting:
        task.cancel()
    task = done.pop()
    return tasks[task], task.result()


async def _until_released(site: PacketSite) -> None:
    """Waits until no stage request is active, and no file is pinned."""
    request = redirector_pb2.ListRequestsRequest(active_only=True)

    async def left() -> bool:
        active = (await call(site.head.files.ListRequests(request))).requests
        return bool(active) or any([await site.pins_of(name) for name in site.entries])

    await poll(left, until=False)


async def test_a_cancelled_session_can_be_resumed(site: PacketSite) -> None:
    await site.dataset("d", files=2)
    session_id = await site.open("d", packet_entries=50)
    async with site.worker() as worker:
        await worker.get(1)
        await worker.commit()
        await call(site.stub.CancelSession(pb.CancelSessionRequest(session_id=session_id)))
    await call(site.stub.ResumeSession(pb.ResumeSessionRequest(session_id=session_id)))
    with pytest.raises(Refused, match="at work"):
        await call(site.stub.ResumeSession(pb.ResumeSessionRequest(session_id=session_id)))
    async with site.worker("w2") as worker:
        await worker.work()
    status = await site.ended(session_id)
    assert status.state == pb.SESSION_STATE_DONE
    assert status.packets_done == 4
    await site.counts_every_entry_once(session_id, 2)


# --- what is not online ------------------------------------------------------------------------


async def test_skip_names_what_is_not_online(site: PacketSite) -> None:
    await site.dataset("d", files=3)
    site.put(1)
    session_id = await site.open("d", missing=pb.MISSING_POLICY_SKIP)
    async with site.worker() as worker:
        await worker.work()
    status = await site.ended(session_id)
    assert status.state == pb.SESSION_STATE_DONE
    assert status.entries_done == 100
    assert [(m.lfn, m.start, m.stop) for m in status.missing] == [(lfn(0), 0, 0), (lfn(2), 0, 0)]
    assert not site.node["n1"].recalls


async def test_abort_refuses_to_open_and_says_what_is_not_online(site: PacketSite) -> None:
    await site.dataset("d", files=9)
    site.put(0)
    with pytest.raises(Refused, match=r"8 of 9 files are not online \(/store/f1.root, .* 5 more"):
        await site.open("d", missing=pb.MISSING_POLICY_ABORT)
    listed = await call(site.stub.ListSessions(pb.ListSessionsRequest()))
    assert not listed.sessions


async def test_a_file_the_archive_does_not_have_is_named_and_the_rest_done(
    site: PacketSite,
) -> None:
    await site.dataset("d", files=2)
    del site.entries[lfn(0)]
    session_id = await site.open("d")
    async with site.worker() as worker:
        await worker.work()
    status = await site.ended(session_id)
    assert status.state == pb.SESSION_STATE_DONE
    (missing,) = status.missing
    assert (missing.lfn, missing.start, missing.stop) == (lfn(0), 0, 0)
    assert "not in the archive" in missing.reason
    assert (status.entries_done, status.files_bad) == (100, 1)


@pytest.mark.parametrize(
    ("inside", "said"),
    [
        (types_pb2.Content(problem="it is a text file"), "it is a text file"),
        (content(10, tree="other"), "no tree named 'events': it has 'other'"),
    ],
)
async def test_a_file_with_the_wrong_content_is_named(
    site: PacketSite, inside: types_pb2.Content, said: str
) -> None:
    await site.dataset("d", files=2)
    site.put(0, inside=inside)
    site.put(1)
    session_id = await site.open("d")
    async with site.worker() as worker:
        await worker.work()
    status = await site.ended(session_id)
    (missing,) = status.missing
    assert missing.lfn == lfn(0)
    assert said in missing.reason
    assert status.entries_done == 100


async def test_a_file_that_is_dropped_before_it_is_done_is_staged_again(site: PacketSite) -> None:
    await site.dataset("d", files=1)
    site.put(0)
    session_id = await site.open("d", packet_entries=50)
    async with site.worker() as worker:
        await worker.get(1)
        site.node["n1"].drop(lfn(0), "its disk died")
        await site.until(session_id, lambda status: status.files_online == 0)
        await worker.commit()
        worker.report(1)
        await worker.given()
        assert (worker.packets[0].start, worker.packets[0].stop) == (50, 100)
        await worker.commit()
    status = await site.ended(session_id)
    assert status.files_recalled == 1
    await site.counts_every_entry_once(session_id, 1)


async def test_what_a_data_server_takes_down_with_it_is_staged_elsewhere(
    site: PacketSite,
) -> None:
    await site.dataset("d", files=2)
    for number in (0, 1):
        site.put(number, "n1")
    session_id = await site.open("d", packet_entries=50)
    async with site.worker() as worker:
        await worker.get(1)
        await site.node["n1"].leave()
        worker.fail(worker.packets[0], Kind.KIND_OPEN, "connection refused")
        await site.until(session_id, lambda status: status.files_recalled == 2)
        await worker.work()
    status = await site.ended(session_id)
    assert (status.entries_done, status.entries_bad) == (200, 0)
    await site.counts_every_entry_once(session_id, 2)


async def test_a_redirector_that_is_restarted_does_not_disturb(site: PacketSite) -> None:
    await site.dataset("d", files=4)
    for node in site.node.values():
        node.archive = None
    site.put(0)
    session_id = await site.open("d", packet_entries=50)
    await site.until(session_id, lambda status: status.files_staging == 3)
    async with site.worker() as worker:
        await worker.get(1)
        await worker.commit()
        await site.restart_head()  # from now on, data servers do stage
        await worker.work()
    status = await site.ended(session_id)
    assert status.state == pb.SESSION_STATE_DONE
    assert status.files_recalled == 3
    await site.counts_every_entry_once(session_id, 4)


# --- workers -------------------------------------------------------------------------------------


async def test_what_a_vanished_worker_held_goes_to_another(site: PacketSite) -> None:
    await site.dataset("d", files=1)
    session_id = await site.open("d", packet_entries=50)
    async with site.worker("w1") as doomed:
        await doomed.get(2)
        await doomed.until(lambda: len(doomed.packets) == 2)
    async with site.worker("w2") as worker:
        await worker.work()
    status = await site.ended(session_id)
    assert status.state == pb.SESSION_STATE_DONE
    assert status.packets_retried == 2
    await site.counts_every_entry_once(session_id, 1)


async def test_a_silent_worker_is_given_up(tmp_path: Path) -> None:
    more = 'lease = "400ms"\nheartbeat = "100ms"'
    async with PacketSite(tmp_path, more=more) as site:
        await site.start()
        await site.dataset("d", files=1)
        session_id = await site.open("d", packet_entries=50)
        async with site.worker("silent") as silent, site.worker("w2") as worker:
            await silent.get(2)
            beating = asyncio.create_task(_keep_beating(worker))
            await worker.work()
            beating.cancel()
            await silent.until(lambda: silent.is_gone)
            assert "nothing was heard of it" in str(silent.error)
        await site.ended(session_id)
        await site.counts_every_entry_once(session_id, 1)


async def _keep_beating(worker: object) -> None:
    while True:
        worker.beat()  # type: ignore[attr-defined]
        await asyncio.sleep(0.05)


async def test_an_idle_worker_waits_and_is_served_when_a_file_comes(site: PacketSite) -> None:
    await site.dataset("d", files=1)
    for node in site.node.values():
        node.archive = None
    await site.open("d")
    async with site.worker() as worker:
        worker.report(1)
        name, recall = await asyncio.wait_for(_any_recall(site), 30)
        assert not worker.packets
        site.node[name].finish(recall, 1_000, content(100))
        await worker.given()


async def test_a_worker_that_hangs_up_is_let_go(site: PacketSite) -> None:
    async with site.worker() as worker:
        await worker.hang_up()
        assert worker.error is None


async def test_a_worker_for_a_session_that_ended_is_told_so(site: PacketSite) -> None:
    async with site.worker(session_id="s-gone") as worker:
        await worker.until(lambda: worker.ended == ["s-gone"])


async def test_a_failing_function_is_named_with_its_traceback(site: PacketSite) -> None:
    await site.dataset("d", files=1)
    session_id = await site.open("d", packet_entries=50)
    async with site.worker() as worker:
        for _ in range(3):
            await worker.get(1)
            worker.fail(worker.packets[0], reason="ValueError: no muons" + "!" * 2000)
        await worker.work()
    status = await site.ended(session_id)
    (missing,) = status.missing
    assert missing.reason.startswith("ValueError: no muons")
    assert len(missing.reason) < 1200
    assert missing.traceback == "Traceback"
    assert (status.entries_done, status.entries_bad, status.packets_retried) == (50, 50, 3)
    await site.counts_every_entry_once(session_id, 1)


async def test_too_many_bad_packets_end_the_session(site: PacketSite) -> None:
    await site.dataset("d", files=1)
    session_id = await site.open("d", packet_entries=10, max_bad_packets=1)
    async with site.worker() as worker:
        while not worker.ended:
            worker.report(1)
            await worker.until(lambda: worker.packets or worker.ended)
            if worker.packets:
                worker.fail(worker.packets[0])
    status = await site.ended(session_id)
    assert status.state == pb.SESSION_STATE_FAILED
    assert "more than 1 packets are bad" in status.reason


async def test_a_result_that_is_too_large_is_refused_and_its_packets_named(tmp_path: Path) -> None:
    async with PacketSite(tmp_path, more='max_result = "1KB"\nattempts = 1') as site:
        await site.start()
        await site.dataset("d", files=1)
        session_id = await site.open("d", packet_entries=50)
        async with site.worker() as worker:
            (packet,) = await worker.get(1)
            commit = worker.commit_message([packet], ranges="x" * 5000)
            worker.report(0, commit)
            assert not (await worker.answer_to(commit)).accepted
            worker.packets.clear()
            await worker.work()
        status = await site.ended(session_id)
        assert status.entries_done == 50
        assert "larger than the 1000 that are taken" in status.missing[0].reason


async def test_commits_replace_earlier_ones(site: PacketSite) -> None:
    await site.dataset("d", files=1)
    session_id = await site.open("d", packet_entries=50)
    async with site.worker() as worker:
        (first,) = await worker.get(1)
        assert (await worker.commit()).accepted
        (second,) = await worker.get(1)
        everything = [[p.lfn, p.start, p.stop] for p in (first, second)]
        message = worker.commit_message([second], supersedes=[1], ranges=everything)
        worker.report(0, message)
        assert (await worker.answer_to(message)).accepted
    (part,) = await site.results(session_id)
    assert json.loads(part) == everything
    assert len(await site.records(session_id)) == 2
    await site.counts_every_entry_once(session_id, 1)


async def test_a_commit_of_a_lease_of_another_worker_is_refused_whole(site: PacketSite) -> None:
    await site.dataset("d", files=1)
    session_id = await site.open("d", packet_entries=50)
    async with site.worker("w1") as one, site.worker("w2") as two:
        (mine,) = await one.get(1)
        (theirs,) = await two.get(1)
        answer = await one.commit([mine, theirs])
        assert not answer.accepted
        assert "not (or no longer) this worker's" in answer.reason
        assert not await site.results(session_id)
        assert (await two.commit()).accepted
        await one.work()
    await site.counts_every_entry_once(session_id, 1)


# --- bad input ---------------------------------------------------------------------------------------


async def test_opening_what_makes_no_sense_is_refused(site: PacketSite) -> None:
    await site.dataset("d", files=1)
    with pytest.raises(NotFound, match="nothing"):
        await site.open("nothing")
    with pytest.raises(UsageError, match="dataset is missing"):
        await site.open("")
    with pytest.raises(UsageError, match="function is missing"):
        await site.open("d", function=b"")
    with pytest.raises(UsageError, match="owner is too long"):
        await site.open("d", owner="o" * 2000)
    with pytest.raises(UsageError, match="too large"):
        await site.open("d", packet_entries=2**64 - 1)


async def test_sessions_that_are_not_there_are_not_found(site: PacketSite) -> None:
    gone = {"session_id": "s-gone"}
    with pytest.raises(NotFound, match="no session s-gone"):
        await call(site.stub.GetFunction(pb.GetFunctionRequest(**gone)))
    with pytest.raises(NotFound, match="no session s-gone"):
        await call(site.stub.CancelSession(pb.CancelSessionRequest(**gone)))
    with pytest.raises(NotFound, match="no session s-gone"):
        await call(site.stub.ResumeSession(pb.ResumeSessionRequest(**gone)))
    with pytest.raises(NotFound, match="no session s-gone"):
        await call(site.stub.ForgetSession(pb.ForgetSessionRequest(**gone)))
    with pytest.raises(NotFound, match="no session s-gone"):
        await site.ended("s-gone")
    with pytest.raises(NotFound, match="no session s-gone"):
        await site.results("s-gone")
    with pytest.raises(NotFound, match="no session s-gone"):
        await site.records("s-gone")
    with pytest.raises(UsageError, match="session_id is missing"):
        await site.results("")


@pytest.mark.parametrize(
    ("first", "said"),
    [
        (pb.WorkerMessage(), "must be a hello"),
        (pb.WorkerMessage(report=pb.WorkerReport(want=1)), "must be a hello"),
        (pb.WorkerMessage(hello=pb.WorkerHello()), "no worker's name"),
        (pb.WorkerMessage(hello=pb.WorkerHello(worker="a\nb")), "is no name or label"),
        (pb.WorkerMessage(hello=pb.WorkerHello(worker="a", host="h" * 300)), "is no name or label"),
    ],
    ids=["nothing", "report", "no name", "newline", "too long"],
)
async def test_a_bad_hello_is_refused(site: PacketSite, first: pb.WorkerMessage, said: str) -> None:
    async def messages() -> AsyncIterator[pb.WorkerMessage]:
        yield first

    stream = site.stub.Work(messages())
    with pytest.raises(UsageError, match=said):
        await call(stream.read())


async def test_a_message_that_makes_no_sense_ends_only_that_stream(site: PacketSite) -> None:
    await site.dataset("d", files=1)
    session_id = await site.open("d")
    async with site.worker("bad") as bad, site.worker("good") as good:
        bad.say(pb.WorkerMessage())
        await bad.until(lambda: bad.is_gone)
        assert "a report or a heartbeat is expected" in str(bad.error)
        good.report(
            0,
            pb.Commit(commit_id=7, session_id="s-gone"),
            [pb.PacketFailure(lease_id=99, kind=Kind.KIND_OPEN)],
        )
        await good.until(lambda: 7 in good.answers)
        assert not good.answers[7].accepted
        await good.work()
    await site.counts_every_entry_once(session_id, 1)


async def test_two_workers_of_one_name_are_not_both_served(site: PacketSite) -> None:
    async with site.worker("same"), site.worker("same", "host of n2", pid=2) as other:
        assert other.welcome is None
        assert isinstance(other.error, Refused)
        assert "a worker named same already" in str(other.error)


async def test_opening_with_the_same_key_is_opening_once(site: PacketSite) -> None:
    await site.dataset("d", files=3)
    first, second = await asyncio.gather(*(site.open("d", idempotency_key="k1") for _ in range(2)))
    third = await site.open("nothing of the kind", idempotency_key="k1")
    assert first == second == third
    listed = await call(site.stub.ListSessions(pb.ListSessionsRequest()))
    assert [status.session_id for status in listed.sessions] == [first]


# --- looking -------------------------------------------------------------------------------------------


async def test_sessions_are_listed_and_forgotten(site: PacketSite) -> None:
    await site.dataset("d", files=1)
    done = await site.open("d")
    async with site.worker() as worker:
        await worker.work()
    await site.ended(done)
    at_work = await site.open("d")
    listed = await call(site.stub.ListSessions(pb.ListSessionsRequest()))
    assert [status.session_id for status in listed.sessions] == [at_work, done]
    active = await call(site.stub.ListSessions(pb.ListSessionsRequest(active_only=True)))
    assert [status.session_id for status in active.sessions] == [at_work]
    with pytest.raises(Refused, match="at work: cancel it first"):
        await call(site.stub.ForgetSession(pb.ForgetSessionRequest(session_id=at_work)))
    with pytest.raises(Refused, match="has ended already"):
        await call(site.stub.CancelSession(pb.CancelSessionRequest(session_id=done)))
    await call(site.stub.ForgetSession(pb.ForgetSessionRequest(session_id=done)))
    with pytest.raises(NotFound):
        await site.results(done)


async def test_a_watcher_hears_until_the_end(site: PacketSite) -> None:
    await site.dataset("d", files=2)
    session_id = await site.open("d")

    async def watch() -> list[pb.SessionStatus]:
        return [status async for status in site.statuses(session_id)]

    watching = asyncio.create_task(watch())
    async with site.worker() as worker:
        await worker.work()
    heard = await asyncio.wait_for(watching, 30)
    assert heard[0].state in {pb.SESSION_STATE_OPENING, pb.SESSION_STATE_RUNNING}
    assert heard[-1].state == pb.SESSION_STATE_DONE
    assert not any(map(is_over, heard[:-1]))


async def test_the_redirector_learns_where_the_packetizer_is(site: PacketSite) -> None:
    request = redirector_pb2.StatusRequest()

    async def announced() -> bool:
        return list((await call(site.head.cluster.Status(request))).packetizers) == [site.address]

    await poll(announced)


# --- restarts --------------------------------------------------------------------------------------------


async def test_a_session_goes_on_after_a_restart(site: PacketSite) -> None:
    await site.dataset("d", files=4)
    session_id = await site.open("d", packet_entries=50)
    async with site.worker() as worker:
        await worker.get(1)
        await worker.commit()
        await site.stop()
        await worker.until(lambda: worker.is_gone)
        assert isinstance(worker.error, Unreachable)
        await site.start()
        status = await site.until(session_id, lambda s: s.files_online + s.files_done == 4)
        assert (status.entries_done, status.packets_done) == (50, 1)
        assert status.first_lease_s >= 0
        await worker.connect()
        await worker.work()
    status = await site.ended(session_id)
    assert status.packets_done == 8
    recalled = [recall.lfn for node in site.node.values() for recall in node.recalls]
    assert len(recalled) == 4, "nothing is recalled twice"
    await site.counts_every_entry_once(session_id, 4)


async def test_leases_of_before_a_restart_are_void(site: PacketSite) -> None:
    await site.dataset("d", files=1)
    session_id = await site.open("d", packet_entries=50)
    async with site.worker() as worker:
        (stale,) = await worker.get(1)
        await site.stop()
        await worker.until(lambda: worker.is_gone)
        await site.start()
        await worker.connect()
        assert not (await worker.commit([stale])).accepted
        await worker.work()
    await site.counts_every_entry_once(session_id, 1)


async def test_an_ended_session_is_there_after_a_restart(site: PacketSite) -> None:
    await site.dataset("d", files=2)
    del site.entries[lfn(1)]
    session_id = await site.open("d")
    async with site.worker() as worker:
        await worker.work()
    before = await site.ended(session_id)
    await site.stop()
    await site.start()
    assert await site.ended(session_id) == before
    assert before.missing[0].lfn == lfn(1)
    assert sum(counted(await site.results(session_id)).values()) == 100


async def test_a_session_whose_dataset_was_removed_goes_on(site: PacketSite) -> None:
    await site.dataset("d", files=2)
    session_id = await site.open("d")
    request = redirector_pb2.RemoveDatasetRequest(name="d")
    await call(site.head.datasets.Remove(request))
    await site.stop()
    await site.start()
    async with site.worker() as worker:
        await worker.work()
    assert (await site.ended(session_id)).entries_done == 200


async def test_a_packetizer_may_be_killed_again_and_again(tmp_path: Path) -> None:
    """kill -9 at whatever moment: every entry is counted once in the end."""
    async with PacketSite(tmp_path) as site:
        await site.dataset("d", files=8, entries=1000)
        await site.spawn()
        session_id = await site.open("d", packet_entries=20)
        workers = [site.worker(f"w{k}", f"host of n{1 + k % 2}") for k in range(3)]

        async def serve(worker: object) -> None:
            while not worker.ended:  # type: ignore[attr-defined]
                await worker.connect()  # type: ignore[attr-defined]
                if worker.welcome is not None:  # type: ignore[attr-defined]
                    await worker.work(4)  # type: ignore[attr-defined]
                else:
                    await asyncio.sleep(0.05)

        serving = [asyncio.create_task(serve(worker)) for worker in workers]
        for done in (400, 2000, 4500):
            await site.until(session_id, lambda s, done=done: s.entries_done >= done)  # type: ignore[misc]
            await site.kill()
            await site.spawn()
        async with asyncio.timeout(60):
            await asyncio.gather(*serving)
        status = await site.ended(session_id)
        assert status.state == pb.SESSION_STATE_DONE
        assert status.entries_done == 8000
        await site.counts_every_entry_once(session_id, 8)
        for worker in workers:
            await worker.vanish()
