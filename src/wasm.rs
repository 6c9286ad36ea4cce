//! What JavaScript sees: conversions between its values and the crate's, nothing else.

#[cfg(feature = "webgpu")]
mod gpu;

use serde::{Deserialize, Serialize};
use wasm_bindgen::prelude::*;

use crate::adapter::{self, AdapterFiles};
use crate::backend::Backend;
use crate::cascade::{Cascade, CascadeOptions, TypingStep};
use crate::classifier::{self, Classification, ModelInfo};
use crate::pack::{IntentConfig, Manifest};
use crate::scoring::{Goal, Progress};
use crate::{IntentError, loader, message, parallel};

/// Makes panics readable in the console.
#[wasm_bindgen(start)]
pub fn start() {
    console_error_panic_hook::set_once();
}

/// Threads that work is shared out to, the caller's included.
#[wasm_bindgen]
#[must_use]
pub fn threads() -> usize {
    parallel::threads()
}

/// Makes the calling Worker a thread of the pool: it must call [`help`] from now on.
#[cfg(target_feature = "atomics")]
#[wasm_bindgen]
pub fn join() {
    parallel::pool::join();
}

/// Helps until there is nothing to do; to be called again when the number at [`turn_address`] is not the one that this
/// returns.
#[cfg(target_feature = "atomics")]
#[wasm_bindgen]
#[must_use]
pub fn help() -> u32 {
    parallel::pool::help()
}

/// Where in memory the pool's turn is, 4 bytes.
#[cfg(target_feature = "atomics")]
#[wasm_bindgen]
#[must_use]
pub fn turn_address() -> u32 {
    parallel::pool::turn_address()
}

/// Says that the calling Worker broke off, so that nobody waits for it.
#[cfg(target_feature = "atomics")]
#[wasm_bindgen]
pub fn break_off() {
    parallel::pool::break_off();
}

/// Longest message in characters after trimming.
#[wasm_bindgen]
#[must_use]
pub fn max_message_chars() -> usize {
    message::MAX_MESSAGE_CHARS
}

#[derive(Serialize)]
struct AdapterFile {
    name: &'static str,
    max_bytes: u64,
    optional: bool,
}

/// The files of an adapter, in the order in which [`Classifier::set_adapter`] takes them:
/// `[{ name, max_bytes, optional }]`.
///
/// # Errors
/// Only where the object can't be made.
#[wasm_bindgen]
pub fn adapter_files() -> Result<JsValue, JsValue> {
    let file = |(name, max_bytes)| AdapterFile { name, max_bytes, optional: name == adapter::INTENT };
    to_object(&adapter::FILES.map(file))
}

/// Takes the bytes of a model file in order and builds a classifier.
#[wasm_bindgen]
pub struct ModelLoader(Box<dyn TakesFile>);

/// A [`loader::Loader`] for whichever backend.
trait TakesFile {
    fn push(&mut self, chunk: &[u8]) -> crate::Result<()>;
    fn finish(self: Box<Self>) -> crate::Result<classifier::Classifier>;
}

impl<B: Backend> TakesFile for loader::Loader<B> {
    fn push(&mut self, chunk: &[u8]) -> crate::Result<()> {
        self.push(chunk)
    }

    fn finish(self: Box<Self>) -> crate::Result<classifier::Classifier> {
        (*self).finish()
    }
}

fn new_loader(
    file_name: &str,
    total_bytes: Option<f64>,
    config_json: Option<String>,
) -> crate::Result<loader::Loader> {
    let config =
        config_json.map_or_else(|| Ok(IntentConfig::default()), |json| IntentConfig::from_json(&json));
    let total = total_bytes.map(whole_number).transpose()?;
    // Adapters may come at any time, when the bytes are gone.
    Ok(loader::Loader::new(file_name, total, config?)?.digested())
}

