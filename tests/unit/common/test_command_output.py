"""What is kept of a command's output, and what people get to read of it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from common.command.environment import ID_VARIABLE, command_environment
from common.command.growth import Growth
from common.command.output import (
    CHUNK_BYTES,
    LONGEST_LINE_BYTES,
    REASON_CHARACTERS,
    Lines,
    Tail,
    as_reason,
    last_lines,
)
from common.command.progress import NOTE_CHARACTERS, progress_in

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    read_fd, write_fd = os.pipe()
    yield read_fd, write_fd
    for fd in (read_fd, write_fd):
        try:
            os.close(fd)
        except OSError:
            assert fd == write_fd


def test_the_tail_of_an_output_is_kept(pipe: tuple[int, int]) -> None:
    tail = Tail(pipe[0], limit_bytes=10)
    for number in range(2000):
        os.write(pipe[1], b"%06d" % number * 200)
        tail.read_some()
    content, complete = tail.content()
    assert content == (b"001999" * 2)[-10:]
    assert not complete


def test_an_output_within_the_limit_is_complete(pipe: tuple[int, int]) -> None:
    tail = Tail(pipe[0], limit_bytes=10)
    os.write(pipe[1], b"0123456789")
    assert tail.read_some()
    assert not tail.read_some()
    assert not tail.ended
    os.close(pipe[1])
    assert not tail.read_some()
    assert tail.ended
    assert tail.content() == (b"0123456789", True)


def test_reading_the_rest_waits_for_nobody(pipe: tuple[int, int]) -> None:
    tail = Tail(pipe[0], limit_bytes=CHUNK_BYTES)
    os.write(pipe[1], b"last words")
    tail.read_rest()
    assert tail.content() == (b"last words", True)


def test_the_last_lines_are_those_that_say_something() -> None:
    output = b"\n".join(b"line %d" % number for number in range(100)) + b"\n\n  \n\x1b[0m\n"
    assert last_lines(output).splitlines() == [f"line {number}" for number in range(80, 100)]


def test_a_reason_is_one_line_of_bounded_length() -> None:
    assert as_reason("cp: exit code 1", "a\nb\nc\nd") == "cp: exit code 1: b | c | d"
    assert as_reason("cp: exit code 1", "") == "cp: exit code 1 (it said nothing)"
    long = as_reason("cp: exit code 1", "x" * 10_000 + "the end")
    assert len(long) < REASON_CHARACTERS + 30
    assert long.endswith("the end")


def test_the_environment_is_short_and_what_is_configured_wins() -> None:
    own = {
        "PATH": "/bin",
        "LC_ALL": "C",
        "X509_USER_PROXY": "/tmp/x509",
        "BEARER_TOKEN_FILE": "/run/token",
        "SECRET": "of another program",
        "PYTHONPATH": "/somewhere",
        "PACKHORSE_CONFIG": "/etc/site.toml",
    }
    assert command_environment(own, {"LC_ALL": "C.UTF-8", "STAGE_POOL": "hot"}, "disk1/1") == {
        "PATH": "/bin",
        "LC_ALL": "C.UTF-8",
        "X509_USER_PROXY": "/tmp/x509",
        "BEARER_TOKEN_FILE": "/run/token",
        "STAGE_POOL": "hot",
        ID_VARIABLE: "disk1/1",
    }


def test_a_site_says_which_variables_pass() -> None:
    own = {"PATH": "/bin", "BEARER_TOKEN": "secret", "AWS_PROFILE": "tape", "AWS": "x"}
    assert command_environment(own, {}, "x", ["AWS_*"]) == {
        "PATH": "/bin",
        "AWS_PROFILE": "tape",
        ID_VARIABLE: "x",
    }
    assert command_environment(own, {}, "x", []) == {"PATH": "/bin", ID_VARIABLE: "x"}


@pytest.mark.parametrize("size_bytes", [1, 3, 1000])
def test_a_stream_is_cut_into_lines_however_it_comes(size_bytes: int) -> None:
    stream = b"one\n\ntwo\n" + b"x" * (LONGEST_LINE_BYTES + 1) + b"\nthree\nfour"
    found: list[bytes] = []
    lines = Lines(found.append)
    for start in range(0, len(stream), size_bytes):
        lines.feed(stream[start : start + size_bytes])
    assert found == [b"one", b"two", b"three"]
    lines.feed(b"")
    assert found[3:] == [b"four"]


@pytest.mark.parametrize(
    ("line", "note"),
    [
        (b"progress: waiting for tape VOL123", "waiting for tape VOL123"),
        (b"progress:", ""),
        (b'{"state": "progress", "note": "on its way"}', "on its way"),
        (b'  {"state": "progress"}', ""),
        (b'{"state": "progress", "note": 7}', ""),
        (b"progress: \x1b[31mred\x1b[0m \xff", "red \\xff"),
        (b"progress: " + b"x" * 1000, "x" * NOTE_CHARACTERS + "…"),
        (b'{"state": "done"}', None),
        (b"copying, progress: 10%", None),
        (b'{"state": "progress"', None),
        (b"[1]", None),
        (b"", None),
    ],
)
def test_progress_is_told_from_chatter(line: bytes, note: str | None) -> None:
    assert progress_in(line) == note


def test_a_command_always_has_a_path() -> None:
    assert command_environment({}, {}, "x")["PATH"]


def test_growth_of_any_file_beside_the_target_is_progress(tmp_path: Path) -> None:
    growth = Growth(tmp_path / "new" / "target", now_s=0.0)
    assert not growth.look(1.0), "the directory need not exist yet"
    (tmp_path / "new").mkdir()
    assert not growth.look(2.0)
    part = tmp_path / "new" / "target.part"
    part.write_bytes(b"12345")
    assert growth.look(3.0)
    assert (growth.changed_s, growth.size_bytes) == (3.0, 5)
    assert not growth.look(4.0)
    os.utime(part, (1, 1))
    assert growth.look(5.0), "a touch says that it is alive"
    part.rename(tmp_path / "new" / "target")
    assert growth.look(6.0)
    assert (growth.changed_s, growth.size_bytes) == (6.0, 5)


def test_filling_a_preallocated_file_is_progress(tmp_path: Path) -> None:
    target = tmp_path / "target"
    with target.open("wb") as file:
        file.truncate(1 << 20)
        growth = Growth(target, now_s=0.0)
        assert growth.look(1.0)
        assert growth.size_bytes == 1 << 20
        file.write(b"x" * 4096)
        file.flush()
        assert growth.look(2.0)


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "large").write_bytes(b"x" * 1000)
    (tmp_path / "work" / "target").symlink_to(tmp_path / "large")
    growth = Growth(tmp_path / "work" / "target", now_s=0.0)
    growth.look(1.0)
    assert growth.size_bytes < 1000
