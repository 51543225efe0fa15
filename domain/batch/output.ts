/** Lines of a batch's output and error files, in OpenAI's form. */

/**
 * @param body the answer's text; kept as it is when it is JSON
 * @param requestId the request's id at the gateway
 */
export function answeredLine(line: {
  readonly id: string;
  readonly customId: string;
  readonly status: number;
  readonly requestId: string;
  readonly body: string;
}): string {
  const body = isJson(line.body) ? line.body.replace(/[\r\n]+/g, ' ') : JSON.stringify(line.body);
  return (
    `{"id":${JSON.stringify(line.id)},"custom_id":${JSON.stringify(line.customId)},` +
    `"response":{"status_code":${line.status},"request_id":${JSON.stringify(line.requestId)},"body":${body}},"error":null}`
  );
}

/** A line that was never answered. */
export function unansweredLine(line: {
  readonly id: string;
  readonly customId: string;
  readonly code: 'batch_expired' | 'batch_cancelled';
  readonly message: string;
}): string {
  const { id, customId: custom_id, code, message } = line;
  return JSON.stringify({ id, custom_id, response: null, error: { code, message } });
}

export function lineId(batchId: string, line: number): string {
  return `${batchId.replace(/^batch_/, 'batch_req_')}_${line}`;
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}
