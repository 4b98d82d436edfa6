"""The analysis: the invariant mass of two muons, as a histogram.

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


def dimuon_mass(packet: packhorse.Packet) -> hist.Hist:
    """The mass histogram of one packet's events, in GeV."""
    return fill(packet.arrays(COLUMNS, library="np"))


def fill(events: dict[str, Any]) -> hist.Hist:
    """Fills a new histogram with the masses of opposite-charge pairs."""
    masses = hist.Hist.new.Reg(120, 60, 120, label="m(µµ) [GeV]").Int64()
    opposite = events["mu1_charge"] != events["mu2_charge"]
    column = {name: events[name][opposite].astype(np.float64) for name in COLUMNS}
    eta_part = np.cosh(column["mu1_eta"] - column["mu2_eta"])
    phi_part = np.cos(column["mu1_phi"] - column["mu2_phi"])
    product = 2 * column["mu1_pt"] * column["mu2_pt"]
    masses.fill(np.sqrt(product * (eta_part - phi_part)))
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
