/**
 * The leash of a program that is not ours (Temporal's server, a Go program): a POSIX shell that holds it.
 * The shell's standard input is a pipe that only the parent holds open. When that closes the program gets SIGTERM
 * and, after five seconds, SIGKILL; a SIGTERM to the shell is passed on. The program's pid goes to a file, so that
 * a later start can end it even if the shell itself was killed.
 */
const script = `
pid_file=$1; shift
exec 3<&0
"$@" </dev/null 3<&- & program=$!
echo "$program" >"$pid_file"
trap 'kill -TERM "$program" 2>/dev/null' TERM INT HUP
(
  trap - TERM INT HUP
  while read -r _ <&3; do :; done
  kill -TERM "$program" 2>/dev/null
  for i in 1 2 3 4 5; do kill -0 "$program" 2>/dev/null || exit; sleep 1; done
  kill -KILL "$program" 2>/dev/null
) & watch=$!
exec 3<&-
code=0
while :; do
  wait "$program"; code=$?
  kill -0 "$program" 2>/dev/null || break
done
kill -KILL "$watch" 2>/dev/null
exit "$code"
`;

/** @returns a command line that runs `command` under the leash */
export function onShellLeash(pidFile: string, command: readonly string[]): readonly string[] {
  return ['/bin/sh', '-c', script, 'muster-leash', pidFile, ...command];
}
