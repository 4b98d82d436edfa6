#!/bin/sh
# A script for oss.stagecmd: REMOTE LOCAL. It makes the directory, brings the file once, writes
# to another name first, and leaves LOCAL.fail behind, of the second 2 if there is no such file.
remote=$1
local=$2
[ ! -e "$local" ] || exit 0
mkdir -p "$(dirname "$local")"
if [ ! -e "$remote" ]; then
    touch -d @2 "$local.fail"
    exit 2
fi
if cp "$remote" "$local.anew" && mv "$local.anew" "$local"; then
    rm -f "$local.fail"
    exit 0
fi
touch "$local.fail"
exit 1
