// What one would write first: Fastify, undici's request, the stream handed to Fastify. A yardstick, not a product.
import Fastify from 'fastify';
import { Pool } from 'undici';

const [port, ...servers] = process.argv.slice(2);
const pools = servers.map((url) => new Pool(url, { connections: 128, pipelining: 1 }));
const app = Fastify();
app.removeAllContentTypeParsers();
app.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, body, done) => done(null, body));
let turn = 0;
app.all('/*', async (request, reply) => {
  turn = (turn + 1) % pools.length;
  const { 'content-type': type } = request.headers;
  const answer = await pools[turn].request({
    path: request.raw.url,
    method: request.method,
    headers: type === undefined ? {} : { 'content-type': type },
    body: request.body,
  });
  reply.code(answer.statusCode).header('content-type', answer.headers['content-type']);
  return reply.send(answer.body);
});
await app.listen({ host: '127.0.0.1', port: Number(port) });
