#!/bin/sh
# Stages one file, as XRootD's oss.stagecmd calls it: REMOTE LOCAL.
# Exit 0: done. Any other code is told to whoever waits, with the last lines of stderr.
set -eu
remote=$1
local=$2
if [ ! -e "$remote" ]; then
    echo "no such file in the archive: $remote" >&2
    exit 2
fi
exec cp -- "$remote" "$local"
