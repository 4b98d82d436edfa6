"""The keys that change without a restart are those that the docs name, and there are such keys."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from common.config.model import DataServerConfig, PacketizerConfig, RedirectorConfig
from dataserver.service import DataServerService
from packetizer.service import PacketizerService
from redirector.service import RedirectorService

if TYPE_CHECKING:
    from common.config.model import Table

PAGE = Path(__file__).parents[3] / "docs/operations.md"


@pytest.mark.parametrize(
    ("table", "model", "live"),
    [
        ("dataserver", DataServerConfig, DataServerService.LIVE),
        ("redirector", RedirectorConfig, RedirectorService.LIVE),
        ("packetizer", PacketizerConfig, PacketizerService.LIVE),
    ],
)
def test_the_docs_name_the_keys_that_change_without_a_restart(
    table: str, model: type[Table], live: frozenset[str]
) -> None:
    assert {key.partition(".")[0] for key in live} <= model.model_fields.keys()
    (row,) = (line for line in PAGE.read_text().splitlines() if line.startswith(f"| `[{table}]`"))
    assert {word.strip("`,") for word in row.split("|")[2].split()} == live
