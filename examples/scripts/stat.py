#!/usr/bin/env python3
"""A statcmd: prints the size and time of FILE, and its checksum if FILE.adler32 holds one."""

import json
import stat
import sys
from pathlib import Path

NO_SUCH_FILE = 66

path = Path(sys.argv[1])
try:
    found = path.stat()
except (FileNotFoundError, NotADirectoryError):
    sys.exit(NO_SUCH_FILE)
answer: dict[str, object] = {"size": found.st_size, "mtime": found.st_mtime}
if stat.S_ISDIR(found.st_mode):
    answer["type"] = "dir"
elif not stat.S_ISREG(found.st_mode):
    sys.exit(NO_SUCH_FILE)
beside = Path(f"{path}.adler32")
if beside.is_file():
    answer["checksum"] = f"adler32:{beside.read_text().strip()}"
print(json.dumps(answer))
