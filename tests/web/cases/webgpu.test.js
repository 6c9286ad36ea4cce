/** The WebGPU backend in a Worker, on a GPU in software, against the CPU; and everything that sends it back to the CPU. */

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before } from 'node:test';
import { TEXTS, distance, makeAdapters, native, offer } from '../lib/adapters.js';
import { change } from '../lib/change.js';
import { ROOT, binary } from '../lib/paths.js';
import { gpuTest as test } from '../lib/gpu-test.js';
import { send } from '../lib/page.js';
import { suite } from '../lib/suite.js';

/** @typedef {import('../lib/browser.js').BrowserContext} BrowserContext */
/** @typedef {import('../lib/browser.js').Page} Page */
/** @typedef {import('/pkg/index.js').LoadOptions} LoadOptions */
/** @typedef {Pick<LoadOptions, 'backend'> & { pack?: string, adapter?: string }} Options */

const web = suite({ gpu: true });
const without = suite();

/** @type {string[]} */
const MESSAGES = JSON.parse(readFileSync(join(ROOT, 'tests/fixtures/messages20.json'), 'utf8'));
/** Of a probability: the CPU rounds activations to 8 bits, which random weights amplify. */
const TOLERANCE = 0.1;
/** The same for trained weights. */
const TRAINED_TOLERANCE = 0.03;
/** The reason where a model has no golden answers. */
const UNCHECKED = 'WebGPU runs, but nothing checks its answers: a pack brings golden answers, and an adapter with intent.json; a model file has none';
/** Asked to have the device taken away, where `withLosses` is in force. */
const LOSE = 'lose the device now';

before(() => {
  const { folder, tiny } = web.models();
  const origin = join(folder, 'origin.json');
  writeFileSync(origin, JSON.stringify({ base: 'tiny', sha256: '0'.repeat(64), licence: 'MIT', notices: '' }));
  const args = ['pack', '--base', tiny, '--out', join(folder, 'tiny-pack'), '--name', 'tiny', '--origin', origin, '--quant', 'q4_k,embedding=q8_0'];
  execFileSync(binary(), args, { stdio: ['ignore', 'ignore', 'inherit'] });
});

/**
 * Serves the pack's files, its manifest changed where asked.
 *
 * @param {BrowserContext} context
 * @param {(manifest: any) => void} [edit]
 */
async function servePack(context, edit = () => {}) {
  await context.route('**/tiny-pack/*', async (route) => {
    const name = new URL(route.request().url()).pathname.split('/').at(-1) ?? '';
    const body = readFileSync(join(web.models().folder, 'tiny-pack', name));
    if (name !== 'pack.json') return route.fulfill({ status: 200, body });
    const manifest = JSON.parse(body.toString('utf8'));
    edit(manifest);
    return route.fulfill({ status: 200, body: JSON.stringify(manifest) });
  });
}

/**
 * Lets a message take the device away while it is under way; asked again, it does not.
 *
 * @param {BrowserContext} context
 * @param {...string} more Changes of the same file.
 */
async function withLosses(context, ...more) {
  const begin = 'let step = classifier.begin(text';
  await change(context, '**/pkg/engine/loading.js', begin, `if (text === '${LOSE}' && (globalThis.isLost = !globalThis.isLost)) globalThis.device.lose();\n  ${begin}`, ...more);
  await change(context, '**/pkg/engine/gpu.js', 'const device = await exports.Gpu.open();', 'const device = (globalThis.device = await exports.Gpu.open());');
}

/**
 * Loads a model in the page, asks it some messages, and tells what ran.
 *
 * @param {Page} page
 * @param {Options} options
 * @param {string[]} [messages]
 */
