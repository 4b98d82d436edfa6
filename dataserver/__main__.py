"""`python -m dataserver --config site.toml --name disk1`: one data server, by itself."""

from __future__ import annotations

import argparse
import sys

from common.config.load import load
from common.errors import PackhorseError, UsageError
from common.service import run_service
from dataserver.service import DataServerService


def main() -> int:
    """Runs until told to stop; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m dataserver", description=__doc__)
    parser.add_argument("--config", required=True, help="the site's TOML file")
    parser.add_argument("--name", help="which of its data servers; needed if there are several")
    given = parser.parse_args()
    try:
        site = load(given.config).site
        name = given.name or next(iter(site.dataservers), "")
        if name not in site.dataservers or (not given.name and len(site.dataservers) > 1):
            known = ", ".join(site.dataservers) or "none"
            raise UsageError(f"{given.config} has these data servers: {known}; say --name")
        return run_service(DataServerService(site.dataservers[name], site.mss, site.name_map()))
    except PackhorseError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
