"""Credentials that a site hands over to its commands: files, by path or by content.

They are looked at when a command starts, so what was renewed meanwhile is what it gets.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

#: The kernel takes no longer one for a variable.
LONGEST_CONTENT_BYTES: Final = 128 * 1024 - 256


class CredentialUnusableError(ValueError):
    """A credential cannot be handed over now; the message is one line for people."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """Variables and the files they are about: the path is handed over, or the content."""

    paths: Mapping[str, Path] = field(default_factory=dict)
    contents: Mapping[str, Path] = field(default_factory=dict)

    def environment(self) -> dict[str, str]:
        """The variables of a run that starts now; blocks. Raises CredentialUnusableError."""
        for name, path in self.paths.items():
            if not os.access(path, os.R_OK):
                why = "permission denied" if path.exists() else "it does not exist"
                raise CredentialUnusableError(f"the credential {name} = {path} is no use: {why}")
        named = {name: str(path) for name, path in self.paths.items()}
        return named | {name: _content(name, path) for name, path in self.contents.items()}


def _content(name: str, path: Path) -> str:
    """A file's content without the newlines at its end."""
    try:
        content = path.read_bytes().rstrip(b"\r\n")
    except OSError as error:
        reason = f"the credential {name}, the content of {path}, cannot be read: {error.strerror}"
        raise CredentialUnusableError(reason) from None
    if len(content) > LONGEST_CONTENT_BYTES or b"\0" in content:
        trouble = "binary" if b"\0" in content else "too long"
        raise CredentialUnusableError(
            f"the credential {name}, the content of {path}, cannot be a variable: it is "
            f"{trouble}; hand over its path"
        )
    return os.fsdecode(content)
