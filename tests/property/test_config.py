"""Whatever a file holds, it is either a configuration or a ConfigError that names it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.config.load import load
from common.config.model import (
    DataServerConfig,
    MssConfig,
    NameRuleConfig,
    PacketizerConfig,
    RedirectorConfig,
)
from common.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

scalars = (
    st.none().map(lambda _: "")
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5)
    | st.sampled_from(["builtin", "{source}", "/store/", "1GB", "5s", "95%", "127.0.0.1:5", "("])
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["prefix", "regex", "archive", "x"]), inner, max_size=3)
    ),
    max_leaves=5,
)


def table(model: Any) -> st.SearchStrategy[dict[str, Any]]:
    keys = st.sampled_from([*model.model_fields, "unknown"])
    return st.dictionaries(keys, values, max_size=8)


files = st.fixed_dictionaries(
    {},
    optional={
        "mss": table(MssConfig) | st.fixed_dictionaries({"names": st.lists(table(NameRuleConfig))}),
        "redirector": table(RedirectorConfig) | scalars,
        "dataserver": table(DataServerConfig)
        | st.dictionaries(st.sampled_from(["a", "b.c"]), table(DataServerConfig) | scalars),
        "packetizer": table(PacketizerConfig),
        "other": values,
    },
)
variables = st.dictionaries(
    st.sampled_from(["MSS__NAMES", "DATASERVER__A__POOL", "REDIRECTOR", "REDIRECTOR__X__Y", "__"]),
    st.text(st.characters(codec="utf-8", exclude_categories=["C"]), max_size=8)
    | st.sampled_from(["[", "{}", "[1]", "{ x = 1 }"]),
)


def written(value: Any) -> str:
    """A value in TOML; JSON's scalars and lists are TOML's too."""
    if isinstance(value, dict):
        pairs = (f"{json.dumps(key)} = {written(part)}" for key, part in value.items())
        return "{ " + ", ".join(pairs) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(written, value)) + "]"
    return json.dumps(value).replace("\x7f", "\\u007f")


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("config") / "site.toml"


def refusal(path: Path, environment: dict[str, str]) -> str | None:
    """What is wrong with the file, or None; any other error than ConfigError escapes."""
    try:
        load(path, environment)
    except ConfigError as error:
        return error.message
    return None


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(content=files, environment=variables)
def test_any_toml_file_is_read_or_refused(
    path: Path, content: dict[str, Any], environment: dict[str, str]
) -> None:
    path.write_text("".join(f"{key} = {written(value)}\n" for key, value in content.items()))
    told = refusal(path, {f"PACKHORSE_{name}": value for name, value in environment.items()})
    assert told is None or str(path) in told or "environment variable PACKHORSE_" in told


@settings(deadline=None)
@given(content=st.binary(max_size=60) | st.text("[]{}\"'=.#\\ \nax1", max_size=30).map(str.encode))
def test_any_bytes_are_read_or_refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    told = refusal(path, {})
    assert told is None or str(path) in told
