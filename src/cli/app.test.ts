import assert from 'node:assert/strict';
import { test } from 'node:test';
import { testTerminal } from '../../test/support/terminal.ts';
import { DeviceError, FormatError, NoDataError, RefusedError, UsageError } from '../base/errors.ts';
import { runApp, VERBS, type VerbEntries } from './app.ts';
import { findNearest } from './nearest.ts';
import { defineVerb, flag } from './verb.ts';

const probe = defineVerb({
  name: 'probe',
  text: 'A verb for tests.',
  examples: [{ command: 'probe a b', brief: 'two words' }],
  flags: {
    force: flag.switch('go on'),
    logArea: flag.size('bytes of the log area', { alias: 's' }),
    wait: flag.duration('how long to wait'),
    mode: flag.choice(['fast', 'full'], 'how thorough'),
    to: flag.list('where to'),
    rate: flag.integer('a number', { max: 34 }),
    name: flag.text('a name'),
  },
  positionals: [
    { name: 'FIRST', brief: 'the first' },
    { name: 'MORE', brief: 'others', count: 'many' },
  ],
  run(flags, positionals, io) {
    const sum: number = (flags.logArea ?? 0) + (flags.wait ?? 0);
    if (flags.name === 'throw') throw raise(positionals[0]!);
    io.note('narration');
    io.document({ ...flags, positionals, sum });
    return flags.force ? 1 : 0;
  },
});

function raise(kind: string): Error {
  switch (kind) {
    case 'format':
      return new FormatError('BAD_MAGIC', 'reading x: found 0x1', { offset: 16, at: 0x1fn }, 'look again');
    case 'device':
      return new DeviceError('IO', 'writing: EIO', { device: 'sda', operation: 'write', offset: 4096, errno: 'EIO' });
    case 'usage':
      return new UsageError('U', 'no');
    case 'refused':
      return new RefusedError('R', 'the disk holds an ext4 file system');
    case 'system':
      return Object.assign(new Error('ENOENT: x'), { code: 'ENOENT', syscall: 'stat', path: '/x' });
    case 'nodata':
      return new NoDataError('N', 'pfn 0x1 was excluded');
    default:
      return new TypeError('x is not a function');
  }
}

const ENTRIES: VerbEntries = {
  probe: { group: 'look', brief: 'a verb for tests', usage: 'FIRST', load: async () => ({ verb: probe }) },
  broken: {
    group: 'save',
    brief: 'cannot be loaded',
    usage: '',
    load: () => Promise.reject(new Error('Cannot find module')),
  },
};

async function run(argv: readonly string[], terminal = testTerminal()) {
  const code = await runApp(argv, terminal, ENTRIES);
  return { code, out: terminal.out(), err: terminal.err() };
}

test('alone, with --help and with help it lists every verb by group and loads none', async () => {
  const entries = Object.fromEntries(
    Object.entries(VERBS).map(([name, entry]) => [name, { ...entry, load: () => Promise.reject(new Error(name)) }]),
  );
  for (const argv of [[], ['--help'], ['-h'], ['help']]) {
    const terminal = testTerminal();
    assert.equal(await runApp(argv, terminal, entries), 0);
    for (const name of Object.keys(VERBS)) assert.match(terminal.out(), new RegExp(`^  ${name} .*\\S`, 'm'));
    assert.equal(terminal.err(), '');
  }
});

test('help of a verb shows usage, flags in kebab case, examples', async () => {
  for (const argv of [
    ['probe', '--help'],
    ['probe', 'a', '-h'],
    ['help', 'probe'],
  ]) {
    const { code, out } = await run(argv);
    assert.equal(code, 0);
    assert.match(out, /usage: diskdump probe FIRST \[MORE…\] \[--FLAG…\]/);
    assert.match(out, /-s, --log-area SIZE {2,}bytes of the log area/);
    assert.match(out, /--mode fast\|full/);
    assert.match(out, /diskdump probe a b/);
  }
});

test('flags reach the verb typed, with what stands in for those not given', async () => {
  const given = ['a', '--log-area', '4M', '--wait=90s', '--mode', 'full', '--to', 'x,y', '--to', 'z', '--rate', '0x10'];
  const { code, out } = await run(['probe', ...given, '-q', 'b', '--', '--force']);
  assert.equal(code, 0);
  const { positionals, ...flags } = JSON.parse(out);
  assert.deepEqual(positionals, ['a', 'b', '--force']);
  assert.deepEqual(flags, {
    force: false,
    logArea: 4 << 20,
    wait: 90_000,
    mode: 'full',
    to: ['x', 'y', 'z'],
    rate: 16,
    json: false,
    quiet: true,
    verbose: false,
    sum: (4 << 20) + 90_000,
  });
  const bare = JSON.parse((await run(['probe', 'a'])).out);
  assert.deepEqual([bare.to, bare.logArea, bare.force], [[], undefined, false]);
});

test('data goes to stdout, narration to stderr and not with --quiet; the verb gives the exit code', async () => {
  const { code, out, err } = await run(['probe', 'a', '--force']);
  assert.equal(code, 1);
  assert.equal(err, 'narration\n');
  assert.equal(out.split('\n').length, 2);
  assert.equal((await run(['probe', 'a', '--quiet'])).err, '');
});

