#!/bin/sh
# npm run build: types checked, and dist/ made anew: qemu-trap.cjs, which sets the traps, and the rest of the program,
# which it loads then; qga.cjs of the hooks; the manual pages, of docs/; and the completions.
set -eu
cd "$(dirname "$0")"
. packaging/epoch.sh
tsc
rm -rf dist
bundle='esbuild --bundle --platform=node --target=node18 --log-level=warning --out-extension:.js=.cjs'
$bundle qga=src/guest-agent/qga-command.ts --format=cjs --outdir=dist
# esbuild splits modules of ECMAScript only; Node loads those of CommonJS sooner.
parts=$(mktemp -d)
trap 'rm -rf "$parts"' EXIT
$bundle qemu-trap=src/cli.ts --format=esm --splitting --outdir="$parts"
esbuild "$parts"/*.cjs --platform=node --target=node18 --format=cjs --supported:dynamic-import=false --log-level=warning --outdir=dist --out-extension:.js=.cjs
chmod 755 dist/qemu-trap.cjs
esbuild packaging/manual/make.ts --bundle --platform=node --target=node18 --format=esm --packages=external --log-level=warning --outfile=node_modules/.cache/make-man.mjs
node node_modules/.cache/make-man.mjs dist
