# In the box: npm's package, without the registry, or any network.
# shellcheck shell=sh
. test/packages/vm.sh
cd /
ln -s "$(dirname "$(find "$here/.cache/nodes/node_modules/node22" -name node -type f)")"/node /usr/local/bin/node
npm() {
    unshare --net node "$here/.cache/npm/package/bin/npm-cli.js" "$@"
}
install() {
    npm install -g --prefix /usr/local "$here"/build/packages/new/qemu-trap-*.tgz >/tmp/said 2>&1 || { cat /tmp/said; return 1; }
    cat /tmp/said
    not grep -q 'npm warn' /tmp/said
}

install
qemu-trap --version
qemu-trap --try SIGTERM
mkdir -p /etc/systemd/system
cp "$here/examples/systemd/qemu-trap@.service" /etc/systemd/system/
systemctl daemon-reload
configure
start
before=$(qemus)
install
[ "$(qemus)" = "$before" ]
stop
start
stop
npm uninstall -g --prefix /usr/local qemu-trap
[ ! -L /usr/local/bin/qemu-trap ]
# What is left: the VM's options, its history, and locks.
find /etc /var/lib /run /usr/local -name '*qemu-trap*' -o -path '*qemu-trap/*' | sort
[ -z "$(qemus)" ]
