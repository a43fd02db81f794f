#!/bin/sh
# npm run deb: packages of Debian in the folder that is named, or in this one, made with dpkg-deb of what npm run build has
# made: qemu-trap_VERSION_all.deb, and qemu-trap-dropin_VERSION_all.deb, which turns --drop-in on and off with itself.
# QEMU_TRAP_DEB_VERSION names another version; that of a commit that is none has the commit in it. The same sources
# make the same bytes.
set -eu
cd "$(dirname "$0")/../.."
out=$(realpath "${1:-.}")
version=$(node -p 'require("./package.json").version')
. packaging/epoch.sh
# A commit after that version is newer: apt-get would not put it in the place of the last one otherwise.
if [ -n "${QEMU_TRAP_DEB_VERSION-}" ]; then
    version=$QEMU_TRAP_DEB_VERSION
elif commit=$(git log -1 --format=%cd.%h --date=format:%Y%m%d%H%M%S 2>/dev/null) && ! git describe --tags --exact-match --match "v$version" >/dev/null 2>&1; then
    version=$version+git$commit
fi
maintainer='qemu-trap developers <qemu-trap@example.org>'
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
umask 022
root=$work/qemu-trap
mkdir "$root"

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
sed -i 's|exec qemu-trap|exec /usr/bin/qemu-trap|; s|/etc/systemd/system/|/usr/lib/systemd/system/|' "$root/usr/lib/systemd/system/qemu-trap@.service"
put 644 packaging/deb/hooks-README etc/qemu-trap/hooks/README

doc=usr/share/doc/qemu-trap
changelog() { # PACKAGE
    printf '%s (%s) unstable; urgency=medium\n\n  * See /usr/share/doc/qemu-trap/CHANGELOG.md.\n\n -- %s  %s\n' \
        "$1" "$version" "$maintainer" "$(LC_ALL=C date -u -R -d "@$SOURCE_DATE_EPOCH")" >"$work/changelog"
    compressed "$work/changelog" "usr/share/doc/$1/changelog"
}
changelog qemu-trap
put 644 CHANGELOG.md "$doc/CHANGELOG.md"
compressed README.md "$doc/README.md"
for page in docs/*.md; do put 644 "$page" "$doc/$page"; done
put 644 LICENSE "$doc/copyright"
cp -r examples "$root/$doc/"
find "$root/$doc/examples" -type f -exec sed -i 's|/usr/local/bin/qemu-trap|/usr/bin/qemu-trap|g' {} +

# deb-systemd-invoke(1p) knows no pattern for the instances of a template.
mkdir -p "$root/usr/share/lintian/overrides"
echo 'qemu-trap: maintainer-script-calls-systemctl' >"$root/usr/share/lintian/overrides/qemu-trap"
chmod 644 "$root/usr/share/lintian/overrides/qemu-trap"

# pack NAME <FIELDS: what is in $root, whatever the umask was that the sources came with.
pack() {
    name=$1
    chmod -R u=rwX,go=rX "$root"
    (cd "$root" && find . -type f ! -path './DEBIAN/*' ! -path './etc/*' -printf '%P\0' | sort -z | xargs -0 md5sum) >"$root/DEBIAN/md5sums"
    {
        printf 'Package: %s\nVersion: %s\nArchitecture: all\nSection: admin\nPriority: optional\nMaintainer: %s\n' "$name" "$version" "$maintainer"
        printf 'Installed-Size: %s\n' "$(find "$root" -type f -printf '%s\n' | awk '{ kib += int(($1 + 1023) / 1024) } END { print kib }')"
        cat
    } >"$root/DEBIAN/control"
    find "$root" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
    dpkg-deb --root-owner-group --build "$root" "$out/${name}_${version}_all.deb" >&2
}

mkdir "$root/DEBIAN"
for script in preinst postinst prerm postrm; do install -m 755 "packaging/deb/$script" "$root/DEBIAN/$script"; done
echo /etc/qemu-trap/hooks/README >"$root/DEBIAN/conffiles"
pack qemu-trap <<'CONTROL'
Depends: nodejs (>= 18), coreutils (>= 8.31), util-linux (>= 2.33), procps
Suggests: qemu-system-x86 | qemu-system
Description: run QEMU as a service that shuts its guest down cleanly
 QEMU, on SIGTERM, flushes its disks and exits at once: to the guest that is a
 power failure. qemu-trap runs in place of QEMU, turns that signal into a press
 of the guest's power button, and waits for the guest to shut down. It also runs
 hooks of your own with a socket to QEMU's monitor.
CONTROL

root=$work/qemu-trap-dropin
mkdir -p "$root/DEBIAN"
for script in postinst prerm; do install -m 755 "packaging/deb/dropin/$script" "$root/DEBIAN/$script"; done
changelog qemu-trap-dropin
put 644 LICENSE usr/share/doc/qemu-trap-dropin/copyright
pack qemu-trap-dropin <<CONTROL
Depends: qemu-trap (= $version)
Description: run all QEMUs of this host under qemu-trap
 Programs that call QEMU by its name or by its path get qemu-trap, which shuts
 their guests down on SIGTERM. This is an empty package: installing it turns
 that on with dpkg-divert and links (qemu-trap --drop-in divert), and removing
 it turns that off.
CONTROL

echo "to install it: apt-get install $out/qemu-trap_${version}_all.deb" >&2
echo "qemu-trap-dropin runs all QEMUs of a host under qemu-trap: see docs/drop-in.md" >&2
