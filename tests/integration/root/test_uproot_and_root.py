"""uproot, fsspec and ROOT on root://, unmodified, with files on disk and in the archive."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import pytest

from tests.support.cluster import free_port
from tests.support.staging_site import StagingSite, staging_site

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.side_by_side import SideBySide

DATA: Final = Path(__file__).parents[4] / "shared" / "data"
CLIENTS: Final = Path(__file__).parent / "clients"
TIMEOUT_S: Final = 120.0

#: Real files: their trees, and flat and jagged columns of them.
REAL: Final = {
    "uproot-Zmumu.root": ("events", "E1,px1,M,Run"),
    "uproot-HZZ.root": ("events", "MET_px,Muon_Px,NMuon"),
    "nano_dy.root": ("Events", "MET_pt,Muon_pt,nMuon"),
}

needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"no real files at {DATA}")


def needs(*modules: str) -> pytest.MarkDecorator:
    """Skips what needs a module that is not installed."""
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


class RootSite(NamedTuple):
    """A site, and HOST:PORT of its root:// door."""

    staging: StagingSite
    host: str

    def url(self, lfn: str) -> str:
        return f"root://{self.host}/{lfn}"

    def path(self, lfn: str) -> Path:
        """The file in the archive itself."""
        return self.staging.cluster.archive / lfn.lstrip("/")

    def real(self, name: str, *copies: str) -> list[str]:
        """Puts a real file into the archive, under a name for each copy; the LFNs."""
        content = (DATA / name).read_bytes()
        lfns = [f"/store/{copy}/{name}" for copy in copies]
        for lfn in lfns:
            self.staging.cluster.write(lfn, content)
        return lfns

    def runs(self, *lfns: str) -> list[int]:
        """How many times each was brought from the archive."""
        return [len(self.staging.ran_on(lfn)) for lfn in lfns]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RootSite]:
    host = f"127.0.0.1:{free_port()}"
    folder = tmp_path_factory.mktemp("uproot")
    with staging_site(folder, quota="200MB", root_listen=host) as staging:
        yield RootSite(staging, host)


def analysed(way: str, name: str, *files: str | Path) -> Any:
    """What an analyst finds in files, all of which are copies of a real one."""
    done = subprocess.run(
        [sys.executable, str(CLIENTS / "analyses.py"), way, *REAL[name], *map(str, files)],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )
    assert done.returncode == 0, f"{done.args}: {done.stdout}{done.stderr}"
    return json.loads(done.stdout.splitlines()[-1])


# --- fsspec --------------------------------------------------------------------------------


@needs("fsspec_xrootd", "XRootD")
@pytest.mark.parametrize("step", ["read", "write"])
def test_fsspec_does_the_same_as_with_xrootd(alone: SideBySide, directory: str, step: str) -> None:
    said = alone(sys.executable, str(CLIENTS / "fsspec_calls.py"), "{host}", directory, step)
    lines = said.splitlines()
    failed = [line for line in lines if line.endswith("Error")]
    if step == "read":
        assert "cat_file (8890, 1725808585)" in lines
        assert failed == ["ls none OSError", "info none OSError", "cat_file none OSError"]
    else:
        assert lines[-1] == f"find ['{directory}/touched']"
        assert failed == ["rm none OSError"]


# --- uproot --------------------------------------------------------------------------------


@needs_data
@needs("fsspec_xrootd", "XRootD")
@pytest.mark.parametrize("name", REAL)
def test_uproot_opens_what_is_in_the_archive_only(site: RootSite, name: str) -> None:
    (lfn,) = site.real(name, "uproot")
    expected = analysed("uproot_open", name, DATA / name)
    for _temperature in ("cold", "warm"):
        assert analysed("uproot_open", name, site.url(lfn)) == expected
    assert site.runs(lfn) == [1]


@needs_data
@needs("fsspec_xrootd", "XRootD")
@pytest.mark.parametrize(
    "way",
    [
        "uproot_concatenate",
        "uproot_iterate",
        pytest.param("uproot_dask", marks=needs("dask_awkward")),
    ],
)
def test_uproot_goes_through_many_files(site: RootSite, way: str) -> None:
    name = "uproot-Zmumu.root"
    lfns = site.real(name, *(f"{way}/{number}" for number in range(3)))
    expected = analysed(way, name, *map(site.path, lfns))
    assert analysed(way, name, *map(site.url, lfns)) == expected
    assert site.runs(*lfns) == [1, 1, 1]


@needs_data
@needs("fsspec_xrootd", "XRootD", "coffea")
def test_coffea_makes_events_of_what_is_in_the_archive_only(site: RootSite) -> None:
    name = "nano_dy.root"
    (lfn,) = site.real(name, "coffea")
    for _temperature in ("cold", "warm"):
        assert analysed("coffea", name, site.url(lfn)) == analysed("coffea", name, DATA / name)
    assert site.runs(lfn) == [1]


# --- ROOT ----------------------------------------------------------------------------------


@needs_data
@needs("ROOT")
@pytest.mark.parametrize("name", REAL)
def test_root_opens_what_is_in_the_archive_only(site: RootSite, name: str) -> None:
    (lfn,) = site.real(name, "root")
    expected = analysed("root_open", name, DATA / name)
    for _temperature in ("cold", "warm"):
        assert analysed("root_open", name, site.url(lfn)) == expected
    assert site.runs(lfn) == [1]


@needs_data
@needs("ROOT")
def test_a_data_frame_of_root_goes_through_a_chain(site: RootSite) -> None:
    name = "uproot-Zmumu.root"
    lfns = site.real(name, "chain/1", "chain/2", "chain/3")
    expected = analysed("root_frame", name, *map(site.path, lfns))
    for _temperature in ("cold", "warm"):
        assert analysed("root_frame", name, *map(site.url, lfns)) == expected
    assert site.runs(*lfns) == [1, 1, 1]
