"""Directories: where exports and prefixes lead, and what of the archive belongs to them."""

from __future__ import annotations

import pytest

from common.directories import directory_of
from common.errors import NameRefused
from common.names import NameMap, NameRule

STORE = NameRule(prefix="/store", archive="/tape/store/")
RUN7 = NameRule(prefix="/store/run7/raw", archive="root://raw.example.org//run7")
USER = NameRule(prefix="/user", archive="/tape/home")
ODD = NameRule(regex="/store/odd-.*", archive="/elsewhere")
NAMES = NameMap([STORE, RUN7, USER, ODD], exports=["/store", "/user/public"])


@pytest.mark.parametrize(
    ("lfn", "children"),
    [
        ("/", {"store", "user"}),
        ("//./", {"store", "user"}),
        ("/user", {"public"}),
    ],
)
def test_above_the_exports_there_is_only_the_way_to_them(lfn: str, children: set[str]) -> None:
    found = directory_of(NAMES, lfn)
    assert found.children == children
    assert found.rule is None
    assert found.is_given
    assert found.is_complete


@pytest.mark.parametrize(
    ("lfn", "rule", "archive_name", "children"),
    [
        ("/store", STORE, "/tape/store", {"run7"}),
        ("/store/run7/", STORE, "/tape/store/run7", {"raw"}),
        ("/store/run7/raw", RUN7, "root://raw.example.org//run7", set()),
        ("/store/run7/raw/x", RUN7, "root://raw.example.org//run7/x", set()),
        ("/store/run8", STORE, "/tape/store/run8", set()),
        ("/user/public", USER, "/tape/home/public", set()),
    ],
)
def test_below_them_the_longest_prefix_says_which_directory_of_the_archive(
    lfn: str, rule: NameRule, archive_name: str, children: set[str]
) -> None:
    found = directory_of(NAMES, lfn)
    assert found.rule is rule
    assert found.archive_name == archive_name
    assert found.children == children
    assert not found.is_complete


@pytest.mark.parametrize(
    ("lfn", "is_given"),
    [
        ("/store", True),
        ("/store/run7", True),
        ("/store/run7/raw", True),
        ("/user/public", True),
        ("/store/run8", False),
        ("/user/public/x", False),
    ],
)
def test_what_is_on_the_way_to_something_given_is_there(lfn: str, is_given: bool) -> None:
    assert directory_of(NAMES, lfn).is_given is is_given


def test_an_export_above_all_prefixes_has_the_way_to_them() -> None:
    names = NameMap([STORE, RUN7], exports=["/"])
    assert directory_of(names, "/").children == {"store"}
    assert directory_of(names, "/").is_complete
    with pytest.raises(NameRefused, match="no rule"):
        directory_of(names, "/other")


def test_where_only_a_regex_could_tell_nothing_is_told() -> None:
    names = NameMap([ODD], exports=["/store"])
    found = directory_of(names, "/store")
    assert found.rule is None
    assert found.children == frozenset()
    assert not found.is_complete
    assert directory_of(names, "/store/odd-directory").rule is None


@pytest.mark.parametrize("lfn", ["/other", "/storeX", "/store/../user", "store", "/.incoming"])
def test_what_is_not_the_sites_is_refused(lfn: str) -> None:
    with pytest.raises(NameRefused):
        directory_of(NAMES, lfn)


def test_the_top_of_a_site_without_exports_is_empty() -> None:
    found = directory_of(NameMap([], exports=[]), "/")
    assert (found.children, found.rule) == (frozenset(), None)


@pytest.mark.parametrize("is_directory", [True, False])
@pytest.mark.parametrize(
    "name", ["", ".", "..", "a/b", "a\nb", "\udcff", "x" * 256, "run7"], ids=ascii
)
def test_entries_that_have_no_name_here_are_left_out(name: str, is_directory: bool) -> None:
    assert not directory_of(NAMES, "/store").has(name, is_directory=is_directory)


def test_what_another_rule_is_about_is_left_out() -> None:
    store = directory_of(NAMES, "/store")
    assert store.has("a", is_directory=False)
    assert store.has("a", is_directory=True)
    assert not store.has("odd-file", is_directory=False)
    # Whether everything below is the regex's, nobody can say.
    assert store.has("odd-directory", is_directory=True)


def test_the_data_servers_own_directories_are_left_out_at_the_top() -> None:
    top = directory_of(NameMap([NameRule(prefix="/", archive="/tape")], ["/"]), "/")
    assert not top.has(".incoming", is_directory=True)
    assert top.has("store", is_directory=True)
