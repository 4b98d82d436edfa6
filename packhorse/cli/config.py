"""`packhorse config check | show` and `packhorse names`: the site's own file."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from common.errors import NameRefused, PackhorseError, UsageError
from packhorse.cli.options import ConfigOption, JsonOption, NamesArgument
from packhorse.cli.output import counted, say, say_json, say_table
from packhorse.cli.running import load_config

if TYPE_CHECKING:
    from common.config.check import Role
    from common.config.load import LoadedConfig
    from common.names import NameMap

PANEL = "Configuration"


def register(app: typer.Typer) -> None:
    """Adds the commands of this group."""
    group = typer.Typer(no_args_is_help=True, help="Check and show the site's configuration.")
    group.command()(check)
    group.command()(show)
    app.add_typer(group, name="config", rich_help_panel=PANEL)
    app.command(rich_help_panel=PANEL)(names)


def check(
    role: Annotated[
        str,
        typer.Option(
            "--role",
            metavar="ROLE",
            help="What runs on this machine: redirector, dataserver, packetizer. Default: all.",
        ),
    ] = "",
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="Which data server runs here.")
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Tell every mistake in the file, and whether this machine is as it says.

    Looks for the pools, commands and state directories of the roles that run here. Exits
    with 3 if anything is wrong.
    """
    loaded = load_config(config)
    from common.config.check import ROLES, check_for_role, node_name

    if role and role not in ROLES:
        raise UsageError(f"--role {role} is none of {', '.join(ROLES)}")
    node = None if name is None else node_name(loaded, name)
    roles: list[Role] = [one for one in ROLES if one == role or (not role and _has(loaded, one))]
    problems = [found for one in roles for found in check_for_role(loaded, one, node)]
    if as_json:
        say_json(
            {
                "file": loaded.path,
                "roles": roles,
                "problems": [
                    {"where": loaded.places.where(found.key), "problem": str(found)}
                    for found in problems
                ],
            }
        )
    if problems:
        raise loaded.error(problems)
    if not as_json:
        say(f"{loaded.path}: fine ({', '.join(roles) or 'there is no server in it to run'})")


def show(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show every value in force, and where it came from: the file, a variable, a default."""
    loaded = load_config(config)
    from common.config.places import dotted

    rows = [(dotted(key), value, loaded.places.origin(key)) for key, value in loaded.values()]
    if as_json:
        say_json({key: {"value": value, "from": origin} for key, value, origin in rows})
    else:
        say_table(
            ("key", "value", "from"), [(key, _toml(value), from_) for key, value, from_ in rows]
        )


def names(
    lfns: NamesArgument = None, config: ConfigOption = None, as_json: JsonOption = False
) -> None:
    """Try names against the site's rules: their one spelling, and what the archive calls them."""
    if not lfns:
        raise UsageError("no name is given: packhorse names LFN...")
    name_map = load_config(config).site.name_map()
    tried = [_try_name(name_map, lfn) for lfn in lfns]
    if as_json:
        say_json(tried)
    else:
        for row in tried:
            if "problem" not in row:
                say(f"{row['lfn']}\n  in the archive: {row['archive_name']}\n  by: {row['rule']}")
    problems = [row["problem"] for row in tried if "problem" in row]
    if len(problems) == 1:
        raise NameRefused(problems[0])
    if problems:
        raise NameRefused(f"{counted(len(problems), 'name')} refused: " + "; ".join(problems))


def _try_name(name_map: NameMap, given: str) -> dict[str, str]:
    from packhorse.urls import lfn_of

    try:
        lfn = name_map.check(lfn_of(given))
        rule, archive_name = name_map.explain(lfn)
    except PackhorseError as error:
        return {"given": given, "problem": error.message}
    return {"given": given, "lfn": lfn, "archive_name": archive_name, "rule": str(rule)}


def _has(loaded: LoadedConfig, role: Role) -> bool:
    site = loaded.site
    tables = {
        "redirector": site.redirector,
        "dataserver": site.dataservers,
        "packetizer": site.packetizer,
    }
    return bool(tables[role])


def _toml(value: Any) -> str:
    """A value much as the file would have it; nothing for what is not set."""
    return "" if value is None else json.dumps(value, ensure_ascii=False)
