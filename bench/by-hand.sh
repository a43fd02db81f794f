#!/bin/bash
# by-hand.sh socat|nc SOCKET QEMU...: what people write: QEMU in the background, and a trap that talks to its monitor.
tool=$1 monitor=$2
shift 2
# shellcheck disable=SC2317 # the trap calls it
case $tool in
    socat) press() { echo system_powerdown | socat - "UNIX-CONNECT:$monitor" >/dev/null; } ;;
    nc) press() { echo system_powerdown | nc -N -U "$monitor" >/dev/null; } ;;
esac
trap press TERM
"$@" &
while kill -0 $! 2>/dev/null; do wait $!; status=$?; done
exit "$status"
