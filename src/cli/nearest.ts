/** The word that somebody meant who mistyped it. */

/** The word that takes the fewest edits (at most half its length), or that `name` begins. */
export function findNearest(name: string, words: readonly string[]): string | undefined {
  const begun = name === '' ? undefined : words.find((word) => word.startsWith(name));
  if (begun !== undefined) return begun;
  const ranked = words.map((word) => ({ word, edits: editDistance(name, word) })).sort((a, b) => a.edits - b.edits);
  const best = ranked[0];
  return best !== undefined && best.edits <= Math.ceil(best.word.length / 2) - 1 ? best.word : undefined;
}

/** Insertions, deletions, replacements and swaps of neighbours that lead from `a` to `b`; words are cut at 64. */
function editDistance(a: string, b: string): number {
  const [from, to] = [a.slice(0, 64), b.slice(0, 64)];
  const rows = [Array.from({ length: to.length + 1 }, (_, j) => j)];
  for (let i = 1; i <= from.length; i++) {
    const row = [i];
    for (let j = 1; j <= to.length; j++) {
      const same = from[i - 1] === to[j - 1];
      let cost = Math.min(rows[i - 1]![j]! + 1, row[j - 1]! + 1, rows[i - 1]![j - 1]! + (same ? 0 : 1));
      const swapped = i > 1 && j > 1 && from[i - 1] === to[j - 2] && from[i - 2] === to[j - 1];
      if (swapped) cost = Math.min(cost, rows[i - 2]![j - 2]! + 1);
      row.push(cost);
    }
    rows.push(row);
  }
  return rows[from.length]![to.length]!;
}
