#!/bin/bash
# box.sh INIT LOWER COMMAND...: runs COMMAND as root in a machine of its own, as far as namespaces make one: process
# ids, mounts, control groups, host name. It sees this system with the folder LOWER laid over it, and nothing of a
# qemu-trap that this host has; what it writes is gone with it, but for the folder $BOX_SHARED. INIT is `tini` or `systemd`, a real one. The status is
# COMMAND's. With $BOX_BASE that folder is the system, and not this one. Its control groups are those of version 2; with $BOX_CGROUP=1 those of version 1, which container engines
# need where the controllers are there.
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

# The option of mount(8) for a hierarchy of version 1.
# shellcheck disable=SC2317 # both scripts below call it
mount_option() {
    if [ "$1" = systemd ]; then echo none,name=systemd; else echo "$1"; fi
}
export -f mount_option

# shellcheck disable=SC2016,SC2089 # a script for another shell
inner='
[ "$(readlink /proc/self/ns/cgroup)" != "$HOST_CGROUP_NS" ] || exit 99
mount -t overlay overlay -o "lowerdir=$box/lower:${BOX_BASE:-/},upperdir=$box/upper,workdir=$box/work" "$box/root"
cd "$box/root"
mount -t proc proc proc
[ "$(readlink proc/self/ns/pid)" != "$HOST_PID_NS" ] || exit 99
mount -t sysfs -o ro sysfs sys
if [ -z "$hierarchies" ]; then mount -t cgroup2 cgroup2 sys/fs/cgroup; else mount -t tmpfs -o mode=755 tmpfs sys/fs/cgroup; fi
for name in $hierarchies; do
    mkdir "sys/fs/cgroup/$name"
    mount -t cgroup -o "$(mount_option "$name")" cgroup "sys/fs/cgroup/$name"
done
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
hierarchies=
[ "${BOX_CGROUP-}" != 1 ] || hierarchies=$(sed -n "s/^[1-9][0-9]*:\\(name=\\)\\?\\(systemd\\|[a-z]*\\):.*/\\2/p" /proc/self/cgroup)
for name in $hierarchies; do
    mkdir -p "$box/version1/$name"
    mount -t cgroup -o "$(mount_option "$name")" cgroup "$box/version1/$name"
    own=$box/version1/$name/qemu-trap-box-$$
    mkdir "$own"
    if [ "$name" = cpuset ]; then
        for file in cpuset.cpus cpuset.mems; do cat "$box/version1/cpuset/$file" >"$own/$file"; done
        echo 1 >"$own/cgroup.clone_children"
    fi
    echo $$ >"$own/cgroup.procs"
done
export hierarchies
status=0
# Whatever hangs in there is ended whole with its first process, so that the rest of this script still cleans up.
timeout -s KILL "${BOX_SECONDS:-900}" unshare --cgroup --pid --mount --uts --ipc --fork --kill-child --propagation private \
    bash -euc "$inner" box "$@" || status=$?
for root in "$box/cgroup" $(for name in $hierarchies; do echo "$box/version1/$name"; done); do
    echo $$ >"$root/cgroup.procs"
    for _ in 1 2 3 4 5; do
        find "$root/qemu-trap-box-$$" -depth -type d -exec rmdir {} + 2>/dev/null && break
        sleep 0.2
    done
done
exit $status
'
status=0
unshare --mount --propagation private bash -euc "$outer" box "$@" || status=$?
rmdir "$box"
exit "$status"
