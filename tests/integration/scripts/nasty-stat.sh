#!/bin/sh
# A stat command: SOURCE LFN. What it knows of a file lies beside it in the archive,
# and it misbehaves itself for the files of some directories.
case $2 in
    /store/unstated/hang/*) exec sleep 600 ;;
    /store/unstated/nonsense/*) echo "size? what size?"; exit 0 ;;
    /store/unstated/empty/*) exit 0 ;;
    /store/unstated/fails/*) echo "the catalogue is down" >&2; exit 75 ;;
    /store/unstated/negative/*) echo '{"size": -1}'; exit 0 ;;
    /store/unstated/strange/*) echo '{"size": {"of": []}, "checksum": 7}'; exit 0 ;;
    /store/unstated/flood/*) yes | head -c 20000000; exit 0 ;;
    /store/huge/*) echo '{"size": 1000000000000}'; exit 0 ;;
esac
[ -e "$1" ] || { echo "no such file on tape" >&2; exit 66; }
exec cat -- "$1.stat"
