"""Files that a site hands over to its commands."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from common.command.credentials import (
    LONGEST_CONTENT_BYTES,
    Credentials,
    CredentialUnusableError,
)

if TYPE_CHECKING:
    from pathlib import Path


def test_a_path_or_a_content_is_handed_over(tmp_path: Path) -> None:
    (tmp_path / "token").write_bytes(b"abc.def\xff\n")
    given = Credentials({"TOKEN_FILE": tmp_path / "token"}, {"TOKEN": tmp_path / "token"})
    expected = {"TOKEN_FILE": str(tmp_path / "token"), "TOKEN": "abc.def\udcff"}
    assert given.environment() == expected
    (tmp_path / "token").write_bytes(b"renewed")
    assert given.environment()["TOKEN"] == "renewed"


@pytest.mark.parametrize("kind", ["paths", "contents"])
def test_a_credential_that_is_not_there_is_named(tmp_path: Path, kind: str) -> None:
    given = Credentials(**{kind: {"TOKEN": tmp_path / "gone"}})
    with pytest.raises(CredentialUnusableError, match=r"TOKEN.*gone"):
        given.environment()


@pytest.mark.parametrize(
    ("content", "trouble"),
    [(b"a\0b", "binary"), (b"x" * (LONGEST_CONTENT_BYTES + 1), "too long")],
)
def test_what_cannot_be_a_variable_is_told(tmp_path: Path, content: bytes, trouble: str) -> None:
    (tmp_path / "proxy").write_bytes(content)
    with pytest.raises(CredentialUnusableError, match=trouble):
        Credentials(contents={"PROXY": tmp_path / "proxy"}).environment()
