#!/bin/sh
# apart.sh COMMAND...: runs COMMAND as root where nothing of this host's own qemu-trap is seen, and nothing is left: its
# hooks, its state and its run directories are hidden, and what is written in their place goes with COMMAND.
# To be run by unshare(1) with --mount --propagation private.
set -eu
mount -t tmpfs tmpfs /mnt
for parent in etc var/lib run; do
    mkdir -p "/mnt/upper/$parent" "/mnt/work/$parent"
    mount -t overlay overlay -o "lowerdir=/$parent,upperdir=/mnt/upper/$parent,workdir=/mnt/work/$parent" "/$parent"
    rm -rf "/$parent/qemu-trap"
done
exec "$@"
