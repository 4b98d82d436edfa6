"""What `[mss]` says of storing: commands, and which directories."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from common.config.mss import MssConfig


def mss(**keys: Any) -> MssConfig:
    names = [{"prefix": "/store/", "archive": "/archive/store/"}]
    return MssConfig.model_validate({"stagecmd": "builtin", "names": names, **keys})


def test_nothing_is_stored_or_removed_by_default() -> None:
    config = mss()
    assert (config.storecmd, config.removecmd) == (None, None)
    assert (config.store_delay, config.store_backoff, config.store_backoff_max) == (600, 60, 3600)


@pytest.mark.parametrize(
    ("key", "command"),
    [
        ("storecmd", "builtin"),
        ("storecmd", ["/store.sh"]),
        ("storecmd", ["cp", "{source}", "{target}"]),
        ("storecmd", ["put", "{source}", "{lfn}", "{size}", "{checksum}"]),
        ("removecmd", "builtin"),
        ("removecmd", ["/remove.sh"]),
        ("removecmd", ["rm", "{source}"]),
        ("removecmd", ["rm", "{lfn}"]),
    ],
)
def test_commands_that_can_be_run(key: str, command: object) -> None:
    assert getattr(mss(**{key: command}), key) == command


@pytest.mark.parametrize(
    ("key", "command", "why"),
    [
        ("storecmd", "cp {source} {target}", 'neither "builtin" nor a list'),
        ("storecmd", [], "the command is empty"),
        ("storecmd", ["cp", "{target}"], "no {source}: which of the pool's files"),
        ("storecmd", ["cp", "{source}"], "no {target} and no {lfn}: where should the file go"),
        ("storecmd", ["cp", "{source}", "{target}", "{owner}"], "unknown placeholder {owner}"),
        ("removecmd", "rm", 'neither "builtin" nor a list'),
        ("removecmd", ["rm", "{target}"], "can be given {source} and {lfn} only"),
        ("removecmd", ["rm", "{size}", "{source}"], "can be given {source} and {lfn} only"),
    ],
)
def test_commands_that_cannot(key: str, command: object, why: str) -> None:
    with pytest.raises(ValidationError) as error:
        mss(**{key: command})
    assert why in str(error.value)


def test_a_directory_is_migratable_or_not() -> None:
    with pytest.raises(ValidationError, match="/store/user/ is both migratable and notmigratable"):
        mss(migratable=["/store/user"], notmigratable=["/store//user/"])
    with pytest.raises(ValidationError):
        mss(migratable=["store"])
