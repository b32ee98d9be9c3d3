/** The program. Only here does the process end. */

import { runApp } from './app.ts';
import { processTerminal } from './output.ts';

// Threads that a dead disk holds are never waited for, so the end is explicit; output is synchronous and already out.
process.exit(await runApp(process.argv.slice(2), processTerminal()));
