"""A site whose archive is a tape storage behind the installed scripts: ordered, copied, released."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from packhorse import scripts
from tests.support.cluster import Cluster, Node, running, until_joined
from tests.support.patience import eventually
from tests.support.tape_rest_server import DIALECTS, TapeRestServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FILES = [f"/store/run7/{number}.root" for number in range(8)]


@pytest.fixture
def tape() -> Iterator[TapeRestServer]:
    """A tape storage with files on tape alone."""
    with TapeRestServer(DIALECTS[2]) as server:
        for lfn in FILES:
            server.put(lfn, lfn.encode() * 1000)
        yield server


@pytest.fixture
def site(tape: TapeRestServer, tmp_path: Path) -> Cluster:
    """One data server, whose commands are the script as it is installed."""
    folder = tmp_path / "libexec"
    kind = scripts.find_kind("tape-rest")
    scripts.install(kind, folder)
    script = str(folder / kind.script)
    mss: dict[str, Any] = {
        "names": [{"prefix": "/store/", "archive": f"{tape.url}/store/"}],
        "listcmd": [script, "list", "{source}"],
        "storecmd": [script, "store", "{source}", "{target}"],
        "poll": "100ms",
        "poll_max": "1s",
    }
    for action in ("submit", "poll", "cancel", "release"):
        mss[f"{action}cmd"] = [script, action]
    return Cluster(
        tmp_path,
        [Node("disk1", "1GB", {"slots": 4})],
        stagecmd=[script, "stage", "--ready", "{source}", "{target}"],
        statcmd=[script, "stat", "{source}"],
        mss=mss,
        packetizer=None,
    )


def test_a_list_of_files_is_ordered_together_copied_and_released(
    tape: TapeRestServer, site: Cluster
) -> None:
    with running(site), site.connect() as client:
        until_joined(client, 1)
        done = site.run("stage", "--wait", *FILES, "/store/run7/none")
        assert done.returncode == 9, done.stderr
        assert "/store/run7/none" in done.stdout + done.stderr
        for lfn in FILES:
            assert (site.pool("disk1") / lfn[1:]).read_bytes() == tape.files[lfn]
        eventually(lambda: tape.on_disk == set())
    requests = [content["files"] for _, path, content, _ in tape.asked if path.endswith("/stage")]
    ordered = [file["path"] for files in requests for file in files]
    assert sorted(ordered) == sorted(FILES)
    assert len(requests) < len(FILES)


def test_the_installed_scripts_keep_the_contracts(tape: TapeRestServer, site: Cluster) -> None:
    kinds = [word for kind in ("stat", "list", "submit", "stage") for word in ("--kind", kind)]
    checked = site.run("check-command", FILES[0], *kinds, "--patience", "30s")
    assert checked.returncode == 0, checked.stdout
    for check in ("poll: {}: says how it stands", "stage: {}: brings the file"):
        assert f"ok       {check.format(FILES[0])}: " in checked.stdout
    # Whatever was ordered for the check was called off or given back.
    assert tape.on_disk == set()
