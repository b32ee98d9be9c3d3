import assert from 'node:assert/strict';
import { test } from 'node:test';
import { KernelBuilder } from '../../test/support/kernel-builder.ts';
import { FormatError } from '../base/errors.ts';
import { Kernel } from './open.ts';

test('the name lies at offset 0, behind a kref, or where vmcoreinfo says', () => {
  for (const [offset, line] of [
    [0, undefined],
    [4, undefined],
    [0, 'OFFSET(uts_namespace.name)=0'],
    [4, 'OFFSET(uts_namespace.name)=4'],
    [0, 'OFFSET(uts_namespace.name)=12'],
  ] as const) {
    const builder = new KernelBuilder();
    builder.uts('6.1.0-test', offset);
    if (line) builder.lines.push(line);
    const utsname = new Kernel(builder.facts()).readUtsname();
    assert.deepEqual(utsname, {
      sysname: 'Linux',
      nodename: 'node',
      release: '6.1.0-test',
      version: '#1 SMP',
      machine: 'x86_64',
      domainname: '(none)',
    });
  }
});

test('a utsname of another kernel is refused', () => {
  const builder = new KernelBuilder();
  builder.uts('5.10.0-other');
  assert.throws(
    () => new Kernel(builder.facts()).readUtsname(),
    (error: unknown) => error instanceof FormatError && error.code === 'UTS_MISMATCH',
  );
});
