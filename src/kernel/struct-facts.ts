/** Names and structures of the kernel out of itself, for when vmcoreinfo lacks a line: kallsyms leads to BTF. */

import { DumpError } from '../base/errors.ts';
import { BTF_HEADER, Btf, measureBtf } from './btf.ts';
import { findSymbols } from './kallsyms.ts';
import type { VirtualMemory } from './memory.ts';
import type { StructFacts } from './printk-layout.ts';
import type { Vmcoreinfo } from './vmcoreinfo.ts';

/** Symbols that the log may need, looked up together. */
const NAMES = ['prb', '__start_BTF'] as const;

/** What kallsyms and BTF tell; `undefined` where the dump does not hold them. Costs some 100 ms and 5 MB. */
export function openStructFacts(memory: VirtualMemory, vmcoreinfo: Vmcoreinfo): StructFacts | undefined {
  const symbols = attempt(() => findSymbols(memory, vmcoreinfo, NAMES));
  if (!symbols) return undefined;
  const start = symbols.get('__start_BTF');
  const btf = start === undefined ? undefined : attempt(() => readBtf(memory, start));
  return {
    symbol: (name) => symbols.get(name),
    offset: (member) => attempt(() => btf?.offset(member)),
    size: (struct) => attempt(() => btf?.size(struct)),
  };
}

function readBtf(memory: VirtualMemory, start: bigint): Btf {
  const header = new Uint8Array(BTF_HEADER.size);
  memory.readVirtual(header, start);
  const bytes = new Uint8Array(measureBtf(header));
  memory.readVirtual(bytes, start);
  return new Btf(bytes);
}

/** A fallback that does not work is no error: the caller names what it lacks. */
function attempt<T>(work: () => T): T | undefined {
  try {
    return work();
  } catch (error) {
    if (error instanceof DumpError) return undefined;
    throw error;
  }
}
