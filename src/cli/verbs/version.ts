/** `diskdump version`: which diskdump, on which runtime. */

import packageData from '../../../package.json' with { type: 'json' };
import { EXIT } from '../errors.ts';
import { defineVerb } from '../verb.ts';

export const verb = defineVerb({
  name: 'version',
  text: 'The version of diskdump, and of the Node that runs it.',
  examples: [{ command: 'version --json', brief: 'for a bug report' }],
  flags: {},
  positionals: [],
  run(_flags, _positionals, io) {
    const { version } = packageData;
    if (io.json)
      io.document({ schema: 'diskdump.version/1', version, node: process.versions.node, arch: process.arch });
    else io.print(`diskdump ${version} (node ${process.versions.node}, ${process.arch})`);
    return EXIT.done;
  },
});
