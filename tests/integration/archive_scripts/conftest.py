"""Archives of every kind, each as real as it can be had."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.archive_scripts import (
    S3,
    Dcache,
    Fsspec,
    MotoServer,
    Mounted,
    Oss,
    TapeRest,
    World,
    Xrootd,
    certificates,
    is_installed,
)
from tests.support.stock_xrootd import WritableXrootd
from tests.support.tape_rest_server import DIALECTS, TapeRestServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MotoServer]:
    """One S3 server for all tests of a module: those of others count their child processes."""
    pytest.importorskip("boto3", reason="no boto3 here")
    pytest.importorskip("moto", reason="no moto here")
    with MotoServer(tmp_path_factory.mktemp("moto")) as server:
        yield server


@pytest.fixture(scope="module")
def xrootd() -> Iterator[WritableXrootd]:
    """One XRootD server for all tests of a module."""
    if not is_installed("xrootd"):
        pytest.skip("no XRootD here")
    with WritableXrootd() as server:
        yield server


@pytest.fixture
def s3(moto: MotoServer) -> S3:
    """A bucket of this test's own."""
    return S3(moto)


@pytest.fixture(params=["mounted", "xrootd", "s3", "tape-rest", "fsspec", "dcache", "oss"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """An archive of each kind."""
    folder = tmp_path / "archive"
    folder.mkdir()
    match request.param:
        case "mounted":
            yield Mounted(folder)
        case "fsspec":
            yield Fsspec(folder)
        case "oss":
            yield Oss(folder)
        case "dcache":
            yield Dcache(folder)
        case "xrootd":
            yield Xrootd(request.getfixturevalue("xrootd"))
        case "s3":
            yield request.getfixturevalue("s3")
        case "tape-rest":
            tls, authority = certificates(tmp_path)
            with TapeRestServer(DIALECTS[0], tls) as server:
                yield TapeRest(server, "--ca", str(authority))
