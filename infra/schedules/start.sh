#!/bin/bash
# A process that trains on a Ray cluster must run on one of its nodes. So this container joins the
# cluster, offering no CPU, and serves the schedules beside that. When either ends the container
# does, and Docker starts both again.
set -u

stopping=
# tini signals the whole group, so both know already.
trap 'stopping=1' TERM INT

ray start --address="$RAY_ADDRESS" --num-cpus=0 --num-gpus=0 --disable-usage-stats --block &
isthmus schedule serve "$@" &

wait -n
status=$?
[ -n "$stopping" ] || kill $(jobs -p) 2> /dev/null
wait
exit "$status"
