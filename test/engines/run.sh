#!/bin/sh
# npm run test:engines: the image of the Containerfile, and the examples for containers, under real podman, docker and
# compose, as root on Debian. It fetches what it needs, and runs all of it in a box of its own (test/managers/box.sh).
set -eu
cd "$(dirname "$0")/../.."
sh test/setup.sh test
engines=.cache/engines
sh test/managers/fetch.sh $engines podman crun runc conmon netavark golang-github-containers-common docker.io docker-compose podman-compose debootstrap tini catatonit iptables iproute2
# One for whoever asks: the models of Kubernetes' own schema.
[ -d .cache/kubernetes/node_modules ] || npm install --silent --no-audit --no-fund --ignore-scripts --prefix .cache/kubernetes kubernetes-models@4 yaml@2
export BOX_SECONDS=3000
mkdir -p $engines/shared
BOX_SHARED=$(cd $engines/shared && pwd)
export BOX_SHARED
[ -e $engines/shared/base.tar ] || bash test/managers/box.sh tini $engines/root sh test/engines/base.sh "$BOX_SHARED/base.tar"
node_modules/.bin/esbuild --bundle --platform=node --target=node18 --format=esm --packages=external --log-level=warning \
    --out-extension:.js=.mjs test/engines/*.test.ts --outdir=build/engines
if grep -q '^[1-9][0-9]*:cpuset:' /proc/self/cgroup; then export BOX_CGROUP=1; fi
# What is committed is what an image is built from.
rm -rf $engines/shared/checkout
mkdir $engines/shared/checkout
git archive HEAD | tar -x -C $engines/shared/checkout
exec bash test/managers/box.sh tini $engines/root node --test --test-concurrency=1 --test-reporter=spec "$@" build/engines/*.mjs
