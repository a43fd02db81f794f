import { rmSync, writeFileSync } from 'node:fs';
import { boxed } from './box.js';
import { background, examples, must, sh, testManager } from './vm.js';

const script = '/etc/init.d/qemu-trap.web';
const settings = '/etc/default/qemu-trap.web';

boxed('tini', 'sysvinit', () => {
  testManager({
    name: 'sysvinit',
    logs: () => ['/var/log/qemu-trap.web.log'],
    setUp: () => void must(`cp ${examples}/sysvinit/qemu-trap.web ${script}`),
    start: () => void must(`${script} start`),
    askToStop: () => background(script, 'stop'),
    saysDown: () => sh(`${script} status`).status === 3,
    impatient: () => writeFileSync(settings, 'stop_time=1\n'),
    patient: () => rmSync(settings),
    stopOrKill: () => void must(`${script} stop`),
    ownStop: null,
    afterCrash: 'stays down',
    // The last thing that sendsigs does to a process that no script has stopped: QEMU itself gets the SIGTERM, too.
    shutDown: () => void sh('killall5 -15'),
  });
});
