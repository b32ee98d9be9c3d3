/** Sizes for people, in the units that the kernel's own messages use. */

const UNITS = ['B', 'KB', 'MB', 'GB', 'TB'];

/** `42.2 MB`: powers of 1000, as disks and `dd` count; `?` for what is no number. */
export function formatBytes(bytes: unknown): string {
  if (typeof bytes !== 'number' || !Number.isFinite(bytes)) return '?';
  let [value, unit] = [Math.abs(bytes), 0];
  while (value >= 1000 && unit < UNITS.length - 1) {
    value /= 1000;
    unit++;
  }
  const digits = unit === 0 || value >= 100 ? 0 : 1;
  return `${bytes < 0 ? '-' : ''}${value.toFixed(digits)} ${UNITS[unit]}`;
}
