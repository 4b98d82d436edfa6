"""The value of a session, written to a file or shown.

The file's ending decides how: `.json` for numbers, lists and dicts; `.npy` for one
array, `.npz` for a dict of arrays; anything else is a pickle, which holds every
value (histograms too) and is read with `pickle.load`.
"""

from __future__ import annotations

import json
import os
import pickle
import secrets
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from common.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

SHOWN_CHARACTERS = 4000


def check_output(path: Path | None) -> None:
    """Refuses a path that cannot be written, before hours of work; raises UsageError."""
    if path is None:
        return
    if path.is_dir():
        raise UsageError(f"--output {path} is a directory")
    if not path.parent.is_dir() or not os.access(path.parent, os.W_OK | os.X_OK):
        raise UsageError(f"--output {path} cannot be written: see its directory")


def write_value(path: Path, value: object) -> None:
    """Writes the value; the file is there whole or not at all. Raises UsageError.

    A value that its format cannot hold is pickled beside it, so that no work is lost.
    """
    writers: dict[str, Callable[[IO[bytes], Any], None]] = {
        ".json": _write_json,
        ".npy": _write_array,
        ".npz": _write_arrays,
    }
    try:
        _write(path, value, writers.get(path.suffix, _write_pickle))
    except (TypeError, ValueError) as error:
        beside = path.with_name(path.name + ".pickle")
        _write(beside, value, _write_pickle)
        raise UsageError(
            f"{path.suffix} cannot hold the value ({error}); it is in {beside}"
        ) from None


def value_to_json(value: Any) -> Any:
    """The value in terms of what JSON knows; raises TypeError."""
    if isinstance(value, dict):
        return {str(key): value_to_json(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [value_to_json(part) for part in value]
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    if type(value).__module__ == "numpy" and hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__qualname__} has no JSON form")


def value_to_text(value: object) -> str:
    """The value as a person reads it, shortened if it is long."""
    text = repr(value)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]} ..."


def _write(path: Path, value: object, writer: Callable[[IO[bytes], Any], None]) -> None:
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with part.open("xb") as file:
            writer(file, value)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _write_json(file: IO[bytes], value: object) -> None:
    file.write(json.dumps(value_to_json(value), indent=2).encode() + b"\n")


def _write_array(file: IO[bytes], value: Any) -> None:
    import numpy as np

    np.save(file, np.asarray(value), allow_pickle=False)


def _write_arrays(file: IO[bytes], value: Any) -> None:
    import numpy as np

    if not isinstance(value, dict):
        raise TypeError(f"it is {type(value).__qualname__}, not a dict of arrays")
    np.savez(file, allow_pickle=False, **{str(name): part for name, part in value.items()})


def _write_pickle(file: IO[bytes], value: object) -> None:
    pickle.dump(value, file, protocol=pickle.HIGHEST_PROTOCOL)
