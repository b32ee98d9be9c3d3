/** `diskdump list`: what was saved. */

import { statSync } from 'node:fs';
import { loadConfig } from '../../host/config.ts';
import { openSaveStore } from '../../host/save-store.ts';
import { listSaved } from '../../savecore/record.ts';
import { EXIT } from '../errors.ts';
import { escapeControls, formatTable } from '../output.ts';
import { formatBytes } from '../progress.ts';
import { defineVerb, flag } from '../verb.ts';

export const verb = defineVerb({
  name: 'list',
  text: `Lists the crash directories that 'diskdump save' made, oldest first. Directories of other tools are not shown.`,
  examples: [
    { command: 'list', brief: 'what is in the configured directory' },
    { command: 'list --to /srv/crash --json', brief: 'one record a line, as save printed it' },
  ],
  flags: {
    to: flag.text('directory of crash directories; default: save.directory of the configuration', {
      placeholder: 'DIRECTORY',
    }),
    config: flag.text('configuration file', { placeholder: 'FILE' }),
  },
  positionals: [],
  async run(flags, _positionals, io) {
    const { config } = await loadConfig(flags.config);
    const directory = flags.to ?? config.save.directory;
    const rows: string[][] = [];
    // Opening a store makes its directory; looking must not.
    for (const record of statSync(directory, { throwIfNoEntry: false }) ? listSaved(openSaveStore(directory)) : []) {
      if (io.json) io.document(record);
      else {
        const what = record.kind === 'log' ? 'log' : record.state;
        const pages = record.kind === 'log' ? '' : `${record.pages} pages`;
        rows.push([escapeControls(record.dir), what, pages, formatBytes(record.bytes), escapeControls(record.release)]);
      }
    }
    if (!io.json) {
      if (rows.length === 0) io.note(`nothing was saved in ${directory}`);
      for (const line of formatTable(rows, [2, 3])) io.print(line);
    }
    return EXIT.done;
  },
});
