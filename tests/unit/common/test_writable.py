"""Where clients may change files."""

from __future__ import annotations

import pytest

from common.errors import NameRefused, Refused
from common.names import NameMap
from common.writable import Writable

WRITABLE = Writable(NameMap([], ["/store/"]), ["/store/user", "/store//my/"])


@pytest.mark.parametrize(
    ("name", "is_writable", "is_open"),
    [
        ("/store/user/a", True, True),
        ("/store/user/a/b", True, True),
        ("/store/my/a", True, True),
        ("/store/user", False, True),
        ("/store/username", False, False),
        ("/store", False, False),
        ("/", False, False),
    ],
)
def test_clients_write_below_the_directories_that_are_named(
    name: str, is_writable: bool, is_open: bool
) -> None:
    """One of these itself is no file of theirs, but they may make some in it."""
    assert WRITABLE.is_writable(name) == is_writable
    assert WRITABLE.is_open(name) == is_open


def test_names_are_understood_before_they_are_judged() -> None:
    assert WRITABLE.check("/store//user/./a") == "/store/user/a"
    with pytest.raises(Refused, match=r"/store/b is not .* may write \(\[root\] writable\)"):
        WRITABLE.check("/store//b")
    with pytest.raises(NameRefused):
        WRITABLE.check("/elsewhere/b")
