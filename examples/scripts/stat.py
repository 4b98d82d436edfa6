#!/usr/bin/env python3
"""A statcmd: prints the size of FILE, and its checksum if FILE.adler32 holds one."""

import json
import sys
from pathlib import Path

NO_SUCH_FILE = 66

path = Path(sys.argv[1])
if not path.is_file():
    sys.exit(NO_SUCH_FILE)
answer: dict[str, object] = {"size": path.stat().st_size}
beside = Path(f"{path}.adler32")
if beside.is_file():
    answer["checksum"] = f"adler32:{beside.read_text().strip()}"
print(json.dumps(answer))
