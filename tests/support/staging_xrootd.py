"""A stock XRootD whose oss.stagecmd is a published script, and a hand on what that does."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from packhorse.scripts.kinds import PUBLISHED
from tests.support.patience import eventually
from tests.support.stock_daemons import give_away
from tests.support.stock_xrootd import StockXrootd

if TYPE_CHECKING:
    from collections.abc import Sequence

TIMEOUT_S: Final = 60.0
#: For longer than any test takes.
LONG_S: Final = 300

CONFIG: Final = """\
xrd.network nodnr
all.export /store stage r/w
oss.remoteroot {archive}
oss.stagecmd sync {bin}/for_xrootd.py stage {bin}/noted.sh
oss.rsscmd {bin}/for_xrootd.py ask {bin}/noted.sh
oss.xfr deny {deny} 4 1g 1
ofs.preplib libXrdOfsPrepGPI.so -admit all -run {bin}/prepare.sh
"""
#: Notes every run; a stage waits while there is a gate, and lies if it shall.
NOTED: Final = """\
#!/bin/sh
echo "$1 $2 $$" >> {folder}/runs
if [ "$1" = stage ]; then
    while [ -e {folder}/gate ]; do sleep 0.05; done
    case $2 in */lies/*) exit 0 ;; */full/*) echo 'no space left' >&2; exit 73 ;; esac
fi
exec {bin}/mounted_archive.py "$@"
"""
PREPARE: Final = """\
#!/bin/sh
exec {bin}/for_xrootd_prepare.py --local {data} --remote {archive} --state {folder}/state \\
    -- {bin}/noted.sh -- "$@"
"""


class StagingXrootd:
    """Enter it to wait until it answers; leave it to end it, and remove its folder."""

    def __init__(self, deny_s: int = LONG_S) -> None:
        """`deny_s` is for how long a failure is remembered."""
        # Not in pytest's own folders, which no other user may enter.
        self.folder = Path(tempfile.mkdtemp(prefix="packhorse-stagecmd-"))
        self.folder.chmod(0o755)
        self.data, self.archive = self.folder / "data", self.folder / "archive"
        programs = self.folder / "bin"
        shutil.copytree(PUBLISHED, programs)
        values = {
            "folder": self.folder,
            "bin": programs,
            "data": self.data,
            "archive": self.archive,
            "deny": deny_s,
        }
        for name, text in (("noted.sh", NOTED), ("prepare.sh", PREPARE)):
            (programs / name).write_text(text.format(**values))
            (programs / name).chmod(0o755)
        for made in (self.data / "store", self.archive / "store", self.folder / "xrootd"):
            made.mkdir(parents=True)
        give_away(self.folder)
        self._server = StockXrootd(self.data, self.folder / "xrootd", CONFIG.format(**values))

    def __enter__(self) -> Self:
        try:
            self._server.__enter__()
        except BaseException as error:
            logs = (path.read_text(errors="replace") for path in self.folder.rglob("*.log"))
            error.add_note("".join(logs)[-3000:])
            shutil.rmtree(self.folder)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._server.__exit__()
        shutil.rmtree(self.folder)

    # --- the archive ----------------------------------------------------------------

    def put(self, lfn: str, content: bytes) -> None:
        """Puts a file into the archive."""
        path = self.archive / lfn.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        give_away(self.archive)

    def place(self, lfn: str, content: bytes) -> None:
        """Puts a file where the server keeps its files."""
        self.local(lfn).parent.mkdir(parents=True, exist_ok=True)
        self.local(lfn).write_bytes(content)
        give_away(self.data)

    def local(self, lfn: str) -> Path:
        """Where the server keeps a file."""
        return self.data / lfn.lstrip("/")

    def hold(self) -> None:
        """Stages wait from now on."""
        (self.folder / "gate").touch()

    def release(self) -> None:
        """Stages go on."""
        (self.folder / "gate").unlink()

    def stages(self, lfn: str) -> list[int]:
        """The process of every run of the script that staged a file."""
        noted = self.folder / "runs"
        lines = noted.read_text().splitlines() if noted.exists() else []
        runs = [
            line.removeprefix("stage ").rpartition(" ") for line in lines if line[:5] == "stage"
        ]
        return [int(pid) for remote, _, pid in runs if remote == f"{self.archive}{lfn}"]

    def kill_stage(self, lfn: str) -> None:
        """kill -9 for the copier, once it runs."""
        pid = eventually(lambda: self.stages(lfn))[-1]
        os.kill(pid, signal.SIGKILL)

    # --- clients --------------------------------------------------------------------

    def copy(self, lfn: str, target: Path) -> subprocess.Popen[str]:
        """Starts to copy a file from the server."""
        return self._start(["xrdcp", "--nopbar", "--force", f"{self._url}/{lfn}", str(target)])

    def copied(self, lfn: str, target: Path) -> tuple[int, str]:
        """Copies a file to the end; the exit code, and what was said."""
        return _ended(self.copy(lfn, target))

    def xrdfs(self, *words: str) -> tuple[int, str]:
        """Runs xrdfs to its end."""
        return _ended(self._start(["xrdfs", self._url, *words]))

    def prepared(self, request: str, lfns: Sequence[str]) -> dict[str, dict[str, Any]]:
        """What `query prepare` answers, by file."""
        code, said = self.xrdfs("query", "prepare", request, *lfns)
        assert code == 0, said
        answer = json.loads(said)
        assert answer["request_id"] == request
        return {one["path"]: one for one in answer["responses"]}

    @property
    def _url(self) -> str:
        return f"root://127.0.0.1:{self._server.port}/"

    def _start(self, argv: Sequence[str]) -> subprocess.Popen[str]:
        return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def _ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    said, _ = process.communicate(timeout=TIMEOUT_S)
    return process.returncode, said
