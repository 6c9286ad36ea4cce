/**
 * A file over the network from any byte on, taken up again where it broke off.
 *
 * @module
 */

import { IntentError } from '../errors.js';
import { fetchOk, lengthOf, readBody } from '../engine/byte-source.js';

/** Attempts in a row that may bring nothing before a transfer is given up. */
const MAX_FRUITLESS = 3;

/** Wait before a transfer that broke off is taken up again, in milliseconds. */
const RETRY_MS = 250;

/**
 * What a server tells one version of a file from another by.
 *
 * @param {Response} response
 * @returns {string | null} Nothing where it gives nothing: parts of two versions could not be told apart then.
 */
export function validatorOf({ headers }) {
  return headers.get('etag') ?? headers.get('last-modified');
}

/**
 * Not kept by the browser's own cache as well: it would hold every model twice.
 *
 * @param {string} url
 * @param {number} from
 * @param {number} [to] Last byte; all if omitted.
 * @param {AbortSignal} [signal]
 * @returns {Promise<Response>}
 * @throws {IntentError} `network`
 */
export function request(url, from, to, signal) {
  const headers = from === 0 && to === undefined ? undefined : { range: `bytes=${from}-${to ?? ''}` };
  return fetchOk(url, signal, { headers, cache: 'no-store' });
}

/**
 * @typedef {object} Part
 * @property {string} url
 * @property {number} from
 * @property {number} to Where it ends, itself not included.
 * @property {number} total Bytes of the whole file.
 * @property {string} [validator] Version that it must be of.
 * @property {boolean} [open] Whether there may be more after `to`, which is wanted too then: `to` and `total` are what
 *   the file has at the least.
 * @property {Response | null} [opened] A response that has begun at `from`.
 * @property {AbortSignal} [signal] Ends the transfer, which fails then.
 */

/**
 * The part of a file from `from` to before `to`, in chunks of any size. A transfer that breaks off
 * goes on from the byte where it did; what a server refuses is not asked for again.
 *
 * @param {Part} part
 * @returns {AsyncGenerator<Uint8Array, void>}
 * @throws {IntentError} `network`
 */
export async function* readRange({ url, from, to, total, validator, open = false, opened = null, signal }) {
  let at = from;
  let fruitless = 0;
  for (;;) {
    const before = at;
    try {
      const response = opened ?? (await requestSame({ url, from: at, to, total, validator, signal }));
      opened = null;
      for await (const chunk of cut(response, url, at, open ? Infinity : to)) {
        at += chunk.byteLength;
        yield chunk;
      }
      if (at >= to) return;
      throw new IntentError('network', `${url}: ended at byte ${at} of ${to}`, { cause: 'the end' });
    } catch (error) {
      fruitless = at === before ? fruitless + 1 : 0;
      if (fruitless === MAX_FRUITLESS || signal?.aborted || !isTransport(error)) throw error;
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
  }
}

/**
 * Whether a transfer failed on its way. Refusals by status have no cause beyond themselves.
 *
 * @param {unknown} error
 */
function isTransport(error) {
  return error instanceof IntentError && error.code === 'network' && error.cause !== undefined;
}

/** @param {Part} part */
async function requestSame({ url, from, to, total, validator, signal }) {
  const response = await request(url, from, to < total ? to - 1 : undefined, signal);
  if (validator === undefined || validatorOf(response) === validator) return response;
  await response.body?.cancel();
  throw new IntentError('network', `${url}: the file changed while it was being loaded`);
}

/**
 * The wanted part of a body. A server that knows no ranges sends the whole file.
 *
 * @param {Response} response
 * @param {string} url
 * @param {number} from
 * @param {number} to
 * @returns {AsyncGenerator<Uint8Array, void>}
 */
async function* cut(response, url, from, to) {
  const first = response.status === 206 ? from : 0;
  // Of another origin the header may be hidden; then the status alone has to do.
  const stated = /^bytes (\d+)-/.exec(response.headers.get('content-range') ?? '')?.[1];
  if (stated !== undefined && Number(stated) !== from) {
    await response.body?.cancel();
    throw new IntentError('network', `${url}: the server sent bytes from ${stated} on instead of from ${from}`);
  }
  let at = first;
  for await (const chunk of readBody(response, url)) {
    const wanted = chunk.subarray(Math.max(0, from - at), Math.max(0, to - at));
    at += chunk.byteLength;
    if (wanted.byteLength > 0) yield wanted;
    if (at >= to) return;
  }
}

/**
 * Asks how long a file is, and for nothing of it.
 *
 * @param {string} url
 * @param {AbortSignal} [signal]
 * @returns {Promise<ReturnType<typeof lengthOf>>} A server need not answer this: it says nothing then.
 */
export async function askLength(url, signal) {
  try {
    return lengthOf(await fetchOk(url, signal, { method: 'HEAD', cache: 'no-store' }));
  } catch {
    return { total: null, exact: false };
  }
}
