#!/bin/sh
# Unpacks the service managers of Debian into DIR, for box.sh to lay over the system: nothing is installed here, and
# none of them is started outside a box. Usage: fetch.sh DIR
set -eu
packages='runit daemontools s6 supervisor openrc insserv sysvinit-utils crun tini systemd systemd-sysv procps'
dir=$1
stamp=$(sha256sum <"$0")
[ -e "$dir/made" ] && [ "$(cat "$dir/made")" = "$stamp" ] && exit 0
rm -rf "$dir"
mkdir -p "$dir/archives/partial" "$dir/root/usr/bin" "$dir/root/usr/sbin" "$dir/root/usr/lib" "$dir/root/usr/lib64"
dir=$(cd "$dir" && pwd)

# What of them, and of what they depend on, this system has not got.
fetch() {
    # shellcheck disable=SC2086 # a list of packages
    apt-get install -q -y --download-only --no-install-recommends -o "Dir::Cache::archives=$dir/archives" -o APT::Sandbox::User=root $packages >&2
}
fetch || { apt-get update -q >&2 && fetch; }

for name in bin sbin lib lib64; do ln -s "usr/$name" "$dir/root/$name"; done
for package in "$dir"/archives/*.deb; do
    # /bin is a link to usr/bin, and has to stay one.
    dpkg-deb --fsys-tarfile "$package" | tar -x --keep-directory-symlink -C "$dir/root"
done
rm -rf "$dir/archives"
echo "$stamp" >"$dir/made"
