#!/bin/sh
# An HSM script as dCache calls it. Its tape is the directory of the option -tape=.
# It keeps a file under the identifier it is given, and answers the address of that.
set -eu
verb=$1
shift
tape= uri= info= id= file=
for word; do
    case $word in
        -tape=*) tape=${word#*=} ;;
        -uri=*) uri=${word#*=} ;;
        -si=*) info=${word#*=} ;;
        -*) ;;
        *) if [ -z "$id" ]; then id=$word; else file=$word; fi ;;
    esac
done
[ -d "$tape" ] || { echo "no tape $tape" >&2; exit 38; }
kept=$tape/${uri##*bfid=}
case $verb in
    put)
        case $info in *"size=$(stat -c %s "$file");"*"stored=false;"*) ;; *) exit 37 ;; esac
        cp "$file" "$tape/$id" || exit 41
        echo "osm://osm/?store=test&group=files&bfid=$id"
        ;;
    get)
        [ -e "$kept" ] || { echo "no such bitfile: $uri" >&2; exit 66; }
        [ ! -e "$file" ] || { echo "$file is there already" >&2; exit 36; }
        cp "$kept" "$file" || exit 43
        ;;
    remove) rm -f "$kept" ;;
    *) echo "what is $verb?" >&2; exit 35 ;;
esac
