"""Every key of the configuration is documented: unit, default, and what it is for."""

from __future__ import annotations

import pytest

from common.config.reference import TABLES, configuration_page


def test_every_field_has_a_description() -> None:
    for _, model in TABLES:
        for name, field in model.model_fields.items():
            assert field.description, f"{model.__name__}.{name}"
            assert field.description.endswith("."), f"{model.__name__}.{name}"


@pytest.mark.parametrize(
    "row",
    [
        '| `stall` | duration | `"15m"` | ',
        "| `quota` | size | **required** | ",
        '| `high_watermark` | percent | `"95%"` | ',
        "| `exports` | list: directory |  | ",
        "| `groups` | tables | none | ",
        '| `stagecmd` | list of words, or `"builtin"` | **required** | ',
        "| `inspect` | true or false | `true` | ",
    ],
)
def test_the_page_shows_types_and_defaults_as_they_are_written(row: str) -> None:
    assert f"\n{row}" in configuration_page("")
