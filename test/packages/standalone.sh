# In the box: the tarball with a Node of its own, on a system without one.
# shellcheck shell=sh
. test/packages/vm.sh
cd /
not command -v node

tar -xJf "$here"/build/packages/new/qemu-trap-*.tar.xz -C /opt
tree=$(basename /opt/qemu-trap-*)
ln -s "$tree" /opt/qemu-trap
ln -s /opt/qemu-trap/bin/qemu-trap /usr/local/bin/qemu-trap

qemu-trap --version
qemu-trap --check -- qemu-system-x86_64
qemu-trap --try SIGTERM | tee /tmp/try
grep -q 'The hook did its job. The guest shut itself down.' /tmp/try
# A drop-in, by a link.
mkdir /root/bin
ln -s /usr/local/bin/qemu-trap /root/bin/qemu-system-x86_64
PATH=/root/bin:$PATH qemu-system-x86_64 -version
for page in qemu-trap.1 qemu-trap-hooks.7; do [ -s /opt/qemu-trap/share/man/man${page##*.}/$page ]; done

mkdir -p /etc/systemd/system
cp /opt/qemu-trap/systemd/qemu-trap@.service /etc/systemd/system/
systemctl daemon-reload
configure
qemu-trap --new-hook SIGTERM
start
qemu-trap --status | grep '^web .* running '
pgrep -x qemu-trap
stop
qemu-trap --status web | grep 'web: 1 stop on a signal, 1 by the guest itself'

# An upgrade: another tree, and the link to it. The VM runs on, with the old program until its next start.
start
before=$(qemus)
mv "/opt/$tree" /opt/qemu-trap-old
tar -xJf "$here"/build/packages/new/qemu-trap-*.tar.xz -C /opt
rm -r /opt/qemu-trap-old
[ "$(qemus)" = "$before" ]
stop
start
stop

rm -r /opt/qemu-trap* /usr/local/bin/qemu-trap /root/bin /etc/systemd/system/qemu-trap@.service
# What is left: hooks, the VM's options, its history, and locks.
find /etc /var/lib /run /opt /usr/local -name '*qemu-trap*' -o -path '*qemu-trap/*' | sort
[ -e /etc/qemu-trap/hooks/SIGTERM ]
[ -z "$(qemus)" ]
