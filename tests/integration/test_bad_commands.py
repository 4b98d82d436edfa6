"""Stage and stat commands of every bad kind, at a site of real processes.

All of them run at the same time, beside good ones, as they would at a site: each test
then looks at how its own file fared. What misbehaves in which way is in
`scripts/nasty-stage.sh`; a file's directory says what its command shall do.
"""

from __future__ import annotations

import contextlib
import json
import re
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from common.errors import StageFailed
from packhorse.values import FileState
from tests.support.cluster import Cluster, Node, install, running, until_joined
from tests.support.patience import eventually
from tests.support.processes import bearing

if TYPE_CHECKING:
    from collections.abc import Iterator

    import packhorse
    from packhorse.blocking import Staging

SCRIPTS = Path(__file__).parent / "scripts"
CONTENT = b"what the detector saw\n" * 300
ATTEMPTS = 2
PATIENCE_S = 60.0

#: Who sees it first tells it: the one who watches the command, or the one who keeps the books.
TOO_LONG = (
    rf"wrote more than the 6.6 kB it may|grew to \d+ bytes where {len(CONTENT)} were expected"
)
#: Why a file does not come although it is tried as often as the site allows.
TRIED_AGAIN = {
    "nothing": "ended well but left no file",
    "short": f"has 500 bytes where {len(CONTENT)} were expected",
    "long": TOO_LONG,
    "endless": TOO_LONG,
    "corrupt": "the archive says adler32:",
    "hang": "killed, for it wrote nothing for 2s",
    "stall": "killed, for it wrote nothing for 2s",
    "crawl": "killed at its deadline, after 5s",
    "stubborn": "killed, for it wrote nothing for 2s",
    "deserter": "killed, for it wrote nothing for 2s",
    "suicide": "killed by SIGKILL",
}
#: Why a file does not come and is not even tried again.
GIVEN_UP = {
    "link": "left a link where the file should be",
    "directory": "left something else where the file should be",
    "flood": "refused, for a reason of the site's own (dCache)",
    "garbled": "a red light",
    "missing": "no such file on tape",
    "damaged": "the tape is torn",
}
#: Commands that are odd and do their work all the same, and how often they run.
COMES = {"chatter": 1, "orphan": 1, "litter": 1, "busy": 2, "elsewhere": 2, "full": 2}
#: What a stat command may get wrong without harm: the size is then learnt by staging.
UNSTATED = ("nonsense", "empty", "fails", "negative", "strange", "flood")
#: Names that a shell, a template or a program's options could stumble over.
ODD_NAMES = (
    "$(touch pwned).root",
    "a b;c&d|e>f'g\"h.root",
    "{target}.root",
    "{{}}%s\\n.root",
    "-rf",
    "größe-文件-🐴.root",
)


@dataclass
class Desk:
    """The site, and one stage request for every file, by its directory."""

    cluster: Cluster
    site: packhorse.Site
    stagings: dict[str, Staging]

    def runs(self, way: str) -> list[list[str]]:
        """The runs of the stage command for the files of a directory: mark and target of each."""
        notes = self.cluster.folder / "runs" / way
        return [line.split(" ", 1) for line in notes.read_text().splitlines()]

    def ended(self, way: str) -> None:
        """Waits until a file is online; raises StageFailed if it does not come."""
        self.stagings[way].wait(PATIENCE_S)

    def all_ended(self) -> None:
        """Waits for the end of every request, having cancelled the one that would take minutes."""
        self.stagings["unstated/hang"].cancel()
        for way in self.stagings:
            with contextlib.suppress(StageFailed):
                self.ended(way)

    def reason(self, way: str) -> str:
        """Why a file did not come."""
        with pytest.raises(StageFailed) as failed:
            self.ended(way)
        (request,) = self.stagings[way].requests(with_files=True)
        assert request.file[0].reason in str(failed.value)
        return request.file[0].reason


def lfn_of(way: str) -> str:
    return f"/store/{way}/a.root"


