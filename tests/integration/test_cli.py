"""The command line against a site of real processes: what an analyst and an admin type."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.cluster import Cluster, Node, running

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
#: Commands are typed in another directory, where the analysis lies.
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
TIMEOUT_S = 90.0
FILES = 6
FILE_BYTES = 10_000

#: Copies at once, but for files called slow: these never come.
STAGE_SCRIPT = """\
#!/bin/sh
case $1 in
*slow*) echo "the tape is stuck" >&2; exec sleep 600 ;;
esac
[ -e "$1" ] || { echo "no such file on tape: $1" >&2; exit 66; }
exec cp -- "$1" "$2"
"""

ANALYSIS = """\
import time

def count(packet):
    return {"bytes": packet.stop - packet.start, "packets": 1}

def stop_at_second(packet):
    if packet.lfn.endswith("2.bin"):
        raise ValueError("I do not like this one")
    return packet.stop - packet.start

def never(packet):
    time.sleep(600)
"""


class Client:
    """Types commands at a site."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster

    def argv(self, *argv: str) -> list[str]:
        return [sys.executable, "-m", "packhorse", *argv, "--config", str(self.cluster.config)]

    def run(self, *argv: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        """Runs a command, which must end with `code`, and with no traceback of ours."""
        done = subprocess.run(
            self.argv(*argv),
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
            cwd=self.cluster.folder,
            env=ENVIRONMENT,
        )
        assert done.returncode == code, f"{argv}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
        if code:
            assert done.stderr.splitlines()[-1].startswith("packhorse: error: ")
        return done

    def ask(self, *argv: str, code: int = 0) -> Any:
        """What a command answers in JSON."""
        return json.loads(self.run(*argv, "--json", code=code).stdout)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    folder = tmp_path_factory.mktemp("site")
    script = folder / "stage.sh"
    script.write_text(STAGE_SCRIPT)
    script.chmod(0o755)
    (folder / "analysis.py").write_text(ANALYSIS)
    cluster = Cluster(folder, [Node("disk1"), Node("disk2")], stagecmd=[str(script)])
    for number in range(FILES):
        cluster.write(f"/store/run/{number}.bin", bytes([number]) * FILE_BYTES)
    for name in ("one", "pinned", "kept", "slow"):
        cluster.write(f"/store/{name}.bin", name.encode() * 100)
    with running(cluster):
        yield Client(cluster)


def test_a_file_is_staged_found_explained_and_copied(client: Client, tmp_path: Path) -> None:
    lfn = "/store/one.bin"
    assert client.ask("locate", lfn)[0]["state"] == "nearline"
    done = client.ask("stage", f"root://anywhere/{lfn}", "--wait")
    assert done["requests"][0]["state"] == "done"
    (found,) = client.ask("locate", lfn)
    assert (found["state"], found["size_bytes"]) == ("online", 300)
    node = found["nodes"][0]["node"]
    assert (client.cluster.pool(node) / lfn.lstrip("/")).read_bytes() == b"one" * 100
    told = client.ask("explain", lfn)
    assert told["archive_name"] == f"{client.cluster.archive}{lfn}"
    assert [replica["node"] for replica in told["replicas"]] == [node]
    assert told["story"]
    assert f"replica on {node}, 300 B" in client.run("explain", lfn).stdout
    target = tmp_path / "copy.bin"
    assert client.run("cp", lfn, str(target)).stdout == f"{target}\n"
    assert target.read_bytes() == b"one" * 100
    assert "exists already" in client.run("cp", lfn, str(target), code=6).stderr
    assert client.ask("cp", lfn, str(target), "--force")["size_bytes"] == 300


def test_what_the_archive_does_not_have_is_told_in_the_commands_own_words(client: Client) -> None:
    done = client.run("stage", "/store/nowhere.bin", "--wait", code=9)
    assert "no such file on tape" in done.stderr
    client.run("cp", "/store/nowhere.bin", str(client.cluster.folder), code=9)
    client.run("cp", "/store/nowhere.bin", ".", "--no-stage", code=5)


def test_what_is_pinned_is_not_evicted(client: Client) -> None:
    lfn = "/store/pinned.bin"
    client.run("stage", lfn, "--wait")
    assert client.ask("pin", lfn, "--for", "1h", "--reason", "plots")["pinned"] == 1
    (pin,) = client.ask("explain", lfn)["pins"]
    assert pin["reason"] == "plots"
    assert 3500 < pin["expires_in_s"] <= 3600
    told = client.run("evict", lfn, code=7)
    assert "pinned" in told.stdout
    assert client.ask("unpin", lfn) == {"unpinned": 1}
    assert client.ask("evict", lfn) == {"evicted": 1, "refused": []}
    assert client.ask("locate", lfn)[0]["nodes"] == []


def test_a_request_goes_on_without_its_client_until_it_is_cancelled(client: Client) -> None:
    waiting = subprocess.Popen(
        client.argv("stage", "/store/slow.bin", "--wait"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert waiting.stdout is not None
    accepted = waiting.stdout.readline()
    request_id = accepted.split()[1]
    waiting.send_signal(signal.SIGINT)
    _, told = waiting.communicate(timeout=TIMEOUT_S)
    assert waiting.returncode == 130
    assert told == ""
    (request,) = client.ask("requests", request_id)
    assert (request["state"], request["file"][0]["state"]) == ("active", "staging")
    assert request_id in client.run("requests", "--active").stdout
    assert client.ask("cancel", request_id) == {"files_cancelled": 1}
    assert client.ask("requests", request_id)[0]["state"] == "cancelled"
    client.run("cancel", "no-such-request", code=5)
    client.run("requests", "no-such-request", code=5)


def test_a_dataset_is_registered_verified_processed_and_removed(client: Client) -> None:
    folder = client.cluster.folder
    listed = folder / "files.txt"
    listed.write_text("".join(f"root://head//store/run/{number}.bin\n" for number in range(FILES)))
    done = client.ask("dataset", "register", "run", "--from", str(listed), "--title", "a run")
    assert (done["files"], done["added"]) == (FILES, FILES)
    client.run("dataset", "register", "run", "/store/one.bin", code=6)
    verified = client.ask("dataset", "verify", "run", "--stage")
    assert verified["complete"]
    assert verified["summary"]["online"] == FILES
    shown = client.ask("dataset", "show", "run", "--files")
    assert shown["summary"]["bytes_known"] == FILES * FILE_BYTES
    assert {file["state"] for file in shown["files"]} == {"online"}
    assert "a run" in client.run("dataset", "show", "run", "--files").stdout
    assert [row["name"] for row in client.ask("dataset", "list", "r*")["datasets"]] == ["run"]

    output = folder / "value.json"
    argv = ("process", "run", "analysis:count", "--workers", "1", "--output", str(output))
    done = client.ask(*argv)
    assert json.loads(output.read_text())["bytes"] == FILES * FILE_BYTES
    assert done["complete"]
    assert done["value"] == json.loads(output.read_text())
    session_id = done["report"]["session_id"]
    assert session_id in {row["session_id"] for row in client.ask("sessions")}
    assert client.ask("sessions", "show", session_id)["state"] == "done"
    assert client.ask("sessions", "result", session_id)["value"] == done["value"]
    assert "entries  60,000 of 60,000" in client.run("sessions", "watch", session_id).stdout
    client.run("sessions", "forget", session_id)
    client.run("sessions", "show", session_id, code=5)

    assert client.ask("dataset", "remove", "run") == {"name": "run", "files": FILES}
    client.run("dataset", "show", "run", code=5)
    client.run("process", "run", "analysis:count", code=5)


def test_what_a_function_does_not_do_is_named_in_the_result(client: Client) -> None:
    names = [f"/store/run/{number}.bin" for number in range(FILES)]
    client.run("dataset", "register", "lost", *names)
    argv = ("process", "lost", "analysis:stop_at_second", "--workers", "2")
    told = client.run(*argv, code=10)
    assert str((FILES - 1) * FILE_BYTES) in told.stdout
    assert "/store/run/2.bin" in told.stdout
    assert "I do not like this one" in told.stdout
    assert "lacks 10,000 known entries of 1 file" in told.stderr


def test_leaving_a_process_cancels_its_session_and_its_workers(client: Client) -> None:
    client.run("dataset", "register", "endless", "/store/run/0.bin")
    waiting = subprocess.Popen(
        client.argv("process", "endless", "analysis:never", "--workers", "1"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=client.cluster.folder,
        env=ENVIRONMENT,
    )
    watching = subprocess.run(
        [sys.executable, "-c", WAIT_FOR_WORKER, str(client.cluster.config)],
        timeout=TIMEOUT_S,
        check=True,
        capture_output=True,
        text=True,
    )
    session_id = watching.stdout.strip()
    waiting.send_signal(signal.SIGINT)
    _, told = waiting.communicate(timeout=TIMEOUT_S)
    assert (waiting.returncode, told) == (130, "")
    assert client.ask("sessions", "show", session_id)["state"] == "cancelled"


#: Prints the id of the one session that is running, once a worker serves it.
WAIT_FOR_WORKER = """
import sys
import time
import packhorse
with packhorse.connect(config=sys.argv[1]) as site:
    while not (active := site.sessions.list(active_only=True)):
        time.sleep(0.05)
    for status in site.sessions.watch(active[0].session_id):
        if status.workers:
            break
print(active[0].session_id)
"""


def test_an_admin_sees_and_drains_nodes(client: Client) -> None:
    status = client.ask("status")
    assert {node["address"]["node"]: node["state"] for node in status["nodes"]} == {
        "disk1": "up",
        "disk2": "up",
    }
    assert len(status["packetizers"]) == 1
    client.run("status")
    assert client.ask("drain", "disk2")["draining"]
    assert {node["address"]["node"]: node["draining"] for node in client.ask("nodes")} == {
        "disk1": False,
        "disk2": True,
    }
    client.run("stage", "/store/kept.bin", "--wait")
    assert client.ask("locate", "/store/kept.bin")[0]["nodes"][0]["node"] == "disk1"
    client.run("drain", "disk2", "--undo")
    assert not any(node["draining"] for node in client.ask("nodes"))
    client.run("drain", "disk9", code=5)


def test_a_purge_is_shown_and_nothing_goes(client: Client) -> None:
    client.run("stage", "/store/kept.bin", "--wait")
    plans = client.ask("purge", "--dry-run", "--to", "1B")
    assert {plan["node"] for plan in plans} == {"disk1", "disk2"}
    goes = {row["lfn"] for plan in plans for row in plan["verdicts"] if row["goes"]}
    assert "/store/kept.bin" in goes
    assert "/store/kept.bin" in client.run("purge", "--dry-run", "--to", "1B").stdout
    assert client.ask("locate", "/store/kept.bin")[0]["state"] == "online"


def test_names_outside_the_site_are_refused(client: Client) -> None:
    for command in ("locate", "explain", "pin", "evict"):
        told = client.run(command, "/other/a", code=4)
        assert "not under what this site exports" in told.stderr
    client.run("stage", "/other/a", "--wait", code=4)
    client.run("dataset", "register", "outside", "/other/a", code=4)


def test_a_server_that_cannot_start_says_why_in_one_line(client: Client) -> None:
    for argv in (["redirector"], ["packetizer"], ["dataserver", "--name", "disk1"]):
        assert "in use" in client.run(*argv, code=3).stderr
