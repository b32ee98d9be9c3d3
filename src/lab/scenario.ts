/** One cycle as data: which kernel, which machine, which crash, which disks; and the scripts that the guest runs for it. */

import type { Kernel } from './kernels.ts';

/** How the guest's kernel dies. */
export type CrashKind = 'sysrq' | 'hardirq';

/** What goes wrong in the capture kernel on purpose. */
export interface Fault {
  /** Shell function body that runs in the background of PID 1 there; it sees what PID 1 sees. */
  readonly script?: string;
  /** Lines for the guest's `diskdump.toml`, above its tables. */
  readonly config?: string;
}

/** A whole cycle. */
export interface Scenario {
  /** Short, for names of folders and for messages. */
  readonly label: string;
  readonly kernel: Kernel;
  readonly crash: CrashKind;
  /** QEMU's name of a CPU. */
  readonly cpuModel: string;
  readonly cpus: number;
  readonly memoryMiB: number;
  /** `crashkernel=`. */
  readonly crashkernel: string;
  /** Serial numbers of the dump devices in the order of the configuration; those in `formatted` get a label. */
  readonly devices: readonly string[];
  readonly formatted: readonly string[];
  /** Of `formatted`: devices that somebody else's data goes to once the machine is armed. */
  readonly lost: readonly string[];
  readonly fault?: Fault;
  /**
   * Have freed pages zeroed and caches dropped before the crash: fewer pages with contents, a shorter dump and save.
   */
  readonly sparseMemory: boolean;
  /** Also run `check` before and after the save, `save` a second time, and `list`: some seconds each in a guest. */
  readonly thorough: boolean;
}

/**
 * What scenarios start from. Nehalem has SSE4.2 and lacks what software emulation is slowest at: AVX, and `rep movsb`
 * taken byte by byte. Against `-cpu max` a guest needs a third less time.
 */
export const DEFAULT_MACHINE = {
  cpuModel: 'Nehalem',
  cpus: 2,
  memoryMiB: 640,
  crashkernel: '192M',
  devices: ['decoy', 'dump'],
  formatted: ['dump'],
  lost: [],
  sparseMemory: true,
  thorough: true,
} as const;

/** Files of the data disk: what the guest's file system has when it first boots. */
export function planDataFiles(scenario: Scenario): Record<string, string> {
  const files: Record<string, string> = {
    'etc/machine-id': '5d1cd09f5d1cd09f5d1cd09f5d1cd09f\n',
    'etc/diskdump/.keep': '',
    'var/crash/.keep': '',
    'out/.keep': '',
    'boot-1.sh': firstBoot(scenario),
    'boot-2.sh': secondBoot(scenario),
  };
  if (scenario.fault?.script !== undefined) files['fault.sh'] = scenario.fault.script;
  return files;
}

/**
 * A kernel counts timer interrupts for ten ticks when it starts and panics ("IO-APIC + timer doesn't work!") where an emulated
 * CPU got too little of a busy host to see them.
 */
const NO_TIMER_CHECK = 'no_timer_check';

/** The kernel command line of the guest's normal kernel. */
export function planCommandLine(scenario: Scenario): string {
  const words = ['console=ttyS0', `crashkernel=${scenario.crashkernel}`, 'panic=30', 'quiet', NO_TIMER_CHECK];
  if (scenario.sparseMemory) words.push('init_on_free=1');
  return words.join(' ');
}

/** Formats, arms, crashes. The steps' answers go to the console, where the host reads them, and to /data/out. */
function firstBoot(scenario: Scenario): string {
  const config = [
    `devices = [${scenario.devices.map((serial) => `"$(disk ${serial})"`).join(', ')}]`,
    scenario.fault?.config ?? '',
    `[capture_kernel]\nappend = "${NO_TIMER_CHECK}"`,
  ].join('\n');
  return `
step() { # name, command...
  name=$1; shift
  "$@" > /data/out/$name.json 2> /data/out/$name.err && return
  status=$?
  cat /data/out/$name.json /data/out/$name.err
  give_up "$name: exit $status"
}
overwrite() { # device: the first and the last MiB, where labels are
  yes "somebody else's data" | head -c 1048576 > /tmp/data
  blocks=$(($(cat /sys/block/\${1##*/}/size) / 2048))
  dd if=/tmp/data of="$1" bs=1M 2> /dev/null
  dd if=/tmp/data of="$1" bs=1M seek=$((blocks - 1)) 2> /dev/null
}
${scenario.formatted.map((serial) => `step format-${serial} diskdump format $(disk ${serial}) --json\nsay "formatted $(cat /data/out/format-${serial}.json)"`).join('\n')}
cat > /etc/diskdump/diskdump.toml <<END
${config}
END
${scenario.fault?.script === undefined ? '' : PACK_FAULT}
step arm diskdump arm --runtime-image /tools/runtime.img --json
${scenario.lost.map((serial) => `overwrite $(disk ${serial})`).join('\n')}
cat /proc/meminfo > /data/out/meminfo
cat /sys/kernel/kexec_crash_loaded > /data/out/loaded
echo 1 > /proc/sys/kernel/sysrq
sync
${scenario.sparseMemory ? 'echo 3 > /proc/sys/vm/drop_caches' : ''}
say "armed $(cat /data/out/arm.json)"
sleep 1 # the console's driver sends on interrupts: what it still holds at the panic is lost
${CRASHES[scenario.crash]}
sleep 30
give_up 'the kernel survived'
`;
}

/** Saves, looks, and leaves everything for the host. */
function secondBoot(scenario: Scenario): string {
  const save = `
diskdump save --json > /data/out/save.ndjson 2> /data/out/save.err
echo $? > /data/out/save.exit
say "saved $(cat /data/out/save.ndjson)"
cat /data/out/save.err
`;
  if (!scenario.thorough) return save;
  const check = (moment: string) =>
    scenario.formatted.map(
      (serial) => `diskdump check $(disk ${serial}) --json > /data/out/check-${serial}-${moment}.json 2>&1`,
    );
  return `
${check('before').join('\n')}
${save}
${check('after').join('\n')}
diskdump save --json > /data/out/save-again.ndjson 2>&1
diskdump list --json > /data/out/list.ndjson 2>&1
`;
}

const CRASHES: Readonly<Record<CrashKind, string>> = {
  sysrq: 'echo c > /proc/sysrq-trigger',
  hardirq: 'insmod /lab_crash.ko',
};

/**
 * The capture kernel's first process with the fault in its background, from the moment that it has /dev: `diskdump arm`
 * takes its scripts from the tools disk, so the changed one is laid over it.
 */
const PACK_FAULT = `
{
  sed -e '$d' -e 's/^  mount_all$/  mount_all; lab_fault \\&/' /tools/cli/capture-root/init
  echo 'lab_fault() {'; cat /data/fault.sh; echo '}'
  echo main
} > /data/init
grep -q 'lab_fault &' /data/init || give_up 'the fault has no place in init'
chmod 755 /data/init
mount --bind /data/init /tools/cli/capture-root/init
`;
