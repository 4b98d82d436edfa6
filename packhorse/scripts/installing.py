"""Writing scripts to where an admin wants them, with an example of how to use them."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Final

from common.errors import AlreadyExists, Refused
from packhorse.scripts.kinds import PUBLISHED

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from packhorse.scripts.kinds import Kind

#: The keys of `[mss]` that take commands, and what each is told.
COMMANDS: Final = (
    ("stagecmd", "stage", ("{source}", "{target}")),
    ("statcmd", "stat", ("{source}",)),
    ("listcmd", "list", ("{source}",)),
    ("storecmd", "store", ("{source}", "{target}")),
    ("removecmd", "remove", ("{source}",)),
)
INSTEAD: Final = (
    "# Or have the archive asked for many files at once, and each copied when it is ready:"
)
#: The first line of the scripts as they are published.
ANY_PYTHON: Final = "#!/usr/bin/env python3\n"
#: Longer first lines are cut off by older kernels.
LONGEST_PROGRAM: Final = 120

SITE: Final = """\
# The part of a site's file that has to do with its archive; see docs/scripts.md.
[mss]
names = [{{ prefix = "/store/", archive = {archive} }}]
{commands}
"""
STOCK: Final = """\
# Lines of a stock XRootD's configuration; MOUNTED stands for any other kind's script, with its
# options, that is installed in the same directory. See docs/scripts.md.
all.export /store stage
oss.localroot /data/xrootd
oss.remoteroot /archive
oss.stagecmd sync {folder}/for_xrootd.py stage {folder}/mounted_archive.py
oss.rsscmd {folder}/for_xrootd.py ask {folder}/mounted_archive.py
oss.xfr deny 300 4 1g 1
"""


def install(kind: Kind, folder: Path, *, force: bool = False) -> Path:
    """Writes the kind's scripts and an example into a folder; returns the example's path.

    Raises AlreadyExists for a file that is there and not the same, unless `force`, and
    Refused if nothing can be written.
    """
    folder = folder.resolve()
    suffix = "cfg" if kind.name == "for-xrootd" else "toml"
    example = folder / f"{kind.name}.{suffix}"
    texts = {folder / name: _for_this_python(PUBLISHED / name) for name in kind.files}
    texts[example] = _example(kind, folder)
    changed = [path.name for path, text in texts.items() if _differs(path, text)]
    if changed and not force:
        files = ", ".join(changed)
        raise AlreadyExists(f"{folder} has another {files}; --force writes over it")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, text in texts.items():
            path.write_text(text)
            path.chmod(0o755 if text.startswith("#!") else 0o644)
    except OSError as error:
        raise Refused(f"cannot write to {folder}: {error.strerror}") from error
    return example


def _for_this_python(path: Path) -> str:
    """The script with the Python in its first line that has what Packhorse was installed with."""
    text = path.read_text()
    here = sys.executable
    if not text.startswith(ANY_PYTHON) or " " in here or len(here) > LONGEST_PROGRAM:
        return text
    return f"#!{here}\n{text.removeprefix(ANY_PYTHON)}"


def _example(kind: Kind, folder: Path) -> str:
    if kind.name == "for-xrootd":
        return STOCK.format(folder=folder)
    return SITE.format(
        archive=json.dumps(kind.archive), commands="\n".join(_commands(kind, folder))
    )


def _commands(kind: Kind, folder: Path) -> Iterator[str]:
    script = str(folder / kind.script)
    for key, action, words in COMMANDS:
        yield f"{key} = {json.dumps([script, action, *kind.options, *words])}"
    if kind.takes_orders:
        yield INSTEAD
        yield f"# stagecmd = {json.dumps([script, 'stage', '--ready', '{source}', '{target}'])}"
        for action in ("submit", "poll", "cancel", "release"):
            yield f"# {action}cmd = {json.dumps([script, action])}"


def _differs(path: Path, text: str) -> bool:
    return path.exists() and path.read_text(errors="replace") != text
