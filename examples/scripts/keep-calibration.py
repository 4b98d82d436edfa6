#!/usr/bin/env python3
"""A purgecmd: calibration is kept, and raw data go before all others.

Candidates come as JSON lines, the longest unused first; verdicts go out the same way.
Files it says nothing about go in their usual order. See docs/purge.md.
"""

import json
import sys

for line in sys.stdin:
    lfn = json.loads(line)["lfn"]
    if lfn.startswith("/store/calibration/"):
        print(json.dumps({"lfn": lfn, "verdict": "keep"}))
    elif lfn.startswith("/store/raw/"):
        print(json.dumps({"lfn": lfn, "verdict": "purge", "rank": 1}))
