"""Names are spelt in one way, refused with a reason, and mapped to the archive's."""

from __future__ import annotations

import re

import pytest

from common.errors import NameRefused
from common.names import NameMap, NameRule, normalise, normalise_all


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("/store/a.root", "/store/a.root"),
        ("//store//a.root", "/store/a.root"),
        ("/store/./a.root", "/store/a.root"),
        ("/./store/a.root/", "/store/a.root"),
        ("/store/a.root/.", "/store/a.root"),
        ("/store/.hidden", "/store/.hidden"),
        ("/store/...", "/store/..."),
        ("/store/a b", "/store/a b"),
        ("/store/Zürich/漢字", "/store/Zürich/漢字"),
        ("/store/100%2Fdone", "/store/100%2Fdone"),
        ("/store/.incoming/x", "/store/.incoming/x"),
        ("/" + "é" * 127, "/" + "é" * 127),
    ],
)
def test_spelling_variants_meet_in_one_name(given: str, name: str) -> None:
    assert normalise(given) == name
    assert list(normalise_all(["/x", given, "/y"])) == ["/x", name, "/y"]


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("", "start with '/'"),
        ("store/a", "start with '/'"),
        ("/", "names no file"),
        ("/./.", "names no file"),
        ("/store/../etc/passwd", "'..'"),
        ("/..", "'..'"),
        ("/store/..", "'..'"),
        ("/store/a\0b", "control character"),
        ("/store/a\nb", "control character"),
        ("/store/a\n/store/b", "control character"),
        ("/store/a\x1b[2J", "control character"),
        ("/store/\udcff", "not UTF-8"),
        ("/store/" + "d/" * 2500, "5007 bytes are more than 4096"),
        ("/" + "x/" * 1000 + "é/" * 1000, "more than 4096"),
        ("/store/" + "x" * 256, "over 255 bytes"),
        ("/" + "é" * 128, "over 255 bytes"),
        ("/.incoming/x", "data servers' own"),
        ("//./.packhorse", "data servers' own"),
    ],
)
def test_a_bad_name_is_refused_in_one_short_printable_line(given: str, reason: str) -> None:
    for ask in (lambda: normalise(given), lambda: normalise_all(["/fine", given])):
        with pytest.raises(NameRefused, match=re.escape(reason)) as refused:
            ask()
        message = str(refused.value)
        assert message.isprintable()
        assert len(message) < 400


def test_a_name_of_exactly_4096_bytes_is_accepted() -> None:
    name = "/" + "/".join(["d" * 255] * 16)
    assert len(name) == 4096
    assert normalise(name) == name
    with pytest.raises(NameRefused):
        normalise(name + "/x")


def test_a_clean_batch_comes_back_as_it_is() -> None:
    names = ["/a", "/b/c"]
    assert normalise_all(names) is names
    assert normalise_all(()) == ()


def test_a_prefix_matches_whole_components_only() -> None:
    names = NameMap([NameRule(prefix="/store", archive="/archive/")], exports=["/store/"])
    assert names.archive_name("/store/x") == "/archive/x"
    for outside in ("/storeX/a", "/store", "/other/a"):
        with pytest.raises(NameRefused, match="not under what this site exports"):
            names.check(outside)


@pytest.mark.parametrize(
    ("prefix", "archive", "name", "expected"),
    [
        ("/store/", "/archive/store/", "/store/r/a", "/archive/store/r/a"),
        ("/store", "/archive/store", "/store/r/a", "/archive/store/r/a"),
        ("/", "/archive", "/r/a", "/archive/r/a"),
        ("/store", "/", "/store/a", "/a"),
        ("/store", "root://mss//", "/store/a", "root://mss//a"),
        ("//store/./", "s3://bucket/pre", "/store/a", "s3://bucket/pre/a"),
    ],
)
def test_what_follows_the_prefix_is_appended_with_one_slash(
    prefix: str, archive: str, name: str, expected: str
) -> None:
    assert NameMap([NameRule(prefix=prefix, archive=archive)], ["/"]).archive_name(name) == expected


def test_regexes_go_first_and_then_the_longest_prefix() -> None:
    rules = [
        NameRule(prefix="/store", archive="/slow"),
        NameRule(prefix="/store/new", archive="/fast"),
        NameRule(regex=r"/store/run(?P<run>\d+)/(.*)", archive=r"/runs/\g<run>/\2"),
    ]
    names = NameMap(rules, ["/store"])
    assert names.archive_name("/store/run7/a.root") == "/runs/7/a.root"
    assert names.archive_name("/store/new/a") == "/fast/a"
    assert names.archive_name("/store//newer/a") == "/slow/newer/a"
    rule, _ = names.explain("/store/new/a")
    assert str(rule) == "prefix '/store/new' -> '/fast'"


def test_a_name_no_rule_maps_is_refused() -> None:
    names = NameMap([NameRule(regex="/store/[a-z]+", archive="/a")], ["/store"])
    with pytest.raises(NameRefused, match="no rule"):
        names.archive_name("/store/7")


@pytest.mark.parametrize(
    "rule",
    [
        {"regex": "/(", "archive": "/a"},
        {"regex": "/(.*)", "archive": r"/a/\2"},
        {"regex": "/(.*)", "archive": r"/a/\g<run>"},
    ],
)
def test_a_broken_regex_rule_fails_when_it_is_made(rule: dict[str, str]) -> None:
    with pytest.raises((re.error, IndexError)):
        NameRule(**rule)


