"""Where in a site's configuration something stands, and what is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from common.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from common.config.lines import KeyPath


class Problem(NamedTuple):
    """One mistake: the key it is about, as in `("dataserver", "disk1", "quota")`, and a line."""

    key: KeyPath
    text: str

    def __str__(self) -> str:
        return f"{dotted(self.key)}: {self.text}" if self.key else self.text


def dotted(key: KeyPath) -> str:
    """A key path as people write it: `mss.names[0].prefix`."""
    text = ""
    for part in key:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{part}" if text else part
    return text


@dataclass(frozen=True, slots=True)
class Places:
    """Where each key got its value: a line of the file, a variable, or a default."""

    file: str
    lines: dict[KeyPath, int] = field(default_factory=dict)
    variables: dict[KeyPath, str] = field(default_factory=dict)
    #: Defaults that were taken from another key, and which one.
    derived: dict[KeyPath, str] = field(default_factory=dict)

    def origin(self, key: KeyPath) -> str:
        """Where the value of exactly this key comes from."""
        if key in self.variables:
            return f"environment variable {self.variables[key]}"
        if key in self.lines:
            return f"{self.file}:{self.lines[key]}"
        return f"default: {self.derived[key]}" if key in self.derived else "default"

    def is_derived(self, key: KeyPath) -> bool:
        """Whether the value of this key, or of the one around it, was taken from another key."""
        return any(key[:length] in self.derived for length in range(1, len(key) + 1))

    def where(self, key: KeyPath) -> str:
        """Where a person should look: at the key itself, or else at the table around it."""
        for length in range(len(key), 0, -1):
            near = key[:length]
            if near in self.variables or near in self.lines:
                return self.origin(near)
            below = [name for path, name in self.variables.items() if path[:length] == near]
            if below:
                return f"environment variable {below[0]}"
        return self.file

    def error(self, problems: Sequence[Problem]) -> ConfigError:
        """All problems in one error, in the order of the file."""
        lines = [f"{self.where(problem.key)}: {problem}" for problem in self._in_order(problems)]
        if len(lines) == 1:
            return ConfigError(lines[0])
        return ConfigError("\n  ".join([f"{len(lines)} mistakes in {self.file}:", *lines]))

    def _in_order(self, problems: Iterable[Problem]) -> list[Problem]:
        def line(problem: Problem) -> int:
            for length in range(len(problem.key), 0, -1):
                if problem.key[:length] in self.lines:
                    return self.lines[problem.key[:length]]
            return 0

        return sorted(dict.fromkeys(problems), key=line)
