/** `diskdump arm`: loads the capture kernel. */

import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { armMachine, hasError } from '../arming/arm.ts';
import { armDocument, armLines } from '../arming/render.ts';
import { EXIT } from '../errors.ts';
import { defineVerb, flag } from '../verb.ts';

export const verb = defineVerb({
  name: 'arm',
  text: [
    'Builds the initramfs of the capture kernel, loads both with kexec, and notes what was loaded. From then on a panic',
    'starts the capture kernel, which writes the dump to the first configured device that is ours.',
    '',
    'Run it at every boot, after `diskdump save`; nothing is kept over a reboot but the files it built.',
  ].join('\n'),
  examples: [
    { command: 'arm', brief: 'as /etc/diskdump/diskdump.toml says' },
    { command: 'arm --triggers', brief: 'and have oops, lockups, hung tasks and NMIs panic' },
    { command: 'arm --dry-run', brief: 'what would be loaded, and what stands in the way' },
  ],
  flags: {
    config: flag.text('configuration in place of /etc/diskdump/diskdump.toml', { placeholder: 'FILE' }),
    triggers: flag.switch('set the sysctls that turn failures into panics'),
    dryRun: flag.switch('build and forecast, load nothing'),
    replace: flag.switch('replace a capture kernel that another tool has loaded'),
    runtimeImage: flag.text('a runtime image that was built elsewhere', { placeholder: 'FILE' }),
    kernel: flag.text("image to load in place of the running kernel's own", { placeholder: 'FILE' }),
    directory: flag.text('where images are kept (default: /var/lib/diskdump)', { placeholder: 'DIR' }),
  },
  positionals: [],
  async run(flags, _positionals, io) {
    const { config, runtimeImage, kernel } = flags;
    const result = await armMachine({
      ...(config !== undefined && { config }),
      ...(runtimeImage !== undefined && { runtimeImage }),
      ...(kernel !== undefined && { kernel }),
      triggers: flags.triggers,
      replace: flags.replace,
      dryRun: flags.dryRun,
      directory: flags.directory ?? IMAGES,
      runtimeDirectory: runtimeDirectory(flags.directory ?? IMAGES),
      say: (line) => io.detail(line),
    });
    if (io.json) io.document(armDocument(result));
    else for (const line of armLines(result, flags.dryRun)) io.print(line);
    return result.armed || (flags.dryRun && !hasError(result.problems)) ? EXIT.done : EXIT.no;
  },
});

const IMAGES = '/var/lib/diskdump';

/** Runtime images are kept with the checkout they are built from, where this runs in one. */
function runtimeDirectory(otherwise: string): string {
  for (let at = dirname(fileURLToPath(import.meta.url)); at !== dirname(at); at = dirname(at)) {
    if (existsSync(join(at, 'package-lock.json')) && existsSync(join(at, 'src/host')))
      return join(at, '.cache/runtime');
  }
  return otherwise;
}
