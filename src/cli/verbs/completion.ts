/** `diskdump completion SHELL`: a completion script, generated from the table of verbs. */

import { UsageError } from '../../base/errors.ts';
import { COMMON_FLAGS, VERBS, type VerbEntries } from '../app.ts';
import { EXIT } from '../errors.ts';
import { kebab } from '../help.ts';
import { defineVerb, type FlagTable } from '../verb.ts';

export const verb = defineVerb({
  name: 'completion',
  text: 'Prints a script that completes verbs, flags and file names. It is generated from the table of verbs.',
  examples: [
    { command: 'completion bash > /etc/bash_completion.d/diskdump', brief: 'for every user of bash' },
    { command: 'completion fish > ~/.config/fish/completions/diskdump.fish', brief: 'for one user of fish' },
  ],
  flags: {},
  positionals: [{ name: 'SHELL', brief: 'bash, zsh or fish' }],
  async run(_flags, [shell], io) {
    const make = SHELLS[shell!];
    if (make === undefined) {
      throw new UsageError('USAGE_SHELL', `no completion for '${shell}', only for ${Object.keys(SHELLS).join(', ')}`);
    }
    for (const line of make(await readWords(VERBS))) io.print(line);
    return EXIT.done;
  },
});

/** A verb as a completion script needs it. */
export interface VerbWords {
  readonly name: string;
  readonly brief: string;
  readonly flags: readonly { readonly name: string; readonly brief: string; readonly words: readonly string[] }[];
}

/** Loads every verb for its flags. */
export async function readWords(entries: VerbEntries): Promise<VerbWords[]> {
  const words: VerbWords[] = [];
  for (const [name, entry] of Object.entries(entries)) {
    const { verb: loaded } = await entry.load();
    words.push({ name, brief: entry.brief, flags: flagWords({ ...loaded.flags, ...COMMON_FLAGS }) });
  }
  return words;
}

function flagWords(flags: FlagTable): VerbWords['flags'] {
  const help = { name: '--help', brief: 'help with examples', words: [] };
  return [
    ...Object.entries(flags).map(([name, { brief, values }]) => ({
      name: `--${kebab(name)}`,
      brief,
      words: values ?? [],
    })),
    help,
  ];
}

const SHELLS: Readonly<Record<string, (verbs: readonly VerbWords[]) => string[]>> = {
  bash: formatBash,
  zsh: formatZsh,
  fish: formatFish,
};

function formatBash(verbs: readonly VerbWords[]): string[] {
  return [
    '# bash completion for diskdump',
    '_diskdump() {',
    `  local word=\${COMP_WORDS[COMP_CWORD]} verb=\${COMP_WORDS[1]} before=\${COMP_WORDS[COMP_CWORD-1]}`,
    '  if [ "$COMP_CWORD" -eq 1 ]; then',
    `    COMPREPLY=($(compgen -W ${quote(verbs.map(({ name }) => name).join(' '))} -- "$word"))`,
    '    return',
    '  fi',
    '  case "$verb $before" in',
    ...verbs.flatMap(({ name, flags }) =>
      flags
        .filter(({ words }) => words.length > 0)
        .map(
          ({ name: flag, words }) =>
            `    "${name} ${flag}") COMPREPLY=($(compgen -W ${quote(words.join(' '))} -- "$word")); return ;;`,
        ),
    ),
    '  esac',
    '  case "$word" in',
    '    -*)',
    '      case "$verb" in',
    ...verbs.map(
      ({ name, flags }) =>
        `        ${name}) COMPREPLY=($(compgen -W ${quote(flags.map((flag) => flag.name).join(' '))} -- "$word")) ;;`,
    ),
    '      esac',
    '      ;;',
    '    *) COMPREPLY=($(compgen -f -- "$word")) ;;',
    '  esac',
    '}',
    'complete -o filenames -F _diskdump diskdump',
  ];
}

function formatZsh(verbs: readonly VerbWords[]): string[] {
  return [
    '#compdef diskdump',
    '_diskdump() {',
    '  local -a verbs',
    `  verbs=(${verbs.map(({ name, brief }) => quote(`${name}:${zshText(brief)}`)).join(' ')})`,
    '  if (( CURRENT == 2 )); then',
    "    _describe 'verb' verbs",
    '    return',
    '  fi',
    '  case "$words[2]" in',
    ...verbs.map(({ name, flags }) => {
      const specs = flags.map(({ name: flag, brief, words }) => {
        const values = words.length === 0 ? '' : `:value:(${words.join(' ')})`;
        return quote(`${flag}[${zshText(brief).replace(/[[\]]/g, '')}]${values}`);
      });
      return `    ${name}) shift words; (( CURRENT-- )); _arguments ${specs.join(' ')} '*:file:_files' ;;`;
    }),
    '  esac',
    '}',
    'if [ "$funcstack[1]" = "_diskdump" ]; then _diskdump "$@"; else compdef _diskdump diskdump; fi',
  ];
}

function formatFish(verbs: readonly VerbWords[]): string[] {
  const lines = ['# fish completion for diskdump'];
  for (const { name, brief, flags } of verbs) {
    lines.push(`complete -c diskdump -n __fish_use_subcommand -f -a ${name} -d ${quote(brief)}`);
    for (const { name: flag, brief: text, words } of flags) {
      const values = words.length === 0 ? '' : ` -x -a ${quote(words.join(' '))}`;
      lines.push(
        `complete -c diskdump -n '__fish_seen_subcommand_from ${name}' -l ${flag.slice(2)} -d ${quote(text)}${values}`,
      );
    }
  }
  return lines;
}

function zshText(brief: string): string {
  return brief.replace(/:/g, '\\:');
}

function quote(word: string): string {
  return `'${word.replace(/'/g, `'\\''`)}'`;
}
