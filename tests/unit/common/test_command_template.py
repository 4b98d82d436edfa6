"""Command templates: values go into words, and never make new ones."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.command import PLACEHOLDERS, STORE_PLACEHOLDERS, check_template, render_argv
from common.errors import ConfigError

VALUES = {"source": "/archive/a b", "target": "/pool/t", "lfn": "/store/a", "size": 17}


def test_placeholders_are_filled_wherever_they_stand() -> None:
    template = ["stage", "--from={source}", "{target}", "{lfn}:{size}", "plain"]
    assert render_argv(template, VALUES) == [
        "stage",
        "--from=/archive/a b",
        "/pool/t",
        "/store/a:17",
        "plain",
    ]


def test_doubled_braces_are_braces() -> None:
    assert render_argv(["sh", "-c", 'echo ${{1}} "{size}"'], VALUES) == [
        "sh",
        "-c",
        'echo ${1} "17"',
    ]


def test_an_unknown_size_is_written_as_zero() -> None:
    assert render_argv(["x", "{size}"], {**VALUES, "size": None}) == ["x", "0"]


def test_a_template_without_placeholders_is_called_as_xrootd_calls_its_scripts() -> None:
    assert render_argv(["/etc/stage.sh", "-v"], VALUES) == [
        "/etc/stage.sh",
        "-v",
        "/archive/a b",
        "/pool/t",
    ]


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ([], "the command is empty"),
        (["", "{target}"], "the command is empty"),
        (["x", "{sauce}"], r"unknown placeholder \{sauce\}; known are \{source\}"),
        (["x", "{}"], r"unknown placeholder \{\}"),
        (["x", "{source!r}"], "unknown placeholder"),
        (["x", "{source.x}"], "unknown placeholder"),
        (["x", "a{"], "lone brace"),
        (["x", "}b"], "lone brace"),
        (["x", "{{source}"], "lone brace"),
        (["x", "a\0b"], "NUL"),
    ],
)
def test_a_bad_template_is_a_configuration_error(template: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_template(template)
    with pytest.raises(ConfigError, match=message):
        render_argv(template, VALUES)


def test_the_placeholders_used_are_told() -> None:
    assert check_template(["x", "{source}{size}", "{{lfn}}"]) == {"source", "size"}


names = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)


@given(source=names, target=names, literal=names)
def test_values_stay_one_word_and_are_not_looked_into(
    source: str, target: str, literal: str
) -> None:
    escaped = literal.replace("{", "{{").replace("}", "}}")
    values = {"source": source, "target": target, "lfn": "{size}", "size": 1}
    argv = render_argv(["x", f"{escaped}{{source}}", "{target}", "{lfn}"], values)
    assert argv == ["x", literal + source, target, "{size}"]


def test_every_placeholder_can_be_used() -> None:
    template = ["x", *(f"{{{name}}}" for name in PLACEHOLDERS)]
    assert check_template(template) == set(PLACEHOLDERS)


def test_a_command_may_have_placeholders_and_appended_words_of_its_own() -> None:
    values = {"source": "/archive/a", "lfn": "/store/a"}
    assert render_argv(["rm"], values, appended=("source",)) == ["rm", "/archive/a"]
    assert render_argv(["rm", "{lfn}"], values, appended=("source",)) == ["rm", "/store/a"]
    with pytest.raises(ConfigError, match=r"unknown placeholder \{size\}; known are \{source\}, "):
        render_argv(["rm", "{size}"], values)
    assert check_template(["put", "{checksum}"], STORE_PLACEHOLDERS) == {"checksum"}
