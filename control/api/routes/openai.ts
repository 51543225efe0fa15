import multipart from '@fastify/multipart';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';
import {
  BatchLines,
  BatchPlan,
  BatchRequest,
  BatchResult,
  CallerRecord,
  filePurposes,
} from '../../../domain/batch/batch.schema.ts';
import type { StoredFile } from '../../../domain/batch/batch.schema.ts';
import { ownerOf } from '../../../domain/access/caller.ts';
import { MusterError, codeOf, messageOf } from '../../../domain/errors.ts';
import type { Batches, Page } from '../../store/batches.ts';
import { newId } from '../batches/batch-desk.ts';
import { Housekeeping } from '../batches/housekeeping.ts';
import type { ApiContext } from '../deps.ts';
import { problemOf } from '../problem.ts';
import type { Routes, TypedApp } from './route.ts';
import { Empty, refusals } from './route.ts';

/**
 * OpenAI's Files and Batches, as gateways forward them: the caller comes in a header that only they can send, bodies
 * and errors are OpenAI's. And what a batch's workflow asks of its batch.
 */
const fileBytesMax = 512 * 1024 * 1024;
const allBytesMax = 20 * 1024 * 1024 * 1024;
/** So that nobody takes the room of all. */
const ownerBytesMax = 5 * 1024 * 1024 * 1024;
const tags = ['internal', 'openai'];

type Caller = z.infer<typeof CallerRecord>;

export const openaiRoutes: Routes = (app, context) => {
  void app.register(multipart, {
    limits: { fileSize: fileBytesMax, files: 1, fields: 10, fieldSize: 64 * 1024 },
  });
  void app.register((scope, _options, done) => {
    // A body that is no JSON is refused before any handler, and in OpenAI's words all the same.
    scope.setErrorHandler((error, _request, reply) => sendError(reply, error));
    files(scope, context);
    batches(scope, context);
    done();
  });
  work(app, context);
  const { desk, fileBytes: bytes, log, now } = context;
  const housekeeping = new Housekeeping({
    desk,
    store: context.store.batches,
    bytes,
    log,
    now,
    everyMs: 60_000,
  });
  app.addHook('onListen', (done) => {
    housekeeping.start();
    done();
  });
  app.addHook('onClose', () => housekeeping.stop());
};

function files(app: TypedApp, context: ApiContext): void {
  const { batches: store } = context.store;
  const { fileBytes } = context;
  app.post('/internal/openai/v1/files', described('Upload a file'), (request, reply) =>
    answered(reply, () => upload(context, request, callerOf(request))),
  );
  app.get('/internal/openai/v1/files', described('List files'), (request, reply) =>
    answered(reply, async () => {
      const query = ListQuery.extend({ purpose: z.enum(filePurposes).optional() }).parse(request.query);
      const page = pageOf(query, 10_000);
      const data = await store.files(ownerOf(callerOf(request)), oneMore(page), query.purpose);
      return listOf(data, page.limit);
    }),
  );
  const path = '/internal/openai/v1/files/:id';
  app.get(path, described('Describe a file'), (request, reply) =>
    answered(reply, async () => (await ownFile(context, request)).file),
  );
  app.delete(path, described('Delete a file'), (request, reply) =>
    answered(reply, async () => {
      const { file } = await ownFile(context, request);
      if (!(await store.removeFile(file.id))) throw await inUse(store, file.id);
      await fileBytes.remove(file.id);
      return { id: file.id, object: 'file', deleted: true };
    }),
  );
  app.get(`${path}/content`, described('Bytes of a file'), async (request, reply) => {
    try {
      const { file } = await ownFile(context, request);
      const { stream, bytes } = await fileBytes.read(file.id);
      return await reply.type('application/octet-stream').header('content-length', bytes).send(stream);
    } catch (error) {
      return await sendError(reply, error);
    }
  });
}

