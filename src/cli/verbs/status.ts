/** `diskdump status`: whether a panic now would leave a dump. */

import { UsageError } from '../../base/errors.ts';
import { hasError } from '../arming/arm.ts';
import { procLines } from '../arming/proc.ts';
import { statusDocument, statusLines } from '../arming/render.ts';
import { readStatus } from '../arming/status.ts';
import { EXIT } from '../errors.ts';
import { defineVerb, flag } from '../verb.ts';

export const verb = defineVerb({
  name: 'status',
  text: [
    'Shows what is armed, whether it still fits the machine, which failures become panics, and what cannot be caught.',
    'Exit code 1: not armed, or what is armed does not fit any more.',
  ].join('\n'),
  examples: [
    { command: 'status', brief: 'all of it' },
    { command: 'status --proc', brief: 'what /proc/diskdump printed' },
  ],
  flags: {
    config: flag.text('configuration in place of /etc/diskdump/diskdump.toml', { placeholder: 'FILE' }),
    proc: flag.switch('as the diskdump module of old printed it'),
  },
  positionals: [],
  async run(flags, _positionals, io) {
    const options = { ...(flags.config !== undefined && { config: flags.config }) };
    if (flags.proc) {
      if (io.json) throw new UsageError('USAGE_JSON', 'status: --proc has one form, it does not go with --json');
      for (const line of await procLines(options)) io.print(line);
      return EXIT.done;
    }
    const result = await readStatus(options);
    if (io.json) io.document(statusDocument(result));
    else for (const line of statusLines(result)) io.print(line);
    return result.armed && !hasError(result.problems) ? EXIT.done : EXIT.no;
  },
});
