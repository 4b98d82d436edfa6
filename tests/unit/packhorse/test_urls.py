"""Names as people have them become logical file names."""

from __future__ import annotations

import pytest

from common.errors import NameRefused
from packhorse.urls import lfn_of, lfns_of


@pytest.mark.parametrize(
    ("written", "lfn"),
    [
        ("/store/a.root", "/store/a.root"),
        ("/store//x/./a.root", "/store/x/a.root"),
        ("root://host//store/a.root", "/store/a.root"),
        ("root://host:1094//store/a.root", "/store/a.root"),
        ("root://user@host:1094/store/a.root", "/store/a.root"),
        ("roots://host//store/a.root?authz=x&y=/z", "/store/a.root"),
        ("https://host/store/a%20b.root", "/store/a b.root"),
        ("root://host//store/100%25.root", "/store/100%.root"),
        ("root://host//store/%252F.root", "/store/%2F.root"),
        ("root://host//store/x%2Fa.root", "/store/x/a.root"),
        ("file:/data/a.root", "/data/a.root"),
        ("file:///data/a.root", "/data/a.root"),
        ("rfio:/castor/cern.ch/a.root", "/castor/cern.ch/a.root"),
        ("gridcopy://root://host//store/a.root", "/store/a.root"),
        ("srm://host:8443/srm/managerv2?SFN=/dpm/a.root", "/dpm/a.root"),
    ],
)
def test_a_name_or_url_stands_for_its_path(written: str, lfn: str) -> None:
    assert lfn_of(written) == lfn


def test_a_percent_in_a_plain_name_is_an_ordinary_character() -> None:
    assert lfn_of("/store/a%20b.root") == "/store/a%20b.root"


@pytest.mark.parametrize(
    "written",
    [
        "root://host",
        "root://host//",
        "store/a.root",
        "/store/../a.root",
        "root://host//store/%2E%2E/a.root",
        "root://host//store/%FF.root",
        "root://host//store/%00.root",
        "/store/\ud800.root",
        "",
    ],
)
def test_what_names_no_file_is_refused(written: str) -> None:
    with pytest.raises(NameRefused):
        lfn_of(written)


def test_many_names_keep_their_order_and_may_mix_with_urls() -> None:
    assert lfns_of(["/b", "root://h//a", "//c"]) == ["/b", "/a", "/c"]


def test_one_name_is_a_list_of_one() -> None:
    assert lfns_of("/store/a.root") == ["/store/a.root"]
