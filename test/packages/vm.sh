# shellcheck shell=sh
# To be read (.) in the box: the VM `web` under the unit of a package.

unit=qemu-trap@web
here=$PWD

# not COMMAND...: it must fail; sh -e overlooks that of `! COMMAND`.
not() {
    if "$@"; then return 1; fi
}

# configure: its disk lies in /srv, where the unit lets QEMU write, and so does what it says.
configure() {
    mkdir -p /etc/qemu-trap
    cp "$here/build/packages/guest.img" /srv/web.img
    echo 'QEMU_OPTIONS="-M pc -m 16 -display none -net none -serial file:/srv/web.serial -drive file=/srv/web.img,format=raw"' >/etc/qemu-trap/web.conf
}

# retry COMMAND...: for 30 seconds at most
retry() {
    for _ in $(seq 300); do
        if "$@"; then return 0; fi
        sleep 0.1
    done
    return 1
}

start() {
    rm -f /srv/web.serial
    systemctl start "$unit"
    retry grep -q 'guest: up' /srv/web.serial
}

# stop: and the guest has shut itself down
stop() {
    systemctl stop "$unit"
    grep -q 'guest: bye' /srv/web.serial
    [ "$(systemctl show -P Result "$unit")" = success ]
}

qemus() {
    pgrep -x qemu-system-x86
}
