//! What messages take from the allocator after warm-up, counted at the allocator: what the CPU backend promises.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};

use relayops_intent::adapter::{Adapter, AdapterConfig, AdapterFiles, Path, Precision, Projection};
use relayops_intent::backend::cpu::{Cpu, KvLayer};
use relayops_intent::builtin;
use relayops_intent::classifier::{Classifier, ClassifyOptions};
use relayops_intent::encoder::Encoder;
use relayops_intent::loader::Loader;
use relayops_intent::model::TokenId;
use relayops_intent::model::qwen2::{Batch, KvCache, Qwen2, Qwen2Config, Step};
use relayops_intent::pack::IntentConfig;
use relayops_testkit::{TinyBert, TinyQwen2};

/// Of a message of twenty words: what the test prints, with some room.
const MOST_ALLOCATIONS: usize = 64;
const MOST_BYTES: usize = 8 << 10;

const COMPACT: &[u8] = include_bytes!("../models/compact/model.gguf");

struct Counting;

/// Allocations and their bytes.
#[derive(Default)]
struct Counter {
    number: AtomicUsize,
    bytes: AtomicUsize,
}

thread_local! {
    /// Where the allocations of a thread are counted, if anywhere: tests run beside each other.
    static COUNTER: Cell<Option<&'static Counter>> = const { Cell::new(None) };
}

