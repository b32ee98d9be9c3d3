/** `diskdump disarm`: unloads the capture kernel. */

import { RefusedError } from '../../base/errors.ts';
import { readArmedState, readMachineFacts, removeArmedState } from '../../host/arm-state.ts';
import { readKexecState, unloadCrashKernel } from '../../host/kexec.ts';
import { statusDocument } from '../arming/render.ts';
import { readStatus } from '../arming/status.ts';
import { EXIT } from '../errors.ts';
import { defineVerb, flag } from '../verb.ts';

export const verb = defineVerb({
  name: 'disarm',
  text: 'Unloads the capture kernel and forgets what was armed. Devices keep their labels, sysctls their values.',
  examples: [{ command: 'disarm', brief: 'a panic leaves no dump from now on' }],
  flags: {
    config: flag.text('configuration in place of /etc/diskdump/diskdump.toml', { placeholder: 'FILE' }),
    force: flag.switch('unload also what another tool has loaded'),
    dryRun: flag.switch('say what would be unloaded'),
  },
  positionals: [],
  async run(flags, _positionals, io) {
    const { loaded } = readKexecState();
    const ours = readArmedState()?.machine.bootId === readMachineFacts().bootId;
    if (loaded && !ours && !flags.force) {
      throw new RefusedError(
        'OTHER_KDUMP',
        'unloading the capture kernel: the one that is loaded is not ours',
        {},
        'diskdump disarm --force unloads it all the same',
      );
    }
    if (!flags.dryRun) {
      if (loaded) unloadCrashKernel();
      removeArmedState();
    }
    if (io.json)
      io.document(statusDocument(await readStatus({ ...(flags.config !== undefined && { config: flags.config }) })));
    else io.note(describe(loaded, flags.dryRun));
    return EXIT.done;
  },
});

function describe(loaded: boolean, dryRun: boolean): string {
  if (dryRun) return loaded ? 'would unload the capture kernel' : 'nothing is loaded';
  return loaded ? 'disarmed: a panic leaves no dump' : 'nothing was loaded';
}
