#!/usr/bin/env python3
"""A listcmd: prints the files and directories in DIRECTORY, a line of JSON for each."""

import json
import os
import stat
import sys

NO_SUCH_DIRECTORY = 66
NOT_NOW = 75

try:
    entries = list(os.scandir(sys.argv[1]))
except (FileNotFoundError, NotADirectoryError) as error:
    print(error, file=sys.stderr)
    sys.exit(NO_SUCH_DIRECTORY)
except OSError as error:
    print(error, file=sys.stderr)
    sys.exit(NOT_NOW)
for entry in entries:
    try:
        found = entry.stat()
    except FileNotFoundError:
        continue
    answer: dict[str, object] = {"name": entry.name, "mtime": found.st_mtime}
    if stat.S_ISDIR(found.st_mode):
        answer["type"] = "dir"
    elif stat.S_ISREG(found.st_mode):
        answer["size"] = found.st_size
    else:
        continue
    print(json.dumps(answer))
