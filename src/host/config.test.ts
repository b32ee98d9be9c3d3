import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Config, loadConfig, parseConfig } from './config.ts';

test('an empty file gives every default', async () => {
  const config = await parseConfig('', 'x.toml');
  const { stated, ...values } = config;
  assert.equal(stated.size, 0);
  assert.deepEqual(values, {
    devices: [],
    compress: 'none',
    finalAction: 'reboot',
    wipe: 'discard',
    sampleRate: 8,
    blockOrder: 2,
    logAreaBytes: 16 * 2 ** 20,
    save: { directory: '/var/crash' },
    timeouts: { deviceWait: 20, device: 30, heartbeat: 60, fallback: 30 },
    captureKernel: { append: '', watchdog: true, modules: [] },
  } satisfies Omit<Config, 'stated'>);
});

test('a whole file', async () => {
  const config = await parseConfig(
    `devices = ["/dev/vdb", "/dev/disk/by-id/x"]
     compress = "zstd"
     final_action = "poweroff"
     wipe = "zero"
     sample_rate = 0
     block_order = 3
     log_area_kib = 1024
     [save]
     directory = "/srv/crash"
     [timeouts]
     device_wait = 5
     device = 7.5
     heartbeat = 90
     fallback = 10
     [capture_kernel]
     append = "nomodeset maxcpus=1"
     watchdog = false
     modules = ["ahci"]`,
    'x.toml',
  );
  assert.deepEqual(config.devices, ['/dev/vdb', '/dev/disk/by-id/x']);
  assert.equal(config.logAreaBytes, 2 ** 20);
  assert.deepEqual(config.timeouts, { deviceWait: 5, device: 7.5, heartbeat: 90, fallback: 10 });
  assert.equal(config.captureKernel.append, 'nomodeset maxcpus=1');
  assert.ok(config.stated.has('sample_rate'));
});

const WRONG: readonly (readonly [toml: string, message: RegExp])[] = [
  ['compress = "lz4"', /x\.toml: compress is "lz4", expected one of "none", "zlib", "zstd"$/],
  ['devices = "/dev/vdb"', /devices is "\/dev\/vdb", expected a list of absolute paths/],
  ['devices = ["vdb"]', /devices\.0 is "vdb", expected an absolute path$/],
  ['sample_rate = 1.5', /sample_rate is 1\.5, expected a whole number from 0 to 30$/],
  ['log_area_kib = 100', /log_area_kib is 100, expected a multiple of 64/],
  ['[timeouts]\nheartbeat = 0', /timeouts\.heartbeat is 0, expected a number of seconds from 1 to 3600$/],
  ['[timeouts]\nheartbeet = 60', /key timeouts\.heartbeet is not known$/],
  ['save = "/var/crash"', /save is "\/var\/crash", expected a table$/],
  ['[capture_kernel]\nappend = "a\\"b"', /append is .*, expected words of a kernel command line/],
  ['final_action = true', /final_action is true, expected one of/],
];

for (const [toml, message] of WRONG) {
  test(`says what is wrong: ${toml.replaceAll('\n', ' ')}`, async () => {
    await assert.rejects(parseConfig(toml, 'x.toml'), { code: 'CONFIG_VALUE', message });
  });
}

test('a syntax error names its line and column', async () => {
  await assert.rejects(parseConfig('devices = []\nwipe = ', 'x.toml'), {
    code: 'CONFIG_SYNTAX',
    message: /^reading x\.toml: .*, line 2, column \d+$/,
  });
});

test('a file that was named must be there', async () => {
  await assert.rejects(loadConfig('/nonexistent/diskdump.toml'), { code: 'CONFIG_MISSING', hint: /--config/ });
  await assert.rejects(loadConfig('/proc'), { code: 'CONFIG_UNREADABLE', message: /\(EISDIR\)$/ });
});
