/** Rules of the house that a reader of a single file would notice. */

import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT } from './build.ts';

interface Rule {
  readonly pattern: RegExp;
  readonly why: string;
  /** Default: every file. */
  readonly only?: RegExp;
  /** Comments may say it. */
  readonly code?: boolean;
}

const RULES: readonly Rule[] = [
  { pattern: /\b(TODO|FIXME|XXX|HACK)\b/, why: 'finish it, or say in prose what is not there' },
  { pattern: /\b(?:test|it|describe)\.(?:skip|only|todo)\(/, why: 'every test runs' },
  {
    pattern: /\bconsole\./,
    why: 'verbs speak through Io, stage 1 through its console',
    only: /^src\/(?!lab\/|stage1\/)/,
    code: true,
  },
  {
    pattern: /\bprocess\.exit\b/,
    why: 'only main.ts ends the process',
    only: /^src\/(?!cli\/main\.ts|stage1\/)/,
    code: true,
  },
  { pattern: /[ \t]+$/, why: 'space at the end of the line' },
];

const SOURCES = [
  'src/**/*.ts',
  'test/**/*.ts',
  'tools/**/*.{ts,sh}',
  'bench/**/*.ts',
  'examples/**/*.ts',
  'bin/*',
  '.ci/*',
];
/** This file names what it forbids. */
const EXCEPT = ['tools/tidy.ts'];

/** Checks every source line by line, and that every module of `src` opens by saying what it is. */
export function checkTidy(): string[] {
  const problems: string[] = [];
  for (const path of globSync(SOURCES, { cwd: ROOT, exclude: EXCEPT }).sort()) {
    const lines = readFileSync(join(ROOT, path), 'utf8').split('\n');
    const module = /^src\/.*\.ts$/.test(path) && !path.endsWith('.test.ts');
    if (module && !/^\/\*\*|^\/\/ /.test(lines[0]!)) {
      problems.push(`${path}:1: opens with a sentence saying what it is`);
    }
    lines.forEach((line, i) => {
      for (const rule of RULES) if (breaks(rule, path, line)) problems.push(`${path}:${i + 1}: ${rule.why}`);
    });
  }
  return problems;
}

function breaks({ pattern, only, code }: Rule, path: string, line: string): boolean {
  if (only !== undefined && !only.test(path)) return false;
  if (code === true && /^\s*(\/\/|\/?\*)/.test(line)) return false;
  return pattern.test(line);
}
