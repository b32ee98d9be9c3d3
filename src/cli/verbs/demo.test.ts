import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { scratchFolder } from '../../../test/driver/scratch.ts';
import { checkWritable } from './demo.ts';

test('a checkout that another user has built is refused before anything is begun', () => {
  const checkout = scratchFolder();
  mkdirSync(join(checkout, '.cache/dist'), { recursive: true });
  checkWritable(checkout);
  const foreign = join(checkout, '.cache/dist');
  assert.throws(() => checkWritable(checkout, (path) => path !== foreign), {
    name: 'RefusedError',
    code: 'CHECKOUT_READ_ONLY',
    message: /may not write to .*\/\.cache\/dist, where it builds and caches$/,
    hint: /chown -R /,
  });
});
