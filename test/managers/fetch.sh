#!/bin/sh
# fetch.sh DIR PACKAGE...: unpacks packages of Debian into DIR, for box.sh to lay over the system: nothing is installed
# here, and none of them is started outside a box.
set -eu
dir=$1
shift
stamp=$(echo "$*" | cat "$0" - | sha256sum)
[ -e "$dir/made" ] && [ "$(cat "$dir/made")" = "$stamp" ] && exit 0
rm -rf "$dir"
mkdir -p "$dir/archives/partial" "$dir/root/usr/bin" "$dir/root/usr/sbin" "$dir/root/usr/lib" "$dir/root/usr/lib64"
dir=$(cd "$dir" && pwd)

# What of them, and of what they depend on, this system has not got.
fetch() {
    apt-get install -q -y --download-only --no-install-recommends -o "Dir::Cache::archives=$dir/archives" -o APT::Sandbox::User=root "$@" >&2
}
fetch "$@" || { apt-get update -q >&2 && fetch "$@"; }

for name in bin sbin lib lib64; do ln -s "usr/$name" "$dir/root/$name"; done
for package in "$dir"/archives/*.deb; do
    # /bin is a link to usr/bin, and has to stay one.
    dpkg-deb --fsys-tarfile "$package" | tar -x --keep-directory-symlink -C "$dir/root"
done
rm -rf "$dir/archives"
echo "$stamp" >"$dir/made"
