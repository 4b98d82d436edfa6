"""The analysis: the invariant mass of two muons, as a histogram, with its uncertainty.

`dimuon_mass` is what a physicist hands to Packhorse: it takes one packet and returns
something that adds up. `direct_loop` does the same without Packhorse, to compare with.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import hist
import numpy as np
import uproot

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    import packhorse

COLUMNS = [f"mu{which}_{what}" for which in (1, 2) for what in ("pt", "eta", "phi", "charge")]

#: How well the momentum of muons outside the barrel is known is not certain: the analysis
#: is repeated with their momentum scale shifted, from -1 to +1 percent.
SHIFTS = np.linspace(-0.01, 0.01, 81)
NOMINAL = len(SHIFTS) // 2
BARREL_ETA = 1.2


def dimuon_mass(packet: packhorse.Packet) -> hist.Hist:
    """The mass histogram of one packet's events, in GeV, for every shift."""
    return fill(packet.arrays(COLUMNS, library="np"))


def fill(events: dict[str, Any]) -> hist.Hist:
    """Fills a new histogram with the masses of opposite-charge pairs, shift by shift."""
    masses = (
        hist.Hist.new.Reg(120, 60, 120, label="m(µµ) [GeV]")
        .IntCategory(range(len(SHIFTS)), label="shift")
        .Int64()
    )
    opposite = events["mu1_charge"] != events["mu2_charge"]
    column = {name: events[name][opposite].astype(np.float64) for name in COLUMNS}
    eta_part = np.cosh(column["mu1_eta"] - column["mu2_eta"])
    phi_part = np.cos(column["mu1_phi"] - column["mu2_phi"])
    nominal = np.sqrt(2 * column["mu1_pt"] * column["mu2_pt"] * (eta_part - phi_part))
    outside = [np.abs(column[f"mu{which}_eta"]) > BARREL_ETA for which in (1, 2)]
    for number, shift in enumerate(SHIFTS):
        scales = [np.where(where, 1 + shift, 1.0) for where in outside]
        masses.fill(nominal * np.sqrt(scales[0] * scales[1]), number)
    return masses


def direct_loop(files: Iterable[Path], tree: str) -> hist.Hist:
    """The same histogram by a plain loop over whole files."""
    total = None
    for path in files:
        with uproot.open(path) as file:
            masses = fill(file[tree].arrays(COLUMNS, library="np"))
        total = masses if total is None else total + masses
    if total is None:
        raise ValueError("no files to loop over")
    return total
