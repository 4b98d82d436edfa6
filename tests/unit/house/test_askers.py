"""What the page of questions names as shown is there: tests, pages and their sections."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "askers.md").read_text()
ROWS = re.findall(r"^\| (PF-\d+) \|.*$", PAGE, re.MULTILINE)
TESTS = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)
LINKS = re.findall(r"\]\(([\w.-]+)(?:#([\w-]+))?\)", PAGE)


def test_every_question_has_a_row_with_something_that_shows_the_answer() -> None:
    assert [f"PF-{number}" for number in range(1, 15)] == ROWS
    for row in PAGE.splitlines():
        if row.startswith("| PF-"):
            assert re.search(r"::test_|\]\(", row.rsplit("|", 2)[1]), row


@pytest.mark.parametrize(("path", "name"), TESTS)
def test_a_test_that_is_named_is_there(path: str, name: str) -> None:
    assert re.search(rf"^(async )?def {name}\(", (ROOT / path).read_text(), re.MULTILINE)


@pytest.mark.parametrize(("page", "section"), LINKS)
def test_a_page_that_is_named_is_there(page: str, section: str) -> None:
    text = (ROOT / "docs" / page).read_text()
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", one).lower().replace(" ", "-") for one in headings}
    assert not section or section in anchors