function batches(app: TypedApp, context: ApiContext): void {
  const { desk } = context;
  const { batches: store } = context.store;
  app.post('/internal/openai/v1/batches', described('Create a batch'), (request, reply) =>
    answered(reply, () => desk.create(callerOf(request), BatchRequest.parse(request.body))),
  );
  app.get('/internal/openai/v1/batches', described('List batches'), (request, reply) =>
    answered(reply, async () => {
      const page = pageOf(ListQuery.parse(request.query), 100);
      const records = await store.batches(ownerOf(callerOf(request)), oneMore(page));
      return listOf(await Promise.all(records.map((record) => desk.describe(record))), page.limit);
    }),
  );
  app.get('/internal/openai/v1/batches/:id', described('Describe a batch'), (request, reply) =>
    answered(reply, async () => desk.describe(await ownBatch(context, request))),
  );
  app.post('/internal/openai/v1/batches/:id/cancel', described('Cancel a batch'), (request, reply) =>
    answered(reply, async () => desk.cancel(await ownBatch(context, request))),
  );
}

/** For the activities of `batch/<id>`. */
function work(app: TypedApp, { desk }: ApiContext): void {
  const params = z.object({ id: z.string().max(200) });
  const schema = { tags, params };
  app.post(
    '/internal/batches/:id/open',
    { schema: { ...schema, summary: 'Look through a batch', response: { 200: BatchPlan, ...refusals } } },
    ({ params: { id } }) => desk.open(id),
  );
  const range = z.object({ from: z.coerce.number().int().min(0), to: z.coerce.number().int().min(0) });
  app.get(
    '/internal/batches/:id/lines',
    {
      schema: {
        ...schema,
        summary: 'Lines of a batch without result',
        querystring: range,
        response: { 200: BatchLines, ...refusals },
      },
    },
    ({ params: { id }, query: { from, to } }) => desk.lines(id, from, to),
  );
  app.post(
    '/internal/batches/:id/results',
    {
      schema: {
        ...schema,
        summary: 'Results of lines; a line keeps its first',
        body: z.object({ results: z.array(BatchResult).max(100) }),
        response: { 200: Empty, ...refusals },
      },
      bodyLimit: 64 * 1024 * 1024,
    },
    async ({ params: { id }, body }) => {
      await desk.addResults(id, body.results);
      return {};
    },
  );
  const Close = z.object({ outcome: z.enum(['completed', 'expired', 'cancelled']) });
  app.post(
    '/internal/batches/:id/close',
    {
      schema: {
        ...schema,
        summary: 'Write the files of a batch',
        body: Close,
        response: { 200: Empty, ...refusals },
      },
    },
    async ({ params: { id }, body }) => {
      await desk.close(id, body.outcome);
      return {};
    },
  );
}

async function upload(context: ApiContext, request: FastifyRequest, caller: Caller): Promise<StoredFile> {
  const { fileBytes, store, now } = context;
  await checkRoom(store.batches, ownerOf(caller), 0);
  if (!request.isMultipart())
    throw new MusterError('invalid_input', 'Send multipart/form-data with the fields purpose and file.');
  const id = newId('file-', now());
  const fields: Record<string, string> = {};
  let filename: string | null = null;
  let bytes = 0;
  try {
    for await (const part of request.parts()) {
      if (part.type === 'field') fields[part.fieldname] = String(part.value);
      else if (part.fieldname === 'file' && filename === null) {
        filename = part.filename;
        bytes = await fileBytes.put(id, part.file, fileBytesMax);
      } else await part.toBuffer();
    }
  } catch (error) {
    await fileBytes.remove(id);
    // The parser throws plain errors for a missing boundary, a cut form, a head that is none.
    if (error instanceof MusterError || codeOf(error)?.startsWith('E') === true) throw error;
    throw new MusterError('invalid_input', `The form is malformed: ${messageOf(error)}.`, { cause: error });
  }
  const seconds = Math.floor(now() / 1000);
  try {
    if (filename === null)
      throw new MusterError('invalid_input', 'The form has no file: send it in the field "file".');
    await checkRoom(store.batches, ownerOf(caller), bytes);
    const purpose = z.enum(filePurposes).parse(fields['purpose']);
    const after = fields['expires_after[seconds]'];
    const file: StoredFile = {
      id,
      object: 'file',
      bytes,
      created_at: seconds,
      ...(after === undefined
        ? {}
        : { expires_at: seconds + z.coerce.number().int().min(3600).max(2_592_000).parse(after) }),
      filename: filename.slice(0, 255),
      purpose,
      status: 'processed',
    };
    await store.batches.putFile({ tenant: ownerOf(caller), file });
    return file;
  } catch (error) {
    await fileBytes.remove(id);
    throw error;
  }
}

