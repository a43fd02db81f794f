#!/bin/sh
# Sets up what the demo (first argument: demo) or the tests (test) need, and builds both; for the tests of pure parts
# (unit) no more than packages of npm. As root on Debian it installs what is missing; elsewhere it prints the line that
# does.
set -eu
cd "$(dirname "$0")/.."

commands='qemu-system-x86_64 env setpriv ps'
[ "$1" != unit ] || commands=''
debian='qemu-system-x86 coreutils util-linux procps'
fedora='qemu-system-x86-core coreutils util-linux procps-ng'
alpine='qemu-system-x86_64 coreutils util-linux-misc setpriv procps-ng'
arch='qemu-system-x86 coreutils util-linux procps-ng'
if [ "$1" = test ]; then
    commands="$commands bash socat nc shellcheck busybox python3 prlimit mkfs.ext4 debugfs cc man mandoc zsh fish Xvfb"
    debian="$debian bash socat netcat-openbsd shellcheck busybox python3 e2fsprogs gcc libc6-dev man-db groff-base mandoc zsh fish xvfb qemu-system-gui"
    fedora="$fedora bash socat nmap-ncat ShellCheck busybox python3 e2fsprogs gcc man-db mandoc zsh fish xorg-x11-server-Xvfb qemu-ui-sdl"
    alpine="$alpine bash socat netcat-openbsd shellcheck busybox python3 e2fsprogs e2fsprogs-extra gcc musl-dev man-db mandoc zsh fish xvfb qemu-ui-sdl"
    arch="$arch bash socat openbsd-netcat shellcheck busybox python e2fsprogs gcc man-db mandoc zsh fish xorg-server-xvfb qemu-ui-sdl"
fi

missing() {
    for command in $commands; do
        command -v "$command" >/dev/null 2>&1 || echo "$command"
    done
}

if [ -n "$(missing)" ]; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
        echo "installing: $debian" >&2
        export DEBIAN_FRONTEND=noninteractive
        apt-get update -q >&2
        # shellcheck disable=SC2086 # a list of packages
        apt-get install -q -y --no-install-recommends $debian >&2
    fi
    if [ -n "$(missing)" ]; then
        echo "missing: $(missing | tr '\n' ' ')" >&2
        echo "install them as root, with the line for your system:" >&2
        echo "  Debian, Ubuntu: apt-get update && apt-get install -y --no-install-recommends $debian" >&2
        echo "  Fedora:         dnf install -y $fedora" >&2
        echo "  Alpine:         apk add $alpine" >&2
        echo "  Arch:           pacman -S --needed $arch" >&2
        exit 1
    fi
fi

# Programs that people put in front of QEMU, setfacl, strace, curl, and UEFI firmware: without one its tests are skipped.
if [ "$1" = test ] && ! { command -v sudo && command -v firejail && command -v bwrap && command -v setcap && command -v ip && command -v setfacl && command -v strace && command -v curl && [ -e /usr/share/ovmf/OVMF.fd ]; } >/dev/null 2>&1; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
        export DEBIAN_FRONTEND=noninteractive
        apt-get update -q >&2
        apt-get install -q -y --no-install-recommends sudo firejail bubblewrap libcap2-bin iproute2 acl ovmf strace curl >&2 || echo 'not all of these programs: the tests that need one are skipped' >&2
    fi
fi

if [ ! -e node_modules/.package-lock.json ] || [ -n "$(find package-lock.json -newer node_modules/.package-lock.json)" ]; then
    npm ci --no-audit --no-fund --ignore-scripts >&2
fi
npm run --silent build
bundle='node_modules/.bin/esbuild --bundle --platform=node --target=node18 --format=esm --packages=external --log-level=warning --out-extension:.js=.mjs'
# bundle_tests BASE TO FOLDER...
bundle_tests() {
    base=$1 to=$2
    shift 2
    # shellcheck disable=SC2046 # names without blanks
    $bundle $(find "$@" -name '*.test.ts') --outbase="$base" --outdir="$to"
}
# Node runs files in the order of their names. One of these computes for a minute and more, and must not be the last.
bundle_unit_tests() { bundle_tests test/unit build/test/a-unit test/unit; }
rm -rf build
if [ "$1" = unit ]; then bundle_unit_tests; fi
$bundle demo/main.ts --outdir=build/demo
if [ "$1" = test ]; then
    mkdir -p .cache
    cc -O2 -shared -fPIC -o .cache/clock.so test/endurance/clock.c
    cc -O2 -shared -fPIC -o .cache/fail.so test/support/fail.c -ldl
    bundle_unit_tests
    bundle_tests test build/test test/e2e test/endurance test/managers test/project
    # Every Node that qemu-trap is for, as the registry has them; Node's own architecture names.
    if [ ! -e .cache/nodes/node_modules/.package-lock.json ]; then
        nodes=''
        for major in 18 20 22 24; do nodes="$nodes node$major@npm:node-linux-$(node -p process.arch)@$major"; done
        mkdir -p .cache/nodes
        # shellcheck disable=SC2086 # a list of packages
        npm install --prefix .cache/nodes --no-save --no-package-lock --ignore-scripts --no-audit --no-fund $nodes >&2 ||
            echo 'other versions of Node cannot be had: their tests are skipped' >&2
    fi
    # The core once more on each of the others.
    core=$(for name in hooks hook-contract stages steps ending undo around event-hooks takeover shield stderr; do echo test/e2e/$name.test.ts; done)
    for node in "$PWD"/.cache/nodes/node_modules/node*/bin/node; do
        [ -x "$node" ] || continue
        [ "$("$node" -p 'process.version.split(".")[0]')" != "$(node -p 'process.version.split(".")[0]')" ] || continue
        name=${node%/bin/node}
        # shellcheck disable=SC2086 # names without blanks
        $bundle $core --banner:js="process.env.QEMU_TRAP_TEST_NODE ||= '$node';" --outdir="build/test/on-${name##*/}"
    done
    if command -v apt-get >/dev/null 2>&1; then
        sh test/support/linux-guest/make.sh .cache/linux-guest
        [ "$(id -u)" != 0 ] || sh test/managers/fetch.sh .cache/managers runit daemontools s6 supervisor openrc insserv \
            sysvinit-utils crun tini systemd systemd-sysv procps
    else
        echo 'no Linux guest and no service managers: they are made of packages of Debian; their tests are skipped' >&2
    fi
fi
