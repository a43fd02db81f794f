# In the box: the Debian packages, upgraded from 0.1.0 while a VM runs.
# shellcheck shell=sh
. test/packages/vm.sh
cd /
export DEBIAN_FRONTEND=noninteractive
apt-get update -q
install() {
    apt-get install -q -y --no-install-recommends "$@"
}

install "$here"/build/packages/old/qemu-trap_0.1.0_all.deb
# The systemd of a box does not look where Debian has units.
mkdir -p /etc/systemd/system
ln -s /usr/lib/systemd/system/qemu-trap@.service /etc/systemd/system/
systemctl daemon-reload
configure
start
before=$(qemus)
install "$here"/build/packages/new/qemu-trap_0.2.0_all.deb
[ "$(dpkg-query -W -f '${Version}' qemu-trap)" = 0.2.0 ]
[ "$(qemus)" = "$before" ]
qemu-trap --status | grep '^web .* running '
stop
start
qemu-trap --status | grep '^web .* running '
stop

qemu-trap --new-hook SIGTERM
qemu-trap --try SIGTERM
install "$here"/build/packages/new/qemu-trap-dropin_0.2.0_all.deb
[ "$(readlink -f /usr/bin/qemu-system-x86_64)" = /usr/lib/qemu-trap/dist/qemu-trap.cjs ]
qemu-system-x86_64 -version
start
apt-get remove -q -y qemu-trap | tee /tmp/said
grep -q "^qemu-trap: shutting down $unit.service" /tmp/said
grep -q 'guest: bye' /srv/web.serial
qemu-system-x86_64 -version
[ -z "$(find /usr/bin /usr/libexec /usr/local/bin -xtype l)" ]
[ -e /etc/qemu-trap/hooks/SIGTERM ]
dpkg --purge qemu-trap
# What is left: hooks, the VM's options, and locks.
find /etc /var/lib /run /usr -name '*qemu-trap*' -o -path '*qemu-trap/*' | sort
[ -z "$(qemus)" ]
