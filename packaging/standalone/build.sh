#!/bin/sh
# npm run standalone [-- DIRECTORY]: qemu-trap with a Node of its own, for hosts that have none:
# qemu-trap-VERSION-linux-ARCH.tar.xz for x64 and arm64, of what npm run build has made. To install: unpack it in /opt, and
# make one link.
set -eu
cd "$(dirname "$0")/../.."
out=$(realpath "${1:-.}")
version=$(node -p 'require("./package.json").version')
# Supported until April 2027, and smaller in memory than 24.
node=22
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
umask 022
. packaging/epoch.sh

for arch in ${QEMU_TRAP_STANDALONE_ARCH:-x64 arm64}; do
    name=qemu-trap-$version-linux-$arch
    root=$work/$name
    mkdir -p "$root/bin" "$root/share/man/man1" "$root/share/man/man7"
    (cd "$work" && npm pack --silent "node-linux-$arch@$node" >"$work/packed")
    mkdir "$work/node-$arch"
    tar -xzf "$work/$(tail -n 1 "$work/packed")" -C "$work/node-$arch"
    install -m 755 "$work/node-$arch/package/bin/node" "$root/bin/node"
    [ ! -e "$work/node-$arch/package/LICENSE" ] || install -m 644 "$work/node-$arch/package/LICENSE" "$root/LICENSE.node"
    install -m 755 packaging/standalone/qemu-trap "$root/bin/qemu-trap"
    mkdir "$root/dist"
    install -m 644 dist/*.cjs "$root/dist/"
    cp -r hooks docs examples "$root/"
    install -m 644 README.md CHANGELOG.md LICENSE "$root/"
    install -m 644 dist/man/*.1 "$root/share/man/man1/"
    install -m 644 dist/man/*.7 "$root/share/man/man7/"
    cp -r dist/completions "$root/share/"
    mkdir "$root/systemd"
    sed 's|exec qemu-trap|exec /opt/qemu-trap/bin/qemu-trap|' 'examples/systemd/qemu-trap@.service' >"$root/systemd/qemu-trap@.service"
    chmod -R u=rwX,go=rX "$root"
    tar -C "$work" --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner -cJf "$out/$name.tar.xz" "$name"
    echo "$out/$name.tar.xz"
done
