"""What a hintcmd or statcmd tells of tapes: understood, or told to be wrong."""

from __future__ import annotations

import json

import pytest

from common.errors import UsageError
from dataserver.archive.answers import understand_file, understand_hints
from dataserver.archive.model import ArchiveFile, Presence

SOURCES = {"/tape/a": "/store/a", "/tape/b": "/store/b"}


def there(lfn: str, volume: str, position: int, size_bytes: int | None = None) -> ArchiveFile:
    return ArchiveFile(lfn, Presence.THERE, size_bytes, volume=volume, position=position)


def test_a_file_is_named_either_way_and_strange_lines_are_about_nothing() -> None:
    output = (
        '{"lfn": "/store/a", "volume": "V1", "position": 7, "size": 12, "library": "east"}\n\n'
        '{"source": "/tape/b", "volume": "V2"}\n'
        '{"lfn": "/store/others", "volume": "V3", "position": 1}\n'
        '{"source": "/tape/others"}\n'
    )
    found = understand_hints(SOURCES, output.encode())
    assert found == {
        "/store/a": there("/store/a", "V1", 7, 12),
        "/store/b": there("/store/b", "V2", 0),
    }


def test_a_file_may_lie_on_no_tape() -> None:
    found = understand_hints(SOURCES, b'{"lfn": "/store/a", "volume": null, "position": 3}')
    assert found == {"/store/a": there("/store/a", "", 0)}


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("nonsense", "this is not JSON: nonsense"),
        ("[1]", "this is no JSON object"),
        ('{"lfn": "/store/a", "volume": 7}', "volume '7' is not the name of a tape"),
        ('{"lfn": "/store/a", "volume": "V1", "position": -1}', "position '-1' is not"),
        ('{"lfn": "/store/a", "volume": "V1", "position": "far"}', "position 'far' is not"),
        ('{"lfn": "/store/a", "volume": "V1", "position": true}', "position 'True' is not"),
        ('{"lfn": "/store/a", "size": "large"}', "size 'large' is not a number of bytes"),
    ],
)
def test_the_first_line_that_is_wrong_is_named(line: str, why: str) -> None:
    with pytest.raises(UsageError) as raised:
        understand_hints(SOURCES, f'{{"lfn": "/store/b"}}\n{line}\n'.encode())
    assert str(raised.value).startswith(f"hintcmd: line 2: {why}")


def test_a_statcmd_may_tell_the_tape_as_well() -> None:
    answer = {"size": 12, "volume": "V1", "position": 1 << 70}
    found = understand_file("/store/a", json.dumps(answer).encode())
    assert found == there("/store/a", "V1", (1 << 63) - 1, 12)


def test_a_statcmd_that_errs_about_the_tape_is_not_believed_at_all() -> None:
    found = understand_file("/store/a", b'{"size": 12, "volume": ["V1"]}')
    assert found.size_bytes is None
    assert found.reason == "statcmd: volume \"['V1']\" is not the name of a tape"
