"""What a killed server leaves running is ended without anybody starting it again."""

from __future__ import annotations

import signal
import subprocess
import sys

import psutil

from common.command import Janitor

OWNER = "pool-of-a-test"

SERVER = """
import asyncio, sys
from common.command import CommandSpec, Janitor, run_command

janitor = Janitor(sys.argv[1] + "/this-life", sys.argv[1] + "/this-life/leased")
spec = CommandSpec(argv=["sleep", "1000"], deadline_s=2000, owner=sys.argv[1] + "/this-life")
asyncio.run(run_command(spec, on_start=lambda pid, _: print(pid, flush=True)))
"""


def test_a_killed_servers_command_ends_with_it() -> None:
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER, OWNER], stdout=subprocess.PIPE, text=True
    )
    assert server.stdout is not None
    command = psutil.Process(int(server.stdout.readline()))
    assert command.is_running()
    server.send_signal(signal.SIGKILL)
    server.communicate()
    command.wait(timeout=20)


def test_a_janitor_ends_with_its_server_and_leaves_other_lives_alone() -> None:
    other = subprocess.Popen(
        ["sleep", "1000"], env={"PATH": "/usr/bin:/bin", "PACKHORSE_COMMAND_ID": f"{OWNER}/other/1"}
    )
    janitor = Janitor(f"{OWNER}/this-life", f"{OWNER}/this-life/leased")
    janitor.close()
    assert other.poll() is None
    other.kill()
    other.wait()


def test_a_janitor_that_somebody_killed_is_replaced() -> None:
    janitor = Janitor(f"{OWNER}/this-life", f"{OWNER}/this-life/leased")
    first = psutil.Process().children()[-1]
    first.kill()
    psutil.wait_procs([first], timeout=20)
    janitor.ensure()
    second = psutil.Process().children()[-1]
    assert second.pid != first.pid
    janitor.close()
    assert not second.is_running()


def test_leased_commands_end_with_the_lease_though_their_server_is_stopped() -> None:
    janitor = Janitor(f"{OWNER}/this-life", f"{OWNER}/this-life/leased")
    others, leased = _sleeping("this-life/1"), _sleeping("this-life/leased/2")
    janitor.keep(1000.0)
    janitor.keep(0.01)
    # A server that is stopped does nothing for it, as we do.
    leased.wait(timeout=20)
    assert others.poll() is None
    janitor.keep(1000.0)
    janitor.close()
    others.wait(timeout=20)


def test_a_replaced_janitor_knows_of_the_lease() -> None:
    janitor = Janitor(f"{OWNER}/this-life", f"{OWNER}/this-life/leased")
    first = psutil.Process().children()[-1]
    first.kill()
    psutil.wait_procs([first], timeout=20)
    leased = _sleeping("this-life/leased/1")
    janitor.keep(0.01)
    janitor.ensure()
    leased.wait(timeout=20)
    janitor.close()


def _sleeping(mark: str) -> subprocess.Popen[bytes]:
    environment = {"PATH": "/usr/bin:/bin", "PACKHORSE_COMMAND_ID": f"{OWNER}/{mark}"}
    return subprocess.Popen(["sleep", "1000"], env=environment)
