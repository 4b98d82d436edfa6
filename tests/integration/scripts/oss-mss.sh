#!/bin/sh
# A script for oss.rsscmd: VERB PATH. Its first line is 0 or an errno, then comes the answer.
verb=$1
path=$2
[ -e "$path" ] || { echo 2; exit 0; }
case $verb in
    exists) echo 0 ;;
    statx)
        echo 0
        kind=-
        [ ! -d "$path" ] || kind=d
        echo "$kind $(stat -c '%A %h %u %g %X %Z %Y %s 4096 %b' "$path" | cut -c 2-)"
        ;;
    dlist) echo 0; ls -A "$path" ;;
    rm) rm "$path" && echo 0 ;;
    *) echo 95 ;;
esac
