"""`packhorse check-command`: the site's own commands, tried before they go live."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from common.errors import CheckFailed, UsageError
from packhorse.cli.options import ConfigOption, JsonOption, duration
from packhorse.cli.output import counted, say, say_json
from packhorse.cli.running import load_config

if TYPE_CHECKING:
    from common.config.load import LoadedConfig
    from dataserver.selftest import Bench, Finding

PANEL = "Configuration"


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command(rich_help_panel=PANEL, name="check-command")(check_command)


def check_command(
    files: Annotated[
        list[str],
        typer.Argument(metavar="LFN...", help="Files that the archive has, small ones first."),
    ],
    kind: Annotated[
        list[str] | None,
        typer.Option(
            "--kind",
            metavar="KIND",
            help="What to try: stat, list, hint, submit, stage; several times for several. store writes a "
            "small file beside the first one, and removes it. Default: all that the site has, except store.",
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option("--name", metavar="NAME", help="Which data server it is tried as."),
    ] = None,
    directory: Annotated[
        Path | None,
        typer.Option(
            "--directory",
            metavar="DIR",
            help="Where files are written meanwhile. Default: in the data server's pool, outside of its "
            "quota, or where temporary files go if there is no pool here.",
        ),
    ] = None,
    patience: Annotated[
        float,
        typer.Option(
            "--patience",
            metavar="DURATION",
            parser=duration,
            show_default=False,
            help="How long an archive that takes orders is waited for; default: 10m.",
        ),
    ] = 600.0,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Try the commands of [mss] against what they must do, as a data server runs them.

    Run it as the servers' user, on the machine they run on. A line tells each check, and what
    to do where it went wrong; `failed` breaks the contract of docs/stage-command.md, `warning`
    works and could do better. Exits with 18 if anything failed.
    """
    from dataserver.selftest import KINDS, Bench, Verdict, kinds_of
    from packhorse.urls import lfn_of

    loaded = load_config(config)
    mss = loaded.site.mss
    for one in kind or ():
        if one not in KINDS:
            raise UsageError(f"--kind {one} is none of {', '.join(KINDS)}")
    names = loaded.site.name_map()
    lfns = [names.check(lfn_of(given)) for given in files]
    kinds = kind or kinds_of(mss)
    within = directory or _own_directory(loaded, name)
    bench = Bench(mss, names, within, patience)
    findings = asyncio.run(_find(bench, lfns, kinds, as_json))
    if as_json:
        say_json(
            {
                "file": str(loaded.path),
                "directory": str(within),
                "variables": bench.variables(),
                "findings": [
                    {**dataclasses.asdict(one), "verdict": one.verdict.value} for one in findings
                ],
            }
        )
    failed = sum(one.verdict is Verdict.FAILED for one in findings)
    if failed:
        raise CheckFailed(f"{counted(failed, 'check')} of {len(findings)} failed")
    warned = sum(one.verdict is Verdict.WARNING for one in findings)
    if not as_json:
        say(f"{counted(len(findings), 'check')}, none failed, {counted(warned, 'warning')}")


async def _find(bench: Bench, lfns: list[str], kinds: list[str], as_json: bool) -> list[Finding]:
    """All findings; each is told as soon as it is there."""
    from dataserver.selftest import check_commands

    findings = []
    async with bench, contextlib.aclosing(check_commands(bench, lfns, kinds)) as found:
        if not as_json:
            say(f"in {bench.directory}, with the variables {', '.join(bench.variables())}")
        async for finding in found:
            findings.append(finding)
            if not as_json:
                _tell(finding)
    return findings


def _tell(finding: Finding) -> None:
    about = f" {finding.lfn}:" if finding.lfn else ""
    verdict = finding.verdict.value.ljust(7)
    say(f"{verdict}  {finding.kind}:{about} {finding.check}: {finding.said}")
    if finding.advice:
        say(f"         → {finding.advice}")


def _own_directory(loaded: LoadedConfig, name: str | None) -> Path:
    """Where the data server's recalls write, if this is a machine of one."""
    from common.config.check import node_name

    nodes = loaded.site.dataservers
    meant = list(nodes.values()) if name is None else [nodes[node_name(loaded, name)]]
    for node in meant:
        incoming = node.pool / ".incoming"
        if os.access(incoming, os.W_OK | os.X_OK):
            return incoming
    return Path(tempfile.gettempdir())
