/** Which seeds a simulation runs: all of them, or the one that is to be replayed. */

/** A seed, and whether its machine has pages that cannot be read. */
export interface SimSeed {
  readonly seed: number;
  readonly holes: boolean;
}

/** Seeds with holes, whose dumps end as partials, and some without, whose dumps are complete. */
const WITH_HOLES = 100;
const WITHOUT_HOLES = 16;

/**
 * `SIM_SEED=n` in the environment, or `--seed=n` among the arguments, replays one; its name says which it was. Without:
 * the fixed seeds, so that a run means the same everywhere.
 */
export function simSeeds(): SimSeed[] {
  return asked(Array.from({ length: WITH_HOLES + WITHOUT_HOLES }, (_, i) => i + 1)).map(simSeed);
}

/** The seed that is to be replayed, or these. */
export function asked(seeds: readonly number[]): readonly number[] {
  const seed = process.env.SIM_SEED ?? process.argv.find((arg) => arg.startsWith('--seed='))?.slice('--seed='.length);
  return seed === undefined ? seeds : [Number(seed)];
}

function simSeed(seed: number): SimSeed {
  return { seed, holes: seed <= WITH_HOLES || seed > WITH_HOLES + WITHOUT_HOLES };
}
