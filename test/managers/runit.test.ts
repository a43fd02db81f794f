import { mkdirSync, writeFileSync } from 'node:fs';
import { until } from '../support/lab.js';
import { boxed } from './box.js';
import { background, examples, must, sh, testManager } from './vm.js';

const service = '/etc/service/web';

boxed('tini', 'runit', () => {
  testManager({
    name: 'runit',
    logs: () => ['/var/log/qemu-trap/web/current'],
    setUp: async () => {
      // A link, as Debian has it.
      must('mkdir -p "$(realpath -m /etc/service)"');
      must(`cp -r ${examples}/runit/web /etc/sv/ && cp ${examples}/runit/rc.shutdown /etc/runit/`);
      writeFileSync('/etc/sv/web/down', '');
      must('ln -s /etc/sv/web /etc/service/');
      background('runsvdir', '-P', '/etc/service');
      await until('runsv is there', () => sh(`sv status ${service}`).output.startsWith('down'));
    },
    start: () => void must(`sv -w 30 start ${service}`),
    askToStop: () => background('sv', '-w', '90', 'stop', service),
    saysDown: () => sh(`sv status ${service}`).output.startsWith('down: '),
    impatient: () => undefined,
    patient: () => undefined,
    stopOrKill: () => void sh(`sv -w 1 force-stop ${service}`),
    ownStop: 'sv -w 90 stop /etc/sv/web',
    afterCrash: 'restarts',
    // As Debian's init goes down: stage 3, rc.shutdown first.
    shutDown: () => {
      mkdirSync('/run/runit', { recursive: true });
      writeFileSync('/run/runit.reboot', '', { mode: 0o000 });
      must('/etc/runit/3');
    },
  });
});
