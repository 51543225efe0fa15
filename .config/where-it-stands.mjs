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
    const say = (text) => {
      clearTimeout(late);
      socket.close();
      resolve(text);
    };
    const late = setTimeout(say, 10_000, 'It is blocked in a call that does not come back to JavaScript.');
    const ask = (id, method, params = {}) => socket.send(JSON.stringify({ id, method, params }));
    socket.onerror = () => say('Its inspector does not answer.');
    socket.onopen = () => {
      ask(1, 'Profiler.enable');
      ask(2, 'Profiler.start');
      setTimeout(ask, 2_000, 3, 'Profiler.stop');
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

/** @returns the way down to where most samples lie, innermost first; none when the program is idle */
function hottest(nodes) {
  const byId = new Map(nodes.map((node) => [node.id, node]));
  const childrenOf = (node) => (node.children ?? []).map((id) => byId.get(id));
  const totals = new Map();
  const total = (node) => {
    if (!totals.has(node))
      totals.set(
        node,
        childrenOf(node).reduce((sum, child) => sum + total(child), node.hitCount),
      );
    return totals.get(node);
  };
  const [root] = nodes;
  const isIdle = ({ callFrame }) => ['(idle)', '(program)'].includes(callFrame.functionName);
  const resting = nodes.filter(isIdle).reduce((sum, { hitCount }) => sum + hitCount, 0);
  const busy = total(root) - resting;
  if (busy < total(root) / 2) return [];
  const lines = [];
  for (let node = root; node !== undefined && total(node) > busy / 5;) {
    const { functionName, url, lineNumber } = node.callFrame;
    if (url !== '') lines.unshift(`  at ${functionName || '(anonymous)'} (${url}:${lineNumber + 1})`);
    [node] = childrenOf(node)
      .filter((child) => !isIdle(child))
      .sort((x, y) => total(y) - total(x));
  }
  return lines.slice(0, 20);
}
