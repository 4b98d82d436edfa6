#!/bin/sh
# A stage command that misbehaves in the way its file's directory is called:
# SOURCE TARGET LFN. Every run is noted in ../runs, as one line of the mark its
# processes bear and the path it was to write.
here=${0%/*}/..
source=$1
target=$2
way=${3#/store/}
way=${way%%/*}
notes=$here/runs/$way
echo "$PACKHORSE_COMMAND_ID $target" >> "$notes"
runs=$(wc -l < "$notes")

fail() {
    code=$1
    shift
    echo "$*" >&2
    exit "$code"
}

# Whether this is a run on the pool that had the first one.
on_first_node() {
    read -r first < "$notes"
    first=${first#* }
    [ "${target%%/.incoming/*}" = "${first%%/.incoming/*}" ]
}

case $way in
    nothing) exit 0 ;;
    link) ln -s "$source" "$target"; exit 0 ;;
    directory) mkdir "$target"; exit 0 ;;
    short) head -c 500 "$source" > "$target"; exit 0 ;;
    long) cat "$source" "$source" > "$target"; exit 0 ;;
    endless) while :; do echo 'and so on and so forth' >> "$target"; sleep 0.001; done ;;
    corrupt) tr 'e' 'E' < "$source" > "$target"; exit 0 ;;
    hang) exec sleep 600 ;;
    stall) head -c 500 "$source" > "$target"; exec sleep 600 ;;
    crawl) while :; do touch "$target"; sleep 0.1; done ;;
    flood) yes 'the robot is confused' | head -c 20000000 >&2; fail 30 "the robot gives up" ;;
    chatter) yes 'all is well' | head -c 20000000 ;;
    stubborn) trap '' TERM; while :; do sleep 600; done ;;
    orphan) sleep 600 & ;;
    deserter) setsid sleep 600 & exec sleep 600 ;;
    suicide) kill -KILL $$ ;;
    garbled) printf 'a \033[31mred\033[0m light\007\r\n\377\376 on the drive\n' >&2; exit 30 ;;
    missing) fail 66 "no such file on tape" ;;
    damaged) fail 65 "the tape is torn" ;;
    busy) [ "$runs" -gt 1 ] || fail 75 "all drives are taken" ;;
    elsewhere) if on_first_node; then fail 42 "this node cannot see the archive"; fi ;;
    full) if on_first_node; then fail 41 "no space on this node"; fi ;;
    litter) cp "$source" "$target.bak"; mkdir "${target%/*}/more"; touch "${target%/*}/more/x" ;;
esac
exec cp -- "$source" "$target"
