/** The peer llama.cpp outside the browser, through node-llama-cpp and its prebuilt binary. */

import { LlamaLogLevel, getLlama } from 'node-llama-cpp';

/** @typedef {import('../../page/engines/large.js').Input} Input */
/** @typedef {import('../../page/engines/large.js').LargeEngine} LargeEngine */
/** @typedef {import('../../page/engines/large.js').Prompt} Prompt */
/** @typedef {import('../../page/engines/large.js').Sample} Sample */
/** @typedef {import('node-llama-cpp').Token} Token */
/** @typedef {import('node-llama-cpp').LlamaModel} LlamaModel */
/** @typedef {import('node-llama-cpp').LlamaContextSequence} LlamaContextSequence */

const CONTEXT = 512;

/** Most tokens of a free answer. */
const MOST_GENERATED = 32;

/**
 * @param {string} path Of a GGUF file.
 * @param {number} threads
 * @param {Prompt} prompt
 * @returns {Promise<LargeEngine>}
 */
export async function loadNative(path, threads, prompt) {
  const llama = await getLlama({ gpu: false, build: 'never', logLevel: LlamaLogLevel.error, maxThreads: threads });
  const model = await llama.loadModel({ modelPath: path });
  const context = await model.createContext({ contextSize: CONTEXT, threads });
  const sequence = context.getSequence();
  const asked = new Asked(model, sequence, prompt);
  return {
    about: { threads: context.currentThreads, llama_cpp: llama.llamaCppRelease.release, system: llama.systemInfo },
    tasks: {
      smart: async ({ texts }) => timed(() => asked.smart(texts[0])),
      naive: async ({ texts }) => timed(() => asked.naive(texts[0])),
      prefill: async ({ tokens }) => {
        await sequence.clearHistory();
        return timed(async () => {
          await sequence.evaluateWithoutGeneratingNewTokens(/** @type {Token[]} */ (tokens));
          return null;
        });
      },
    },
    free: () => llama.dispose(),
  };
}

/**
 * @param {() => Promise<string | null>} ask
 * @returns {Promise<Sample>}
 */
async function timed(ask) {
  const start = performance.now();
  const label = await ask();
  return { ms: performance.now() - start, label };
}

/** A model with the prompt. */
class Asked {
  #model;
  #sequence;
  #prompt;
  /** @type {Token[]} */
  #prefix;
  /** @type {Token[]} */
  #suffix;
  /** @type {{ label: string, tokens: Token[] }[]} */
  #labels;

  /**
   * @param {LlamaModel} model
   * @param {LlamaContextSequence} sequence
   * @param {Prompt} prompt
   */
  constructor(model, sequence, prompt) {
    this.#model = model;
    this.#sequence = sequence;
    this.#prompt = prompt;
    this.#prefix = model.tokenize(prompt.prefix, true);
    this.#suffix = model.tokenize(prompt.suffix, true);
    this.#labels = prompt.labels.map((label) => ({ label, tokens: model.tokenize(label) }));
  }

  /**
   * The prefix is cached; one evaluation gives the logits of all labels' first tokens, and another one only where the
   * best is the first token of several.
   *
   * @param {string} text
   * @returns {Promise<string>}
   */
  async smart(text) {
    await this.#cutTo(this.#prefix);
    let input = [...this.#model.tokenize(text), ...this.#suffix];
    let open = this.#labels;
    for (let depth = 0; ; depth += 1) {
      const best = await this.#best(input, [...new Set(open.map(({ tokens }) => tokens[depth]))]);
      open = open.filter(({ tokens }) => tokens[depth] === best);
      if (open.length === 1) return open[0].label;
      input = [best];
    }
  }

  /**
   * @param {Token[]} input
   * @param {Token[]} candidates
   * @returns {Promise<Token>}
   */
  async #best(input, candidates) {
    const generateNext = { logits: { filter: { tokens: candidates } } };
    const last = input[input.length - 1];
    const outputs = await this.#sequence.controlledEvaluate([...input.slice(0, -1), [last, { generateNext }]]);
    const logits = outputs[outputs.length - 1]?.next.logits;
    if (!logits) throw new Error('llama.cpp gave no logits');
    const worth = (/** @type {Token} */ token) => logits.get(token) ?? -Infinity;
    return candidates.reduce((best, token) => (worth(token) > worth(best) ? token : best));
  }

  /**
   * Everything anew, and tokens until it ends.
   *
   * @param {string} text
   * @returns {Promise<string | null>}
   */
  async naive(text) {
    await this.#sequence.clearHistory();
    const { prefix, suffix, labels } = this.#prompt;
    // Without the answer's opening.
    const open = suffix.lastIndexOf('{');
    const tokens = this.#model.tokenize(`${prefix}${text}${suffix.slice(0, open)}`, true);
    /** @type {Token[]} */
    const generated = [];
    for await (const token of this.#sequence.evaluate(tokens, { temperature: 0 })) {
      generated.push(token);
      if (generated.length === MOST_GENERATED) break;
    }
    const answer = this.#model.detokenize(generated);
    return labels.find((label) => answer.includes(label)) ?? null;
  }

  /** @param {Token[]} wanted What the cache is to hold. */
  async #cutTo(wanted) {
    const held = this.#sequence.contextTokens;
    if (wanted.some((token, index) => held[index] !== token)) {
      await this.#sequence.clearHistory();
      await this.#sequence.evaluateWithoutGeneratingNewTokens(wanted);
    } else if (held.length > wanted.length) {
      await this.#sequence.eraseContextTokenRanges([{ start: wanted.length, end: held.length }]);
    }
  }
}