function ask(page, options, messages = MESSAGES) {
  return page.evaluate(
    async ({ options, messages }) => {
      const { IntentClassifier } = await import('/pkg/index.js');
      /** @type {Set<string>} */
      const phases = new Set();
      const classifier = await IntentClassifier.load({ ...options, onProgress: ({ phase }) => phases.add(phase) });
      const results = [];
      for (const message of messages) results.push(await classifier.classify(message));
      const info = await classifier.info();
      classifier.dispose();
      return { results, info, phases: [...phases] };
    },
    { options, messages },
  );
}

test('compact answers on the GPU as on the CPU, and says where', async () => {
  await web.withPage(async ({ page, complaints }) => {
    const gpu = await ask(page, { backend: 'webgpu' });
    const cpu = await ask(page, { backend: 'cpu' });
    assert.deepEqual([gpu.info.backend, gpu.info.reason], ['webgpu', null]);
    assert.equal(gpu.info.gpu?.software, true);
    assert.deepEqual(gpu.phases, ['wasm', 'gpu', 'download', 'prepare', 'ready']);
    assert.equal(cpu.info.gpu, null);
    for (const [index, { intent, backend, probabilities }] of gpu.results.entries()) {
      assert.equal(backend, 'webgpu');
      assert.equal(intent, cpu.results[index].intent, MESSAGES[index]);
      const off = distance(probabilities, cpu.results[index].probabilities);
      assert.ok(off <= TRAINED_TOLERANCE, `${MESSAGES[index]}: off by ${off}`);
    }
    assert.deepEqual(complaints, []);
  });
});

test('Qwen2 answers on the GPU as on the CPU: a file, a pack, with token confidence and while it is typed', async () => {
  await web.withPage(
    async ({ page, complaints }) => {
      for (const pack of ['/models/tiny.gguf', '/tiny-pack/']) {
        const gpu = await ask(page, { pack, backend: 'webgpu' });
        const cpu = await ask(page, { pack });
        assert.equal(gpu.info.backend, 'webgpu');
        assert.equal(gpu.info.reason, pack.endsWith('/') ? null : UNCHECKED);
        assert.deepEqual([gpu.info.parameters, gpu.info.weight_bytes], [cpu.info.parameters, cpu.info.weight_bytes]);
        for (const [index, { probabilities }] of gpu.results.entries()) {
          const off = distance(probabilities, cpu.results[index].probabilities);
          assert.ok(off <= TOLERANCE, `${pack}: ${MESSAGES[index]}: off by ${off}`);
        }
      }
      const { full, typed, plain, single, batch } = await page.evaluate(async () => {
        const { IntentClassifier } = await import('/pkg/index.js');
        const classifier = await IntentClassifier.load({ pack: '/models/tiny.gguf', backend: 'webgpu' });
        const full = await classifier.classify('my internet is down', { tokenConfidence: true });
        const batch = await classifier.classifyBatch(['my internet is down', ' ', 'hello there']);
        const single = await classifier.classify('hello there');
        const session = classifier.session();
        const superseded = session.update('my inter').catch((error) => error.code);
        const typed = await session.update('my internet is down');
        const plain = await session.submit('my internet is down');
        classifier.dispose();
        return { full, typed: { ...typed, superseded: await superseded }, plain, single, batch };
      });
      assert.ok(full.token_confidence !== undefined && full.token_confidence > 0 && full.token_confidence < 1);
      assert.deepEqual(batch.map(({ status }) => status), ['fulfilled', 'rejected', 'fulfilled']);
      for (const [outcome, { probabilities }] of /** @type {const} */ ([[batch[0], plain], [batch[2], single]])) {
        assert.ok(outcome.status === 'fulfilled' && distance(outcome.value.probabilities, probabilities) < 1e-5);
      }
      assert.equal(typed.superseded, 'superseded');
      assert.ok(distance(typed.probabilities, plain.probabilities) < 1e-5);
      assert.ok(distance(full.probabilities, plain.probabilities) < 1e-5);
      assert.deepEqual(complaints, []);
    },
    (context) => servePack(context),
  );
});

