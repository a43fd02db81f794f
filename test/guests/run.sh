#!/bin/sh
# npm run test:guests: what the normal suite has no room for, on Debian as root: a real Linux on aarch64, and the whole
# suite once more with the QEMU of Debian 13, from a debootstrap folder. It takes some 15 minutes and 1 GB in .cache.
set -eu
cd "$(dirname "$0")/../.."
sh test/setup.sh test

export DEBIAN_FRONTEND=noninteractive
apt-get install -q -y --no-install-recommends debootstrap patchelf qemu-system-arm qemu-efi-aarch64 >&2
sh test/support/linux-guest/make.sh .cache/linux-guest-arm64 arm64
node_modules/.bin/esbuild --bundle --platform=node --target=node18 --format=esm --packages=external --log-level=warning \
    --out-extension:.js=.mjs test/guests/*.test.ts --outdir=build/guests
unset NODE_EXTRA_CA_CERTS
node --test --test-reporter=spec build/guests/*.test.mjs

trixie=$PWD/.cache/trixie
if [ ! -e "$trixie/made" ]; then
    rm -rf "$trixie"
    debootstrap --variant=minbase --include=qemu-system-x86,seabios,ipxe-qemu trixie "$trixie" >&2
    : >"$trixie/made"
fi
# Its own loader and libraries, written into the program, so that its process is QEMU by its own name.
patchelf --set-interpreter "$trixie/usr/lib64/ld-linux-x86-64.so.2" --set-rpath "$trixie/usr/lib/x86_64-linux-gnu" --force-rpath "$trixie/usr/bin/qemu-system-x86_64"
ln -sfn ../.. "$trixie/usr/bin/qemu-bundle"
mkdir -p .cache/qemu-13
ln -sfn "$trixie/usr/bin/qemu-system-x86_64" .cache/qemu-13/qemu-system-x86_64
PATH=$PWD/.cache/qemu-13:$PATH
export PATH
qemu-system-x86_64 --version
exec sh test/run.sh
