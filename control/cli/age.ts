const units = [
  { name: 'd', seconds: 86_400 },
  { name: 'h', seconds: 3600 },
  { name: 'm', seconds: 60 },
  { name: 's', seconds: 1 },
] as const;

/** A duration as kubectl writes ages: 5s, 3m12s, 47m, 3h20m, 12h, 2d4h, 11d. */
export function formatAge(milliseconds: number): string {
  const total = Math.max(0, Math.floor(milliseconds / 1000));
  const index = units.findIndex((unit) => total >= unit.seconds);
  const [unit, next] = [units[index], units[index + 1]];
  if (unit === undefined || next === undefined) return `${total}s`;
  const whole = Math.floor(total / unit.seconds);
  const rest = Math.floor((total % unit.seconds) / next.seconds);
  return whole >= 10 || rest === 0 ? `${whole}${unit.name}` : `${whole}${unit.name}${rest}${next.name}`;
}

/** @param time RFC 3339; absent or broken gives `<unknown>` */
export function ageOf(time: string | undefined, now: Date): string {
  const since = Date.parse(time ?? '');
  return Number.isNaN(since) ? '<unknown>' : formatAge(now.getTime() - since);
}

/** `90`, `90s`, `10m`, `1h30m` in milliseconds; null when it is none of these. */
export function parseDuration(text: string): number | null {
  if (/^\d+$/.test(text)) return Number(text) * 1000;
  if (!/^(\d+[dhms])+$/.test(text)) return null;
  return [...text.matchAll(/(\d+)([dhms])/g)].reduce((sum, [, amount, name]) => {
    const unit = units.find((u) => u.name === name);
    return sum + Number(amount) * (unit?.seconds ?? 0) * 1000;
  }, 0);
}

const sizes = ['B', 'KB', 'MB', 'GB', 'TB'];

/** 2 MB, 1.4 GB. */
export function formatBytes(bytes: number): string {
  const power = Math.min(sizes.length - 1, bytes < 1 ? 0 : Math.floor(Math.log10(bytes) / 3));
  const value = bytes / 1000 ** power;
  return `${value >= 10 || power === 0 ? Math.round(value) : Math.round(value * 10) / 10} ${sizes[power] ?? 'B'}`;
}