#[wasm_bindgen]
impl ModelLoader {
    /// `file_name` names the file in errors; `total_bytes` is its length where known; `config_json` replaces the
    /// built-in labels, prompt and policy.
    ///
    /// # Errors
    /// `invalid_config`, `invalid_argument`.
    #[wasm_bindgen(constructor)]
    pub fn new(
        file_name: &str,
        total_bytes: Option<f64>,
        config_json: Option<String>,
    ) -> Result<ModelLoader, JsValue> {
        new_loader(file_name, total_bytes, config_json).map(|loader| Self(Box::new(loader))).map_err(to_js)
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// What is wrong with the file, as soon as it shows.
    pub fn push(&mut self, chunk: &[u8]) -> Result<(), JsValue> {
        self.0.push(chunk).map_err(to_js)
    }

    /// Ends the file and builds the classifier.
    ///
    /// # Errors
    /// `truncated`, and whatever keeps the model from being built.
    pub fn finish(self) -> Result<Classifier, JsValue> {
        self.0.finish().map(Classifier::from).map_err(to_js)
    }
}

/// Takes the files of a pack in order and builds a classifier.
#[wasm_bindgen]
pub struct PackLoader(Box<dyn TakesPack>);

/// A [`loader::PackLoader`] for whichever backend.
trait TakesPack {
    fn manifest(&self) -> &Manifest;
    fn identity(&self) -> &str;
    fn push(&mut self, file: usize, chunk: &[u8]) -> crate::Result<()>;
    fn finish_unchecked(self: Box<Self>) -> crate::Result<loader::GoldenCheck>;
}

impl<B: Backend> TakesPack for loader::PackLoader<B> {
    fn manifest(&self) -> &Manifest {
        self.manifest()
    }

    fn identity(&self) -> &str {
        self.identity()
    }

    fn push(&mut self, file: usize, chunk: &[u8]) -> crate::Result<()> {
        self.push(file, chunk)
    }

    fn finish_unchecked(self: Box<Self>) -> crate::Result<loader::GoldenCheck> {
        (*self).finish_unchecked()
    }
}

#[wasm_bindgen]
impl PackLoader {
    /// `pack_json` are the bytes of the manifest.
    ///
    /// # Errors
    /// `invalid_pack`.
    #[wasm_bindgen(constructor)]
    pub fn new(pack_json: &[u8]) -> Result<PackLoader, JsValue> {
        loader::PackLoader::new(pack_json).map(|loader| Self(Box::new(loader))).map_err(to_js)
    }

    /// The files in the order in which their bytes are taken: `[{ path, bytes, sha256 }]`.
    ///
    /// # Errors
    /// Only where the object can't be made.
    pub fn files(&self) -> Result<JsValue, JsValue> {
        to_object(&self.0.manifest().files)
    }

    /// The SHA-256 of the manifest, which identifies the pack.
    #[must_use]
    pub fn identity(&self) -> String {
        self.0.identity().to_owned()
    }

    /// Takes the next bytes of file number `file`, counted from 0.
    ///
    /// # Errors
    /// `checksum`, `invalid_pack`, and what is wrong with the model, as soon as it shows.
    pub fn push(&mut self, file: usize, chunk: &[u8]) -> Result<(), JsValue> {
        self.0.push(file, chunk).map_err(to_js)
    }

