/**
 * Lets the Worker take what has come in meanwhile.
 *
 * @module
 */

const { port1, port2 } = new MessageChannel();
/** @type {(() => void)[]} */
const waiting = [];

port1.addEventListener('message', () => waiting.shift()?.());
port1.start();

/**
 * Resolves in a turn of its own, after messages that are already there. Timers wait at least 4 ms
 * when they are nested; a port's messages don't.
 *
 * @returns {Promise<void>}
 */
export function nextTurn() {
  return new Promise((resolve) => {
    waiting.push(resolve);
    port2.postMessage(null);
  });
}
