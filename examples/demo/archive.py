"""Makes the archive: Z → µµ events in ROOT files, the same ones for the same seed.

Each event holds two muons, with transverse momentum in GeV, pseudorapidity, azimuth
and charge. The Z bosons have the mass and width of nature (Particle Data Group:
91.188 GeV, 2.495 GeV), decay isotropically in their rest frame, and are measured with
a resolution of 1.5 percent; a falling continuum lies underneath.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import uproot

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

TREE = "events"
Z_MASS_GEV = 91.188
Z_WIDTH_GEV = 2.495
SIGNAL_FRACTION = 0.8
RESOLUTION = 0.015


def make_archive(
    folder: Path, files: int, events_per_file: int, clusters: int, seed: int
) -> list[str]:
    """Writes `files` ROOT files below `folder`; returns their names relative to it."""
    names = []
    for number in range(files):
        name = f"zmumu/zmumu_{number:03d}.root"
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng([seed, number])
        _write_file(path, rng, events_per_file, clusters)
        names.append(name)
    return names


def _write_file(path: Path, rng: np.random.Generator, events: int, clusters: int) -> None:
    """Writes one file whose tree has as many clusters as asked for."""
    shares = np.diff(np.linspace(0, events, clusters + 1).astype(int))
    with uproot.recreate(path, compression=uproot.ZLIB(1)) as file:
        first = _make_events(rng, int(shares[0]))
        tree = file.mktree(TREE, {name: column.dtype for name, column in first.items()})
        tree.extend(first)
        for share in shares[1:]:
            tree.extend(_make_events(rng, int(share)))


def _make_events(rng: np.random.Generator, events: int) -> dict[str, NDArray[np.generic]]:
    """Columns of `events` events, one value an event."""
    mass = _draw_masses(rng, events)
    boson_pt = rng.exponential(12.0, events)
    boson_rapidity = rng.normal(0.0, 1.2, events)
    boson_phi = rng.uniform(-np.pi, np.pi, events)
    columns: dict[str, NDArray[np.generic]] = {}
    muons = _decay(rng, mass, boson_pt, boson_rapidity, boson_phi)
    charge = rng.choice(np.array([-1, 1], dtype=np.int32), events)
    for which, (px, py, pz) in enumerate(muons, start=1):
        smear = rng.normal(1.0, RESOLUTION, events)
        pt = np.hypot(px, py)
        columns[f"mu{which}_pt"] = (pt * smear).astype(np.float32)
        columns[f"mu{which}_eta"] = np.arcsinh(pz / pt).astype(np.float32)
        columns[f"mu{which}_phi"] = np.arctan2(py, px).astype(np.float32)
        columns[f"mu{which}_charge"] = charge if which == 1 else -charge
    return columns


def _draw_masses(rng: np.random.Generator, events: int) -> Floats:
    """Dimuon masses in GeV: a Breit-Wigner peak over a falling continuum."""
    peak = Z_MASS_GEV + Z_WIDTH_GEV / 2 * rng.standard_cauchy(events)
    continuum = 40.0 + rng.exponential(35.0, events)
    signal = (rng.random(events) < SIGNAL_FRACTION) & (peak > 40.0) & (peak < 200.0)
    return np.where(signal, peak, continuum)


def _decay(
    rng: np.random.Generator, mass: Floats, pt: Floats, rapidity: Floats, phi: Floats
) -> list[tuple[Floats, Floats, Floats]]:
    """Momenta of two massless muons, decayed isotropically and boosted to the laboratory."""
    cos_theta = rng.uniform(-1.0, 1.0, mass.size)
    azimuth = rng.uniform(-np.pi, np.pi, mass.size)
    sin_theta = np.sqrt(1.0 - cos_theta**2)
    direction = np.stack([sin_theta * np.cos(azimuth), sin_theta * np.sin(azimuth), cos_theta])
    transverse_mass = np.hypot(mass, pt)
    boson = np.stack([pt * np.cos(phi), pt * np.sin(phi), transverse_mass * np.sinh(rapidity)])
    energy = transverse_mass * np.cosh(rapidity)
    muons = []
    for sign in (1.0, -1.0):
        rest = sign * direction * mass / 2
        along = (boson * rest).sum(axis=0) / (energy + mass)
        px, py, pz = rest + boson * (along + mass / 2) / mass
        muons.append((px, py, pz))
    return muons
