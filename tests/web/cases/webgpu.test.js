/** The WebGPU backend in a Worker, on a GPU in software, against the CPU; and everything that sends it back to the CPU. */

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, test as plainTest } from 'node:test';
import { distance, makeAdapters, offer } from '../lib/adapters.js';
import { change } from '../lib/change.js';
import { gpuTest as test } from '../lib/gpu-test.js';
import { miscomputing } from '../lib/miscomputing.js';
import { send } from '../lib/page.js';
import { ROOT } from '../lib/paths.js';
import { suite } from '../lib/suite.js';
import { LOSE, LOSE_AGAIN, MESSAGES, TOLERANCE, TRAINED_TOLERANCE, ask, internalError, makePack, servePack, withFaults } from '../lib/webgpu.js';

/** @typedef {import('../lib/browser.js').Page} Page */
/** @typedef {import('../lib/webgpu.js').Options} Options */

const web = suite({ gpu: true });
const without = suite();

/** The reason where a model has no golden answers. */
const UNCHECKED = 'WebGPU runs, but nothing checks its answers: a pack brings golden answers, and an adapter with intent.json; a model file has none';

before(() => makePack(web.models()));

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
    (context) => servePack(context, web.models()),
  );
});

plainTest('where there is no adapter the CPU computes', async () => {
  await without.withPage(async ({ page }) => {
    const { info } = await ask(page, { backend: 'webgpu' }, []);
    assert.match(info.backend, /^cpu-/);
    assert.match(info.reason ?? '', /^no WebGPU: the browser has no adapter/);
  });
});

test('where there is only an adapter in software, the CPU computes unless it is asked for', async () => {
  await web.withPage(
    async ({ page }) => {
      const { info } = await ask(page, { pack: '/tiny-pack/', backend: 'auto' }, []);
      assert.match(info.backend, /^cpu-/);
      assert.match(info.reason ?? '', /^no WebGPU: its adapter is in software/);
    },
    (context) => servePack(context, web.models()),
  );
});

/**
 * What happens in the Worker before anything else, the reason that it gives, and whether that takes no GPU.
 *
 * @type {[string, string, RegExp, boolean?][]}
 */
const FAULTS = [
  ['a Worker without WebGPU', "Object.defineProperty(navigator, 'gpu', { value: undefined });", /^no WebGPU: this browser has none in Workers/, true],
  ['an adapter that the browser blocks', 'GPU.prototype.requestAdapter = async () => null;', /^no WebGPU: the browser has no adapter/, true],
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
  [
    'a driver that does not compile a shader',
    `const compile = GPUDevice.prototype.createComputePipeline;
     let pipelines = 0;
     GPUDevice.prototype.createComputePipeline = function (descriptor) {
       pipelines += 1;
       if (pipelines === 3) queueMicrotask(() => this.dispatchEvent(${internalError('pipeline')}));
       return compile.call(this, descriptor);
     };`,
    /^no WebGPU: .*pipeline/,
  ],
  ['a shader that the browser throws at', "GPUDevice.prototype.createComputePipeline = () => { throw new TypeError('no pipeline'); };", /^no WebGPU: no pipeline/],
];

for (const [name, fault, reason, isPlain] of FAULTS) {
  const run = isPlain ? plainTest : test;
  void run(`${name} leaves the work to the CPU, and says so`, async () => {
    await web.withPage(
      async ({ page }) => {
        const { info, results } = await ask(page, { pack: '/tiny-pack/', backend: 'webgpu' }, ['my internet is down']);
        assert.match(info.backend, /^cpu-/);
        assert.equal(info.gpu, null);
        assert.match(info.reason ?? '', reason);
        assert.notEqual(results[0].confidence, null);
      },
      async (context) => {
        await servePack(context, web.models());
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
      await servePack(context, web.models());
      await offer(context, folders);
      // As if the software were hardware.
      await change(context, '**/pkg/engine/gpu.js', '(isFallbackAdapter ?? adapter.isFallbackAdapter) === true', 'false');
    },
  );
});

test('a GPU that does not answer as the pack says is refused, and nothing is left of it', async () => {
  await web.withPage(
    async ({ page, requests }) => {
      /** @type {Promise<unknown>[]} */
      const ends = [];
      page.on('worker', (worker) => ends.push(worker.waitForEvent('close')));
      const { info, results, phases } = await ask(page, { pack: '/tiny-pack/', backend: 'webgpu', threads: 1 }, ['my internet is down']);
      assert.equal(ends.length, 2, 'the CPU has a Worker of its own, the GPU’s ends');
      await Promise.all(ends);
      // The CPU's come from the cache.
      assert.equal(requests.filter((url) => /tiny-pack\/.*\.gguf/.test(url)).length, 1);
      assert.match(info.backend, /^cpu-/);
      assert.match(info.reason ?? '', /^no WebGPU: pack tiny: webgpu does not answer as it must: a log-probability off by/);
      assert.match(results[0].backend, /^cpu-/);
      assert.ok(phases.includes('gpu'));
    },
    (context) => servePack(context, web.models(), (manifest) => Object.assign(manifest.golden, { tolerance_other_order: 1e-9 })),
  );
});

/** Of pkg/engine/gpu.js: the first message that a model is asked takes the device away. */
const LOST_AT_FIRST = ["const WARM_UP = 'my internet is down'", `const WARM_UP = '${LOSE}'`];

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
    (context) => withFaults(context, { more: LOST_AT_FIRST }),
  );
});