def archived(cluster: Cluster, lfn: str) -> str:
    """Puts a file into the archive, with what the stat command tells of it."""
    path = cluster.write(lfn, CONTENT)
    said = {"size": len(CONTENT), "checksum": {"adler32": f"{zlib.adler32(CONTENT):08x}"}}
    path.with_name(f"{path.name}.stat").write_text(json.dumps(said))
    return lfn


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    folder = tmp_path_factory.mktemp("site")
    scripts = install(SCRIPTS, folder)
    (folder / "runs").mkdir()
    cluster = Cluster(
        folder,
        [Node("n1", "10MB", {"slots": 16}), Node("n2", "10MB", {"slots": 16})],
        stagecmd=[str(scripts / "nasty-stage.sh"), "{source}", "{target}", "{lfn}"],
        statcmd=[str(scripts / "nasty-stat.sh"), "{source}", "{lfn}"],
        mss={"stall": "2s", "deadline": "5s"},
        redirector={"attempts": ATTEMPTS, "backoff": "50ms", "backoff_max": "2s"},
        packetizer=None,
    )
    ways = ["good", "huge", "gone", *TRIED_AGAIN, *GIVEN_UP, *COMES]
    ways += [f"unstated/{way}" for way in (*UNSTATED, "hang")]
    lfns = {way: archived(cluster, lfn_of(way)) for way in ways}
    lfns |= {name: archived(cluster, f"/store/good/{name}") for name in ODD_NAMES}
    (cluster.archive / "store" / "gone" / "a.root").unlink()
    with running(cluster), cluster.connect() as site:
        until_joined(site, 2)
        yield Desk(cluster, site, {way: site.stage(lfn) for way, lfn in lfns.items()})


# --- before anything runs -------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "complaint"), [(0o644, "is not executable; chmod +x"), (None, "does not exist")]
)
def test_a_data_server_does_not_start_with_a_command_that_cannot_run(
    tmp_path: Path, mode: int | None, complaint: str
) -> None:
    command = tmp_path / "stage.sh"
    if mode is not None:
        command.write_text("#!/bin/sh\n")
        command.chmod(mode)
    cluster = Cluster(tmp_path, [Node("n1")], stagecmd=[str(command)], packetizer=None)
    refused = cluster.run("dataserver", "--name", "n1")
    assert refused.returncode == 3
    assert refused.stdout == ""
    (line,) = refused.stderr.splitlines()
    assert line.startswith("packhorse: error: ")
    assert "stagecmd" in line
    assert f"{command} {complaint}" in line


# --- commands that fail ---------------------------------------------------------------


@pytest.mark.parametrize(("way", "reason"), TRIED_AGAIN.items())
def test_a_command_that_may_do_better_is_tried_again_and_then_told(
    desk: Desk, way: str, reason: str
) -> None:
    told = desk.reason(way)
    assert re.search(reason, told)
    assert "given up after 2 failed attempts" in told
    assert len(desk.runs(way)) == ATTEMPTS
    assert desk.site.locate(lfn_of(way))[0].state is FileState.FAILED


@pytest.mark.parametrize(("way", "reason"), GIVEN_UP.items())
def test_a_command_that_will_fail_again_is_told_at_once(desk: Desk, way: str, reason: str) -> None:
    assert reason in desk.reason(way)
    assert len(desk.runs(way)) == 1
    expected = FileState.MISSING if way == "missing" else FileState.FAILED
    assert desk.site.locate(lfn_of(way))[0].state is expected


@pytest.mark.parametrize("way", ["elsewhere", "full"])
def test_the_second_attempt_is_made_on_another_node(desk: Desk, way: str) -> None:
    desk.ended(way)
    nodes = {Path(target).relative_to(desk.cluster.folder).parts[1] for _, target in desk.runs(way)}
    assert nodes == {"n1", "n2"}


def test_a_flood_of_output_reaches_nobody_but_for_its_end(desk: Desk) -> None:
    told = desk.reason("flood")
    assert told.endswith("the robot gives up")
    assert len(told) < 500
    explained = desk.site.explain(lfn_of("flood"))
    assert sum(len(line.text) for line in explained.story) < 5_000


def test_a_reason_is_one_printable_line_whatever_the_command_printed(desk: Desk) -> None:
    told = desk.reason("garbled")
    assert told.isprintable()
    assert "a red light" in told


def test_a_file_larger_than_any_pool_fails_without_being_staged(desk: Desk) -> None:
    assert "1 TB are more than any pool can hold (the largest: 10 MB)" in desk.reason("huge")
    assert not (desk.cluster.folder / "runs" / "huge").exists()


