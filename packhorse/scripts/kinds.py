"""The kinds of archives there are scripts for: a table."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from common.errors import NotFound

PUBLISHED: Final = Path(__file__).with_name("published")
SHARED: Final = ("archive_script.py", "archive_tools.py")


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of archive, and the script that speaks with it."""

    name: str
    about: str
    script: str
    needs: str
    #: What the archive might call the site's files, for the example that is written beside.
    archive: str
    #: Options that an example cannot do without.
    options: tuple[str, ...] = ()
    #: Whether it can also be asked for files in its own time, as submit and poll have it.
    takes_orders: bool = False
    #: Files besides the script itself and what all scripts share.
    more: tuple[str, ...] = ()

    @property
    def path(self) -> Path:
        """Where the script lies in this installation."""
        return PUBLISHED / self.script

    @property
    def files(self) -> tuple[str, ...]:
        """All that must lie in one directory for the script to run."""
        return (self.script, *self.more, *SHARED)


KINDS: Final = (
    Kind(
        "mounted",
        "a file system that is mounted: tape behind NFS, CephFS, a slow disk",
        "mounted_archive.py",
        "nothing",
        "/archive/store/",
        options=("--root=/archive/store",),
    ),
    Kind(
        "xrootd",
        "XRootD servers: EOS, CTA, dCache; `prepare` first, then `xrdcp`",
        "xrootd_archive.py",
        "the programs xrdcp and xrdfs (Debian: xrootd-client)",
        "root://tape.example.org//store/",
        takes_orders=True,
    ),
    Kind(
        "s3",
        "S3 servers; objects in Glacier are restored first",
        "s3_archive.py",
        "boto3: pip install 'packhorse[s3]'",
        "s3://bucket/store/",
        takes_orders=True,
    ),
    Kind(
        "tape-rest",
        "the WLCG Tape REST API of dCache, EOS, StoRM; then a copy by HTTPS",
        "tape_rest_archive.py",
        "nothing; a token or a certificate where the server wants one",
        "https://webdav.example.org/store/",
        takes_orders=True,
        more=("archive_http.py", "archive_webdav.py"),
    ),
    Kind(
        "fsspec",
        "any URL that fsspec knows: sftp, smb, webhdfs, gs, abfs, ...",
        "fsspec_archive.py",
        "fsspec: pip install 'packhorse[fsspec]', and the library of the protocol",
        "sftp://tape.example.org/store/",
    ),
    Kind(
        "dcache",
        "an HSM script written for dCache (put, get, remove), as it is",
        "dcache_archive.py",
        "the script; a directory that all data servers see",
        "/archive/store/",
        options=("--script=/opt/hsm/hsm.sh", "--book=/shared/hsm-book"),
    ),
    Kind(
        "oss",
        "scripts written for XRootD's oss.stagecmd and oss.rsscmd, as they are",
        "oss_archive.py",
        "the scripts",
        "/archive/store/",
        options=(
            "--stagecmd=/opt/xrootd/stage.sh",
            "--rsscmd=/opt/xrootd/mss.sh",
            "--storecmd=/opt/xrootd/store.sh",
        ),
    ),
    Kind(
        "for-xrootd",
        "the other way round: these scripts serve a stock XRootD",
        "for_xrootd.py",
        "a script of another kind in the same directory",
        "",
        more=("for_xrootd_prepare.py",),
    ),
)


def find_kind(name: str) -> Kind:
    """The kind of that name; raises NotFound."""
    for kind in KINDS:
        if kind.name == name:
            return kind
    known = ", ".join(kind.name for kind in KINDS)
    raise NotFound(f"there are no scripts of a kind {name!r}; there are {known}")
