/**
 * The known name that a typing error was probably meant to be, or null when none is close. Case and separators count
 * as nothing, so that `storage_uri` finds `storageUri`; else a third of the letters may differ.
 */
export function nearest(given: string, known: readonly string[]): string | null {
  const plain = (name: string): string => name.toLowerCase().replaceAll(/[-_]/g, '');
  let best: string | null = null;
  let bestDistance = Math.max(1, Math.floor(given.length / 3)) + 1;
  for (const name of known) {
    const distance = editDistance(plain(given), plain(name));
    if (distance < bestDistance) {
      best = name;
      bestDistance = distance;
    }
  }
  return best;
}

/** Letters to insert, remove, replace or swap with their neighbour. */
export function editDistance(a: string, b: string): number {
  // A name from a request may be long; beyond this length nothing is near.
  if (Math.max(a.length, b.length) > 64) return Number.POSITIVE_INFINITY;
  const rows: number[][] = [Array.from({ length: b.length + 1 }, (_, column) => column)];
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const cost = a[i - 1] === b[j - 1] ? 0 : 1;
      let distance = Math.min(at(rows, i - 1, j) + 1, (row[j - 1] ?? 0) + 1, at(rows, i - 1, j - 1) + cost);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) {
        distance = Math.min(distance, at(rows, i - 2, j - 2) + 1);
      }
      row.push(distance);
    }
    rows.push(row);
  }
  return at(rows, a.length, b.length);
}

function at(rows: readonly (readonly number[])[], i: number, j: number): number {
  return rows[i]?.[j] ?? 0;
}
