"""Pickling functions by value so that their tracebacks still show the lines of their files.

cloudpickle (from 3.1.3 on) calls every file "<dynamic-code>". Then a traceback from a worker
names no file and shows no line, where these are what a user needs to see.
"""

from __future__ import annotations

import io
from collections import ChainMap
from types import CodeType
from typing import Any, ClassVar

import cloudpickle

_reduce_code = cloudpickle.CloudPickler.dispatch_table[CodeType]


def dumps(value: object) -> bytes:
    """As `cloudpickle.dumps`. Raises what pickling raises."""
    with io.BytesIO() as file:
        _Pickler(file, protocol=5).dump(value)
        return file.getvalue()


def named_code(code: CodeType, file_name: str) -> CodeType:
    """Code as it was, of a file of this name; called where it is loaded."""
    return code.replace(co_filename=file_name)


class _NamedCode:
    """Stands for a code object while its own parts are pickled."""

    def __init__(self, code: CodeType) -> None:
        self._code = code

    def __reduce__(self) -> Any:
        return _reduce_code(self._code)


class _Pickler(cloudpickle.CloudPickler):  # type: ignore[misc]
    dispatch_table: ClassVar[ChainMap[Any, Any]] = ChainMap(
        {CodeType: lambda code: (named_code, (_NamedCode(code), code.co_filename))},
        cloudpickle.CloudPickler.dispatch_table,
    )
