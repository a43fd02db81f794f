import { mkdirSync, writeFileSync } from 'node:fs';
import { until } from '../support/lab.js';
import { boxed } from './box.js';
import { background, examples, must, sh, testManager } from './vm.js';

const scan = '/etc/daemontools';
const service = `${scan}/web`;

boxed('tini', 'daemontools', () => {
  testManager({
    name: 'daemontools',
    logs: () => ['/var/log/qemu-trap/web/current'],
    setUp: async () => {
      mkdirSync(scan);
      must(`cp -r ${examples}/daemontools/web ${scan}/`);
      writeFileSync(`${service}/down`, '');
      background('svscan', scan);
      await until('supervise is there', () => sh(`svok ${service}`).status === 0);
    },
    start: () => void must(`svc -u ${service}`),
    askToStop: () => void must(`svc -d ${service}`),
    saysDown: () => sh(`svstat ${service}`).output.includes(': down '),
    impatient: () => undefined,
    patient: () => undefined,
    // It has no time-out; it kills by command alone, and then only qemu-trap.
    stopOrKill: () => void must(`svc -dk ${service}`),
    ownStop: 'svc -d /etc/daemontools/web',
    afterCrash: 'restarts',
    shutDown: async () => {
      must(`svc -dx ${service}`);
      await until('supervise has ended', () => sh(`svok ${service}`).status !== 0);
    },
  });
});