fn count(bytes: usize) {
    if let Ok(Some(counter)) = COUNTER.try_with(Cell::get) {
        counter.number.fetch_add(1, Ordering::Relaxed);
        counter.bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

// SAFETY: every call goes to the system's allocator unchanged; only numbers are counted beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Number of allocations and their bytes.
type Counts = (usize, usize);

/// What all threads that count where this one does allocate within `run`.
fn counted<T>(run: impl FnOnce() -> T) -> (T, Counts) {
    let counter = COUNTER.get().expect("this thread's allocations are counted");
    let read = || (counter.number.load(Ordering::Relaxed), counter.bytes.load(Ordering::Relaxed));
    let before = read();
    let value = run();
    let after = read();
    (value, (after.0 - before.0, after.1 - before.1))
}

/// Runs `run` in a pool of `threads`, whose allocations are counted together.
fn on_threads<T: Send>(threads: usize, run: impl FnOnce() -> T + Send) -> T {
    let counter: &'static Counter = Box::leak(Box::default());
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
    pool.start_handler(move |_| COUNTER.set(Some(counter))).build().unwrap().install(run)
}

/// What `run` counts once it is warm, when it says the same twenty times in a row: of several threads one may find its
/// first work late.
fn settled(mut run: impl FnMut() -> Counts) -> Counts {
    let (mut last, mut times) = (run(), 1);
    for _ in 0..2_000 {
        let counts = run();
        times = if counts == last { times + 1 } else { 1 };
        last = counts;
        if times == 20 {
            return last;
        }
    }
    panic!("{} allocations of {} bytes, and never the same for long", last.0, last.1)
}

/// What each of `inputs` costs.
fn each<I: Copy, const N: usize>(inputs: [I; N], mut run: impl FnMut(I) -> Counts) -> [Counts; N] {
    inputs.map(|input| settled(|| run(input)))
}

/// All formats; others are deeper and wider.
fn decoders() -> [TinyQwen2; 2] {
    [TinyQwen2::default(), TinyQwen2 { layers: 5, hidden: 512, feed_forward: 1024, ..TinyQwen2::default() }]
}

fn encoders() -> [TinyBert; 2] {
    let small = TinyBert { positions: 128, ..TinyBert::default() };
    [small.clone(), TinyBert { layers: 4, hidden: 96, feed_forward: 256, ..small }]
}

fn loader(bytes: &[u8]) -> Loader {
    loader_with(bytes, IntentConfig::default())
}

fn loader_with(bytes: &[u8], config: IntentConfig) -> Loader {
    let mut loader = Loader::new("model.gguf", Some(bytes.len() as u64), config).unwrap();
    loader.push(bytes).unwrap();
    loader
}

/// Beside every matrix a path of rank 16, large enough to be shared out to threads.
fn adapter(sizes: &Qwen2Config) -> Adapter {
    let path = |projection: Projection| {
        let [out, width] = projection.shape(sizes);
        Path { rank: 16, scale: 0.5, a: vec![0.01; 16 * width], b: vec![0.01; out * 16] }
    };
    let places = (0..sizes.layers).flat_map(|layer| Projection::ALL.map(|projection| (layer, projection)));
    Adapter { paths: places.map(|place| (place, path(place.1))).collect() }
}

/// The same as files from elsewhere.
fn adapter_files(sizes: &Qwen2Config) -> AdapterFiles {
    let config = AdapterConfig::uniform("tiny", 16, 8.0, 0.0, false, &Projection::ALL, None);
    let tensors = adapter(sizes).to_safetensors(Precision::F32).unwrap();
    AdapterFiles::from_elsewhere(IntentConfig::default(), config.to_json().unwrap(), tensors).unwrap()
}

/// A pass over so many rows, from the embedding to the hidden states of the last, and its end.
fn pass(model: &Qwen2<Cpu>, cache: &mut KvCache<Cpu>, rows: usize) -> Counts {
    let batch = Batch {
        tokens: (0..u32::try_from(rows).unwrap()).map(TokenId).collect(),
        positions: (0..rows).collect(),
        visible: (0..rows).map(|row| 0..row + 1).collect(),
        outputs: vec![rows - 1],
    };
    let ((), counts) = counted(|| {
        let mut pass = model.begin(cache, batch).unwrap();
        let hidden = loop {
            match model.advance(cache, &mut pass).unwrap() {
                Step::Running => {}
                Step::Done(hidden) => break hidden,
                Step::Waiting(_) => panic!("a processor is not waited for"),
            }
        };
        assert_eq!(hidden.len(), model.config().hidden);
        model.truncate(cache, 0);
    });
    counts
}

#[test]
fn a_decoders_pass_allocates_nothing() {
    for tiny in decoders() {
        let bytes = tiny.bytes().unwrap();
        for threads in [1, 2] {
            on_threads(threads, || {
                let (mut scorer, _) = loader(&bytes).finish_scorer().unwrap();
                let adapter = adapter(scorer.model().config());
                for adapter in [None, Some(&adapter)] {
                    scorer.set_adapter(adapter, &IntentConfig::default()).unwrap();
                    let mut cache = scorer.model().cache();
                    let counts = each([40, 40, 9], |rows| pass(scorer.model(), &mut cache, rows));
                    let what = (threads, tiny.layers, adapter.is_some());
                    assert_eq!(counts, [(0, 0); 3], "threads, layers, adapter: {what:?}");
                }
            });
        }
    }
}

/// From tokens to the labels' logits.
fn encoded(encoder: &Encoder<Cpu>, workspace: &mut KvLayer, tokens: usize) -> Counts {
    let tokens: Vec<TokenId> = (0..u32::try_from(tokens).unwrap()).map(TokenId).collect();
    counted(|| encoder.model().forward(workspace, &tokens).unwrap()).1
}

/// What is left is the list of what the rows see: a range and a number a row.
#[test]
fn an_encoders_pass_allocates_nothing_but_its_mask() {
    let compact = builtin::compact().unwrap().manifest().config.clone();
    let models = encoders().map(|tiny| (tiny.bytes().unwrap(), IntentConfig::default()));
    for (bytes, config) in models.into_iter().chain([(COMPACT.to_vec(), compact)]) {
        for threads in [1, 2] {
            on_threads(threads, || {
                let encoder = loader_with(&bytes, config.clone()).finish_encoder().unwrap();
                let mut workspace = encoder.model().workspace();
                let counts = each([40, 40, 9], |tokens| encoded(&encoder, &mut workspace, tokens));
                assert_eq!(counts, [(2, 24 * 40), (2, 24 * 40), (2, 24 * 9)], "{threads} threads");
            });
        }
    }
}

const LONG: &str = "I was on the phone with somebody yesterday and they said the line would be back by noon";
const SHORT: &str = "hello there";

/// A whole message, from text to decision.
fn message(classifier: &mut Classifier, text: &str) -> Counts {
    let (result, counts) = counted(|| classifier.classify(text, ClassifyOptions::default()).unwrap());
    assert!(!result.decision.is_error(), "{result:?}");
    counts
}

/// What a message costs beside its tokens, which the tokenizer's library allocates as it likes.
fn beside_tokens(classifier: &mut Classifier, tokens: impl Fn(&str) -> Vec<TokenId>) -> [Counts; 2] {
    [LONG, SHORT].map(|text| {
        let (number, bytes) = settled(|| message(classifier, text));
        let of_tokens = settled(|| counted(|| tokens(text)).1);
        (number - of_tokens.0, bytes - of_tokens.1)
    })
}

/// Without an adapter and with one.
fn decoders_message(bytes: &[u8]) -> [Counts; 2] {
    let (scorer, _) = loader(bytes).finish_scorer().unwrap();
    let tokens = |text: &str| scorer.tokenizer().encode(text).unwrap();
    let mut classifier = loader(bytes).finish().unwrap();
    let plain = beside_tokens(&mut classifier, tokens);
    classifier.set_adapter(Some(&adapter_files(scorer.model().config())), true).unwrap();
    assert_alike(beside_tokens(&mut classifier, tokens), plain);
    plain
}

fn encoders_message(bytes: &[u8], config: &IntentConfig) -> [Counts; 2] {
    let encoder = loader_with(bytes, config.clone()).finish_encoder().unwrap();
    let mut classifier = loader_with(bytes, config.clone()).finish().unwrap();
    beside_tokens(&mut classifier, |text| encoder.tokenizer().sequence(text).unwrap())
}

/// Bytes but for the names in results, which may differ.
fn assert_alike(a: [Counts; 2], b: [Counts; 2]) {
    for (a, b) in a.into_iter().zip(b) {
        assert!(a.0 == b.0 && a.1.abs_diff(b.1) <= 64, "{a:?} and {b:?}");
    }
}

/// Lists of rows, log-probabilities of labels, texts of the result: the same whatever the model's size, with an adapter
/// and without.
#[test]
fn a_message_costs_the_same_whatever_the_models_size() {
    for threads in [1, 2] {
        let all = on_threads(threads, || {
            let [a, b] = decoders().map(|tiny| decoders_message(&tiny.bytes().unwrap()));
            assert_alike(a, b);
            let config = IntentConfig::default();
            let [c, d] = encoders().map(|tiny| encoders_message(&tiny.bytes().unwrap(), &config));
            assert_alike(c, d);
            let compact = builtin::compact().unwrap().manifest().config.clone();
            [a, c, encoders_message(COMPACT, &compact)]
        });
        for (number, bytes) in all.into_iter().flatten() {
            println!("{threads} threads: {number} allocations, {bytes} bytes beside the tokens");
            assert!(number <= MOST_ALLOCATIONS && bytes <= MOST_BYTES, "{number}, {bytes} bytes");
        }
    }
}

/// Rayon's queue takes a block of 1.5 kB for every 63 jobs from outside of its threads, and nothing else is taken.
#[test]
fn callers_outside_of_the_pool_cost_its_queue() {
    COUNTER.set(Some(Box::leak(Box::default())));
    let tiny = TinyQwen2::default();
    let (scorer, _) = loader(&tiny.bytes().unwrap()).finish_scorer().unwrap();
    let mut cache = scorer.model().cache();
    // Of the threads outside only this one's are counted, so that nothing has to settle.
    pass(scorer.model(), &mut cache, 40);
    let passes = 100;
    let mut run = || pass(scorer.model(), &mut cache, 40);
    let (_, (number, bytes)) = counted(|| (0..passes).map(|_| run()).last());
    // Four products, attention and an activation function a layer; what describes the batch.
    let (jobs, described) = (passes * tiny.layers * 6, passes * 5);
    assert!(number <= described + jobs / 63 + 1, "{number} allocations");
    assert!(bytes <= described * 40 * 16 + (jobs / 63 + 1) * 2_048, "{bytes} bytes");
}
