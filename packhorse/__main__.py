"""`python -m packhorse` is the command `packhorse`."""

from __future__ import annotations

import sys

from packhorse.cli.main import main

sys.exit(main())
