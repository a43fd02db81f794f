#!/bin/sh
# arm64.sh CACHE DIR: the tarball for arm64 in DIR runs a VM, and shuts it down. Its Node is emulated by qemu-user; sh and
# QEMU are this machine's. CACHE keeps the emulator, and a Debian's libraries for arm64.
set -eux
dir=$1
work=$2
if [ ! -e "$dir/made" ]; then
    rm -rf "$dir"
    mkdir -p "$dir"
    # Unpacked, not installed: a package would register its emulator for the whole machine.
    (cd "$dir" && apt-get download -q qemu-user-static && dpkg -x qemu-user-static*.deb emulator) >&2
    # shellcheck disable=SC2016 # for apt-get to expand
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Codename: bookworm' | head -n 1)
    debootstrap --foreign --arch=arm64 --variant=minbase bookworm "$dir/root" "$mirror" >&2
    : >"$dir/made"
fi
tar -xJf "$work"/qemu-trap-*-linux-arm64.tar.xz -C "$work" --strip-components=1
set -- "$dir/emulator/usr/bin/qemu-aarch64-static" -L "$dir/root" "$work/bin/node"
[ "$("$@" -p process.arch)" = arm64 ]

serial=$work/serial
: >"$serial"
"$@" "$work/dist/qemu-trap.cjs" --timeout 60 -- \
    qemu-system-x86_64 -M pc -m 16 -display none -net none -serial "file:$serial" \
    -drive file=build/packages/guest.img,format=raw,snapshot=on &
pid=$!
tries=600
until grep -q 'guest: up' "$serial"; do
    tries=$((tries - 1))
    [ "$tries" -gt 0 ]
    sleep 0.1
done
kill "$pid"
wait "$pid"
grep -q 'guest: bye' "$serial"
