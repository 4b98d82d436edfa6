"""Lists of files are read as people write them, and mistakes are told with their place."""

from __future__ import annotations

import io
import json
import sys
from typing import TYPE_CHECKING, Any

import pytest

from common.errors import NameRefused, NotFound, UsageError
from packhorse.listing import (
    ListedFile,
    listed_files,
    parse_definition,
    parse_fileset,
    parse_text,
    read_fileset,
    read_listing,
)

if TYPE_CHECKING:
    from pathlib import Path


def lfns(files: tuple[ListedFile, ...]) -> list[str]:
    return [file.lfn for file in files]


def test_a_plain_list_skips_comments_and_blank_lines() -> None:
    text = "# run 7\n/store/a.root\n\n  /store/b.root  \r\n#/store/c.root\nroot://h//store/d.root"
    assert lfns(parse_text(text).files) == ["/store/a.root", "/store/b.root", "/store/d.root"]


def test_a_number_sign_inside_a_name_is_no_comment() -> None:
    assert lfns(parse_text("/store/a#1.root").files) == ["/store/a#1.root"]


def test_repetitions_are_kept_for_the_redirector_to_count() -> None:
    assert lfns(parse_text("/a\n/a").files) == ["/a", "/a"]


def test_a_bad_line_is_told_with_its_number() -> None:
    with pytest.raises(UsageError, match=r"files\.txt, line 3: 'b\.root' is neither"):
        parse_text("/a.root\n\nb.root\n", "files.txt")
    with pytest.raises(UsageError, match=r"files\.txt, line 2: .*\.\."):
        parse_text("/a.root\n/store/../b.root\n", "files.txt")


def test_a_sample_definition_has_title_flags_and_files() -> None:
    text = (
        "# made by define_dq2_sample\n"
        "TITLE: Z to mu mu, 2009\n"
        "FLAGS: GridCopy=1\n"
        "\n"
        "gridcopy://srm://srm.cern.ch:8443/srm/managerv2?SFN=/castor/a.root\n"
        "root://castoratlas//castor/b.root\n"
    )
    listing = parse_definition(text)
    assert lfns(listing.files) == ["/castor/a.root", "/castor/b.root"]
    assert listing.title == "Z to mu mu, 2009"
    assert listing.flags == {"GridCopy": "1"}


@pytest.mark.parametrize("line", ["FLAGS: GridCopy", "no name at all", "FLAGS: =1"])
def test_a_bad_line_of_a_sample_definition_is_told_with_its_number(line: str) -> None:
    with pytest.raises(UsageError, match=r"z\.def, line 2: "):
        parse_definition(f"TITLE: x\n{line}\n", "z.def")


def fileset_of(content: Any) -> list[ListedFile]:
    return list(parse_fileset(json.dumps({"zmumu": content}))["zmumu"].files)


@pytest.mark.parametrize(
    ("content", "files"),
    [
        (["root://h//a.root", "/b.root"], [ListedFile("/a.root"), ListedFile("/b.root")]),
        ({"files": {"root://h//a.root": "Events"}}, [ListedFile("/a.root", "Events")]),
        ({"files": {"/a.root": None}}, [ListedFile("/a.root")]),
        (
            {
                "files": {
                    "/a.root": {
                        "object_path": "Events",
                        "steps": [[0, 5], [5, 10]],
                        "num_entries": 10,
                        "uuid": "x",
                    }
                },
                "metadata": {"xs": 1.0},
            },
            [ListedFile("/a.root", "Events", 10)],
        ),
        ({"files": ["/a.root"], "treename": "Events"}, [ListedFile("/a.root", "Events")]),
        ({"files": {"/a.root": {"object_path": None}}}, [ListedFile("/a.root")]),
        ({"files": {}}, []),
    ],
)
def test_every_form_of_a_fileset_is_understood(content: Any, files: list[ListedFile]) -> None:
    assert fileset_of(content) == files


@pytest.mark.parametrize(
    ("content", "where"),
    [
        ({"metadata": {}}, 'zmumu: has no "files"'),
        (7, "zmumu: expected an object or a list of URLs, not a number"),
        ([1], r"zmumu\[0\]: expected a URL, not a number"),
        ({"files": {"/a": 5}}, r"zmumu\.files\['/a'\]: expected a tree's name, not a number"),
        (
            {"files": {"/a": {"object_path": ["x"]}}},
            r"zmumu\.files\['/a'\]\.object_path: expected a tree's name, not a list",
        ),
        ({"files": {"/a": {"num_entries": -1}}}, r"\.num_entries: -1 is not a number of entries"),
        ({"files": {"a.root": "Events"}}, r"zmumu\.files\['a\.root'\]: 'a\.root' is neither"),
    ],
)
def test_a_mistake_in_a_fileset_is_told_with_its_place(content: Any, where: str) -> None:
    with pytest.raises(UsageError, match=where):
        fileset_of(content)


def test_a_fileset_that_is_not_json_is_told_with_its_line() -> None:
    with pytest.raises(UsageError, match=r"f\.json, line 2: not JSON"):
        parse_fileset("{\n  'a': 1}", "f.json")
    with pytest.raises(UsageError, match="object of datasets, not a list"):
        parse_fileset("[]")


def test_the_ending_tells_the_kind_of_list(tmp_path: Path) -> None:
    for name, text in (
        ("a.txt", "/a.root\n"),
        ("a.def", "TITLE: t\n/a.root\n"),
        ("a.json", '{"x": ["/a.root"]}'),
    ):
        path = tmp_path / name
        path.write_text(text)
        assert lfns(read_listing(path).files) == ["/a.root"]


def test_one_of_several_datasets_is_picked_by_name(tmp_path: Path) -> None:
    path = tmp_path / "both.json"
    path.write_text(json.dumps({"dy": ["/dy.root"], "tt": ["/tt.root"]}))
    assert lfns(read_listing(path, "tt").files) == ["/tt.root"]
    with pytest.raises(UsageError, match=r"2 datasets \(dy, tt\), and none is 'ww'"):
        read_listing(path, "ww")
    assert set(read_fileset(path)) == {"dy", "tt"}


def test_a_list_comes_from_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"/a.root\n")))
    assert lfns(read_listing("-").files) == ["/a.root"]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"/a\nroot\0\1\2", "line 2: a zero byte; this is not a text file"),
        (b"/a\n/b\n/\xff\n", "line 3: not UTF-8 text"),
    ],
)
def test_a_file_that_is_not_text_is_refused_with_the_line(
    tmp_path: Path, content: bytes, complaint: str
) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=complaint):
        read_listing(path)


def test_a_byte_order_mark_is_not_part_of_the_first_name(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes(b"\xef\xbb\xbf/a.root\r\n")
    assert lfns(read_listing(path).files) == ["/a.root"]


def test_a_list_that_is_not_there_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        read_listing(tmp_path / "none.txt")
    with pytest.raises(UsageError):
        read_listing(tmp_path)


def test_names_given_in_a_program_are_brought_into_form() -> None:
    files = listed_files(["//a.root", ListedFile("root://h//b.root", "Events", 3)])
    assert files == [ListedFile("/a.root"), ListedFile("/b.root", "Events", 3)]
    with pytest.raises(NameRefused):
        listed_files(["a.root"])
