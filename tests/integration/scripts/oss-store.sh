#!/bin/sh
# A script for frm.xfr.copycmd out: LOCAL REMOTE.
mkdir -p "$(dirname "$2")" && cp "$1" "$2.part" && mv "$2.part" "$2"
