#!/bin/sh
# npm run deb: qemu-trap as a package of Debian, qemu-trap_VERSION_all.deb in the folder that is named, or in this one.
# Built with dpkg-deb of what npm run build has made; QEMU_TRAP_DEB_VERSION names another version.
set -eu
cd "$(dirname "$0")/../.."
out=$(realpath "${1:-.}")
version=${QEMU_TRAP_DEB_VERSION:-$(node -p 'require("./package.json").version')}
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
umask 022
chmod 755 "$root"

put() { # MODE SOURCE TARGET
    install -D -m "$1" "$2" "$root/$3"
}
compressed() { # SOURCE TARGET
    mkdir -p "$root/${2%/*}"
    gzip -9 -n <"$1" >"$root/$2.gz"
}

lib=usr/lib/qemu-trap
mkdir -p "$root/$lib" "$root/usr/bin"
cp -r hooks "$root/$lib/"
for file in dist/*.cjs; do put 644 "$file" "$lib/$file"; done
chmod 755 "$root/$lib/dist/qemu-trap.cjs"
ln -s ../lib/qemu-trap/dist/qemu-trap.cjs "$root/usr/bin/qemu-trap"

compressed dist/man/qemu-trap.1 usr/share/man/man1/qemu-trap.1
compressed dist/man/qemu-trap-hooks.7 usr/share/man/man7/qemu-trap-hooks.7
put 644 dist/completions/qemu-trap.bash usr/share/bash-completion/completions/qemu-trap
put 644 dist/completions/_qemu-trap usr/share/zsh/vendor-completions/_qemu-trap
put 644 dist/completions/qemu-trap.fish usr/share/fish/vendor_completions.d/qemu-trap.fish

put 644 examples/systemd/qemu-trap@.service usr/lib/systemd/system/qemu-trap@.service
sed -i 's|/usr/local/bin/|/usr/bin/|; s|/etc/systemd/system/|/usr/lib/systemd/system/|' "$root/usr/lib/systemd/system/qemu-trap@.service"
put 644 packaging/deb/hooks-README etc/qemu-trap/hooks/README

doc=usr/share/doc/qemu-trap
compressed README.md "$doc/README.md"
for page in docs/*.md; do put 644 "$page" "$doc/$page"; done
put 644 LICENSE "$doc/copyright"
cp -r examples "$root/$doc/"
find "$root/$doc/examples" -type f -exec sed -i 's|/usr/local/bin/qemu-trap|/usr/bin/qemu-trap|g' {} +

# Whatever the umask was that the sources came with.
chmod -R u=rwX,go=rX "$root/usr" "$root/etc"
mkdir "$root/DEBIAN"
for script in postinst prerm postrm; do put 755 "packaging/deb/$script" "DEBIAN/$script"; done
echo /etc/qemu-trap/hooks/README >"$root/DEBIAN/conffiles"
(cd "$root" && find . -type f ! -path './DEBIAN/*' ! -path './etc/*' -printf '%P\0' | sort -z | xargs -0 md5sum) >"$root/DEBIAN/md5sums"
cat >"$root/DEBIAN/control" <<CONTROL
Package: qemu-trap
Version: $version
Architecture: all
Section: admin
Priority: optional
Maintainer: qemu-trap developers <root@localhost>
Installed-Size: $(du -sk "$root" | cut -f1)
Depends: nodejs (>= 18), coreutils (>= 8.31), util-linux (>= 2.33), procps
Recommends: qemu-system
Suggests: perl
Description: run QEMU as a service that shuts its guest down cleanly
 QEMU, on SIGTERM, flushes its disks and exits at once: to the guest that is a
 power failure. qemu-trap runs in place of QEMU, turns that signal into a press
 of the guest's power button, and waits for the guest to shut down. It also runs
 hooks of your own with a socket to QEMU's monitor.
CONTROL
dpkg-deb --root-owner-group --build "$root" "$out/qemu-trap_${version}_all.deb" >&2
