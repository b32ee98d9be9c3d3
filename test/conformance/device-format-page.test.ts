import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import test from 'node:test';
import { bytesSource } from '../../src/base/source.ts';
import { openDeviceDump } from '../../src/format/kdump/device-vmcore.ts';
import { encodeLabelCopy, type Label, readLabel } from '../../src/format/kdump/label.ts';
import { encodeGenerationHead } from '../../src/format/kdump/log-generation.ts';
import { recoverLog, scopeOfLabel } from '../../src/format/kdump/log-reader.ts';
import { encodeStartRecord } from '../../src/format/kdump/log-start.ts';
import { planSignatureBlocks } from '../../src/format/kdump/signature.ts';
import { nodeCodecs } from '../../src/host/codecs.ts';
import { memoryDevice } from '../support/device-builder.ts';
import { buildExample, renderExample } from '../support/device-example.ts';

const PAGE = new URL('../../docs/formats/dump-device.md', import.meta.url);
const [BEGIN, END] = ['<!-- example -->', '<!-- /example -->'];

test('the page shows the example as it is made; --update rewrites it', () => {
  const page = readFileSync(PAGE, 'utf8');
  const [from, to] = [page.indexOf(BEGIN) + BEGIN.length, page.indexOf(END)];
  const made = `\n\n${renderExample()}\n`;
  if (process.argv.includes('--update')) writeFileSync(PAGE, page.slice(0, from) + made + page.slice(to));
  else assert.equal(page.slice(from, to), made);
});

test('the example is a complete dump', () => {
  const { builder } = buildExample();
  const dump = openDeviceDump(bytesSource(builder.image), { codecs: nodeCodecs(), verify: true });
  assert.equal(dump.state, 'complete');
  assert.deepEqual(dump.countPages(), { present: 8, stored: 2, zero: 1, byCodec: { raw: 1 } });
});

test('our writers make the very bytes of the example', () => {
  const { builder, start, generation } = buildExample();
  const { image } = builder;
  const label = readLabel(memoryDevice(image)).label as Label;
  const log = recoverLog(bytesSource(image), scopeOfLabel(label));
  const labelAt = image.length - 65536;
  assert.deepEqual(encodeLabelCopy(label), image.subarray(labelAt, labelAt + 8192));
  const found = log.start;
  assert.ok(found && log.generation);
  const record = encodeStartRecord(found.record, found.header);
  assert.deepEqual(record, image.subarray(start, start + record.length));
  const head = encodeGenerationHead(log.generation.header, log.generation.record);
  assert.deepEqual(head, image.subarray(generation.offset, generation.offset + head.length));
});

test('the positions on the page are those of the code', () => {
  const uuid = Uint8Array.from({ length: 16 }, (_, i) => 17 * i);
  const blocks = [...planSignatureBlocks(uuid, 2 ** 30, 3)].join(', ');
  assert.ok(readFileSync(PAGE, 'utf8').includes(`the blocks are ${blocks}.`));
});