@pytest.mark.parametrize("rule", [{}, {"prefix": "/a", "regex": "/b"}, {"prefix": "a"}])
def test_a_rule_is_either_a_prefix_or_a_regex(rule: dict[str, str]) -> None:
    with pytest.raises(NameRefused):
        NameRule(archive="/a", **rule)


def test_batches_are_checked_against_every_export() -> None:
    names = NameMap([], exports=["/store", "/user", "/store/nested"])
    batch = ["/store/nested/a", "/user/b", "/store/c"]
    assert names.check_all(batch) is batch
    assert names.check_all(["//store/a", "/user/b"]) == ["/store/a", "/user/b"]
    with pytest.raises(NameRefused, match="'/other/d'"):
        names.check_all([*batch, "/other/d"])
    with pytest.raises(NameRefused, match="nothing"):
        NameMap([], exports=[]).check_all(["/store/a"])


# --- the archive's own URLs ---------------------------------------------------

OLD = NameMap(
    [
        NameRule(prefix="/store", archive="root://old.example.org//store"),
        NameRule(prefix="/store/new", archive="root://new.example.org//data/new/"),
        NameRule(prefix="/cms", archive="root://old.example.org//store/cms"),
        NameRule(prefix="/local", archive="/tape/local"),
        NameRule(regex="/store/odd/(.*)", archive=r"root://odd.example.org//\1"),
    ],
    exports=["/store", "/cms", "/local"],
)


@pytest.mark.parametrize(
    ("written", "lfn"),
    [
        ("/root://old.example.org//store/run7/a", "/store/run7/a"),
        ("root://old.example.org//store/run7/a", "/store/run7/a"),
        ("/root:/old.example.org/store/run7/a", "/store/run7/a"),
        ("//root:///old.example.org////store//run7/./a/", "/store/run7/a"),
        ("/root://new.example.org//data/new/a", "/store/new/a"),
        ("/root://old.example.org//store", "/store"),
        # The longer archive directory is the more precise answer.
        ("/root://old.example.org//store/cms/a", "/cms/a"),
    ],
)
def test_an_archives_own_url_is_taken_back_to_its_lfn(written: str, lfn: str) -> None:
    assert OLD.lfn_of(written) == lfn


@pytest.mark.parametrize(
    "written",
    [
        "/store/run7/a",
        "/root://old.example.org//storeX/a",
        "/root://old.example.org//",
        "/root://old.example.org",
        "/root://else.example.org//store/a",
        "/root://old.example.org//store/../etc/passwd",
        "/root://old.example.org//store/a\nb",
        # Another rule says what the archive calls these names.
        "/root://old.example.org//store/new/a",
        "/root://old.example.org//store/odd/a",
        # Not URLs, or not ones that can be taken back.
        "/tape/local/a",
        "/root://odd.example.org//a",
        "",
        "/",
    ],
)
def test_what_is_no_url_of_the_archive_is_left_alone(written: str) -> None:
    assert OLD.lfn_of(written) is None


def test_urls_of_what_is_not_exported_are_not_taken_back() -> None:
    rule = NameRule(prefix="/", archive="root://old.example.org/")
    names = NameMap([rule], exports=["/store"])
    assert names.lfn_of("/root://old.example.org/store/a") == "/store/a"
    assert names.lfn_of("/root://old.example.org/user/a") is None
    assert names.lfn_of("/root://old.example.org") == "/"


@pytest.mark.parametrize(
    ("archive", "directory"),
    [
        ("/tape/store", "/tape/store"),
        ("/tape/store/", "/tape/store"),
        ("/", "/"),
        ("", "/"),
        ("root://old.example.org//store/", "root://old.example.org//store"),
        ("root://old.example.org/", "root://old.example.org/"),
        ("root://old.example.org//", "root://old.example.org//"),
        ("s3://bucket/", "s3://bucket/"),
    ],
)
def test_the_archive_directory_of_a_prefix_can_be_asked_for(archive: str, directory: str) -> None:
    assert NameRule(prefix="/store", archive=archive).archive_directory == directory


def test_a_directory_is_an_export_or_leads_to_one() -> None:
    names = NameMap([NameRule("/archive", prefix="/store/run7")], ["/store/run7"])
    assert names.check_directory("/") == "/"
    assert names.check_directory("//") == "/"
    assert names.check_directory("/store//") == "/store"
    assert names.check_directory("/store/run7") == "/store/run7"
    assert names.check_directory("/store/run7/a/./b/") == "/store/run7/a/b"
    assert names.leads_to_exports("/store")
    assert names.leads_to_exports("/store/run7")
    assert not names.leads_to_exports("/store/run7/a")
    for refused in ("/store/run70", "/sto", "store", "/store/../x", "", "/..", "/..."):
        with pytest.raises(NameRefused):
            names.check_directory(refused)


def test_what_a_client_wrote_is_a_name_or_the_archives_url() -> None:
    names = NameMap([NameRule("root://old:1094//data", prefix="/store")], ["/store"])
    assert names.check_written("//store/a") == "/store/a"
    assert names.check_written("/root://old:1094//data/run/a") == "/store/run/a"
    with pytest.raises(NameRefused, match="/other"):
        names.check_written("/other")
    with pytest.raises(NameRefused):
        names.check_written("/root://old:1094//elsewhere/a")
