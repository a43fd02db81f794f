#!/bin/sh
# base.sh FILE: inside a box, makes a small Debian 12 with this host's package sources, as a tar file: the base of the
# image, which no registry of images is asked for.
set -eu
folder=/var/lib/qemu-trap-base
# shellcheck disable=SC2016 # for apt-get to expand
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Codename: bookworm' | head -n 1)
debootstrap --variant=minbase bookworm "$folder" "$mirror" >"$folder.log" 2>&1 || { tail "$folder.log" >&2; exit 1; }
rm -f "$folder/etc/apt/sources.list"
cp -r /etc/apt/sources.list* "$folder/etc/apt/"
# npm's own, if this host has one.
[ -z "${NODE_EXTRA_CA_CERTS-}" ] || cp "$NODE_EXTRA_CA_CERTS" "$folder/etc/node-ca.crt"
tar -C "$folder" --one-file-system -cf "$1.part" .
mv "$1.part" "$1"
