/** The corpus as tests see it: its dumps opened, its truth read. `DISKDUMP_CORPUS` names the folder. */

import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { gunzipSync, zstdDecompressSync } from 'node:zlib';
import { openVmcore } from '../../src/format/open.ts';
import type { Vmcore } from '../../src/format/vmcore.ts';
import { nodeCodecs, nodeCrc32 } from '../../src/host/codecs.ts';
import { openFileSource } from '../../src/host/file-source.ts';

const CORPUS = resolve(import.meta.dirname, '../..', process.env.DISKDUMP_CORPUS ?? '../shared/corpus');

/** A dump of the corpus, unpacked into a file of its own while it is used. */
export interface CorpusDump {
  /** Name of its folder. */
  readonly name: string;
  /** Plain file. */
  readonly path: string;
  readonly vmcore: Vmcore;
  /** A file of `truth/`, unpacked where it is packed. */
  truth(file: string): Buffer;
}

/** What drgn's JSON in `truth/` says, as far as these tests use it. */
export interface DrgnTruth {
  readonly dmesg_records: readonly {
    readonly seq: number;
    readonly ts_ns: number;
    readonly level: number;
    readonly facility: number;
    readonly text: string;
    readonly caller_tid: number | null;
    readonly caller_cpu: number | null;
    readonly context: Readonly<Record<string, string>>;
  }[];
  readonly program: Readonly<Record<'release' | 'version' | 'nodename' | 'machine', string>>;
  readonly symbols: Readonly<Record<string, readonly [address: string, size: number]>>;
}

/** Names of the x86-64 dumps whose formats are read: KDUMP, and QEMU's ELF. */
export const X86_64_DUMPS = [
  's1-6.1-sysrq',
  's2-6.12-null-smp2',
  's3-6.1-kdump',
  's5-6.1-hung-numa',
  's7-6.1-qemu-small',
] as const;

/** Runs `work` over a dump, with a folder for its files. */
export function withCorpusDump(name: string, work: (dump: CorpusDump, folder: string) => void): void {
  const folder = mkdtempSync(join(tmpdir(), 'kernel-corpus-'));
  try {
    const file = readdirSync(join(CORPUS, name)).find((entry) => /^(vmcore|qemu)\./.test(entry)) as string;
    const path = join(folder, 'vmcore');
    const bytes = readFileSync(join(CORPUS, name, file));
    writeFileSync(path, file.endsWith('.zst') ? zstdDecompressSync(bytes) : bytes);
    const source = openFileSource(path);
    try {
      const truth = (entry: string): Buffer => {
        const content = readFileSync(join(CORPUS, name, 'truth', entry));
        return entry.endsWith('.gz') ? gunzipSync(content) : content;
      };
      work({ name, path, vmcore: openVmcore(source, { codecs: nodeCodecs(), crc: nodeCrc32 }), truth }, folder);
    } finally {
      source.close();
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Link-time addresses of a kernel's System.map: the first of each name. */
export function readSystemMap(release: string): Map<string, bigint> {
  const text = zstdDecompressSync(readFileSync(join(CORPUS, 'symbols', `System.map-${release}.zst`))).toString(
    'latin1',
  );
  const symbols = new Map<string, bigint>();
  for (const line of text.split('\n')) {
    const [address = '', , name = ''] = line.split(' ');
    if (name && !symbols.has(name)) symbols.set(name, BigInt(`0x${address}`));
  }
  return symbols;
}

/**
 * The corpus' makers took the build path of the lab's module out of what tools printed, and left a piece of it in one file;
 * the dumps have it. Takes what is before the file's name out of both.
 */
export function withoutBuildPath(text: string): string {
  return text.replace(/(kernel BUG at )\S*\/?(crashme\.c:)/g, '$1$2');
}
