/**
 * The peer wllama, llama.cpp in WebAssembly.
 *
 * @module
 */

import { LoggerWithoutDebug, Wllama } from '/vendor/wllama/index.js';

/** @typedef {import('./large.js').Sample} Sample */
/** @typedef {import('/vendor/wllama/index.js').RawCompletionResponse} RawCompletionResponse */

/** Enough for any message here and its answer; more would only take memory. */
const CONTEXT = 512;

/**
 * @param {Extract<import('./large.js').LargeChoice, { kind: 'wllama' }>} choice
 * @returns {Promise<import('./large.js').LargeEngine>}
 */
export async function loadWllama({ model, threads, prompt }) {
  const wllama = new Wllama({ default: '/vendor/wllama/wasm/wllama.wasm' }, { suppressNativeLog: true, logger: LoggerWithoutDebug });
  const response = await fetch(model);
  if (!response.ok) throw new Error(`${model}: HTTP ${response.status}`);
  // One sequence, so that every message finds the prefix of the one before.
  await wllama.loadModel([await response.blob()], { n_threads: threads, n_ctx: CONTEXT, n_parallel: 1, n_gpu_layers: 0, seed: 1 });
  const grammar = `root ::= ${prompt.labels.map((label) => JSON.stringify(label)).join(' | ')}`;
  return {
    about: { threads: wllama.getNumThreads(), multithread: wllama.isMultithread(), llama_cpp: Wllama.getLibllamaVersion() },
    tasks: {
      naive: async ({ texts }) => {
        const start = performance.now();
        const { choices, usage } = await wllama.createChatCompletion({
          messages: [
            { role: 'system', content: prompt.system },
            { role: 'user', content: texts[0] },
          ],
          max_tokens: 32,
          temperature: 0,
          cache_prompt: false,
        });
        const ms = performance.now() - start;
        const label = prompt.labels.find((label) => String(choices[0].message.content).includes(label)) ?? null;
        return { ms, label, counts: { prompt: usage.prompt_tokens, generated: usage.completion_tokens } };
      },
      smart: async ({ texts }) => {
        const start = performance.now();
        const answer = await complete(`${prompt.prefix}${texts[0]}${prompt.suffix}`, { grammar, max_tokens: 8, cache_prompt: true });
        const ms = performance.now() - start;
        const label = answer.choices[0].text.trim();
        if (!prompt.labels.includes(label)) throw new Error(`wllama gave no label but ${JSON.stringify(label)}`);
        const { cache_n: cached, prompt_n: computed, predicted_n: generated } = timings(answer);
        return { ms, label, counts: { cached, computed, generated } };
      },
      prefill: async ({ texts, tokens }) => {
        const start = performance.now();
        const answer = await complete(texts[0], { max_tokens: 1, cache_prompt: false });
        const ms = performance.now() - start;
        const { prompt_n: computed, prompt_ms: prompted } = timings(answer);
        if (computed !== tokens.length) throw new Error(`wllama computed ${computed} tokens in place of ${tokens.length}`);
        // Its own figure, without what one generated token takes.
        return { ms: prompted, counts: { all_ms: ms } };
      },
    },
    free: () => wllama.exit(),
  };

  /**
   * @param {string} text
   * @param {{ grammar?: string, max_tokens: number, cache_prompt: boolean }} how
   * @returns {Promise<RawCompletionResponse>}
   */
  function complete(text, how) {
    return wllama.createCompletion({ prompt: text, temperature: 0, ...how });
  }
}

/** @param {RawCompletionResponse} answer */
function timings({ timings }) {
  if (!timings) throw new Error('wllama gave no timings');
  return timings;
}
