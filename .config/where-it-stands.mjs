/**
 * Where a Node process stands, also one that is in a loop: SIGUSR1 opens the inspector from a thread of its own.
 * @returns sentences for a person; never rejects
 */
export async function whereItStands(pid) {
  try {
    process.kill(pid, 'SIGUSR1');
    const url = await inspectorUrl();
    return await looked(url);
  } catch (error) {
    return `Where it stands could not be learnt: ${error.message}`;
  }
}

const port = 9229; // Node's own

async function inspectorUrl() {
  for (let tries = 0; ; tries += 1) {
    await new Promise((resolve) => setTimeout(resolve, 200));
    try {
      const answer = await fetch(`http://127.0.0.1:${port}/json/list`, {
        signal: AbortSignal.timeout(2_000),
      });
      const [target] = await answer.json();
      return target.webSocketDebuggerUrl;
    } catch (error) {
      if (tries >= 10) throw error;
    }
  }
}

/** One that runs shows in a profile; one that is idle says what it waits for; one that is blocked in a call is silent. */
function looked(url) {
  return new Promise((resolve) => {
    const socket = new WebSocket(url);
    const timers = [];
    const say = (text) => {
      timers.forEach(clearTimeout);
      socket.close();
      resolve(text);
    };
    const ask = (id, method, params = {}) => socket.send(JSON.stringify({ id, method, params }));
    socket.onerror = () => say('Its inspector does not answer.');
    socket.onopen = () => {
      ask(1, 'Profiler.enable');
      ask(2, 'Profiler.start');
      timers.push(
        setTimeout(ask, 2_000, 3, 'Profiler.stop'),
        setTimeout(say, 8_000, 'It is blocked in a call that does not come back to JavaScript.'),
      );
    };
    socket.onmessage = ({ data }) => {
      const { id, result } = JSON.parse(data);
      const stack = id === 3 ? hottest(result.profile.nodes) : [];
      const expression = 'process.getActiveResourcesInfo().join(", ")';
      if (stack.length > 0) say(['It runs mostly:', ...stack].join('\n'));
      else if (id === 3) ask(4, 'Runtime.evaluate', { expression });
      else if (id === 4) say(`It is idle, and waits for: ${result.result.value}`);
    };
  });
}

/** @returns the function of the program in which most samples lie, and its callers; none when it is hardly ever there */
function hottest(nodes) {
  const isOurs = ({ callFrame }) => callFrame.url !== '' && !callFrame.url.startsWith('node:');
  const [most] = nodes.filter(isOurs).sort((a, b) => b.hitCount - a.hitCount);
  if (most === undefined || most.hitCount < 100) return [];
  const lines = [];
  for (
    let node = most;
    node !== undefined;
    node = nodes.find(({ children }) => children?.includes(node.id))
  ) {
    const { functionName, url, lineNumber } = node.callFrame;
    if (url !== '') lines.push(`  at ${functionName || '(anonymous)'} (${url}:${lineNumber + 1})`);
  }
  return lines.slice(0, 20);
}
