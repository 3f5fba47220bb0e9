#!/bin/sh
# A part of a stack, ready after so many seconds.
rm -f "/srv/bench/part-$1"
date +%s%N >"/srv/bench/part-$1.began"
sleep "$2"
echo ready >"/srv/bench/part-$1"
exec sleep infinity
