/** `diskdump demo`: a real kernel's panic, from the first byte to the open dump, in QEMU. */

import { accessSync, constants, existsSync } from 'node:fs';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import { RefusedError } from '../../base/errors.ts';
import { runDemo } from '../../lab/demo.ts';
import { findCheckout } from '../../lab/paths.ts';
import { defineVerb, flag } from '../verb.ts';

export const verb = defineVerb({
  name: 'demo',
  text: `Boots a kernel of this distribution in QEMU (software emulation, no KVM needed), formats a dump device in the guest,
arms it, and lets the kernel panic. The capture kernel that kexec starts then runs stage 1; the guest reboots and saves
the dump; and the host, which saw the guest's memory from outside, compares every page of it. A disk that is not ours
stands first in the list of dump devices, and must come out as it went in.

What is missing (QEMU, squashfs-tools, kexec-tools, busybox) is installed by apt when run as root on Debian or Ubuntu;
otherwise the command to run is printed. The kernel is fetched and unpacked, not installed. About two minutes on two
CPUs, downloads aside. Exit 0 only when the whole way ran and agreed.`,
  examples: [
    { command: 'demo', brief: 'the newest kernel for virtual machines, panicked by sysrq' },
    { command: 'demo --crash hardirq', brief: 'a NULL dereference in a hard interrupt, by a module built for it' },
    { command: 'demo --kernel 6.1 --keep', brief: "the newest 6.1, and keep the guest's disks and console" },
  ],
  flags: {
    kernel: flag.text('kernel to crash: a release, or a series such as 6.1', { placeholder: 'RELEASE' }),
    crash: flag.choice(['sysrq', 'hardirq'], 'how it dies (default: sysrq)'),
    keep: flag.switch("keep the guest's folder: disks, console, memory, dump"),
    record: flag.text('write the narration to a file as JSON, for a picture', { placeholder: 'FILE' }),
  },
  positionals: [],
  noJson: '`--record FILE` writes the narration as JSON; the exit code tells the outcome',
  run(flags, _positionals, io) {
    checkWritable(findCheckout());
    return runDemo(io, { kernel: flags.kernel, crash: flags.crash ?? 'sysrq', keep: flags.keep, record: flags.record });
  },
});

/** Folders of a checkout that the demo builds and caches in. */
const WRITTEN = ['', '.cache', '.cache/dist', '.cache/lab', '.cache/lab/runtime'];

/** A checkout that somebody else has built is the usual reason why it cannot be. @throws RefusedError `CHECKOUT_READ_ONLY` */
export function checkWritable(checkout: string, writable: (path: string) => boolean = isWritable): void {
  const moved = process.env.DISKDUMP_LAB_CACHE !== undefined;
  for (const folder of WRITTEN.filter((name) => !moved || !name.startsWith('.cache/lab'))) {
    const path = join(checkout, folder);
    if (!existsSync(path) || writable(path)) continue;
    const user = userName();
    throw new RefusedError(
      'CHECKOUT_READ_ONLY',
      `preparing the demo: ${user} may not write to ${path}, where it builds and caches`,
      { path, user },
      `\`sudo chown -R $(id -u) ${checkout}\`, or run the demo as the owner of the checkout`,
    );
  }
}

/** A user of a container may have a number and no name. */
function userName(): string {
  try {
    return userInfo().username;
  } catch {
    return `user ${process.geteuid?.()}`;
  }
}

function isWritable(path: string): boolean {
  try {
    accessSync(path, constants.W_OK);
    return true;
  } catch {
    return false;
  }
}