test('every stage of a cascade has answered before it is ready', async () => {
  const options = /** @type {const} */ ({ backend: 'webgpu', cascade: { pack: '/models/tiny.gguf' } });
  /** @type {[string[], RegExp, RegExp][]} */
  const cases = [
    [[], /^webgpu$/, /^WebGPU runs/],
    // Compact has answered by then.
    [["const [code] = codesOf(", "if ((globalThis.stages = (globalThis.stages ?? 0) + 1) === 2) globalThis.device.destroy();\n  const [code] = codesOf("], /^cpu-/, /^no WebGPU: the first message failed with device_lost/],
  ];
  for (const [changes, backend, reason] of cases) {
    await web.withPage(
      async ({ page }) => {
        const { info, results } = await ask(page, options, ['my internet is down']);
        assert.match(info.backend, backend);
        assert.match(info.reason ?? '', reason);
        assert.deepEqual(info.stages?.map(({ backend }) => backend), [info.backend, info.backend]);
        assert.notEqual(results[0].confidence, null);
      },
      (context) => withFaults(context, { more: changes }),
    );
  }
});

test('a host without the build for GPUs leaves the work to the CPU, and says so', async () => {
  await web.withPage(
    async ({ page, requests }) => {
      for (const pack of ['/tiny-pack/', '/models/tiny.gguf']) {
        const before = requests.length;
        const { info, results } = await ask(page, { pack, backend: 'webgpu' }, ['my internet is down']);
        assert.match(info.backend, /^cpu-/);
        assert.match(info.reason ?? '', /^no WebGPU: its build did not start: .*webgpu/);
        assert.notEqual(results[0].confidence, null);
        // For the CPU alone.
        assert.equal(requests.slice(before).filter((url) => url.endsWith('.gguf')).length, 1);
      }
    },
    async (context) => {
      await servePack(context, web.models());
      await context.route('**/pkg/wasm/webgpu/**', (route) => route.fulfill({ status: 404 }));
    },
  );
});

test('what was wrong with a GPU is still said when a build for the CPU is wrong too', async () => {
  await web.withPage(
    async ({ page }) => {
      const { info } = await ask(page, { pack: '/tiny-pack/', backend: 'webgpu', threads: 1 }, []);
      assert.match(info.reason ?? '', /^no WebGPU: pack tiny: webgpu does not answer as it must: a log-probability off by .*; the build relaxed-simd computes wrongly here/);
      assert.equal(info.backend, 'cpu-simd128');
    },
    async (context) => {
      await servePack(context, web.models(), (manifest) => Object.assign(manifest.golden, { tolerance_other_order: 1e-9 }));
      await miscomputing(['relaxed-simd'])(context);
    },
  );
});

plainTest('on the CPU nothing of WebGPU is touched', async () => {
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

test('a GPU that is lost is off the page: the badge and the reason follow the answers', async () => {
  await web.withPage(
    async ({ page }) => {
      await page.getByRole('radio', { name: 'GPU' }).check();
      await runsOn(page, /^WebGPU$/, /^On a graphics processor in software/);
      // Each takes another load.
      page.setDefaultTimeout(60_000);
      await send(page, LOSE);
      await runsOn(page, /^WebGPU$/, /^On a graphics processor in software/);
      await send(page, LOSE_AGAIN);
      await runsOn(page, /^Relaxed SIMD, /, /^Not faster because: no WebGPU: the GPU was lost twice/);
      assert.match((await page.textContent('#loaded-facts')) ?? '', /cpu-relaxed-simd/);
    },
    (context) => withFaults(context),
    { keepModel: true },
  );
});

plainTest('somebody chooses the GPU where there is none, by the keyboard: the CPU goes on, and the page says why', async () => {
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
    assert.deepEqual([result.model, result.gpu_side.backend, result.label_flips, result.fault], ['compact', 'webgpu', 0, null]);
    assert.deepEqual([result.gpu_side.backends, result.gpu_side.failures], [['webgpu'], 0]);
    const { version } = JSON.parse(readFileSync(join(ROOT, 'pkg/package.json'), 'utf8'));
    assert.equal(result.version, version);
    assert.match(result.identity, /^[0-9a-f]{64}$/);
    assert.ok(Math.abs(Date.parse(result.date) - Date.now()) < 600_000);
    assert.match(result.cpu_side.backend, /^cpu-/);
    assert.equal(result.gpu.software, true);
    assert.ok(result.gpu_side.n === result.messages && result.gpu_side.median_ms > 0 && result.cpu_side.median_ms > 0);
    assert.ok(result.largest_probability_difference <= TRAINED_TOLERANCE);
    assert.deepEqual(complaints, []);
  });
});

