/** ELF notes: the records in a PT_NOTE segment, which KDUMP copies whole. */

/** One record; `owner` without its trailing NUL. */
export interface Note {
  readonly owner: string;
  readonly type: number;
  /** The descriptor, shared with the segment's bytes. */
  readonly desc: Uint8Array;
  /** Offset of the descriptor from the start of the notes' bytes. */
  readonly descOffset: number;
}

export const NT_PRSTATUS = 1;
export const VMCOREINFO_OWNER = 'VMCOREINFO';
