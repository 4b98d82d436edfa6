#!/bin/sh
# A script as sites have them for XRootD's oss.stagecmd: REMOTE LOCAL, and nothing else.
# Every run is noted in ../runs. A file is held back while ../gates has one of its name.
here=${0%/*}/..
remote=$1
local=$2
echo "$remote $local $$" >> "$here/runs.log"
mkdir -p "${local%/*}"
while [ -e "$here/gates/${remote##*/}" ]; do
    echo 'waiting for the robot' > "$local.anew"
    sleep 0.02
done
if cp -- "$remote" "$local.anew"; then
    mv -- "$local.anew" "$local"
else
    touch "$local.fail"
    exit 1
fi
