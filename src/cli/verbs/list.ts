/** `diskdump list`: what was saved. */

import { statSync } from 'node:fs';
import { join } from 'node:path';
import { isDeviceError } from '../../base/device.ts';
import { NoDataError, UsageError } from '../../base/errors.ts';
import { loadConfig } from '../../host/config.ts';
import { openSaveStore } from '../../host/save-store.ts';
import { inspectSaved, type SavedRecord } from '../../savecore/record.ts';
import type { SaveStore } from '../../savecore/store.ts';
import { EXIT } from '../errors.ts';
import { escapeControls, formatTable, type Io } from '../output.ts';
import { formatBytes } from '../progress.ts';
import { defineVerb, flag } from '../verb.ts';

export const verb = defineVerb({
  name: 'list',
  text: `Lists the crash directories that 'diskdump save' made, oldest first. Directories of other tools are not shown. A directory
whose record does not read, or whose vmcore is gone, is named on stderr; one that this user may not look into makes the exit code 4.`,
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
    const closed: string[] = [];
    for (const record of walkSaved(directory, closed, io)) {
      if (io.json) io.document(record);
      else {
        const what = record.kind === 'log' ? 'log' : record.state;
        const pages = record.kind === 'log' ? '' : `${record.pages} pages`;
        rows.push([escapeControls(record.dir), what, pages, formatBytes(record.bytes), escapeControls(record.release)]);
      }
    }
    if (!io.json) {
      if (rows.length === 0 && closed.length === 0) io.note(`nothing was saved in ${directory}`);
      for (const line of formatTable(rows, [2, 3])) io.print(line);
    }
    if (closed.length === 0) return EXIT.done;
    io.flush();
    const others = closed.length > 1 ? ` and ${closed.length - 1} more` : '';
    io.warn(`${escapeControls(closed[0]!)}${others} could not be looked into: permission denied; try again as root`);
    return EXIT.partial;
  },
});

/** Every record below a directory, by name; warns of what is damaged. @param closed gets what this user may not read. */
function* walkSaved(directory: string, closed: string[], io: Io): Generator<SavedRecord> {
  const stat = statSync(directory, { throwIfNoEntry: false });
  // Opening a store makes its directory; looking must not.
  if (!stat) return;
  if (!stat.isDirectory())
    throw new UsageError(
      'LIST_DIRECTORY',
      `listing ${directory}: it is not a directory`,
      { path: directory },
      'name the directory that `diskdump save` writes to',
    );
  const store = openSaveStore(directory);
  for (const name of listNames(store)) {
    const found = readOne(store, name);
    if (found === 'closed') closed.push(join(directory, name));
    else if (typeof found === 'string') io.warn(`${escapeControls(join(directory, name))}: ${found}`);
    else if (found) {
      if (found.kind === 'dump' && store.fileSize(`${name}/vmcore`) === undefined)
        io.warn(`${escapeControls(found.dir)}: its vmcore is gone, only the record of it is left`);
      yield found;
    }
  }
}

function listNames(store: SaveStore): string[] {
  try {
    return store.list('').sort();
  } catch (error) {
    if (!isDenied(error)) throw error;
    const message = `listing ${store.name}: permission denied (EACCES)`;
    throw new NoDataError('LIST_DENIED', message, { path: store.name }, 'try again as root', error);
  }
}

/** As {@link inspectSaved}; `closed` for what this user may not look into. */
function readOne(store: SaveStore, name: string): ReturnType<typeof inspectSaved> | 'closed' {
  try {
    return inspectSaved(store, name);
  } catch (error) {
    if (isDenied(error)) return 'closed';
    throw error;
  }
}

function isDenied(error: unknown): boolean {
  return isDeviceError(error) && ['EACCES', 'EPERM'].includes(error.failure.errno ?? '');
}
