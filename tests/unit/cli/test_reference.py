"""The generated pages of `docs/` are what the code says today."""

from __future__ import annotations

from pathlib import Path

import pytest

from packhorse.cli.reference import main, pages

DOCS = Path(__file__).parents[3] / "docs"


@pytest.mark.parametrize("name", ["configuration.md", "errors.md", "commands.md"])
def test_a_generated_page_is_current(name: str) -> None:
    assert (DOCS / name).read_text() == pages()[name], "run `make docs`"


def test_all_pages_are_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(pages())
    assert capsys.readouterr().out.count("\n") == len(pages())