async function inUse(batches: Batches, id: string): Promise<MusterError> {
  const batch = await batches.openBatchOf(id);
  return batch === null
    ? new MusterError('not_found', `No such File object: ${id}`)
    : new MusterError('conflict', `The batch ${batch} reads this file: wait for its end, or cancel it.`);
}

/** @throws MusterError disk_full when `bytes` more are too many for their owner, or for all */
async function checkRoom(batches: Batches, owner: string, bytes: number): Promise<void> {
  if ((await batches.filesBytes(owner)) + bytes > ownerBytesMax)
    throw new MusterError(
      'disk_full',
      `Your files take ${ownerBytesMax} bytes, which is all you may: delete some first.`,
    );
  if ((await batches.filesBytes()) + bytes > allBytesMax)
    throw new MusterError(
      'disk_full',
      `More than ${allBytesMax} bytes of files are stored: delete some first.`,
    );
}

const described = (summary: string) => ({
  schema: { tags, summary },
});

const ListQuery = z.object({
  after: z.string().max(200).optional(),
  limit: z.coerce.number().int().min(1).optional(),
  order: z.enum(['asc', 'desc']).optional(),
});

function pageOf(query: z.infer<typeof ListQuery>, max: number): Page {
  return {
    after: query.after,
    limit: Math.min(query.limit ?? Math.min(20, max), max),
    order: query.order ?? 'desc',
  };
}

/** One beyond the page tells whether there is another. */
function oneMore(page: Page): Page {
  return { ...page, limit: page.limit + 1 };
}

function listOf<T extends { readonly id: string }>(found: readonly T[], limit: number) {
  const data = found.slice(0, limit);
  const ids = data.map(({ id }) => id);
  return {
    object: 'list',
    data,
    first_id: ids[0] ?? null,
    last_id: ids.at(-1) ?? null,
    has_more: found.length > limit,
  };
}

const IdParams = z.object({ id: z.string().max(200) });

/** Another tenant's file is as if it were not there. */
async function ownFile({ store }: ApiContext, request: FastifyRequest) {
  const { id } = IdParams.parse(request.params);
  const record = await store.batches.file(id);
  if (record?.tenant !== ownerOf(callerOf(request)))
    throw new MusterError('not_found', `No such File object: ${id}`);
  return record;
}

async function ownBatch({ store }: ApiContext, request: FastifyRequest) {
  const { id } = IdParams.parse(request.params);
  const record = await store.batches.batch(id);
  if (record?.tenant !== ownerOf(callerOf(request)))
    throw new MusterError('not_found', `No such Batch object: ${id}`);
  return record;
}

function callerOf(request: FastifyRequest): Caller {
  const header = request.headers['x-muster-caller'];
  if (typeof header !== 'string') throw new MusterError('unauthorized', 'The request names no caller.');
  return CallerRecord.parse(JSON.parse(Buffer.from(header, 'base64').toString('utf8')));
}

async function answered(reply: FastifyReply, work: () => Promise<unknown>): Promise<unknown> {
  try {
    return await reply.send(await work());
  } catch (error) {
    return await sendError(reply, error);
  }
}

/** In OpenAI's shape; a wrong field is named. */
async function sendError(reply: FastifyReply, error: unknown): Promise<unknown> {
  const issue = error instanceof z.ZodError ? error.issues[0] : undefined;
  const problem = problemOf(error);
  const status = issue !== undefined ? 400 : problem.status;
  if (status === 500) reply.log.error({ err: error }, 'a request for files or batches failed');
  const message = issue === undefined ? problem.detail : `${issue.path.join('.')}: ${issue.message}`;
  const type = status >= 500 ? 'server_error' : 'invalid_request_error';
  if (status === 503) void reply.header('retry-after', '2');
  const code = issue === undefined ? problem.code : 'invalid_request';
  return await reply
    .code(status)
    .send({ error: { message, type, param: issue?.path.join('.') ?? null, code } });
}
