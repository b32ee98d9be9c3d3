/**
 * The first process of the capture kernel, under busybox on this machine: its functions are the real ones, but for
 * mounting, module loading and the end, and stage 1 is a shell script that behaves as each test needs.
 */

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { closeSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { findBusybox } from '../../src/host/initramfs.ts';

const SCRIPT = fileURLToPath(new URL('../../src/host/capture-root/init', import.meta.url));
const busybox = findBusybox();
let root: string;

before(() => {
  root = mkdtempSync(join(tmpdir(), 'diskdump-init-'));
});

after(() => rmSync(root, { recursive: true, force: true }));

describe('PID 1', { concurrency: true }, () => {
  test('a dump that was written ends in the final action', async () => {
    for (const word of ['complete', 'partial']) {
      const out = await boot(word, `beat; result ${word}`, { settings: 'FINAL_ACTION=poweroff' });
      assert.match(out, new RegExp(`stage 1 says: ${word}\n`));
      assert.match(out, /memory available at the end: \d+ kB, lowest \d+ kB\n/);
      assert.match(out, /\nFINISH poweroff\n$/);
      assert.doesNotMatch(out, /FALLBACK/);
    }
  });

  test('no dump ends in the log area, then a reboot, whatever the final action is', async () => {
    for (const word of ['no-device', 'failed']) {
      const out = await boot(word, `beat; result ${word}`, { settings: 'FINAL_ACTION=halt' });
      assert.match(out, new RegExp(`saving the kernel log alone \\(${word}\\)\nFALLBACK\nFINISH reboot\n$`));
    }
  });

  test('killed once: started once more', async () => {
    const out = await boot('once', 'if [ -e "$RUN/seen" ]; then result complete; fi; : > "$RUN/seen"; kill -9 $$');
    assert.match(out, /ended without a result \(exit status 137\), starting it once more\n/);
    assert.match(out, /FINISH reboot\n$/);
    assert.doesNotMatch(out, /FALLBACK/);
  });

  test('killed twice: the log area', async () => {
    const out = await boot('twice', 'kill -9 $$');
    assert.match(out, /ended without a result again \(exit status 137\)\n/);
    assert.match(out, /\nFALLBACK\n(.*\n)*FINISH reboot\n$/);
  });

  test('a heartbeat that stands still: killed at once, no second start', async () => {
    const out = await boot('stuck', 'beat; kill -STOP $$', { settings: 'HEARTBEAT_SECONDS=3' });
    assert.match(out, /no heartbeat of stage 1 for 3 s, killing it\n/);
    assert.match(out, /\nFALLBACK\n(.*\n)*FINISH reboot\n$/);
    assert.doesNotMatch(out, /once more/);
  });

  test('a heartbeat that moves may go on for longer than its limit', async () => {
    const out = await boot('slow', 'for n in 1 2 3 4 5 6; do beat; sleep 1; done; result complete', {
      settings: 'HEARTBEAT_SECONDS=3',
    });
    assert.match(out, /stage 1 says: complete\n/);
  });

  test('a result counts, whatever becomes of the process', async () => {
    const out = await boot('result', 'result complete; kill -STOP $$');
    assert.match(out, /stage 1 says: complete\n/);
    const killed = await boot('killed', 'result partial; kill -9 $$');
    assert.match(killed, /stage 1 says: partial\n/);
  });

  test('a fallback that hangs is left behind', async () => {
    const out = await boot('hang', 'result failed', { settings: 'FALLBACK_SECONDS=2', fallback: 'sleep 60' });
    assert.match(out, /log area: not done within 2 s, left behind\n(.*\n)*FINISH reboot\n$/);
  });

  test('without a runtime the log area is all there is', async () => {
    const out = await boot('damaged', 'result complete', { runtime: 'false' });
    assert.match(out, /saving the kernel log alone \(no-runtime\)\nFALLBACK\nFINISH reboot\n$/);
    assert.doesNotMatch(out, /stage 1/);
  });

  test('the digest of the armed image goes into the configuration', async () => {
    const folder = join(root, 'digest');
    mkdirSync(folder);
    writeFileSync(join(folder, 'stage1.json'), '{"a":"x\\\\y","armedDigest":"","z":1}\n');
    writeFileSync(join(folder, 'cmdline'), 'console=ttyS0 diskdump.runtime=aa diskdump.armed=bb panic=5\n');
    const script = readFileSync(SCRIPT, 'utf8')
      .replaceAll('/etc/diskdump/stage1.json', join(folder, 'stage1.json'))
      .replaceAll('/proc/cmdline', join(folder, 'cmdline'))
      .replace(/\nmain\n$/, `\nRUN=${folder}\nsettings\necho "$RUNTIME_SHA256 $ARMED_SHA256"\n`);
    writeFileSync(join(folder, 'script'), script);
    assert.equal(await shell(join(folder, 'script')), 'aa bb\n');
    assert.equal(readFileSync(join(folder, 'stage1.json'), 'utf8'), '{"a":"x\\\\y","armedDigest":"bb","z":1}\n');
  });
});

/** Runs the script with a stage 1 that does `stage1`, and gives all that it said. */
async function boot(
  name: string,
  stage1: string,
  options: { settings?: string; fallback?: string; runtime?: string } = {},
): Promise<string> {
  const folder = join(root, name);
  mkdirSync(folder);
  writeFileSync(
    join(folder, 'stage1'),
    `RUN=${folder}
     beat() { n=$((n + 1)); echo $n > $RUN/heartbeat; }
     result() { echo "$1" > $RUN/result.new; mv $RUN/result.new $RUN/result; }
     ${stage1}\n`,
  );
  writeFileSync(join(folder, 'fallback'), `${options.fallback ?? 'echo FALLBACK'}\n`);
  const overrides = `
    RUN=${folder}
    FALLBACK=${folder}/fallback
    STAGE1_COMMAND='${busybox} sh ${folder}/stage1'
    ${options.settings ?? ''}
    mount_all() { mkfifo ${folder}/tick; exec 9<> ${folder}/tick; clock; }
    settings() { :; }
    load_modules() { :; }
    runtime_ready() { ${options.runtime ?? 'true'}; }
    finish() { say "FINISH $1" | sed 's/^diskdump: //'; }
    main
  `;
  writeFileSync(join(folder, 'init'), readFileSync(SCRIPT, 'utf8').replace(/\nmain\n$/, overrides));
  return shell(join(folder, 'init'));
}

/** All that `script` says. What it leaves behind on purpose (stopped, or asleep) ends with it: it has a process group. */
function shell(script: string): Promise<string> {
  const output = `${script}.out`;
  return new Promise((done, fail) => {
    const fd = openSync(output, 'w');
    const child = spawn(busybox, ['sh', script], { stdio: ['ignore', fd, fd], detached: true });
    closeSync(fd);
    const endGroup = (): void => {
      try {
        process.kill(-(child.pid as number), 'SIGKILL');
      } catch {
        // Nothing was left.
      }
    };
    const limit = setTimeout(endGroup, TIME_MAX_MS);
    child.once('error', fail);
    child.once('exit', () => {
      clearTimeout(limit);
      endGroup();
      done(readFileSync(output, 'utf8'));
    });
  });
}

const TIME_MAX_MS = 60_000;
