//! What JavaScript sees: conversions between its values and the crate's, nothing else.

use serde::{Deserialize, Serialize};
use wasm_bindgen::prelude::*;

use crate::classifier::{self, ClassifyOptions, ModelInfo};
use crate::pack::IntentConfig;
use crate::{IntentError, loader, message};

/// Makes panics readable in the console.
#[wasm_bindgen(start)]
pub fn start() {
    console_error_panic_hook::set_once();
}

/// Longest message in characters after trimming.
#[wasm_bindgen]
#[must_use]
pub fn max_message_chars() -> usize {
    message::MAX_MESSAGE_CHARS
}

/// Takes the bytes of a model file in order and builds a classifier.
#[wasm_bindgen]
pub struct ModelLoader(loader::Loader);

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
        let config =
            config_json.map_or_else(|| Ok(IntentConfig::default()), |json| IntentConfig::from_json(&json));
        let total = total_bytes.map(whole_number).transpose().map_err(to_js)?;
        config.and_then(|config| loader::Loader::new(file_name, total, config)).map(Self).map_err(to_js)
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
        self.0.finish().map(Classifier).map_err(to_js)
    }
}

/// Takes the files of a pack in order and builds a classifier.
#[wasm_bindgen]
pub struct PackLoader(loader::PackLoader);

#[wasm_bindgen]
impl PackLoader {
    /// `pack_json` are the bytes of the manifest.
    ///
    /// # Errors
    /// `invalid_pack`.
    #[wasm_bindgen(constructor)]
    pub fn new(pack_json: &[u8]) -> Result<PackLoader, JsValue> {
        loader::PackLoader::new(pack_json).map(Self).map_err(to_js)
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
        self.0.finish().map(Classifier).map_err(to_js)
    }
}

/// A loaded model with its gate.
#[wasm_bindgen]
pub struct Classifier(classifier::Classifier);

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Options {
    token_confidence: bool,
    threshold: Option<f32>,
}

#[derive(Serialize)]
struct Info<'a> {
    #[serde(flatten)]
    model: &'a ModelInfo,
    labels: &'a [String],
    threshold: f32,
    temperature: f32,
}

#[wasm_bindgen]
impl Classifier {
    /// Classifies one message; the result is the object that the command line prints with `--json`.
    ///
    /// # Errors
    /// `empty_message`, `invalid_argument`.
    pub fn classify(&mut self, text: &str, options: JsValue) -> Result<JsValue, JsValue> {
        let options: Option<Options> = serde_wasm_bindgen::from_value(options)
            .map_err(|error| to_js(IntentError::argument("options", error)))?;
        let options = options.unwrap_or_default();
        let options =
            ClassifyOptions { threshold: options.threshold, token_confidence: options.token_confidence };
        to_object(&self.0.classify(text, options).map_err(to_js)?)
    }

    /// What runs, and with which settings.
    ///
    /// # Errors
    /// Only where the object can't be made.
    pub fn info(&self) -> Result<JsValue, JsValue> {
        let config = self.0.config();
        let (threshold, temperature) = (config.threshold, config.temperature);
        to_object(&Info { model: self.0.info(), labels: &config.labels, threshold, temperature })
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
