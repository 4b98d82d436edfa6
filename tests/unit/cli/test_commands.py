"""Every command asks the site for what its options say, and tells the answer both ways."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from common.errors import NotFound, StageFailed
from packhorse.cli.main import main
from packhorse.result import Report, Result
from packhorse.values import (
    DatasetFile,
    DatasetListing,
    DatasetVerification,
    DrainReport,
    Eviction,
    Explanation,
    FileState,
    Group,
    Location,
    MissingRange,
    NodeStores,
    Pin,
    PinnedFile,
    Pinning,
    PurgePlan,
    PurgeVerdict,
    Refusal,
    Registration,
    ReplicaOnNode,
    RequestedFile,
    RequestState,
    SessionState,
    StageProgress,
    StageRequest,
    StoredFile,
    Storing,
    StoryLine,
)
from packhorse.values.files import Checksum
from tests.support.cli_site import NODE, STATUS, FakeSite, session, summary

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LOCATIONS = [
    Location("/store/a", FileState.ONLINE, 1_500_000, (NODE,), ""),
    Location("/store/b", FileState.FAILED, 0, (), "tape broke"),
]
(NODE_STATUS,) = STATUS.nodes
REQUEST = StageRequest(
    "r1", "me@here", 0, "", 1e9, 1e9, RequestState.FAILED, 2, 1, 1, 0,
    (RequestedFile("/store/a", FileState.ONLINE, ""),
     RequestedFile("/store/b", FileState.MISSING, "no such file")),
)  # fmt: skip
REPORT = Report("s1", "zmumu", 2.0, 3, 0, 1, 1, 100, 0, 90, 5_000_000, 4, 0, 0.1, 0.2, ())
MISSING = (MissingRange("/store/b", 0, 50, "the function raised", "Traceback: boom"),)


class Staging:
    """A request that has been accepted, and how it ends."""

    def __init__(self, problem: StageFailed | None = None) -> None:
        self.request_ids = ("r1",)
        self.files = 2
        self._problem = problem

    async def wait(self, on_progress: Callable[[StageProgress], object]) -> None:
        on_progress(StageProgress(2, 1, 1, 0, 5, ()))
        if self._problem:
            raise self._problem

    async def requests(self, *, with_files: bool) -> list[StageRequest]:
        assert with_files
        return [REQUEST]


class Told:
    """What a command printed, how it ended, and what it asked of the site."""

    def __init__(self, code: int, out: str, err: str, site: FakeSite) -> None:
        self.code, self.out, self.err, self.asked = code, out, err, site.asked

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def question(self) -> tuple[str, tuple[Any, ...], dict[str, Any]]:
        """The one thing asked, without callbacks."""
        ((name, given, options),) = self.asked
        return name, given, {key: option for key, option in options.items() if key != "on_progress"}


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Told]:
    """Runs a command against a site with the answers given."""

    def run_command(*argv: str, **answers: Any) -> Told:
        site = FakeSite(**answers)

        async def connect(config: object, redirector: str) -> FakeSite:
            assert (config, redirector) == (None, "head:1")
            return site

        monkeypatch.setattr("packhorse.aio.connect", connect)
        code = main([*argv, "--redirector", "head:1"])
        told = capsys.readouterr()
        return Told(code, told.out, told.err, site)

    return run_command


def test_status_tells_space_recalls_nodes_and_what_is_stuck(run: Callable[..., Told]) -> None:
    told = run("status", status=STATUS)
    assert told.code == 0
    assert "3 replicas, 600 MB of 1 GB available" in told.out
    assert "1 running, 4 queued, 7 done, 2 failed" in told.out
    assert "stuck        /store/big waits for room" in told.out
    assert "disk1  up, draining  host1  300 MB   1 GB   40%" in told.out
    assert run("status", "--stuck", status=STATUS).out == "/store/big waits for room\n"
    stuck = run("status", "--stuck", "--json", status=STATUS).json
    assert stuck == {"stuck": ["/store/big waits for room"]}
    assert run("status", "--json", status=STATUS).json["nodes"][0]["load"]["files"] == 3


def test_nodes_tells_what_a_recall_would_wait_for(run: Callable[..., Told]) -> None:
    assert "2.5 s" in run("nodes", nodes=STATUS.nodes).out
    assert run("nodes", "--json", nodes=STATUS.nodes).json[0]["cost_s"] == 2.5


def test_drain_and_its_undo(run: Callable[..., Told]) -> None:
    told = run("drain", "disk1", drain=DrainReport(1))
    assert told.out == "disk1 is draining: 1 recall left\n"
    told = run("drain", "disk1", "--undo", drain=DrainReport(0))
    assert told.question == ("drain", ("disk1",), {"undo": True})
    assert told.out == "disk1 gets recalls again\n"


def test_drain_tells_what_only_that_node_has(run: Callable[..., Told]) -> None:
    pinned = tuple(PinnedFile(f"/store/f{number}", 10**9) for number in range(21))
    report = DrainReport(
        2,
        recalls_left_bytes=3 * 10**9,
        open_files=1,
        unarchived_files=1,
        unarchived_bytes=10**6,
        pinned_files=21,
        pinned_bytes=21 * 10**9,
        pinned=pinned,
    )
    out = run("drain", "disk1", drain=report).out
    assert "2 recalls (3 GB), 1 open file, 1 unarchived file (1 MB) left" in out
    assert "only it has 21 pinned files (21 GB), to be recalled elsewhere" in out
    assert "  /store/f19\n  ... and others, see --json\n" in out
    assert run("drain", "disk1", "--json", drain=report).json["pinned"][20]["lfn"] == "/store/f20"


def test_drain_waits_until_nothing_can_be_lost(run: Callable[..., Told]) -> None:
    told = run("drain", "disk1", "--wait", drain=DrainReport(0, open_files=2))
    assert told.out == "disk1 is drained: it can be switched off\n"
    told = run("drain", "disk1", "--wait", "--timeout", "1ms", drain=DrainReport(1))
    assert told.code == 12
    assert "disk1 is not drained: it has 1 recall left" in told.err
    gone = DrainReport(0, unarchived_files=1, out_of_touch=True)
    assert "disk1 is out of touch" in run("drain", "disk1", "--wait", drain=gone).err
    assert "opposites" in run("drain", "disk1", "--wait", "--undo").err


def test_a_purge_is_only_shown(run: Callable[..., Told]) -> None:
    plan = PurgePlan("disk1", "2 files go", (PurgeVerdict("/a", True, "unused", 5, 60.0),), "")
    argv = ("purge", "--dry-run", "--node", "disk1", "--to", "1GB", "--limit", "7")
    told = run(*argv, purge_plan=[plan, PurgePlan("disk2", "", (), "out of touch")])
    assert told.question == ("purge_plan", ("disk1",), {"target_bytes": 10**9, "limit": 7})
    assert "disk1: 2 files go" in told.out
    assert "goes      5 B  1m 00s  /a   unused" in told.out
    assert "disk2: out of touch" in told.out


def test_locate_tells_every_name_in_order(run: Callable[..., Told], tmp_path: Path) -> None:
    names = tmp_path / "names.txt"
    names.write_text("# mine\nroot://head//store/b\n")
    told = run("locate", "/store/a", "--from", str(names), locate=LOCATIONS)
    assert told.question == ("locate", (["/store/a", "/store/b"],), {})
    assert told.out.splitlines()[1:] == [
        "online  1.5 MB  disk1  /store/a",
        "failed       -  -      /store/b  tape broke",
    ]
    rows = run("locate", "/store/a", "--json", locate=LOCATIONS).json
    assert rows[0]["nodes"][0]["address"] == "127.0.0.1:9"
    assert rows[1]["state"] == "failed"


def test_explain_tells_the_story(run: Callable[..., Told]) -> None:
    found = Explanation(
        "/store/a", FileState.STAGING, "/archive/a", (ReplicaOnNode("disk1", 5),),
        (Pin("me", 60.0, "plots"),), ("r1",), (StoryLine(1e9, "asked for by me"),), "retry in 12 s",
    )  # fmt: skip
    out = run("explain", "/store/a", explain=found).out.splitlines()
    assert out[:5] == [
        "/store/a is staging",
        "in the archive: /archive/a",
        "replica on disk1, 5 B",
        "pinned by me for 1m 00s: plots",
        "asked for by r1",
    ]
    assert out[5].endswith("asked for by me")
    assert out[6] == "next: retry in 12 s"
    assert run("explain", "/store/a", "--json", explain=found).json["story"][0]["unix_s"] == 1e9


def test_pins_last_as_long_as_asked(run: Callable[..., Told]) -> None:
    argv = ("pin", "/a", "/b", "--for", "2h", "--reason", "plots")
    told = run(*argv, pin=Pinning(2, ("/b",)))
    options = {"lifetime_s": 7200.0, "owner": "", "reason": "plots"}
    assert told.question == ("pin", (["/a", "/b"],), options)
    assert "2 files pinned" in told.out
    assert "not online yet, pinned from when it comes: /b" in told.out


def test_pins_are_taken_back_by_name_or_all(run: Callable[..., Told]) -> None:
    assert run("unpin", "/a", unpin=1).question == ("unpin", (["/a"],), {"owner": ""})
    told = run("unpin", "--all", "--owner", "me", unpin=3)
    assert told.question == ("unpin", ([],), {"owner": "me"})
    assert told.out == "3 pins taken back\n"


def test_what_cannot_be_evicted_is_named_and_told_by_the_exit_code(
    run: Callable[..., Told],
) -> None:
    assert run("evict", "/a", evict=Eviction(1, ())).code == 0
    told = run("evict", "/a", "/b", evict=Eviction(1, (Refusal("/b", "it is open"),)))
    assert told.code == 7
    assert "stays: /b: it is open" in told.out
    assert told.err == "packhorse: error: 1 file could not be evicted\n"


def test_a_soft_eviction_says_that_nothing_has_gone_yet(run: Callable[..., Told]) -> None:
    told = run("evict", "--soft", "/a", "/b", evict=Eviction(2, ()))
    assert told.question == ("evict", (["/a", "/b"],), {"soft": True})
    assert told.out == "2 files to go first, once room is needed\n"


def test_cp_tells_where_the_copy_is(run: Callable[..., Told], tmp_path: Path) -> None:
    target = tmp_path / "a"
    target.write_bytes(b"12345")
    told = run("cp", "/store/a", str(tmp_path), "--force", "--no-stage", cp=target)
    assert told.question[2] == {"stage": False, "overwrite": True}
    assert told.out == f"{target}\n"
    told = run("cp", "/store/a", str(tmp_path), "--json", cp=target)
    assert told.json == {"path": str(target), "size_bytes": 5}


def test_stage_returns_once_the_request_is_accepted(run: Callable[..., Told]) -> None:
    argv = ("stage", "/a", "/b", "--pin", "2h", "--priority", "3", "--deadline", "1d")
    argv += ("--activity", "production")
    told = run(*argv, stage=Staging())
    options = {"dataset": "", "pin_s": 7200.0, "priority": 3, "deadline_s": 86400.0}
    options["activity"] = "production"
    assert told.question == ("stage", (["/a", "/b"],), options)
    assert told.out == "request r1 accepted: 2 files\n"
    told = run("stage", "--dataset", "zmumu", "--json", stage=Staging())
    assert told.question[2]["dataset"] == "zmumu"
    assert told.json == {"request_ids": ["r1"], "files": 2}


def test_stage_and_wait_names_what_did_not_come(run: Callable[..., Told]) -> None:
    problem = StageFailed("1 of 2 files could not be staged: /store/b (no such file)")
    told = run("stage", "/a", "--wait", stage=Staging(problem))
    assert told.code == 9
    assert "request r1 failed: 1 online, 1 not" in told.out
    assert "/store/b: missing: no such file" in told.out
    assert told.err == f"packhorse: error: {problem}\n"
    told = run("stage", "/a", "--wait", "--json", stage=Staging(problem))
    assert told.code == 9
    assert told.json["requests"][0]["file"][1]["reason"] == "no such file"
    assert run("stage", "/a", "--wait", stage=Staging()).code == 0


def test_requests_are_listed_or_one_is_shown_with_its_files(run: Callable[..., Told]) -> None:
    told = run("requests", "--active", requests=[REQUEST])
    assert told.question == ("requests", ("",), {"active_only": True, "with_files": False})
    told = run("requests", "r1", requests=[REQUEST])
    assert told.question[2]["with_files"]
    assert "missing  /store/b  no such file" in told.out
    assert run("requests", "r2", requests=[]).code == 5
    assert run("requests", "--json", requests=[]).json == []


def test_cancel_takes_a_request_or_a_session(run: Callable[..., Told]) -> None:
    told = run("cancel", "r1", cancel=2)
    assert told.out == "request r1 is cancelled: 2 files given up\n"
    gone = NotFound("there is no request s1")
    told = run("cancel", "s1", cancel=gone, session_list=(session(),), session_cancel=None)
    assert told.out == "session s1 is cancelled\n"
    told = run("cancel", "x", cancel=gone, session_list=(session(),))
    assert (told.code, told.err) == (5, "packhorse: error: there is no request s1\n")
    told = run("cancel", "x", cancel=gone, session_list=NotFound("there is no packetizer"))
    assert (told.code, told.err) == (5, "packhorse: error: there is no request s1\n")


def test_a_dataset_is_registered_from_arguments_and_a_list(
    run: Callable[..., Told], tmp_path: Path
) -> None:
    fileset = tmp_path / "fileset.json"
    fileset.write_text(json.dumps({"x": {"files": {"root://h//store/b": "T"}}, "y": {"files": {}}}))
    argv = ("dataset", "register", "zmumu", "/store/a", "--from", str(fileset), "--pick", "x")
    told = run(*argv, "--tree", "Events", "--update", register=Registration(2, 1, 1, 0))
    assert told.out == "zmumu: 2 files, 1 of them new; 1 repetition left out\n"
    _, (name, listing), options = told.question
    assert name == "zmumu"
    assert [(file.lfn, file.tree) for file in listing.files] == [
        ("/store/a", ""),
        ("/store/b", "T"),
    ]
    assert options == {"tree": "Events", "group": "", "mode": "update"}


def test_verify_names_what_cannot_be_used(run: Callable[..., Told]) -> None:
    bad = DatasetFile("/b", "", 0, Checksum("", ""), 0, False, FileState.CORRUPT, "truncated")
    step = DatasetVerification(summary(online=2, corrupt=1), True, "", (bad,))
    told = run("dataset", "verify", "zmumu", verify=step, progress=step)
    assert told.code == 10
    assert "files     3: 2 online, 1 corrupt" in told.out
    assert "/b: corrupt: truncated" in told.out
    assert told.err == "packhorse: error: 1 of 3 files of zmumu cannot be used\n"
    assert run("dataset", "verify", "zmumu", "--json", verify=step).json["complete"]


def test_nearline_files_are_a_problem_only_if_they_should_have_been_staged(
    run: Callable[..., Told],
) -> None:
    step = DatasetVerification(summary(online=1, nearline=2), True, "", ())
    assert run("dataset", "verify", "zmumu", verify=step).code == 0
    told = run("dataset", "verify", "zmumu", "--stage", "--pin", "1h", verify=step)
    assert told.code == 10
    assert told.question[2] == {
        "stage": True,
        "pin_s": 3600.0,
        "priority": 0,
        "activity": "",
    }


def test_datasets_are_listed_shown_and_removed(run: Callable[..., Told]) -> None:
    listing = DatasetListing((summary(),), (Group("higgs", 5_000_000, 10_000_000),))
    told = run("dataset", "list", "z*", "--group", "higgs", list=listing)
    assert told.question == ("list", ("z*",), {"group": "higgs"})
    assert "zmumu        3       3  3 MB    3,000" in told.out
    assert "group higgs: 5 MB of 10 MB registered" in told.out
    file = DatasetFile("/a", "", 5, Checksum("", ""), 7, True, FileState.ONLINE, "")
    told = run("dataset", "show", "zmumu", "--files", show=summary(), files=(file,))
    assert "online   5 B        7  /a" in told.out
    assert run("dataset", "show", "zmumu", "--json", show=summary()).json["files"] is None
    assert run("dataset", "remove", "zmumu", remove=3).out == "zmumu is removed; its 3 files stay\n"


def test_process_tells_the_value_and_the_figures(run: Callable[..., Told]) -> None:
    argv = ("process", "zmumu", "json:loads", "--workers", "2", "--missing", "skip")
    told = run(*argv, process=Result({"events": 100}, (), REPORT), progress=session(eta_s=5.0))
    assert told.code == 0
    assert "session s1: 100 entries of 3 files in 2.0 s (50 entries/s)" in told.out
    assert "90% on the host that held them" in told.out
    assert "{'events': 100}" in told.out
    _, (dataset, function), options = told.question
    assert (dataset, function) == ("zmumu", json.loads)
    assert (options["workers"], options["missing"], options["merge"]) == (2, "skip", None)


def test_process_names_what_is_missing(run: Callable[..., Told], tmp_path: Path) -> None:
    output = tmp_path / "value.pkl"
    argv = ("process", "zmumu", "json:loads", "--merge", "operator:add", "--output", str(output))
    told = run(*argv, process=Result({1, 2}, MISSING, REPORT))
    assert told.code == 10
    assert pickle.loads(output.read_bytes()) == {1, 2}
    assert "/store/b  0-50     the function raised" in told.out
    assert "Traceback: boom" in told.out
    assert "lacks 50 known entries of 1 file" in told.err
    told = run("process", "zmumu", "json:loads", "--json", process=Result({1, 2}, MISSING, REPORT))
    assert told.code == 10
    assert told.json["missing"][0]["stop"] == 50
    assert (told.json["complete"], told.json["value"]) == (False, None)


def test_sessions_are_listed_and_watched(run: Callable[..., Told]) -> None:
    told = run("sessions", "--active", session_list=(session(),))
    assert told.question == ("session_list", (), {"active_only": True})
    assert "s1       done   zmumu    m:f       100%" in told.out
    running = session(state=SessionState.RUNNING, entries_done=50)
    told = run("sessions", "watch", "s1", session_watch=[running, session()])
    assert told.code == 0
    assert "entries  100 of 100 (100%)" in told.out
    lost = session(state=SessionState.FAILED, reason="too many bad packets", missing=MISSING)
    told = run("sessions", "watch", "s1", session_watch=[lost])
    assert told.code == 10
    assert "missing  /store/b 0-50: the function raised" in told.out
    assert run("sessions", "show", "s1", "--json", session_status=lost).json["state"] == "failed"


@pytest.mark.parametrize("action", ["cancel", "resume", "forget"])
def test_a_session_is_acted_upon(run: Callable[..., Told], action: str) -> None:
    told = run("sessions", action, "s1", **{f"session_{action}": None})
    assert told.code == 0
    assert told.question[0] == f"session_{action}"
    assert told.question[1][0] == "s1"


def test_a_result_is_fetched_later(run: Callable[..., Told], tmp_path: Path) -> None:
    output = tmp_path / "value.json"
    argv = ("sessions", "result", "s1", "--output", str(output), "--json")
    told = run(*argv, session_result=Result([1], (), REPORT))
    assert json.loads(output.read_text()) == [1]
    assert told.json["output"] == str(output)
    assert told.json["value"] == [1]


def test_stores_tells_what_waits_and_why(run: Callable[..., Told]) -> None:
    waiting = StoredFile("/store/a", 5_000_000, "waiting", 7200.0, 60.0, 3, "the library is down")
    found = [NodeStores("disk1", (waiting,), ""), NodeStores("disk2", (), "")]
    told = run("stores", "--failed", "--node", "disk1", "--limit", "5", stores=found)
    assert told.question == ("stores", ("disk1",), {"failed_only": True, "limit": 5})
    lines = told.out.splitlines()
    assert lines[0] == "disk1:"
    for word in ("waiting", "5 MB", "2h 00m", "1m 00s", "/store/a", "the library is down"):
        assert word in lines[2]
    assert lines[3] == "disk2: nothing to store"
    away = run("stores", stores=[NodeStores("disk1", (), "not in touch")])
    assert away.out == "disk1: not in touch\n"
    assert run("stores", "--json", stores=found).json[0]["stores"][0]["attempts"] == 3


def test_store_has_files_stored_or_tells_why_not(run: Callable[..., Told]) -> None:
    told = run("store", "/a", store=Storing(("/a",), ()))
    assert told.question == ("store", (["/a"],), {"all_failed": False})
    assert (told.code, told.out) == (0, "1 file to be stored now, see packhorse stores\n")
    told = run("store", "--failed", store=Storing((), ()))
    assert told.question == ("store", ([],), {"all_failed": True})
    refused = Storing((), (Refusal("/b", "it is in the archive"),))
    told = run("store", "/b", store=refused)
    assert told.code == 7
    assert "not stored: /b: it is in the archive" in told.out
    assert "and not both" in run("store", "/b", "--failed").err
    assert "no file is named" in run("store").err


def test_status_tells_what_the_archive_does_not_have_yet(run: Callable[..., Told]) -> None:
    load = replace(
        NODE_STATUS.load,
        unarchived_files=7,
        unarchived_bytes=9_000_000,
        stores_waiting=5,
        stores_waiting_bytes=5_000_000,
        stores_failed=2,
        stores_oldest_s=7200.0,
    )
    status = replace(STATUS, nodes=(replace(NODE_STATUS, load=load),))
    (line,) = (
        line for line in run("status", status=status).out.splitlines() if line.startswith("stores")
    )
    assert line == (
        "stores       5 files (5 MB) to store in the archive, the oldest written 2h 00m ago, "
        "2 failed for good, 2 others kept in the pools only"
    )
    assert "stores " not in run("status", status=STATUS).out


def test_explain_tells_of_a_file_that_only_a_pool_has(run: Callable[..., Told]) -> None:
    found = Explanation(
        "/store/a", FileState.ONLINE, "/archive/a", (ReplicaOnNode("disk1", 5),),
        (), (), (), "", ("only on disk1, to be stored in the archive: waiting",),
    )  # fmt: skip
    out = run("explain", "/store/a", explain=found).out
    assert "its name in the archive: /archive/a\n" in out
    assert "only on disk1, to be stored in the archive: waiting\n" in out
