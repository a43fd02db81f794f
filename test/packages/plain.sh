#!/bin/sh
# plain.sh DIR: a Debian 12 with systemd and QEMU in DIR, by debootstrap, and no Node.
set -eu
dir=$1
[ ! -e "$dir/made" ] || exit 0
rm -rf "$dir"
mkdir -p "$dir"
# shellcheck disable=SC2016 # for apt-get to expand
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Codename: bookworm' | head -n 1)
debootstrap --variant=minbase --include=systemd,systemd-sysv,procps,xz-utils,ca-certificates,qemu-system-x86,seabios,ipxe-qemu bookworm "$dir" "$mirror" >&2
rm -f "$dir/etc/apt/sources.list"
cp -r /etc/apt/sources.list* "$dir/etc/apt/"
[ ! -e /etc/apt/apt.conf ] || cp /etc/apt/apt.conf "$dir/etc/apt/"
cp -r /etc/apt/apt.conf.d "$dir/etc/apt/"
[ -z "$(chroot "$dir" sh -c 'command -v node')" ]
: >"$dir/made"
