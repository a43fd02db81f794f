import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { boxed } from './box.js';
import { background, examples, must, sh, testManager } from './vm.js';

const service = 'qemu-trap.web';

boxed('tini', 'OpenRC', () => {
  testManager({
    name: 'OpenRC',
    logs: () => ['/var/log/qemu-trap.web.log'],
    setUp: () => {
      // What OpenRC's own early boot leaves.
      for (const name of [
        'starting',
        'started',
        'stopping',
        'inactive',
        'wasinactive',
        'failed',
        'hotplugged',
        'daemons',
        'options',
        'exclusive',
        'scheduled',
        'tmp',
      ]) {
        mkdirSync(`/run/openrc/${name}`, { recursive: true });
      }
      writeFileSync('/run/openrc/softlevel', 'default');
      // Nothing but this VM is to be stopped at the end.
      for (const level of readdirSync('/etc/runlevels')) must(`find /etc/runlevels/${level} -mindepth 1 -delete`);
      must(`cp ${examples}/openrc/${service} /etc/init.d/`);
      must(
        'printf "#!/sbin/openrc-run\\ndescription=here\\nstart() { :; }\\nstop() { :; }\\n" >/etc/init.d/localmount && chmod 755 /etc/init.d/localmount',
      );
      must(`rc-update add ${service} default`);
    },
    start: () => void must(`rc-service ${service} start`),
    askToStop: () => background('rc-service', service, 'stop'),
    saysDown: () => sh(`rc-service ${service} status`).output.includes('status: stopped'),
    impatient: () => {
      mkdirSync('/etc/conf.d', { recursive: true });
      writeFileSync(`/etc/conf.d/${service}`, 'retry="TERM/1/KILL/5"\n');
    },
    patient: () => void must(`rm /etc/conf.d/${service}`),
    stopOrKill: () => void must(`rc-service ${service} stop`),
    ownStop: 'rc-service qemu-trap.web stop',
    afterCrash: 'restarts',
    shutDown: () => void must('openrc shutdown'),
  });
});
