#!/bin/sh
# npm run test:packages: each package as it is published, on a Debian 12 that has QEMU and systemd and nothing of ours:
# installed, used, upgraded and removed, with what is left. The tarball for another processor is only run. As root on
# Debian; it takes some ten minutes. With words only those: standalone, arm64, deb, npm.
set -eu
cd "$(dirname "$0")/../.."
sh test/setup.sh test
export DEBIAN_FRONTEND=noninteractive
apt-get install -q -y --no-install-recommends debootstrap lintian xz-utils >&2
plain=$PWD/.cache/plain
sh test/packages/plain.sh "$plain"
rm -rf build/packages
mkdir -p build/packages/old build/packages/new build/packages/empty
node_modules/.bin/esbuild test/packages/guest.ts --bundle --platform=node --format=esm --log-level=warning --outfile=build/packages/guest.mjs
node build/packages/guest.mjs build/packages/guest.img

packages=${*:-standalone arm64 deb npm}
for package in $packages; do
    case $package in
        standalone)
            QEMU_TRAP_STANDALONE_ARCH=$(node -p process.arch) sh packaging/standalone/build.sh build/packages/new
            ;;
        arm64)
            mkdir build/packages/arm64
            QEMU_TRAP_STANDALONE_ARCH=arm64 sh packaging/standalone/build.sh build/packages/arm64
            sh test/packages/arm64.sh "$PWD/.cache/arm64" build/packages/arm64
            echo "arm64: a VM was run, and shut down"
            continue
            ;;
        deb)
            # 0.1.0, as the last commit before 0.2.0 made it.
            git worktree add -q --detach build/packages/0.1.0 cc03c27
            (cd build/packages/0.1.0 && npm ci --no-audit --no-fund --silent && npm run --silent deb >&2)
            mv build/packages/0.1.0/*.deb build/packages/old/
            git worktree remove --force build/packages/0.1.0
            QEMU_TRAP_DEB_VERSION=0.2.0 sh packaging/deb/build.sh build/packages/new
            sha256sum build/packages/new/*.deb >build/packages/sums
            QEMU_TRAP_DEB_VERSION=0.2.0 sh packaging/deb/build.sh build/packages/new
            sha256sum --check build/packages/sums
            lintian --fail-on error,warning build/packages/new/*.deb
            ;;
        npm)
            sh packaging/npm/build.sh build/packages/new
            [ -e .cache/npm ] || (mkdir -p .cache/npm && cd .cache/npm && npm pack --silent npm@10 >name && tar -xzf "$(cat name)")
            ;;
    esac
    # The box has its own root: the folder that debootstrap made.
    BOX_BASE=$plain bash test/managers/box.sh systemd build/packages/empty sh -eux "$PWD/test/packages/$package.sh"
    echo "$package: installed, used, upgraded and removed"
done
