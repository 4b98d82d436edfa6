"""On which line of a TOML text each key stands.

`tomllib` reads values but forgets where they were, and a mistake is mended
sooner when its line is named. This scanner only ever sees text that `tomllib`
has accepted, so it need not detect errors: it walks over values to find where
they end, and notes the line of every key, table header and array element.
"""

from __future__ import annotations

import re
import tomllib

KeyPath = tuple[str | int, ...]

_BLANKS = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_STRING = re.compile(
    r'"""(?:\\.|[^\\])*?"{3,5}'
    r"|'''.*?'{3,5}"
    r'|"(?:\\.|[^"\\\n])*"'
    r"|'[^'\n]*'",
    re.DOTALL,
)
_KEY_PART = re.compile(r"""[ \t]*("(?:\\.|[^"\\\n])*"|'[^'\n]*'|[A-Za-z0-9_-]+)[ \t]*""")
_SCALAR = re.compile(r"[^,\]}\n#]+")


def find_lines(text: str) -> dict[KeyPath, int]:
    """The line, from 1, of every key path of a valid TOML text.

    A table's line is its first header's; an array's elements are numbered, as
    in `("mss", "names", 0, "prefix")`.
    """
    scanner = _Scanner(text)
    scanner.document()
    return scanner.lines


class _Scanner:
    """Walks over the text once; `self._at` is always at the next character to read."""

    def __init__(self, text: str) -> None:
        self.lines: dict[KeyPath, int] = {}
        self._text = text
        self._at = 0
        self._line = 1
        # How many elements each array of tables has had so far.
        self._elements: dict[KeyPath, int] = {}

    def document(self) -> None:
        table: KeyPath = ()
        while self._skip_blanks():
            if self._peek("[["):
                table = self._array_header()
            elif self._peek("["):
                self._advance(1)
                table = self._resolve(self._key())
                self._advance(len("]"))
                self._note(table)
            else:
                self._pair(table)

    def _array_header(self) -> KeyPath:
        """`[[a.b]]` starts one more element of the array `a.b`."""
        self._advance(2)
        *parents, last = self._key()
        self._advance(len("]]"))
        array = (*self._resolve(tuple(parents)), last)
        index = self._elements.get(array, 0)
        self._elements[array] = index + 1
        self._note(array)
        self._note((*array, index))
        return (*array, index)

    def _pair(self, table: KeyPath) -> None:
        """`a.b = value`, in a table or an inline table."""
        line = self._line
        path = table
        for part in self._key():
            path = (*path, part)
            self.lines.setdefault(path, line)
        self._advance(len("="))
        self._value(path)

    def _value(self, path: KeyPath) -> None:
        self._skip_blanks()
        if self._peek("["):
            self._array(path)
        elif self._peek("{"):
            self._inline_table(path)
        else:
            pattern = _STRING if self._text[self._at] in "\"'" else _SCALAR
            self._take(pattern)

    def _array(self, path: KeyPath) -> None:
        self._advance(1)
        index = 0
        while self._skip_blanks() and not self._peek("]"):
            if self._peek(","):
                self._advance(1)
                continue
            self._note((*path, index))
            self._value((*path, index))
            index += 1
        self._advance(1)

    def _inline_table(self, path: KeyPath) -> None:
        self._advance(1)
        while self._skip_blanks() and not self._peek("}"):
            if self._peek(","):
                self._advance(1)
                continue
            self._pair(path)
        self._advance(1)

    def _key(self) -> tuple[str, ...]:
        """A dotted key; what is quoted is read by tomllib, escapes and all."""
        parts: list[str] = []
        while True:
            part = self._take(_KEY_PART).strip()
            quoted = part[0] in "\"'"
            parts.append(next(iter(tomllib.loads(f"{part} = 0"))) if quoted else part)
            if not self._peek("."):
                return tuple(parts)
            self._advance(1)

    def _resolve(self, header: tuple[str, ...]) -> KeyPath:
        """A header's path; below an array of tables it means the newest element."""
        path: KeyPath = ()
        for part in header:
            path = (*path, part)
            if path in self._elements:
                path = (*path, self._elements[path] - 1)
        return path

    def _note(self, path: KeyPath) -> None:
        for length in range(1, len(path) + 1):
            self.lines.setdefault(path[:length], self._line)

    def _skip_blanks(self) -> bool:
        """To the next thing that means something; whether there is any."""
        self._take(_BLANKS)
        return self._at < len(self._text)

    def _peek(self, expected: str) -> bool:
        return self._text.startswith(expected, self._at)

    def _take(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self._text, self._at)
        assert match is not None, f"line {self._line}: not TOML: {self._text[self._at :][:40]!r}"
        self._advance(len(match[0]))
        return match[0]

    def _advance(self, count: int) -> None:
        self._line += self._text.count("\n", self._at, self._at + count)
        self._at += count
