/** The documentation against the program: every link leads somewhere, every command line in it exists. */

import { existsSync, globSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { COMMON_FLAGS, VERBS } from '../src/cli/app.ts';
import { parseArguments } from '../src/cli/arguments.ts';
import { ROOT } from './build.ts';

/** Checks all Markdown of the repository, and the examples in the help of every verb. */
export async function checkDocs(): Promise<string[]> {
  const problems: string[] = [];
  for (const path of globSync(['*.md', 'docs/**/*.md', 'test/**/*.md', 'bench/**/*.md'], { cwd: ROOT }).sort()) {
    problems.push(...(await checkText(path, readFileSync(join(ROOT, path), 'utf8'))));
  }
  const readme = readFileSync(join(ROOT, 'README.md'), 'utf8');
  for (const [name, entry] of Object.entries(VERBS)) {
    if (!readme.includes(`diskdump ${name}`) && !readme.includes(`\`${name}\``))
      problems.push(`README.md: no word of ${name}`);
    const { verb } = await entry.load();
    if (verb.examples.length === 0) problems.push(`help of ${name}: no example`);
    for (const { command } of verb.examples) {
      const problem = await wrongCommand(command);
      if (problem !== undefined) problems.push(`help of ${name}: \`diskdump ${command}\`: ${problem}`);
    }
  }
  return problems;
}

/** Checks one document. @param path where it lies, from the root. */
export async function checkText(path: string, text: string): Promise<string[]> {
  const problems = brokenLinks(path, text);
  for (const { line, command } of findCommands(text)) {
    const problem = await wrongCommand(command);
    if (problem !== undefined) problems.push(`${path}:${line}: \`diskdump ${command}\`: ${problem}`);
  }
  return problems;
}

/** Relative links to files that are not there, and to headings that their file does not have. */
function brokenLinks(path: string, text: string): string[] {
  const problems: string[] = [];
  for (const match of stripCode(text).matchAll(/\]\(([^)\s]+)\)/g)) {
    const [file, anchor] = match[1]!.split('#') as [string, string | undefined];
    if (/^[a-z]+:/.test(file)) continue;
    const target = file === '' ? join(ROOT, path) : resolve(ROOT, dirname(path), file);
    if (!existsSync(target)) problems.push(`${path}: link to ${relative(ROOT, target)}, which is not there`);
    else if (anchor !== undefined && target.endsWith('.md') && !headingsOf(target).has(anchor)) {
      problems.push(`${path}: link to a heading #${anchor} that ${relative(ROOT, target)} does not have`);
    }
  }
  return problems;
}

function headingsOf(path: string): ReadonlySet<string> {
  const headings = readFileSync(path, 'utf8').matchAll(/^#+ (.*)$/gm);
  return new Set([...headings].map(([, title]) => anchorOf(title!)));
}

/** As GitHub makes an anchor of a heading. */
function anchorOf(title: string): string {
  return title
    .toLowerCase()
    .replace(/[^\p{L}\p{N}\s_-]/gu, '')
    .replace(/\s/g, '-');
}

function stripCode(text: string): string {
  return text.replace(/```[\s\S]*?```/g, '').replace(/`[^`\n]*`/g, '');
}

/** Command lines in code: a line of a block that begins with `diskdump` (after a prompt), or a span `diskdump …`. */
function findCommands(text: string): { line: number; command: string }[] {
  const commands: { line: number; command: string }[] = [];
  let inBlock = false;
  text.split('\n').forEach((content, i) => {
    if (content.startsWith('```')) inBlock = !inBlock;
    const block = inBlock ? /^\s*(?:[#$] )?(?:sudo )?(?:bin\/)?diskdump ([a-z].*)$/.exec(content) : null;
    if (block !== null) commands.push({ line: i + 1, command: block[1]! });
    if (inBlock) return;
    for (const span of content.matchAll(/`(?:bin\/)?diskdump ([a-z][^`]*)`/g))
      commands.push({ line: i + 1, command: span[1]! });
  });
  return commands;
}

/** Why the program would refuse the words of a command line, or `undefined`. Counts of arguments are left alone. */
async function wrongCommand(command: string): Promise<string | undefined> {
  const line = command.replace(/\s+#.*$/, '').split(/\s*(?:[|<>;]|&&|,\s)/)[0]!;
  const [name = '', ...words] = line.split(/\s+/).filter((word) => word !== '' && word !== '…');
  const entry = (VERBS as Readonly<Record<string, (typeof VERBS)[keyof typeof VERBS]>>)[name];
  if (entry === undefined) return `no verb '${name}'`;
  const { verb } = await entry.load();
  const lenient = { ...verb, positionals: [{ name: 'ANY', brief: '', count: 'many' as const }] };
  const flags = words.filter((word) => word !== '--help' && word !== '-h').map((word) => word.replace(/^\[|\]$/g, ''));
  try {
    await parseArguments(lenient, flags, COMMON_FLAGS);
    return undefined;
  } catch (error) {
    return (error as Error).message;
  }
}
