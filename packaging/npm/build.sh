#!/bin/sh
# npm run tarball [-- DIRECTORY]: the package for npm, qemu-trap-VERSION.tgz, of what npm run build has made: with the
# packages that it depends on inside, so that it installs without a registry, and without what only a checkout needs.
set -eu
cd "$(dirname "$0")/../.."
out=$(realpath "${1:-.}")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
umask 022
cp -r dist hooks README.md LICENSE package.json "$work/"
ln -s "$PWD/node_modules" "$work/node_modules"
cd "$work"
npm pkg delete scripts devDependencies allowScripts
npm pack --silent --pack-destination "$out" >name
echo "$out/$(cat name)"
