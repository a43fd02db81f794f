#!/bin/sh
# npm run bench -- [--quick] [--only boot,stop,start,idle,shutdown,storm] [--rounds N]
# [--guests 10,25,50,100,200] [--svg FILE] [--json FILE]: qemu-trap beside what people write by hand and beside libvirt, in one
# run; as root, in a box of its own, some forty minutes on two processors. Nothing else should run meanwhile.
set -eu
cd "$(dirname "$0")/.."
sh test/setup.sh test
sh test/managers/fetch.sh .cache/bench runit tini dumb-init libvirt-daemon libvirt-daemon-driver-qemu libvirt-clients gettext-base
mkdir -p build/bench
cc -O2 -Wall -o build/bench/floor bench/floor.c
node_modules/.bin/esbuild --bundle --platform=node --target=node18 --format=esm --packages=external --log-level=warning \
    --out-extension:.js=.mjs bench/main.ts --outdir=build/bench
unset NODE_EXTRA_CA_CERTS
BOX_SECONDS=7200 exec bash test/managers/box.sh tini .cache/bench/root sh bench/in-box.sh "$@"