test('where there is no adapter, or only one in software, the CPU computes', async () => {
  await without.withPage(async ({ page }) => {
    const { info } = await ask(page, { backend: 'webgpu' }, []);
    assert.match(info.backend, /^cpu-/);
    assert.match(info.reason ?? '', /^no WebGPU: the browser has no adapter/);
  });
  await web.withPage(
    async ({ page }) => {
      const { info } = await ask(page, { pack: '/tiny-pack/', backend: 'auto' }, []);
      assert.match(info.backend, /^cpu-/);
      assert.match(info.reason ?? '', /^no WebGPU: its adapter is in software/);
    },
    (context) => servePack(context),
  );
});

/** What happens in the Worker before anything else, and the reason that it gives. @type {[string, string, RegExp][]} */
const FAULTS = [
  ['a Worker without WebGPU', "Object.defineProperty(navigator, 'gpu', { value: undefined });", /^no WebGPU: this browser has none in Workers/],
  ['an adapter that the browser blocks', 'GPU.prototype.requestAdapter = async () => null;', /^no WebGPU: the browser has no adapter/],
  ['an adapter that gives no device', "GPUAdapter.prototype.requestDevice = async () => { throw new DOMException('refused', 'OperationError'); };", /^no WebGPU: .*no device/],
  [
    'memory that runs out',
    `const create = GPUDevice.prototype.createBuffer;
     let buffers = 0;
     GPUDevice.prototype.createBuffer = function (descriptor) {
       buffers += 1;
       const error = new GPUUncapturedErrorEvent('uncapturederror', { error: new GPUOutOfMemoryError('no room'), cancelable: true });
       if (buffers === 8) queueMicrotask(() => this.dispatchEvent(error));
       return create.call(this, descriptor);
     };`,
    /^no WebGPU: .*out.of.memory/,
  ],
];

for (const [name, fault, reason] of FAULTS) {
  test(`${name} leaves the work to the CPU, and says so`, async () => {
    await web.withPage(
      async ({ page }) => {
        const { info, results } = await ask(page, { pack: '/tiny-pack/', backend: 'webgpu' }, ['my internet is down']);
        assert.match(info.backend, /^cpu-/);
        assert.equal(info.gpu, null);
        assert.match(info.reason ?? '', reason);
        assert.notEqual(results[0].confidence, null);
      },
      async (context) => {
        await servePack(context);
        await change(context, '**/pkg/worker.js', 'const engine = new Engine(', `${fault}\nconst engine = new Engine(`);
      },
    );
  });
}

test('auto takes a GPU in hardware for what has golden answers', async () => {
  const { folder, tiny } = web.models();
  const folders = makeAdapters(join(folder, 'adapters'), tiny);
  await web.withPage(
    async ({ page }) => {
      const own = await ask(page, { pack: '/tiny-pack/', backend: 'auto' }, []);
      assert.deepEqual([own.info.backend, own.info.reason], ['webgpu', null]);
      const adapted = await ask(page, { pack: '/models/tiny.gguf', adapter: '/adapters/first/', backend: 'auto' }, []);
      assert.deepEqual([adapted.info.backend, adapted.info.reason], ['webgpu', null]);
      /** @type {[Partial<Options>, RegExp][]} */
      const others = [
        [{}, /small enough for the CPU/],
        [{ pack: '/models/tiny.gguf' }, /nothing checks its answers/],
      ];
      for (const [options, reason] of others) {
        const { info } = await ask(page, { ...options, backend: 'auto' }, []);
        assert.match(info.backend, /^cpu-/);
        assert.match(info.reason ?? '', reason);
      }
    },
    async (context) => {
      await servePack(context);
      await offer(context, folders);
      // As if the software were hardware.
      await change(context, '**/pkg/engine/gpu.js', '(isFallbackAdapter ?? adapter.isFallbackAdapter) === true', 'false');
    },
  );
});

