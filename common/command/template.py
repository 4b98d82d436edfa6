"""Command templates: words with `{source}`, `{target}`, `{lfn}` and `{size}` in them.

A template without any placeholder is a script written for XRootD's
`oss.stagecmd`: it gets the remote and the local name as two more arguments. One that
stores gets the local and the remote one.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from common.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PLACEHOLDERS = ("source", "target", "lfn", "size")
# What a command that stores a file may ask for as well.
STORE_PLACEHOLDERS = (*PLACEHOLDERS, "checksum")
# What a template without placeholders gets appended.
APPENDED = ("source", "target")

_BRACES = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")


def check_template(template: Sequence[str], known: Sequence[str] = PLACEHOLDERS) -> frozenset[str]:
    """The placeholders used, of those `known`.

    Raises `ConfigError` for what no command can be made of.
    """
    if not template or not template[0]:
        raise ConfigError("the command is empty")
    used = set()
    for word in template:
        if "\0" in word:
            raise ConfigError(f"the command's word {word!r} has a NUL in it")
        for braces in _BRACES.finditer(word):
            if braces[0] in {"{", "}"}:
                raise ConfigError(f"the command's word {word!r} has a lone brace; double it")
            if braces[1] is None:
                continue
            if braces[1] not in known:
                names = ", ".join(f"{{{name}}}" for name in known) or "none"
                raise ConfigError(
                    f"the command's word {word!r} has an unknown placeholder {braces[0]}; known "
                    f"are {names}; double the braces if they are meant as such"
                )
            used.add(braces[1])
    return frozenset(used)


def render_argv(
    template: Sequence[str],
    values: Mapping[str, str | int | None],
    appended: Sequence[str] = APPENDED,
) -> list[str]:
    """The words of one run.

    `values` has an entry for every placeholder the template may use; None, as for a
    size nobody knows, is written "0". Those of `appended` follow a template that uses
    none. One word stays one word, whatever is in its values. Raises `ConfigError` for a
    bad template.
    """
    argv = fill_words(template, values)
    if not check_template(template, tuple(values)):
        argv += [_written(values[name]) for name in appended]
    return argv


def fill_words(template: Sequence[str], values: Mapping[str, str | int | None]) -> list[str]:
    """The words of one run, with nothing added; `values` are all there is to be known.

    Raises `ConfigError` for a bad template.
    """
    check_template(template, tuple(values))

    def fill(braces: re.Match[str]) -> str:
        return braces[0][0] if braces[1] is None else _written(values[braces[1]])

    return [_BRACES.sub(fill, word) for word in template]


def _written(value: str | int | None) -> str:
    return "0" if value is None else str(value)
