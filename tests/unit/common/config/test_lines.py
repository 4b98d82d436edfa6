"""Every key of a TOML text is found on its line."""

from __future__ import annotations

import tomllib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from common.config.lines import KeyPath, find_lines

TEXT = '''\
# [not.a.table]
top = 1  # a comment = with [brackets]

[mss]
stagecmd = ["sh", "-c", "# no comment ]", '{ "no": "table" }',
            "five",  # a comment, with ] and "
           ]
names = [{ prefix = "/store/", archive = "/a" },
         { regex = '/x/(\\w+)', archive = """
/b""" }]

[dataserver."disk.1"] # quoted
pool = """
[not.a.table]
key = "no key"
"""""
quota.soft = 1
quota . "hard" = 2

[dataserver.disk2]
pool = '/x'

[[fruit]]
name = "apple"
[fruit.colour]
hue = 1
[[fruit.variety]]
name = "red"
[[fruit.variety]]
name = "green"
[[fruit]]
name = \'\'\'
pear\'\'\'
date = 1979-05-27 07:32:00
'''

EXPECTED: dict[KeyPath, int] = {
    ("top",): 2,
    ("mss",): 4,
    ("mss", "stagecmd"): 5,
    ("mss", "stagecmd", 3): 5,
    ("mss", "stagecmd", 4): 6,
    ("mss", "names"): 8,
    ("mss", "names", 0, "archive"): 8,
    ("mss", "names", 1): 9,
    ("mss", "names", 1, "archive"): 9,
    ("dataserver", "disk.1"): 12,
    ("dataserver", "disk.1", "pool"): 13,
    ("dataserver", "disk.1", "quota"): 17,
    ("dataserver", "disk.1", "quota", "hard"): 18,
    ("dataserver", "disk2"): 20,
    ("dataserver", "disk2", "pool"): 21,
    ("fruit", 0): 23,
    ("fruit", 0, "name"): 24,
    ("fruit", 0, "colour", "hue"): 26,
    ("fruit", 0, "variety", 0, "name"): 28,
    ("fruit", 0, "variety", 1): 29,
    ("fruit", 1): 31,
    ("fruit", 1, "name"): 32,
    ("fruit", 1, "date"): 34,
}


def every_path(value: Any, path: KeyPath = ()) -> set[KeyPath]:
    items: Any = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    paths = {path} if path else set()
    return paths.union(*(every_path(part, (*path, key)) for key, part in items))


def test_keys_tables_and_elements_are_on_their_lines() -> None:
    lines = find_lines(TEXT)
    assert {path: lines.get(path) for path in EXPECTED} == EXPECTED


def test_just_what_tomllib_reads_has_a_line() -> None:
    assert set(find_lines(TEXT)) == every_path(tomllib.loads(TEXT))


def test_an_empty_text_and_one_without_a_last_newline_are_read() -> None:
    assert find_lines("") == {}
    assert find_lines("\n[a]\nb=1") == {("a",): 2, ("a", "b"): 3}
    assert find_lines("\r\n[a]\r\nb = 'x' \r\n") == {("a",): 2, ("a", "b"): 3}


scalars = st.sampled_from(
    ['"a # ] } \\" b"', "'it is ]'", "1.5e3", "true", "'''x\n]'''", '"""\\"""""']
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda parts: "[ # [\n" + " ,\n".join(parts) + "]")
        | st.lists(inner, max_size=3).map(
            lambda parts: "{" + ", ".join(f'k{i}."x y" = {p}' for i, p in enumerate(parts)) + "}"
        )
    ),
    max_leaves=6,
)


@given(st.lists(values, max_size=4))
def test_any_value_is_walked_over_to_the_key_behind_it(written: list[str]) -> None:
    text = "".join(f"[t{i}] # [x]\n a.b = {value} # c\n" for i, value in enumerate(written))
    lines = find_lines(text + "[end]\nlast = 1")
    assert set(lines) == every_path(tomllib.loads(text + "[end]\nlast = 1"))
    assert lines["end",] == text.count("\n") + 1
    assert lines["end", "last"] == text.count("\n") + 2
