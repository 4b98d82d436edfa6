"""`python -m packhorse.worker OPTIONS`: workers that end with the process that started them."""

from __future__ import annotations

import logging
import sys

from packhorse.worker import run_workers
from packhorse.worker.options import from_argument

logging.basicConfig(level=logging.WARNING, format="workers: %(message)s")
sys.exit(run_workers(from_argument(sys.argv[1]), end_with_parent=True))
