#!/bin/sh
# Stages one file, called as XRootD's oss.stagecmd calls it: REMOTE LOCAL.
# What it says on stderr reaches whoever waits for the file.
set -eu
remote=$1
local=$2
if [ ! -e "$remote" ]; then
    echo "no such file in the archive: $remote" >&2
    exit 66
fi
exec cp -- "$remote" "$local"
