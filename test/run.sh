#!/bin/sh
# Runs the tests that test/setup.sh has built.
set -eu
cd "$(dirname "$0")/.."
# It costs Node 20 another 39 ms at each start, and the tests start hundreds.
unset NODE_EXTRA_CA_CERTS
# Three files at a time: most of the time is waiting, and a fourth brings nothing on two processors.
# shellcheck disable=SC2046 # names without blanks
set -- node --test --test-concurrency=3 --test-reporter=spec $(find build/test -name '*.test.mjs' | sort)
apart='unshare --mount --propagation private sh test/support/apart.sh'
# A root without the right to mount has the host as it is.
# shellcheck disable=SC2086 # words
if [ "$(id -u)" = 0 ] && $apart true 2>/dev/null; then exec $apart "$@"; fi
exec "$@"