    /// Ends the pack, builds the classifier and checks its golden answers.
    ///
    /// # Errors
    /// `invalid_pack`, `golden_mismatch`, and whatever keeps the model from being built.
    pub fn finish(self) -> Result<Classifier, JsValue> {
        self.0.finish_unchecked().and_then(loader::GoldenCheck::now).map(Classifier::from).map_err(to_js)
    }
}

/// A loaded model with its gate, or a cascade of several.
#[wasm_bindgen]
pub struct Classifier(Cascade);

impl From<classifier::Classifier> for Classifier {
    fn from(model: classifier::Classifier) -> Self {
        Self(model.into())
    }
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Options {
    token_confidence: bool,
    thresholds: Vec<f32>,
}

/// `{ state: 'running' | 'waiting' | 'held' }` or `{ state: 'done', result }`.
#[derive(Serialize)]
#[serde(tag = "state", rename_all = "lowercase")]
enum Step {
    Running,
    Waiting,
    Held,
    Done { result: Box<Classification> },
}

impl From<TypingStep> for Step {
    fn from(step: TypingStep) -> Self {
        match step {
            TypingStep::Running => Self::Running,
            TypingStep::Waiting(_) => Self::Waiting,
            TypingStep::Held => Self::Held,
            TypingStep::Done(result) => Self::Done { result },
        }
    }
}

/// What became of one message of a batch: `{ result }` or `{ error }`.
#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    Result(Box<Classification>),
    Error(Failure),
}

/// An error with its stable code.
#[derive(Serialize)]
struct Failure {
    code: &'static str,
    message: String,
}

impl From<crate::Result<Classification>> for Outcome {
    fn from(result: crate::Result<Classification>) -> Self {
        match result {
            Ok(result) => Self::Result(Box::new(result)),
            Err(error) => Self::Error(Failure { code: error.code(), message: error.to_string() }),
        }
    }
}

#[derive(Serialize)]
struct StageInfo<'a> {
    #[serde(flatten)]
    model: &'a ModelInfo,
    threshold: f32,
    temperature: f32,
}

#[derive(Serialize)]
struct Info<'a> {
    #[serde(flatten)]
    last: Option<StageInfo<'a>>,
    labels: &'a [String],
    /// The stages of a cascade have the same policy.
    always_escalate: &'a [String],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    stages: Vec<StageInfo<'a>>,
}

impl<'a> StageInfo<'a> {
    fn new((stage, threshold): (&'a classifier::Classifier, f32)) -> Self {
        Self { model: stage.info(), threshold, temperature: stage.config().temperature }
    }
}

#[wasm_bindgen]
impl Classifier {
    /// The same, with `later` asked where this is unsure. Both are consumed.
    ///
    /// # Errors
    /// `invalid_config` where labels or policies differ.
    pub fn followed_by(self, later: Classifier) -> Result<Classifier, JsValue> {
        self.0.followed_by(later.0).map(Self).map_err(to_js)
    }

    /// Classifies one message; the result is the object that the command line prints with `--json`.
    ///
    /// # Errors
    /// `empty_message`, `invalid_argument`.
    pub fn classify(&mut self, text: &str, options: JsValue) -> Result<JsValue, JsValue> {
        let options: Option<Options> = serde_wasm_bindgen::from_value(options)
            .map_err(|error| to_js(IntentError::argument("options", error)))?;
        let Options { token_confidence, thresholds } = options.unwrap_or_default();
        let options = CascadeOptions { thresholds, token_confidence };
        to_object(&self.0.classify(text, &options).map_err(to_js)?)
    }

    /// Classifies several messages, which share what they cost; in their order, `{ result }` or `{ error: { code, message } }`
    /// each.
    ///
    /// # Errors
    /// `invalid_argument` of the thresholds.
    pub fn classify_batch(&mut self, texts: Vec<String>, thresholds: &[f32]) -> Result<JsValue, JsValue> {
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let results = self.0.classify_batch(&texts, thresholds).map_err(to_js)?;
        to_object(&results.into_iter().map(Outcome::from).collect::<Vec<_>>())
    }

    /// Begins a message that is being typed, from where the model holds its beginning, and ends what was under way:
    /// `hold` what scoring it will take, `score` it, or `score in full` with `token_confidence`; either of these `at once`
    /// where nobody types. `{ state: 'running' }` where [`advance`](Self::advance) goes on, `{ state: 'waiting' }` where it
    /// does when a device has answered, `{ state: 'held' }`, or `{ state: 'done', result }`.
    ///
    /// # Errors
    /// `empty_message`, `invalid_argument`.
    pub fn begin(&mut self, text: &str, goal: &str, thresholds: &[f32]) -> Result<JsValue, JsValue> {
        let goal = match goal {
            "hold" => Goal::Hold,
            "score" => Goal::Score,
            "score in full" => Goal::ScoreInFull,
            "score at once" => Goal::ScoreAtOnce,
            "score in full at once" => Goal::ScoreInFullAtOnce,
            other => return Err(to_js(IntentError::argument("goal", format!("{other:?} is none")))),
        };
        to_object(&Step::from(self.0.begin(text, goal, thresholds).map_err(to_js)?))
    }