test('adapters swap on the GPU, prove themselves there and survive the loss of the device', async () => {
  const { folder, tiny } = web.models();
  const folders = makeAdapters(join(folder, 'adapters'), tiny);
  const expected = { none: native(tiny, null, TEXTS), first: native(tiny, folders.first, TEXTS) };
  await web.withPage(
    async ({ page, complaints }) => {
      const { rounds, untrue, backend } = await page.evaluate(
        async ({ texts, lose }) => {
          const { IntentClassifier } = await import('/pkg/index.js');
          const classifier = await IntentClassifier.load({ pack: '/models/tiny.gguf', adapter: '/adapters/first/', backend: 'webgpu' });
          /** @type {import('/pkg/index.js').ClassifyResult[][]} */
          const rounds = [];
          const ask = async () => {
            const results = [];
            for (const text of texts) results.push(await classifier.classify(text));
            rounds.push(results);
          };
          await ask();
          await classifier.setAdapter(null);
          await ask();
          await classifier.setAdapter('/adapters/first/');
          const untrue = await window.outcome(classifier.setAdapter('/adapters/untrue/'));
          await ask();
          await classifier.classify(lose);
          await ask();
          const { backend } = await classifier.info();
          classifier.dispose();
          return { rounds, untrue, backend };
        },
        { texts: TEXTS, lose: LOSE },
      );
      assert.deepEqual([backend, untrue.code], ['webgpu', 'golden_mismatch']);
      for (const [round, results] of rounds.entries()) {
        const wanted = round === 1 ? expected.none : expected.first;
        for (const [index, { probabilities }] of results.entries()) {
          const off = distance(probabilities, wanted[index].probabilities);
          assert.ok(off <= TOLERANCE, `round ${round}: ${TEXTS[index]}: off by ${off}`);
        }
      }
      assert.deepEqual(complaints, []);
    },
    async (context) => {
      await offer(context, folders);
      await withLosses(context);
    },
  );
});

test('a GPU that does not answer as the pack says is refused', async () => {
  await web.withPage(
    async ({ page, requests }) => {
      const { info, results, phases } = await ask(page, { pack: '/tiny-pack/', backend: 'webgpu' }, ['my internet is down']);
      // The CPU's come from the cache.
      assert.equal(requests.filter((url) => /tiny-pack\/.*\.gguf/.test(url)).length, 1);
      assert.match(info.backend, /^cpu-/);
      assert.match(info.reason ?? '', /^no WebGPU: pack tiny: webgpu does not answer as it must: a log-probability off by/);
      assert.match(results[0].backend, /^cpu-/);
      assert.ok(phases.includes('gpu'));
    },
    (context) => servePack(context, (manifest) => Object.assign(manifest.golden, { tolerance_other_order: 1e-9 })),
  );
});

test('a lost device is found again once, then the CPU takes over; no message is lost', async () => {
  await web.withPage(async ({ page, complaints }) => {
    const { answers, infos } = await page.evaluate(async (lose) => {
      const { IntentClassifier } = await import('/pkg/index.js');
      const classifier = await IntentClassifier.load({ pack: '/models/tiny.gguf', backend: 'webgpu' });
      /** @type {{ answers: import('/pkg/index.js').ClassifyResult[], infos: import('/pkg/index.js').ModelInfo[] }} */
      const { answers, infos } = { answers: [], infos: [] };
      for (const text of [lose, 'my internet is down', lose, 'my internet is down']) {
        answers.push(await classifier.classify(text));
        infos.push(await classifier.info());
      }
      classifier.dispose();
      return { answers, infos };
    }, LOSE);
    assert.deepEqual(answers.map(({ confidence }) => confidence !== null), [true, true, true, true]);
    assert.deepEqual(answers.slice(0, 2).map(({ backend }) => backend), ['webgpu', 'webgpu'], infos[0].reason ?? '');
    assert.deepEqual(infos.slice(0, 2).map(({ gpu }) => gpu?.losses), [1, 1]);
    for (const { backend } of answers.slice(2)) assert.match(backend, /^cpu-/);
    assert.match(infos[3].reason ?? '', /^no WebGPU: the GPU was lost twice/);
    assert.deepEqual(complaints, []);
  }, (context) => withLosses(context));
});

