"""The demo's job: archive, servers, session, comparison, pictures, and what they measured."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

import packhorse
from common import wording
from common.units import format_duration
from examples.demo import analysis, archive, pictures, servers
from examples.demo.live import Display

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from packhorse.result import Result
    from packhorse.values import Recall, SiteStatus

DATASET = "zmumu"
POOLED_SHARE = 0.5  # of the dataset: what all pools together can hold


def run(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Archive, servers, session, comparison, pictures, table; returns the figures."""
    say = Console(stderr=True).print
    say(f"making an archive of {options.files} files, {options.files * options.events:,} events")
    tape = folder / "archive"
    names = archive.make_archive(
        tape, options.files, options.events, options.clusters, options.seed
    )
    sizes = [(tape / name).stat().st_size for name in names]
    quota = max(int(POOLED_SHARE * sum(sizes) / len(servers.HOSTS)), 2 * max(sizes))
    library = servers.write_library(
        folder / "library", options.drives, options.mount, options.bandwidth * 1e6
    )
    config = servers.write_config(folder, tape, library, quota)

    say(f"starting a redirector, {len(servers.HOSTS)} data servers and a packetizer")
    with servers.Servers(config, folder / "servers.log"), packhorse.connect(config=config) as site:
        site.datasets.register(DATASET, [f"/store/{name}" for name in names], tree=archive.TREE)
        began_unix_s = time.time()
        with Display(config) as display:
            result = site.process(
                DATASET,
                analysis.dimuon_mass,
                workers=options.workers,
                worker_hosts=servers.HOSTS,
                on_progress=display.update,
            )
        status = site.status()
        recalls = [recall for recall in site.recalls() if recall.state == "done"]
        records = site.sessions.records(result.report.session_id)

    say("looping over the archive directly, to compare")
    direct = analysis.direct_loop((tape / name for name in names), archive.TREE)
    options.output.mkdir(parents=True, exist_ok=True)
    pictures.draw_masses(result.value, analysis.NOMINAL, options.output / "mass.png")
    timeline = options.output / "timeline.png"
    pictures.draw_timeline(records, recalls, began_unix_s, result.report.seconds, timeline)
    equals_direct = bool(result.value == direct)
    figures = measure(result, status, recalls, sizes, equals_direct=equals_direct)
    tell(figures, options.output)
    return figures


def measure(
    result: Result,
    status: SiteStatus,
    recalls: list[Recall],
    sizes: list[int],
    *,
    equals_direct: bool,
) -> dict[str, Any]:
    """Every figure of the last line; sizes in bytes, times in seconds."""
    report = result.report
    loads = [node.load for node in status.nodes]
    return {
        "files": report.files,
        "dataset_bytes": sum(sizes),
        "pools_bytes": sum(load.quota_bytes for load in loads),
        "bytes_staged": sum(recall.size_bytes for recall in recalls),
        "recalls": len(recalls),
        "files_purged": sum(load.files_purged for load in loads),
        "peak_used_of_quota": max(load.peak_used_bytes / load.quota_bytes for load in loads),
        "quota_kept": all(load.peak_used_bytes <= load.quota_bytes for load in loads),
        "packets": report.packets,
        "packets_retried": report.packets_retried,
        "events": report.entries,
        "events_missing": report.entries_bad,
        "local_fraction": round(report.local_fraction, 4),
        "seconds": round(report.seconds, 2),
        "first_packet_s": round(report.first_packet_s, 2),
        "files_staged_at_first_packet": report.files_recalled_at_first_packet,
        "workers": len(report.workers),
        "equals_direct": equals_direct,
    }


def tell(figures: dict[str, Any], output: Path) -> None:
    """The short table, for people."""
    table = Table(title="From the archive to a histogram", show_header=False)
    rows = {
        "dataset": f"{figures['files']} files, {wording.size(figures['dataset_bytes'])}",
        "pools": f"{wording.size(figures['pools_bytes'])} on {len(servers.HOSTS)} data servers",
        "staged": f"{figures['recalls']} files, {wording.size(figures['bytes_staged'])}",
        "purged": f"{figures['files_purged']} files; "
        f"fullest pool {figures['peak_used_of_quota']:.1%} of its quota",
        "processed": f"{figures['events']:,} events in {figures['packets']} packets",
        "read locally": f"{figures['local_fraction']:.1%} of events",
        "time": f"{format_duration(figures['seconds'])}; first result after "
        f"{format_duration(figures['first_packet_s'])}, with "
        f"{figures['files_staged_at_first_packet']} of {figures['files']} files staged",
        "equals a direct loop": "yes, bin by bin" if figures["equals_direct"] else "NO",
        "pictures": f"{output / 'mass.png'}, {output / 'timeline.png'}",
    }
    for name, text in rows.items():
        table.add_row(name, text)
    Console().print(table)
