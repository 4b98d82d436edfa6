"""The demo's two pictures: the mass histogram, and who did what when."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.patches import Patch

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    import hist

    from packhorse.values import PacketRecord as Record
    from packhorse.values import Recall


Z_MASS_GEV = 91.188
WAITING, OPENING, READING, COMPUTING, STAGING = (
    "#d9d9d9",
    "#f0a35e",
    "#5b8db8",
    "#5f9e6e",
    "#8a5a2b",
)


def draw_masses(masses: hist.Hist, nominal: int, path: Path) -> None:
    """The dimuon mass with the Z peak, and the band that all shifts of the scale span."""
    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    axis = masses.axes[0]
    counts = masses.values()
    axes.stairs(
        counts.max(axis=1),
        axis.edges,
        baseline=counts.min(axis=1),
        fill=True,
        color=OPENING,
        label="momentum scale ± 1 %",
    )
    axes.stairs(counts[:, nominal], axis.edges, color=READING, linewidth=1.5, label="nominal")
    axes.axvline(Z_MASS_GEV, color=STAGING, linestyle="--", linewidth=1, label="Z, 91.19 GeV")
    width = axis.edges[1] - axis.edges[0]
    axes.set(
        xlabel=axis.label,
        ylabel=f"events / {width:g} GeV",
        xlim=axis.edges[[0, -1]],
        ylim=(0, None),
    )
    pairs = int(masses[:, nominal].sum(flow=True))
    axes.set_title(f"Z → µµ, {pairs:,} opposite-charge pairs")
    axes.legend(frameon=False)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def draw_timeline(
    records: Sequence[Record],
    recalls: Iterable[Recall],
    began_unix_s: float,
    seconds: float,
    path: Path,
) -> None:
    """A row per worker (waiting, opening, reading, computing) and one per node (staging)."""
    workers = _by(records, "worker")
    nodes = _by((recall for recall in recalls if recall.ended_unix_s), "node")
    figure, axes = plt.subplots(
        figsize=(9, 0.5 * (len(workers) + len(nodes)) + 1.8), layout="constrained"
    )
    labels = []
    for row, mine in enumerate(sorted(workers.values(), key=lambda records: records[0].host)):
        labels.append(f"worker at {mine[0].host}")
        _draw_worker(axes, row, mine, began_unix_s, seconds)
    for row, (node, mine) in enumerate(sorted(nodes.items()), start=len(labels)):
        labels.append(f"staging to {node}")
        spans = [
            (recall.ended_unix_s - recall.command_s - began_unix_s, recall.command_s)
            for recall in mine
        ]
        axes.broken_barh(spans, (row - 0.35, 0.7), color=STAGING, alpha=0.6, edgecolor="white")
    axes.set(xlabel="seconds since the session was opened", xlim=(0, None))
    axes.set_yticks(range(len(labels)), labels)
    axes.invert_yaxis()
    legend = {
        "waiting": WAITING,
        "opening": OPENING,
        "reading": READING,
        "computing": COMPUTING,
        "staging": STAGING,
    }
    axes.legend(
        handles=[Patch(color=color, label=name) for name, color in legend.items()],
        loc="lower center",
        bbox_to_anchor=(0.5, 1.0),
        ncols=5,
        frameon=False,
    )
    figure.savefig(path, dpi=130)
    plt.close(figure)


def _by(rows: Iterable[object], key: str) -> dict[str, list]:
    groups: dict[str, list] = defaultdict(list)
    for row in rows:
        groups[getattr(row, key)].append(row)
    return groups


def _draw_worker(
    axes: plt.Axes, row: int, records: list[Record], began_unix_s: float, seconds: float
) -> None:
    """One worker's packets; between them it waits.

    Times in a record count from the worker's start, on its own clock. A commit is dated
    by the packetizer; the quickest one tells how far the two clocks are apart.
    """
    busy_s = [record.open_s + record.read_s + record.compute_s for record in records]
    offset_s = min(
        record.ended_unix_s - record.started_s - busy
        for record, busy in zip(records, busy_s, strict=True)
    )
    first_s = min(record.started_s - record.wait_s for record in records)
    joined_s = max(0.0, first_s + offset_s - began_unix_s)
    spans: dict[str, list[tuple[float, float]]] = defaultdict(list)
    spans[WAITING].append((joined_s, seconds - joined_s))
    for record in records:
        at = record.started_s + offset_s - began_unix_s
        for color, length in (
            (OPENING, record.open_s),
            (READING, record.read_s),
            (COMPUTING, record.compute_s),
        ):
            spans[color].append((at, length))
            at += length
    for color, parts in spans.items():
        axes.broken_barh(parts, (row - 0.35, 0.7), color=color)
