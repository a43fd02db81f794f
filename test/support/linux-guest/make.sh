#!/bin/sh
# Makes a real Linux guest in DIR: Debian's cloud kernel, unpacked and not installed, and an initramfs of busybox,
# the modules it needs and the QEMU guest agent. Usage: make.sh DIR [ARCHITECTURE]
set -eu
here=$(cd "$(dirname "$0")" && pwd)
dir=$1
arch=${2-$(dpkg --print-architecture)}
host=$(dpkg --print-architecture)

stamp=$(cat "$here/make.sh" "$here/init" | sha256sum)
[ -e "$dir/made" ] && [ "$(cat "$dir/made")" = "$stamp" ] && exit 0
rm -rf "$dir"
mkdir -p "$dir/packages" "$dir/apt/lists/partial" "$dir/root/bin" "$dir/root/modules"
dir=$(cd "$dir" && pwd)

# Of another architecture: with package lists of its own, for this system has none.
apt() {
    if [ "$arch" = "$host" ]; then
        apt-get "$@"
    else
        apt-get -o "APT::Architecture=$arch" -o "APT::Architectures::=$arch" -o "Dir::State::lists=$dir/apt/lists" \
            -o Dir::State::status=/dev/null -o "Dir::Cache=$dir/apt" "$@"
    fi
}
# The lists that are there may be of yesterday, and name what is no longer to be had.
download() { (cd "$dir/packages" && apt download -q -o APT::Sandbox::User=root "$@" >&2); }
fetch() { download "$@" || { apt update -q >&2 && download "$@"; }; }

fetch "linux-image-cloud-$arch"
kernel=$(dpkg-deb -f "$dir"/packages/linux-image-cloud-*.deb Depends | grep -o 'linux-image-[0-9][^ ,]*' | head -n 1)
fetch "$kernel" busybox-static qemu-guest-agent
for package in "$dir"/packages/*.deb; do dpkg -x "$package" "$dir/unpacked"; done
cp "$dir"/unpacked/boot/vmlinuz-* "$dir/vmlinuz"

# In the order they are to be loaded; what this kernel has built in, or not at all, is left out.
for module in button virtio_ring virtio virtio_pci_legacy_dev virtio_pci_modern_dev virtio_pci virtio_mmio failover \
    virtio_blk virtio_console evdev gpio-pl061 gpio_keys; do
    file=$(find "$dir/unpacked/lib/modules" -name "$module.ko*" | head -n 1)
    [ -n "$file" ] || continue
    case $file in
        *.xz) xz -dc "$file" >"$dir/root/modules/$module.ko" ;;
        *) cp "$file" "$dir/root/modules/$module.ko" ;;
    esac
    echo "$module.ko" >>"$dir/root/modules/order"
done

cp "$dir/unpacked/bin/busybox" "$dir/root/bin/busybox" 2>/dev/null || cp "$dir/unpacked/usr/bin/busybox" "$dir/root/bin/busybox"
if [ "$arch" = "$host" ]; then
    # Its libraries are QEMU's own too, so they are here.
    agent=$dir/unpacked/usr/sbin/qemu-ga
    cp "$agent" "$dir/root/bin/qemu-ga"
    ldd "$agent" | grep -o '/[^ ]*' | while read -r library; do
        mkdir -p "$dir/root$(dirname "$library")"
        cp -L "$library" "$dir/root$library"
    done
fi
cp "$here/init" "$dir/root/init"
(cd "$dir/root" && find . | busybox cpio -o -H newc 2>/dev/null | gzip -1) >"$dir/initramfs.gz"
rm -rf "$dir/packages" "$dir/unpacked" "$dir/apt" "$dir/root"
echo "$stamp" >"$dir/made"
