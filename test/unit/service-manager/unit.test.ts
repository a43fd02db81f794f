import assert from 'node:assert/strict';
import { test } from 'node:test';
import { unitIn } from '../../../src/service-manager/unit.js';

test('the unit of a control group, and of those below it', () => {
  const cases: readonly [string, { name: string; isUsers: boolean } | null][] = [
    ['/system.slice/vm.service', { name: 'vm.service', isUsers: false }],
    ['/system.slice/vm.service/qemu-trap-1-0', { name: 'vm.service', isUsers: false }],
    [
      '/system.slice/system-qemu\\x2dtrap.slice/qemu-trap@web.service',
      { name: 'qemu-trap@web.service', isUsers: false },
    ],
    ['/user.slice/user-1000.slice/user@1000.service/app.slice/vm.service/x', { name: 'vm.service', isUsers: true }],
    ['/user.slice/user-1000.slice/user@1000.service/init.scope', null],
    ['/user.slice/user-1000.slice/session-3.scope', null],
    ['/machine.slice/libpod-1.scope/container', null],
    ['/qemu-trap-1-0', null],
    ['/', null],
  ];
  for (const [path, unit] of cases) assert.deepEqual(unitIn(path), unit, path);
});
