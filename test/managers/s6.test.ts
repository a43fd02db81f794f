import { mkdirSync, writeFileSync } from 'node:fs';
import { until } from '../support/lab.js';
import { boxed } from './box.js';
import { background, examples, must, sh, testManager } from './vm.js';

const scan = '/etc/s6';
const service = `${scan}/web`;

boxed('tini', 's6', () => {
  testManager({
    name: 's6',
    logs: () => ['/var/log/qemu-trap/web/current'],
    setUp: async () => {
      mkdirSync(scan);
      must(`cp -r ${examples}/s6/web ${scan}/`);
      writeFileSync(`${service}/down`, '');
      background('s6-svscan', scan);
      await until('s6-supervise is there', () => sh(`s6-svstat ${service}`).output.startsWith('down'));
    },
    start: () => void must(`s6-svc -wU -T 30000 -u ${service}`),
    askToStop: () => void must(`s6-svc -d ${service}`),
    saysDown: () => /^down \(exitcode 0\)/.test(sh(`s6-svstat ${service}`).output),
    impatient: () => writeFileSync(`${service}/timeout-kill`, '1000\n'),
    patient: () => void must(`cp ${examples}/s6/web/timeout-kill ${service}/`),
    stopOrKill: () => void must(`s6-svc -wD -T 30000 -d ${service}`),
    ownStop: 's6-svc -wD -d /etc/s6/web',
    afterCrash: 'restarts',
    shutDown: async () => {
      const pid = must('pgrep -x s6-svscan').trim();
      must(`s6-svscanctl -t ${scan}`);
      // It waits for all of them, and only then ends.
      await until('s6-svscan has ended', () => sh(`kill -0 ${pid}`).status !== 0);
    },
  });
});
