/** Seeded numbers: the same seed gives the same sequence on every machine. */

/** To add one: `u32` is uniform over 0..2^32−1. */
export interface Random {
  u32(): number;
}

/**
 * The sfc32 generator (Chris Doty-Humphrey, PractRand): 128 bits of state, period at least 2^32.
 *
 * @param seed four 32-bit words; the first twelve outputs are dropped so that close seeds part.
 */
export function sfc32(seed: readonly [number, number, number, number]): Random {
  let [a, b, c, d] = [seed[0] | 0, seed[1] | 0, seed[2] | 0, seed[3] | 0];
  const u32 = (): number => {
    const t = (a + b + d) | 0;
    d = (d + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = ((c << 21) | (c >>> 11)) + t;
    c |= 0;
    return t >>> 0;
  };
  for (let i = 0; i < 12; i++) u32();
  return { u32 };
}

/** A {@link Random} from one number, as tests print and replay it. */
export function seededRandom(seed: number): Random {
  return sfc32([seed, Math.floor(seed / 2 ** 32), 0x9e3779b9, 1]);
}

/** Uniform in 0..count−1, for counts up to 2^32. */
export function randomBelow(random: Random, count: number): number {
  return Math.floor((random.u32() / 2 ** 32) * count);
}
