/** What a device is, in the words of `diskdump check`, and what stage 1 may do with it: the label's table as two functions. */

import { latin1 } from '../../base/cursor.ts';
import { assertNever } from '../../base/errors.ts';
import type { LabelReading } from './label.ts';
import { KDUMP_SIGNATURE } from './layout.ts';

/** The words of `cli.md`. */
export type DeviceWord = 'unformatted' | 'foreign' | 'ready' | 'in-use' | 'partial' | 'complete' | 'saved';

/** What was found out about a device. */
export interface DeviceFacts {
  readonly reading: LabelReading;
  /** From `checkIdentity`; a label that lies on the wrong thing is as good as none. */
  readonly identityProblem?: string;
  /** The first bytes of the device, at least 512. */
  readonly head: Uint8Array;
  /** Is the state's boot id that of the running kernel? */
  readonly sameBoot: boolean;
  /** From `holdsDump`: a generation, or a good start and one good chunk. Asked only for state in use. */
  readonly holdsDump: boolean;
}

/** The state word of a device. */
export function describeDevice(facts: DeviceFacts): DeviceWord {
  const label = facts.reading.label;
  if (!label || facts.identityProblem !== undefined) return isBlank(facts.head) ? 'unformatted' : 'foreign';
  const { state } = label.state;
  switch (state) {
    case 'ready':
      return 'ready';
    case 'inUse':
      return facts.sameBoot || !facts.holdsDump ? 'in-use' : 'partial';
    case 'ended':
      return 'partial';
    case 'complete':
      return 'complete';
    case 'saved':
      return 'saved';
    default:
      return assertNever(state);
  }
}

/** Nothing that anybody could miss: zeros, or a signature block of ours. */
function isBlank(head: Uint8Array): boolean {
  return beginsWith(head, 'diskdump') || head.every((byte) => byte === 0);
}

/**
 * May a device whose signatures were overwritten by a dump of ours be taken on its identity alone? Block 0 must begin
 * with `diskdump`, `KDUMP   ` or eight zeros.
 */
export function blockZeroIsOurs(head: Uint8Array): boolean {
  const zeros = head.subarray(0, 8).every((byte) => byte === 0);
  return zeros || beginsWith(head, 'diskdump') || beginsWith(head, KDUMP_SIGNATURE);
}

function beginsWith(head: Uint8Array, text: string): boolean {
  return latin1(head.subarray(0, text.length)) === text;
}

/** What stage 1 may do with a device. */
export type TakeDecision =
  /** Check the signatures, then take it. */
  | 'signatures'
  /** Take it on identity and block 0: {@link blockZeroIsOurs}. */
  | 'blockZero'
  /** Go on behind the last good record. */
  | 'resume'
  /** It holds a dump that nobody has saved. */
  | 'refuse';

/**
 * The stage 1 column of the state table.
 *
 * @param facts.resumable captured over /proc/vmcore, same boot id, and the start record's notes equal the machine's.
 */
export function decideTake(
  label: NonNullable<LabelReading['label']>,
  facts: { readonly resumable: boolean; readonly holdsDump: boolean },
): TakeDecision {
  const { state } = label.state;
  switch (state) {
    case 'ready':
      return 'signatures';
    case 'saved':
      return 'blockZero';
    case 'ended':
    case 'complete':
      return 'refuse';
    case 'inUse':
      if (facts.resumable) return 'resume';
      return facts.holdsDump ? 'refuse' : 'blockZero';
    default:
      return assertNever(state);
  }
}