test('a device that is lost with the page’s own bytes has messages escalate', async () => {
  await web.withPage(async ({ page }) => {
    const { answer, info } = await page.evaluate(async (lose) => {
      const { IntentClassifier } = await import('/pkg/index.js');
      const bytes = await (await fetch('/models/tiny.gguf')).arrayBuffer();
      const classifier = await IntentClassifier.load({ pack: bytes, backend: 'webgpu' });
      const answer = await classifier.classify(lose);
      const info = await classifier.info();
      classifier.dispose();
      return { answer, info };
    }, LOSE);
    assert.deepEqual([answer.intent, answer.decision], ['unknown', { route: 'escalate', reason: 'error:device_lost' }]);
    assert.match(info.reason ?? '', /^the GPU was lost/);
  }, (context) => withLosses(context));
});

test('bytes of the page that a GPU refuses are read again for the CPU', async () => {
  await web.withPage(
    async ({ page }) => {
      const { info, answer } = await page.evaluate(async () => {
        const { IntentClassifier } = await import('/pkg/index.js');
        const bytes = await (await fetch('/models/tiny.gguf')).arrayBuffer();
        const classifier = await IntentClassifier.load({ pack: bytes, backend: 'webgpu' });
        const answer = await classifier.classify('my internet is down');
        const info = await classifier.info();
        classifier.dispose();
        return { info, answer };
      });
      assert.match(info.reason ?? '', /^no WebGPU: the first message failed with device_lost/);
      assert.notEqual(answer.confidence, null);
    },
    (context) => withLosses(context, "const WARM_UP = 'my internet is down'", `const WARM_UP = '${LOSE}'`),
  );
});

test('on the CPU nothing of WebGPU is touched', async () => {
  await web.withPage(
    async ({ page, requests, complaints }) => {
      await ask(page, {}, ['my internet is down']);
      await ask(page, { pack: '/models/tiny.gguf', backend: 'auto' }, ['my internet is down']);
      assert.ok(!requests.some((url) => url.includes('/wasm/webgpu/')));
      assert.deepEqual(complaints, []);
    },
    (context) =>
      change(context, '**/pkg/worker.js', 'const engine = new Engine(', "Object.defineProperty(navigator, 'gpu', { get: () => console.error('WebGPU was touched') });\nconst engine = new Engine("),
  );
});

/**
 * Waits until a model is loaded of which the page says that.
 *
 * @param {Page} page
 * @param {RegExp} badges
 * @param {RegExp} reason
 */
async function runsOn(page, badges, reason) {
  const holds = (/** @type {string[]} */ [badges, reason]) => {
    const text = (/** @type {string} */ selector) => Array.from(document.querySelectorAll(`#model-loaded:not([hidden]) ${selector}`), (one) => one.textContent).join(', ');
    return new RegExp(badges).test(text('#badges li')) && new RegExp(reason).test(text('#backend-reason'));
  };
  await page.waitForFunction(holds, [badges.source, reason.source], { timeout: 60_000 });
}

