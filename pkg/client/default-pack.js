/**
 * The pack that comes with this package.
 *
 * @module
 */

/** @returns {import('../protocol.js').PackFolder} */
export function defaultPack() {
  // Bundlers recognise exactly these expressions, and give each file an address of its own.
  const manifest = new URL('../models/compact/pack.json', import.meta.url).href;
  const model = new URL('../models/compact/model.gguf', import.meta.url).href;
  return { kind: 'pack', manifest, files: { 'model.gguf': model } };
}