const WRONG: readonly (readonly [readonly string[], RegExp])[] = [
  [['probe'], /probe: needs the argument FIRST/],
  [['probe', 'a', '--forse'], /no flag '--forse', did you mean --force\?/],
  [['probe', 'a', '-z'], /no flag '-z'/],
  [['probe', 'a', '--x'], /no flag '--x'/],
  [['probe', 'a', '--nope'], /no flag '--nope'\n/],
  [['probe', 'a', '--log'], /no flag '--log', did you mean --log-area\?/],
  [['probe', 'a', '--json=foo'], /probe: --json takes no value, got 'foo'/],
  [['probe', 'a', '--mode', 'slow'], /--mode 'slow' is none of fast, full/],
  [['probe', 'a', '--log-area', 'much'], /--log-area: 'much' is not a size/],
  [['probe', 'a', '--rate', '99'], /--rate: '99' is not a whole number from 0 to 34/],
  [['probe', 'a', '--wait', 'long'], /--wait: 'long' is not a time/],
  [['prob'], /no verb 'prob'\nhint: did you mean `diskdump probe`\?/],
  [['xyzzy'], /no verb 'xyzzy'\nhint: `diskdump --help` lists/],
  [['constructor'], /no verb 'constructor'/],
];

for (const [argv, message] of WRONG) {
  test(`refused with 2: diskdump ${argv.join(' ')}`, async () => {
    const { code, out, err } = await run(argv);
    assert.equal(code, 2);
    assert.equal(out, '');
    assert.match(err, message);
    assert.match(err, /^diskdump: [^\n]+\nhint: [^\n]+\n$/);
  });
}

const CLASSES = { refused: 1, format: 3, nodata: 3, system: 3, device: 5, usage: 2, other: 70 } as const;

for (const [kind, expected] of Object.entries(CLASSES)) {
  test(`an error of class ${kind} ends with ${expected}`, async () => {
    const { code, err } = await run(['probe', kind, '--name', 'throw']);
    assert.equal(code, expected);
    assert.match(err, /^diskdump: /);
    assert.equal(/please report it/.test(err), expected === 70);
  });
}

test('with --json an error is a document too', async () => {
  const { err } = await run(['probe', 'format', '--name', 'throw', '--json']);
  const lines = err.trimEnd().split('\n');
  assert.deepEqual(lines.slice(0, 2), ['diskdump: reading x: found 0x1', 'hint: look again']);
  assert.deepEqual(JSON.parse(lines[2]!), {
    schema: 'diskdump.error/1',
    code: 'BAD_MAGIC',
    message: 'reading x: found 0x1',
    hint: 'look again',
    data: { offset: 16, at: '0x1f' },
  });
});

test('a system call that failed is said in words; its name stays for programs', async () => {
  const { err } = await run(['probe', 'system', '--name', 'throw', '--json']);
  const [message, hint, document] = err.split('\n');
  assert.equal(message, 'diskdump: stat of /x: no such file or directory (ENOENT)');
  assert.match(hint!, /^hint: .*path/);
  const { code, data } = JSON.parse(document!);
  assert.deepEqual([code, data], ['SYSTEM_CALL', { errno: 'ENOENT', syscall: 'stat', path: '/x' }]);
});

test('a verb that cannot be loaded leaves the others alone', async () => {
  assert.equal((await run(['broken'])).code, 70);
  assert.equal((await run(['probe', 'a'])).code, 0);
});

test('a reader of stdout that goes away ends the program quietly', async () => {
  const { code, err } = await run(['probe', 'a', '-q'], testTerminal({ closesAfter: 10 }));
  assert.equal(code, 0);
  assert.equal(err, '');
});

test('the nearest verb', () => {
  const names = Object.keys(VERBS);
  assert.equal(findNearest('inof', names), 'info');
  assert.equal(findNearest('stauts', names), 'status');
  assert.equal(findNearest('cap', names), 'capture');
  assert.equal(findNearest('quux', names), undefined);
  assert.equal(findNearest('', names), undefined);
});

test('where an answer has one form only, --json is refused and not offered', async () => {
  for (const [name, ...rest] of [['pages', 'vmcore'], ['completion', 'bash'], ['demo']] as const) {
    const terminal = testTerminal();
    assert.equal(await runApp([name, ...rest, '--json'], terminal), 2);
    assert.match(terminal.err(), new RegExp(`^diskdump: ${name}: there is no JSON form of its answer\\nhint: `));
    const help = testTerminal();
    await runApp([name, '--help'], help);
    assert.doesNotMatch(help.out(), /--json {2,}/);
  }
  const status = testTerminal();
  assert.equal(await runApp(['status', '--proc', '--json'], status), 2);
});

test('every verb of the table is what its file says, and can be asked for help', async () => {
  const entries: VerbEntries = VERBS;
  for (const [name, entry] of Object.entries(entries)) {
    const { verb } = await entry.load();
    assert.equal(verb.name, name);
    assert.ok(verb.text.trim().length > 0 && verb.examples.length > 0, name);
    const taken = Object.values(verb.flags).flatMap(({ alias }) => alias ?? []);
    assert.equal(new Set([...taken, 'q', 'v', 'h']).size, taken.length + 3, `${name}: a letter stands for two flags`);
    const terminal = testTerminal();
    assert.equal(await runApp([name, '--help'], terminal), 0);
    assert.match(terminal.out(), new RegExp(`^usage: diskdump ${name}\\b`));
  }
});
