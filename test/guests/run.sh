#!/bin/sh
# npm run test:guests: what the normal suite has no room for, on Debian as root: a real Linux on aarch64, a whole Debian
# with PostgreSQL, and the whole suite with the QEMU of Debian 13 and of sid. It takes an hour and 4 GB in .cache.
set -eu
cd "$(dirname "$0")/../.."
sh test/setup.sh test

export DEBIAN_FRONTEND=noninteractive
apt-get install -q -y --no-install-recommends debootstrap patchelf qemu-system-arm qemu-efi-aarch64 >&2
sh test/support/linux-guest/make.sh .cache/linux-guest-arm64 arm64
sh test/guests/debian/make.sh .cache/debian-guest
node_modules/.bin/esbuild --bundle --platform=node --target=node18 --format=esm --packages=external --log-level=warning \
    --out-extension:.js=.mjs test/guests/*.test.ts --outdir=build/guests
unset NODE_EXTRA_CA_CERTS
node --test --test-reporter=spec build/guests/*.test.mjs

# The whole suite with the QEMU of each: from a folder of debootstrap's, by its own loader and libraries, which are
# written into the program, so that its process is QEMU by its own name.
failed=0
for release in ${QEMU_TRAP_TEST_RELEASES:-trixie sid}; do
    root=$PWD/.cache/$release
    if [ ! -e "$root/made" ]; then
        rm -rf "$root"
        debootstrap --variant=minbase --include=qemu-system-x86,seabios,ipxe-qemu "$release" "$root" >&2
        : >"$root/made"
    fi
    patchelf --set-interpreter "$root/usr/lib64/ld-linux-x86-64.so.2" --set-rpath "$root/usr/lib/x86_64-linux-gnu" --force-rpath "$root/usr/bin/qemu-system-x86_64"
    ln -sfn ../.. "$root/usr/bin/qemu-bundle"
    mkdir -p ".cache/qemu-$release"
    ln -sfn "$root/usr/bin/qemu-system-x86_64" ".cache/qemu-$release/qemu-system-x86_64"
    echo "the suite with: $(".cache/qemu-$release/qemu-system-x86_64" --version | head -n 1)"
    # In the place of this system's: by whatever path a QEMU is called, it is that one, with its own modules and firmware.
    # shellcheck disable=SC2016 # a script for another shell
    unshare --mount --propagation private sh -euc '
        for each in bin/qemu-system-x86_64 lib/x86_64-linux-gnu/qemu share/qemu share/seabios; do
            mount --bind "$1/usr/$each" "/usr/$each"
        done
        exec sh test/run.sh' sh "$root" || failed=1
done
exit $failed
