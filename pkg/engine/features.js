/**
 * What the browser can run, asked of the browser itself.
 *
 * @module
 */

/**
 * The smallest module with a relaxed SIMD instruction: one function of type () -> () with the body
 * `v128.const 0; v128.const 0; i16x8.relaxed_dot_i8x16_i7x16_s; drop`.
 */
// prettier-ignore
const RELAXED_SIMD_MODULE = Uint8Array.of(
  0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00, // magic, version 1
  0x01, 0x04, 0x01, 0x60, 0x00, 0x00,             // type section
  0x03, 0x02, 0x01, 0x00,                         // function section
  0x0a, 0x2c, 0x01, 0x2a, 0x00,                   // code section: one body without locals
  0xfd, 0x0c, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
  0xfd, 0x0c, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
  0xfd, 0x92, 0x02, 0x1a, 0x0b,
);

/** @returns {boolean} */
export function hasRelaxedSimd() {
  return WebAssembly.validate(RELAXED_SIMD_MODULE);
}

/** Most threads that `auto` takes: more gain little on messages of some tens of tokens, and every one takes memory. */
const MOST_AUTOMATIC_THREADS = 8;

/**
 * @param {number | 'auto'} wanted
 * @returns {{ threads: number, reason: string | null }} How many may be used, and why not more.
 */
export function possibleThreads(wanted) {
  const one = (/** @type {string} */ reason) => ({ threads: 1, reason });
  if (wanted === 1) return one('one thread was asked for');
  if (typeof SharedArrayBuffer === 'undefined' || !globalThis.crossOriginIsolated) {
    return one('no threads: the page is not cross-origin isolated');
  }
  if (wanted !== 'auto') return { threads: wanted, reason: null };
  const cores = navigator.hardwareConcurrency || 1;
  if (cores === 1) return one('no threads: this machine has one core');
  return { threads: Math.min(cores, MOST_AUTOMATIC_THREADS), reason: null };
}

/** 2.5 MiB, in pages of 64 KiB: a little more than constants and the first stack take, which it must hold. */
const INITIAL_PAGES = 40;

/** Largest sizes to ask for, in pages of 64 KiB: some systems refuse to set aside addresses for the first ones. */
const MAXIMUM_PAGES = [65_536, 32_768, 16_384, 8_192];

/**
 * Memory that threads share, as large as the browser grants it.
 *
 * @returns {{ memory: WebAssembly.Memory, isCramped: boolean } | null} `isCramped`: memory that is not shared grows larger.
 */
export function sharedMemory() {
  for (const maximum of MAXIMUM_PAGES) {
    try {
      return { memory: new WebAssembly.Memory({ initial: INITIAL_PAGES, maximum, shared: true }), isCramped: maximum < MAXIMUM_PAGES[0] };
    } catch {
      // A smaller one may be granted.
    }
  }
  return null;
}
