/** The program. Only here does the process end. */

import { runApp, VERBS, type VerbEntries } from './app.ts';
import { processTerminal } from './output.ts';

const argv = process.argv.slice(2);
await end(await runApp(argv, processTerminal()), argv[0]);

/**
 * Ends the process; what was said is out already, since output is synchronous. A thread that a dead disk holds in the
 * kernel would be waited for by `process.exit`, so verbs that call devices end past it where there is one.
 */
async function end(code: number, name = ''): Promise<never> {
  const entries: VerbEntries = VERBS;
  if (Object.hasOwn(entries, name) && entries[name]!.devices === true) {
    const { abandonedThreads } = await import('../driver/threaded.ts');
    if (abandonedThreads() > 0) (await import('../sys/process.ts')).exitNow(code);
  }
  process.exit(code);
}