test('somebody chooses the GPU on the page: what is loaded moves over, the badge and the reason say so, and it holds for the next model', async () => {
  await web.withPage(
    async ({ page, complaints }) => {
      await runsOn(page, /^Relaxed SIMD, /, /./);
      await page.getByRole('radio', { name: 'GPU' }).check();
      await runsOn(page, /^WebGPU$/, /^On a graphics processor in software( \(.+\))?\.$/);
      await send(page, 'my internet is down');
      assert.equal(await page.textContent('#json'), '{"intent": "reset_device"}');
      await page.click('#change');
      await page.getByRole('button', { name: 'Load tiny.gguf', exact: true }).click();
      await runsOn(page, /^WebGPU$/, /^On a graphics processor in software.*nothing checks its answers/);
      assert.equal(await page.textContent('#loaded-name'), 'tiny.gguf');
      await page.getByRole('radio', { name: 'CPU' }).check();
      await runsOn(page, /^Relaxed SIMD, /, /./);
      assert.equal(await page.textContent('#loaded-name'), 'tiny.gguf');
      assert.equal(await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth), 0);
      assert.deepEqual(complaints, []);
    },
    undefined,
    { keepModel: true, context: { viewport: { width: 390, height: 844 } } },
  );
});

test('somebody chooses the GPU where there is none, by the keyboard: the CPU goes on, and the page says why', async () => {
  await without.withPage(
    async ({ page }) => {
      await page.focus('#run-on-cpu');
      await page.keyboard.press('ArrowRight');
      await runsOn(page, /^Relaxed SIMD, /, /^Not faster because: no WebGPU: the browser has no adapter/);
      assert.ok(await page.isChecked('#run-on-gpu'), 'the choice stays');
      assert.equal(await page.evaluate(() => document.activeElement?.id), 'run-on-gpu');
    },
    undefined,
    { keepModel: true },
  );
});

test('the benchmark’s page measures both sides and gives a result to read and to share', async () => {
  await web.withPage(async ({ page, complaints }) => {
    await page.setViewportSize({ width: 390, height: 844 });
    await page.goto(`${web.origin()}/gpu.html`);
    await page.fill('#rounds', '1');
    await page.click('#run');
    await page.waitForSelector('#outcome:not([hidden]), #error:not([hidden])', { timeout: 120_000 });
    assert.equal(await page.isVisible('#error'), false, (await page.textContent('#error')) ?? '');
    assert.match((await page.textContent('#verdict')) ?? '', /^The [CG]PU answers [\d.]+ times as fast as the [CG]PU\.$/);
    assert.match((await page.textContent('#gpu-note')) ?? '', /emulates its GPU in software/);
    assert.equal(await page.locator('#times td').count(), 6);
    assert.ok(await page.evaluate(() => Array.from(document.querySelectorAll('.scroll'), (box) => box.scrollWidth - box.clientWidth).every((over) => over === 0)), 'the table has room');
    assert.equal(await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth), 0);
    const result = JSON.parse((await page.textContent('#result')) ?? '');
    assert.deepEqual([result.model, result.gpu_side.backend, result.label_flips], ['compact', 'webgpu', 0]);
    assert.match(result.cpu_side.backend, /^cpu-/);
    assert.equal(result.gpu.software, true);
    assert.ok(result.gpu_side.n === result.messages && result.gpu_side.median_ms > 0 && result.cpu_side.median_ms > 0);
    assert.ok(result.largest_probability_difference <= TRAINED_TOLERANCE);
    assert.deepEqual(complaints, []);
  });
  await without.withPage(async ({ page }) => {
    await page.goto(`${without.origin()}/gpu.html`);
    await page.fill('#rounds', '1');
    await page.click('#run');
    await page.waitForSelector('#outcome:not([hidden])', { timeout: 120_000 });
    assert.equal(await page.textContent('#verdict'), 'No GPU could be used here.');
    assert.match((await page.textContent('#gpu-note')) ?? '', /^Both columns are the CPU’s\. no WebGPU: /);
  });
});

test('a backend that there is not is refused', async () => {
  await web.withPage(async ({ page }) => {
    const { code, message } = await page.evaluate(async () => {
      const { IntentClassifier } = await import('/pkg/index.js');
      return window.outcome(IntentClassifier.load(/** @type {any} */ ({ backend: 'gpu' })));
    });
    assert.deepEqual([code, message], ['invalid_argument', "backend: expected 'auto', 'cpu' or 'webgpu'"]);
  });
});
