"""What people hold: the Python API, the command line, the worker.

    with packhorse.connect() as site:
        result = site.process("zmumu", function)

`connect` gives a `Site`; its asynchronous twin is in `packhorse.aio`. Names are looked
up when they are first used, so that a short command does not load what it never needs.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from packhorse.version import __version__

if TYPE_CHECKING:
    from os import PathLike

    from common.errors import PackhorseError
    from packhorse.functions import Work, load_function
    from packhorse.listing import ListedFile, Listing, read_fileset, read_listing
    from packhorse.packet import Packet
    from packhorse.result import Report, Result
    from packhorse.site import Site

__all__ = [
    "ListedFile",
    "Listing",
    "Packet",
    "PackhorseError",
    "Report",
    "Result",
    "Site",
    "Work",
    "__version__",
    "connect",
    "load_function",
    "read_fileset",
    "read_listing",
]

_HOMES = {
    "ListedFile": "packhorse.listing",
    "Listing": "packhorse.listing",
    "Packet": "packhorse.packet",
    "PackhorseError": "common.errors",
    "Report": "packhorse.result",
    "Result": "packhorse.result",
    "Site": "packhorse.site",
    "Work": "packhorse.functions",
    "load_function": "packhorse.functions",
    "read_fileset": "packhorse.listing",
    "read_listing": "packhorse.listing",
}


def connect(
    config: str | PathLike[str] | None = None,
    redirector: str = "",
    *,
    owner: str = "",
    host: str = "",
) -> Site:
    """A client of the site that a configuration file, an address, or PACKHORSE_CONFIG names.

    `owner` is who asks, for people (default: user@machine); `host` is this machine's host
    label (default: PACKHORSE_HOST, else its name). Nothing is sent before the first call.
    Raises UsageError if no site is named, ConfigError if the file holds mistakes.
    """
    from packhorse.site import Site

    return Site(config, redirector, owner=owner, host=host)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'packhorse' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
