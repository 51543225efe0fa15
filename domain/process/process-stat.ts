/**
 * Which process a pid is, on Linux. The kernel reuses pids, so a pid alone may name a stranger: with the time at which
 * the process started, and the boot that this time counts from, it names one process for ever.
 *
 * @param stat text of /proc/<pid>/stat (man 5 proc_pid_stat)
 * @param bootId text of /proc/sys/kernel/random/boot_id
 * @returns null when it does not run (a zombie does not)
 */
export function startOf(stat: string, bootId: string): string | null {
  // State and start are fields 3 and 22. The name, field 2 in parentheses, may hold spaces and parentheses itself.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const [state, started] = [fields[0], fields[19]];
  if (started === undefined || state === 'Z' || state === 'X') return null;
  return `${bootId.trim()}/${started}`;
}

export const bootIdFile = '/proc/sys/kernel/random/boot_id';
