"""docs/reliability.md names tests and checks: there are such tests, and such checks."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "reliability.md").read_text()


def test_every_test_it_names_is_there() -> None:
    files = list((ROOT / "tests").rglob("test_*.py"))
    known = {path.stem for path in files}
    for path in files:
        known.update(re.findall(r"def (test_\w+)", path.read_text()))
    named = set(re.findall(r"`(test_\w+)`", PAGE))
    assert named
    assert named - known == set()


def test_every_promise_has_its_check_there() -> None:
    checks = "\n".join(
        path.read_text() for path in (ROOT / "tests" / "simulation" / "promises").glob("*.py")
    )
    rows = re.findall(r"^\| (\d+)\. .*? \| `(\w+)`", PAGE, re.MULTILINE)
    assert [int(number) for number, _ in rows] == list(range(1, 13))
    for number, name in rows:
        assert re.search(rf"class {name}\(Promise\):.*?number = {number}\n", checks, re.DOTALL)
