"""The user's function: finding it by name, and sending it to workers.

A function travels as bytes: one line that says which Python made them, then a
cloudpickle of the function and its merge. Code of installed packages travels by
name; code of the user's own files and notebooks travels by value, so that a worker
elsewhere does not need the file. Only workers and clients unpickle these bytes,
and only the functions of the user they work for.
"""

from __future__ import annotations

import contextlib
import importlib
import pickle
import sys
import sysconfig
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cloudpickle

from common.errors import UsageError
from packhorse.code_pickling import dumps

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

    from packhorse.packet import Packet

Function = Callable[["Packet"], Any]
Merge = Callable[[Any, Any], Any]

_MAGIC = b"packhorse-function"
_OURS = frozenset({"packhorse", "common", "protos", "redirector", "dataserver", "packetizer"})


@dataclass(frozen=True, slots=True)
class Work:
    """What a session does: a function of one packet, and how its values merge (None: `+`)."""

    function: Function
    merge: Merge | None = None


def load_function(name: str) -> Function:
    """The function that `module:function` names; the current directory is searched too.

    Raises UsageError saying what is wrong: no such module, no such function, not a
    function, or the module's own error when it was imported.
    """
    module_name, colon, path = name.partition(":")
    if not colon or not module_name or not path:
        raise UsageError(f"{name!r} does not name a function: write module:function")
    found: Any = _import(module_name)
    for part in path.split("."):
        try:
            found = getattr(found, part)
        except AttributeError as error:
            raise UsageError(f"module {module_name!r} has no {path!r}") from error
    if not callable(found):
        raise UsageError(f"{name} is {type(found).__name__}, not a function")
    function: Function = found
    return function


def name_of(function: Function) -> str:
    """What people call it."""
    name = getattr(function, "__qualname__", None) or type(function).__qualname__
    return f"{getattr(function, '__module__', None) or '?'}:{name}"


def dump_work(work: Work) -> bytes:
    """The work as bytes for workers. Raises UsageError for what cannot be sent."""
    for what, value in (("function", work.function), ("merge", work.merge)):
        if value is not None and not callable(value):
            raise UsageError(f"{what} must be callable, not {type(value).__name__}")
    modules = [_own_module(part) for part in (work.function, work.merge) if part is not None]
    with _by_value(modules):
        try:
            pickled = dumps((work.function, work.merge))
        except Exception as error:
            raise UsageError(
                f"{name_of(work.function)} cannot be sent to workers: {_in_one_line(error)}; "
                "does it use an open file, a lock or a connection from outside?"
            ) from error
    return b"%s %s\n%s" % (_MAGIC, _python_version().encode(), pickled)


def load_work(content: bytes) -> Work:
    """The work that `dump_work` made bytes of. Raises UsageError if it cannot run here."""
    header, _, pickled = content.partition(b"\n")
    magic, _, version = header.partition(b" ")
    if magic != _MAGIC:
        raise UsageError("these bytes are not a function made by Packhorse")
    if version.decode("ascii", "replace") != _python_version():
        raise UsageError(
            f"the function was made by Python {version.decode('ascii', 'replace')}, and this "
            f"worker runs {_python_version()}: they must be the same to share functions"
        )
    try:
        function, merge = pickle.loads(pickled)  # noqa: S301 - the user's own function
    except Exception as error:
        raise UsageError(f"the function cannot be loaded here: {_in_one_line(error)}") from error
    return Work(function, merge)


def _import(module_name: str) -> ModuleType:
    here = str(Path.cwd())
    if here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise UsageError(
                f"module {module_name!r} needs {error.name!r}, which is not installed"
            ) from error
        raise UsageError(
            f"there is no module {module_name!r} here ({here}) or installed"
        ) from error
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        raise UsageError(
            f"module {module_name!r} fails when imported: {_in_one_line(error)} "
            f"({last.filename}, line {last.lineno})"
        ) from error


def _own_module(part: Callable[..., Any]) -> ModuleType | None:
    """The module to send by value with a function: one of the user's own files."""
    name = getattr(part, "__module__", None) or type(part).__module__
    module = sys.modules.get(name)
    file = getattr(module, "__file__", None)
    if module is None or file is None or name == "__main__":
        return None  # built in, or sent by value in any case
    if name.partition(".")[0] in _OURS:
        return None
    path = Path(file).resolve()
    return None if any(path.is_relative_to(root) for root in _installed()) else module


def _installed() -> Iterator[Path]:
    """Where packages live that workers have as well."""
    for key in ("stdlib", "platstdlib", "purelib", "platlib"):
        yield Path(sysconfig.get_path(key)).resolve()


@contextlib.contextmanager
def _by_value(modules: list[ModuleType | None]) -> Iterator[None]:
    known = cloudpickle.list_registry_pickle_by_value()
    own = {module for module in modules if module is not None and module.__name__ not in known}
    for module in own:
        cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        for module in own:
            cloudpickle.unregister_pickle_by_value(module)


def _python_version() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def _in_one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