    /// Does the next few milliseconds of work on it; the result as of [`begin`](Self::begin).
    ///
    /// # Errors
    /// None that `begin` has let pass.
    pub fn advance(&mut self) -> Result<JsValue, JsValue> {
        to_object(&Step::from(self.0.advance().map_err(to_js)?))
    }

    /// Ends what is under way and forgets what is held of messages.
    pub fn forget(&mut self) {
        self.0.forget();
    }

    /// Puts an adapter beside the weights of the last stage, on trial; `forced` also beside another base than its own.
    /// `intent`, `config` and `tensors` are the contents of its files. `given` is a configuration for an adapter without
    /// `intent`, the built-in one where there is neither. Go on with [`advance_adapter`](Self::advance_adapter).
    ///
    /// # Errors
    /// Those of the files, `invalid_argument`, `wrong_base`, `unavailable`; everything is as it was then.
    pub fn begin_adapter(
        &mut self,
        intent: Option<String>,
        config: String,
        tensors: Vec<u8>,
        given: Option<String>,
        forced: bool,
    ) -> Result<(), JsValue> {
        let files = match (intent, given) {
            (Some(intent), None) => AdapterFiles::new(&intent, config, tensors),
            (Some(_), Some(_)) => Err(IntentError::argument(
                "config",
                format!("the adapter brings its own: {}", adapter::INTENT),
            )),
            (None, given) => given
                .map_or_else(|| Ok(IntentConfig::default()), |json| IntentConfig::from_json(&json))
                .and_then(|given| AdapterFiles::from_elsewhere(given, config, tensors)),
        };
        self.0.begin_adapter(Some(&files.map_err(to_js)?), forced).map_err(to_js)
    }

    /// Takes the adapter away. Go on with [`advance_adapter`](Self::advance_adapter).
    ///
    /// # Errors
    /// As [`begin_adapter`](Self::begin_adapter).
    pub fn begin_removal(&mut self) -> Result<(), JsValue> {
        self.0.begin_adapter(None, false).map_err(to_js)
    }

    /// Does the next step: the golden questions of an adapter. `{ state: 'held' }` when it is there, or gone.
    ///
    /// # Errors
    /// `golden_mismatch`; everything is as it was before then.
    pub fn advance_adapter(&mut self) -> Result<JsValue, JsValue> {
        to_object(&match self.0.advance_adapter().map_err(to_js)? {
            Progress::Running | Progress::Scored(_) => Step::Running,
            Progress::Waiting(_) => Step::Waiting,
            Progress::Held => Step::Held,
        })
    }

    /// What runs, and with which settings.
    ///
    /// # Errors
    /// Only where the object can't be made.
    pub fn info(&self) -> Result<JsValue, JsValue> {
        let config = self.0.last().config();
        let several = self.0.depth() > 1;
        let stages = || self.0.stages().zip(self.0.own_thresholds()).map(StageInfo::new);
        to_object(&Info {
            last: stages().last(),
            labels: &config.labels,
            always_escalate: &config.policy.always_escalate,
            stages: stages().filter(|_| several).collect(),
        })
    }
}

fn to_object(value: &impl Serialize) -> Result<JsValue, JsValue> {
    value.serialize(&serde_wasm_bindgen::Serializer::json_compatible()).map_err(JsValue::from)
}

fn whole_number(value: f64) -> crate::Result<u64> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked to be a whole number"
    )]
    // The cast saturates and cuts; what comes back the same was a whole number in range.
    let whole = value as u64;
    if whole as f64 == value {
        Ok(whole)
    } else {
        Err(IntentError::argument("total_bytes", format!("{value} is not a size")))
    }
}

/// An `Error` with the stable code as its `code`.
fn to_js(error: IntentError) -> JsValue {
    let object = js_sys::Error::new(&error.to_string());
    // Setting a property of a fresh object can't fail.
    let _ = js_sys::Reflect::set(&object, &"code".into(), &error.code().into());
    object.into()
}
