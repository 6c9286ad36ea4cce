//! A forward pass by itself.

use relayops_intent::backend::cpu::Cpu;
use relayops_intent::loader::Loader;
use relayops_intent::model::TokenId;
use relayops_intent::model::qwen2::Batch;
use relayops_intent::pack::IntentConfig;
use relayops_intent::scoring::Scorer;
use relayops_intent::{IntentError, parallel};
use wasm_bindgen::JsError;
use wasm_bindgen::prelude::wasm_bindgen;

/// Takes the bytes of a model file in order, as the package's own loader does.
#[wasm_bindgen]
pub struct PrefillLoader(Loader);

#[wasm_bindgen]
impl PrefillLoader {
    /// `config_json` is the configuration of a pack, which its weights are made for.
    ///
    /// # Errors
    /// `invalid_config`.
    #[wasm_bindgen(constructor)]
    pub fn new(file_name: &str, config_json: Option<String>) -> Result<PrefillLoader, JsError> {
        let config =
            config_json.map_or_else(|| Ok(IntentConfig::default()), |json| IntentConfig::from_json(&json));
        Ok(Self(Loader::new(file_name, None, config?)?))
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn push(&mut self, chunk: &[u8]) -> Result<(), JsError> {
        Ok(self.0.push(chunk)?)
    }

    /// Ends the file.
    ///
    /// # Errors
    /// `truncated`, and whatever keeps the model from being built.
    pub fn finish(self) -> Result<Prefill, JsError> {
        let (scorer, info) = self.0.finish_scorer()?;
        Ok(Prefill { scorer, backend: info.backend })
    }
}

/// A loaded model.
#[wasm_bindgen]
pub struct Prefill {
    scorer: Scorer<Cpu>,
    backend: String,
}

#[wasm_bindgen]
impl Prefill {
    /// Backend with its instruction set.
    #[must_use]
    pub fn backend(&self) -> String {
        self.backend.clone()
    }

    /// Threads at work.
    #[must_use]
    pub fn threads(&self) -> usize {
        parallel::threads()
    }

    /// Computes keys and values of `tokens` behind nothing, and the last one's hidden state.
    ///
    /// # Errors
    /// `inference` for tokens that the model does not have.
    pub fn run(&self, tokens: Vec<u32>) -> Result<(), JsError> {
        let tokens: Vec<TokenId> = tokens.into_iter().map(TokenId).collect();
        let positions: Vec<usize> = (0..tokens.len()).collect();
        let visible = positions.iter().map(|at| 0..at + 1).collect();
        let last = tokens.len().checked_sub(1).ok_or_else(|| IntentError::argument("tokens", "are none"))?;
        let model = self.scorer.model();
        let batch = Batch { tokens, positions, visible, outputs: vec![last] };
        let hidden = model.forward(&mut model.cache(), batch)?;
        std::hint::black_box(hidden);
        Ok(())
    }
}