def test_a_file_the_archive_does_not_have_is_missing_without_being_staged(desk: Desk) -> None:
    assert "no such file on tape" in desk.reason("gone")
    assert desk.site.locate(lfn_of("gone"))[0].state is FileState.MISSING
    assert not (desk.cluster.folder / "runs" / "gone").exists()


def test_the_story_tells_what_ran_and_how_it_ended(desk: Desk) -> None:
    desk.reason("suicide")
    story = "\n".join(line.text for line in desk.site.explain(lfn_of("suicide")).story)
    for part in ("attempt 1 given to", "killed by SIGKILL", "tried again in", "attempt 2 given to"):
        assert part in story
    assert "failed for good" in story


# --- commands that are odd and do their work --------------------------------------------


@pytest.mark.parametrize(("way", "runs"), COMES.items())
def test_an_odd_command_brings_its_file(desk: Desk, way: str, runs: int) -> None:
    desk.ended(way)
    (node,) = desk.cluster.holders(lfn_of(way))
    assert (desk.cluster.pool(node) / "store" / way / "a.root").read_bytes() == CONTENT
    assert len(desk.runs(way)) == runs


@pytest.mark.parametrize("way", UNSTATED)
def test_a_stat_command_that_makes_no_sense_keeps_no_file_from_coming(desk: Desk, way: str) -> None:
    desk.ended(f"unstated/{way}")
    assert desk.cluster.holders(lfn_of(f"unstated/{way}"))


def test_a_stat_command_that_hangs_holds_up_one_file_and_dies_with_its_request(desk: Desk) -> None:
    lfn = lfn_of("unstated/hang")
    desk.ended("good")
    eventually(lambda: "examining" in desk.site.explain(lfn).next)
    assert desk.stagings["unstated/hang"].cancel() == 1
    eventually(lambda: desk.site.explain(lfn).next == "")
    assert desk.site.locate(lfn)[0].state is FileState.NEARLINE


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_name_is_one_word_whatever_is_in_it(desk: Desk, name: str) -> None:
    desk.ended(name)
    with desk.site.open(f"/store/good/{name}") as file:
        assert file.read() == CONTENT


# --- what they leave ----------------------------------------------------------------------


def test_no_process_and_no_file_of_them_stays(desk: Desk) -> None:
    desk.all_ended()
    marks = [mark for way in (*TRIED_AGAIN, *GIVEN_UP, *COMES) for mark, _ in desk.runs(way)]
    assert len(marks) > len(TRIED_AGAIN)
    eventually(lambda: not bearing(*marks))
    eventually(lambda: not desk.cluster.commands())
    eventually(lambda: not desk.cluster.incoming())
    here = {path for pool in ("n1", "n2") for path in _replicas(desk.cluster.pool(pool))}
    come = {lfn_of(way) for way in ("good", *COMES)}
    come |= {lfn_of(f"unstated/{way}") for way in UNSTATED}
    come |= {f"/store/good/{name}" for name in ODD_NAMES}
    assert here - {lfn_of("back")} == come
    assert not list(desk.cluster.folder.rglob("pwned*"))


def test_a_command_that_goes_away_is_told_and_used_again_when_it_is_back(desk: Desk) -> None:
    desk.all_ended()
    command = desk.cluster.folder / "bin" / "nasty-stage.sh"
    aside = command.with_suffix(".aside")
    command.rename(aside)
    assert "cannot be run: no such file" in _refusal(desk, "away").lower()
    command.write_bytes(aside.read_bytes())
    command.chmod(0o644)
    assert "is it executable (chmod +x)?" in _refusal(desk, "not-executable")
    command.write_text("cp $1 $2\n")
    command.chmod(0o755)
    assert "a script needs a first line like #!/bin/sh" in _refusal(desk, "no-interpreter")
    command.write_text("#!/no/such/shell\n")
    assert "names a program that does not exist" in _refusal(desk, "bad-interpreter")
    aside.replace(command)
    desk.site.stage(archived(desk.cluster, lfn_of("back"))).wait(PATIENCE_S)


def _refusal(desk: Desk, way: str) -> str:
    with pytest.raises(StageFailed) as failed:
        desk.site.stage(archived(desk.cluster, lfn_of(way))).wait(PATIENCE_S)
    return str(failed.value)


def _replicas(pool: Path) -> Iterator[str]:
    for path in (pool / "store").rglob("*"):
        if not path.is_dir():
            yield f"/{path.relative_to(pool)}"
