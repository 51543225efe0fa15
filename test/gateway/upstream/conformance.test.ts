import { socketUpstreams } from '../../../gateway/upstream/socket/socket-upstream.ts';
import { undiciUpstreams } from '../../../gateway/upstream/undici-upstream.ts';
import { upstreamSuite } from './conformance.ts';

upstreamSuite('our own client', (connectMs) =>
  socketUpstreams({ limits: { connectMs }, nowMs: () => performance.now(), isScribbling: true }),
);
upstreamSuite('undici', (connectMs) => undiciUpstreams(connectMs));
