/** What a device is, in the words of `diskdump check`. */

import { latin1 } from '../../base/cursor.ts';
import { assertNever } from '../../base/errors.ts';
import type { LabelReading } from './label.ts';

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

function beginsWith(head: Uint8Array, text: string): boolean {
  return latin1(head.subarray(0, text.length)) === text;
}
