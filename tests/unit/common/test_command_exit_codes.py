"""The one table of exit codes, and the documentation made from it."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.command import EXIT_CODES, ErrorClass, exit_code_table
from common.command.environment import ALWAYS_PASSED, PASSED_BY_DEFAULT
from common.command.exit_codes import explain_exit
from protos.packhorse.v1 import types_pb2

PAGE = Path(__file__).parents[3] / "docs" / "stage-command.md"


def test_zero_is_no_failure() -> None:
    assert explain_exit(0)[0] is None


def test_every_code_has_exactly_one_meaning() -> None:
    rows = [range(row.first, row.last + 1) for row in EXIT_CODES]
    codes = [code for row in rows for code in row]
    assert codes == sorted(set(codes))
    assert all(1 <= code <= 255 for code in codes)


@pytest.mark.parametrize(
    ("exit_code", "error_class"),
    [
        (1, ErrorClass.TRANSIENT),
        (2, ErrorClass.TRANSIENT),
        (29, ErrorClass.TRANSIENT),
        (30, ErrorClass.PERMANENT),
        (39, ErrorClass.PERMANENT),
        (40, ErrorClass.TRANSIENT),
        (41, ErrorClass.NO_SPACE),
        (43, ErrorClass.TRANSIENT),
        (65, ErrorClass.PERMANENT),
        (66, ErrorClass.NOT_FOUND),
        (73, ErrorClass.NO_SPACE),
        (75, ErrorClass.TRANSIENT),
        (78, ErrorClass.PERMANENT),
        (127, ErrorClass.PERMANENT),
        (255, ErrorClass.TRANSIENT),
        (-9, ErrorClass.TRANSIENT),
    ],
)
def test_codes_mean_what_scripts_of_this_field_mean(
    exit_code: int, error_class: ErrorClass
) -> None:
    assert explain_exit(exit_code)[0] is error_class


def test_signals_are_called_by_name() -> None:
    assert explain_exit(-9)[1] == "killed by SIGKILL"
    assert explain_exit(-120)[1] == "killed by signal 120"


def test_every_class_has_its_name_in_the_protos() -> None:
    for error_class in ErrorClass:
        assert f"ERROR_CLASS_{error_class.name}" in types_pb2.ErrorClass.keys()  # noqa: SIM118


def test_the_documentation_shows_the_table() -> None:
    assert exit_code_table() in PAGE.read_text(encoding="utf-8")


def test_the_documentation_names_every_variable_that_is_passed_on() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for name in (*ALWAYS_PASSED, *PASSED_BY_DEFAULT):
        assert f"`{name}`" in page
