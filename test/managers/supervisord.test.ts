import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { read, until } from '../support/lab.js';
import { boxed } from './box.js';
import { background, examples, must, sh, testManager } from './vm.js';

const conf = '/etc/supervisor/conf.d/web.conf';
const log = '/var/log/qemu-trap.web.log';

boxed('tini', 'supervisord', () => {
  testManager({
    name: 'supervisord',
    logs: () => [log],
    setUp: async () => {
      mkdirSync('/etc/supervisor/conf.d', { recursive: true });
      mkdirSync('/var/log/supervisor', { recursive: true });
      must(`cp ${examples}/supervisord/web.conf ${conf}`);
      background('supervisord', '-n', '-c', '/etc/supervisor/supervisord.conf');
      await until('the VM has started with supervisord', () =>
        sh('supervisorctl status web').output.includes('RUNNING'),
      );
      must('supervisorctl stop web');
    },
    start: () => void must('supervisorctl start web'),
    askToStop: () => background('supervisorctl', 'stop', 'web'),
    saysDown: () => sh('supervisorctl status web').output.includes('STOPPED'),
    // `update` starts what has changed.
    impatient: () => {
      writeFileSync(conf, readFileSync(conf, 'utf8').replace(/^stopwaitsecs=.*/m, 'stopwaitsecs=1'));
      must('supervisorctl update && supervisorctl stop web');
    },
    patient: () =>
      void must(`cp ${examples}/supervisord/web.conf ${conf} && supervisorctl update && supervisorctl stop web`),
    stopOrKill: () => void must('supervisorctl stop web'),
    ownStop: null,
    afterCrash: 'restarts',
    shutDown: async () => {
      must('supervisorctl shutdown');
      await until('supervisord has ended', () => sh('supervisorctl pid').status !== 0);
      assert.match(read('/var/log/supervisor/supervisord.log'), /stopped: web \(exit status 0\)/);
    },
  });
});