/** What happens at a message of the page's, counted from the first, on the GPU; and what comes of it. @type {[string, number[], Record<string, unknown>, RegExp, RegExp][]} */
const ON_THE_WAY = [
  ['lost once', [20], { fault: 'lost', cpu_over_gpu: null }, /^The GPU was lost on the way and found again/, /^$/],
  ['lost for good', [20, 25], { fault: 'mixed', cpu_over_gpu: null }, /^The GPU was lost on the way: its column/, /^no WebGPU: the GPU was lost twice/],
];
for (const [name, losses, wanted, verdict, note] of ON_THE_WAY) {
  test(`the benchmark’s page takes a GPU that is ${name} for no measurement`, async () => {
    await web.withPage(
      async ({ page }) => {
        await page.goto(`${web.origin()}/gpu.html`);
        await page.fill('#rounds', '1');
        await page.click('#run');
        await page.waitForSelector('#outcome:not([hidden]), #error:not([hidden])', { timeout: 120_000 });
        const result = JSON.parse((await page.textContent('#result')) ?? '');
        for (const [field, value] of Object.entries(wanted)) assert.equal(result[field], value, field);
        assert.match((await page.textContent('#verdict')) ?? '', verdict);
        assert.match((await page.textContent('#gpu-note')) ?? '', note);
        assert.deepEqual(result.gpu_side.backends.includes('webgpu'), true);
      },
      (context) => withFaults(context, { more: ['let step = classifier.begin(text', `if (${JSON.stringify(losses)}.includes((globalThis.asked = (globalThis.asked ?? 0) + 1))) globalThis.device.destroy();\n  let step = classifier.begin(text`] }),
    );
  });
}

test('the benchmark’s page counts messages without an answer, and does not time them', async () => {
  await web.withPage(
    async ({ page }) => {
      await page.goto(`${web.origin()}/gpu.html`);
      await page.fill('#rounds', '1');
      await page.click('#run');
      await page.waitForSelector('#outcome:not([hidden]), #error:not([hidden])', { timeout: 120_000 });
      const result = JSON.parse((await page.textContent('#result')) ?? '');
      assert.deepEqual([result.fault, result.gpu_side.median_ms, result.gpu_side.n, result.gpu_side.failures > 0], ['failed', null, 0, true]);
      assert.equal(result.messages, 0);
      assert.equal(result.largest_probability_difference, null);
      assert.match((await page.textContent('#verdict')) ?? '', /^Some messages had no answer/);
    },
    // As if each message were too much for the model.
    (context) => change(context, '**/pkg/engine/engine.js', 'return gpu ? answer(gpu.classifier, text, left)', "return gpu ? answer(gpu.classifier, '#$%&*@!?'.repeat(200), left)"),
  );
});

plainTest('the benchmark’s page says that there is no GPU', async () => {
  await without.withPage(async ({ page }) => {
    await page.goto(`${without.origin()}/gpu.html`);
    await page.fill('#rounds', '1');
    await page.click('#run');
    await page.waitForSelector('#outcome:not([hidden])', { timeout: 120_000 });
    assert.equal(await page.textContent('#verdict'), 'No GPU could be used here.');
    assert.match((await page.textContent('#gpu-note')) ?? '', /^Both columns are the CPU’s\. no WebGPU: /);
  });
});

plainTest('a backend that there is not is refused', async () => {
  await without.withPage(async ({ page }) => {
    const { code, message } = await page.evaluate(async () => {
      const { IntentClassifier } = await import('/pkg/index.js');
      return window.outcome(IntentClassifier.load(/** @type {any} */ ({ backend: 'gpu' })));
    });
    assert.deepEqual([code, message], ['invalid_argument', "backend: expected 'auto', 'cpu' or 'webgpu'"]);
  });
});
