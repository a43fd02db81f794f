#!/bin/sh
# make.sh DIR: makes a whole Debian 12 as a guest in DIR, as root: systemd, logind, udev, PostgreSQL and the guest agent
# on an ext4 file system, which mke2fs fills from a debootstrap folder; kernel and initramfs beside it. What
# root/usr/local/sbin/load says and does is its load.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
dir=$1
stamp=$(find "$here" -type f -exec cat {} + | sha256sum)
[ -e "$dir/made" ] && [ "$(cat "$dir/made")" = "$stamp" ] && exit 0
rm -rf "$dir"
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
root=$dir/root

# In a mount namespace: what is mounted in the folder is gone with it.
if [ "${APART-}" != 1 ]; then
    APART=1 unshare --mount --propagation private sh "$here/make.sh" "$dir"
    exit
fi
mkdir -p "$dir"
# shellcheck disable=SC2016 # for apt-get to expand
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Codename: bookworm' | head -n 1)
debootstrap --variant=minbase bookworm "$root" "$mirror" >&2
rm -f "$root/etc/apt/sources.list"
cp -r /etc/apt/sources.list* "$root/etc/apt/"
printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
chmod 755 "$root/usr/sbin/policy-rc.d"
mount -t proc proc "$root/proc"
mount --bind /dev "$root/dev"
export DEBIAN_FRONTEND=noninteractive
chroot "$root" apt-get update -q >&2
chroot "$root" apt-get install -q -y --no-install-recommends systemd-sysv dbus libpam-systemd udev kmod zstd \
    linux-image-cloud-amd64 postgresql qemu-guest-agent >&2
umount "$root/dev" "$root/proc"
cp -r "$here/root/." "$root/"
# What a Debian does by the clock, and what waits for a user.
systemctl --root "$root" mask apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer fstrim.timer dpkg-db-backup.timer getty.target >&2
systemctl --root "$root" enable load.service >&2
rm -rf "$root/usr/sbin/policy-rc.d" "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/*
echo debian >"$root/etc/hostname"
cp "$root"/boot/vmlinuz-* "$dir/vmlinuz"
cp "$root"/boot/initrd.img-* "$dir/initrd.img"
mke2fs -q -F -t ext4 -E lazy_itable_init=0,lazy_journal_init=0 -d "$root" "$dir/disk" 2500M
rm -rf "$root"
echo "$stamp" >"$dir/made"
