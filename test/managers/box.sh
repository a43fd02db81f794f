#!/bin/bash
# box.sh INIT LOWER COMMAND...: runs COMMAND as root in a machine of its own, as far as namespaces make one: process
# ids, mounts, control groups, host name. It sees this system with the folder LOWER laid over it, and nothing of a
# qemu-trap that this host has; what it writes is gone with it, but for the folder $BOX_SHARED. INIT is `tini` or `systemd`, a real one. The status is
# COMMAND's.
#
# systemd started straight on a host would take over all its control groups, and killall5 would end everything: so
# neither is reached before two guards have seen that the namespaces are others than the host's.
set -eu
init=$1 lower=$(realpath "$2")
shift 2
box=$(mktemp -d /tmp/qemu-trap-box.XXXXXX)
here=$PWD
HOST_PID_NS=$(readlink /proc/self/ns/pid) HOST_CGROUP_NS=$(readlink /proc/self/ns/cgroup)
export init lower box here HOST_PID_NS HOST_CGROUP_NS

# shellcheck disable=SC2016,SC2089 # a script for another shell
inner='
[ "$(readlink /proc/self/ns/cgroup)" != "$HOST_CGROUP_NS" ] || exit 99
mount -t overlay overlay -o "lowerdir=$box/lower:/,upperdir=$box/upper,workdir=$box/work" "$box/root"
cd "$box/root"
mount -t proc proc proc
[ "$(readlink proc/self/ns/pid)" != "$HOST_PID_NS" ] || exit 99
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs tmpfs dev
mkdir dev/pts dev/shm
for node in null zero full random urandom tty; do touch dev/$node; mount --bind /dev/$node dev/$node; done
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
mount -t tmpfs -o mode=1777 tmpfs dev/shm
mount -t tmpfs -o mode=1777 tmpfs tmp
if [ -n "${BOX_SHARED-}" ]; then
    mkdir -p ".$BOX_SHARED"
    mount --bind "$BOX_SHARED" ".$BOX_SHARED"
fi
rm -rf etc/qemu-trap var/lib/qemu-trap
# The checkout may lie in a file system of its own.
mkdir -p ".$here"
mount --bind "$here" ".$here"
mkdir .old
pivot_root . .old
umount -l /.old
rmdir /.old
cd "$here"
if [ "$init" = tini ]; then exec tini -- "$@"; fi

mkdir -p /run/systemd/system /run/units
for target in shutdown umount final poweroff exit; do ln -s /lib/systemd/system/$target.target /run/units/; done
ln -s /lib/systemd/system/systemd-{poweroff,exit}.service /run/units/
for target in sysinit basic network-online multi-user box; do printf "[Unit]\nDefaultDependencies=no\n" >/run/units/$target.target; done
export container=qemu-trap-box SYSTEMD_UNIT_PATH=/run/units:/etc/systemd/system
(
    until systemctl is-active -q box.target 2>/dev/null; do sleep 0.02; done
    status=0
    "$@" || status=$?
    exec systemctl exit "$status"
) &
exec /lib/systemd/systemd --system --unit=box.target --log-target=null --show-status=false </dev/null
'
# shellcheck disable=SC2090
export inner

# shellcheck disable=SC2016 # as above
outer='
mount -t tmpfs tmpfs "$box"
cp -a "$lower" "$box/lower"
mkdir "$box/upper" "$box/work" "$box/root" "$box/cgroup"
mount -t cgroup2 cgroup2 "$box/cgroup"
group=$box/cgroup/qemu-trap-box-$$
mkdir "$group"
echo $$ >"$group/cgroup.procs"
status=0
# Whatever hangs in there is ended whole with its first process, so that the rest of this script still cleans up.
timeout -s KILL "${BOX_SECONDS:-900}" unshare --cgroup --pid --mount --uts --ipc --fork --kill-child --propagation private \
    bash -euc "$inner" box "$@" || status=$?
echo $$ >"$box/cgroup/cgroup.procs"
for _ in 1 2 3 4 5; do
    find "$group" -depth -type d -exec rmdir {} + 2>/dev/null && break
    sleep 0.2
done
exit $status
'
status=0
unshare --mount --propagation private bash -euc "$outer" box "$@" || status=$?
rmdir "$box"
exit "$status"
