//! What JavaScript sees of the WebGPU backend: the device, and the steps that wait for it.

use js_sys::Promise;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::future_to_promise;

use super::{Classifier, ModelLoader, PackLoader, new_loader, to_js};
use crate::backend::gpu;
use crate::loader::{self, Checked};

/// A device that models can be loaded onto.
#[wasm_bindgen]
pub struct Gpu(gpu::Gpu);

#[wasm_bindgen]
impl Gpu {
    /// Opens the fastest adapter there is.
    ///
    /// # Errors
    /// `unavailable` where there is none, or it gives no device.
    pub async fn open() -> Result<Gpu, JsValue> {
        gpu::Gpu::open().await.map(Self).map_err(to_js)
    }

    /// How many shaders there are to compile.
    #[must_use]
    pub fn shaders() -> usize {
        gpu::Gpu::SHADERS
    }

    /// Compiles shader number `index`, counted from 0.
    pub fn compile(&self, index: usize) {
        self.0.compile(index);
    }

    /// As [`ModelLoader`]'s constructor, for a model on this device.
    ///
    /// # Errors
    /// As there.
    pub fn model_loader(
        &self,
        file_name: &str,
        total_bytes: Option<f64>,
        config_json: Option<String>,
    ) -> Result<ModelLoader, JsValue> {
        let loader = new_loader(file_name, total_bytes, config_json).map_err(to_js)?;
        Ok(ModelLoader(Box::new(loader.on(self.0.clone()))))
    }

    /// As [`PackLoader`]'s constructor, for a model on this device.
    ///
    /// # Errors
    /// As there.
    pub fn pack_loader(&self, pack_json: &[u8]) -> Result<PackLoader, JsValue> {
        let loader = loader::PackLoader::new(pack_json).map_err(to_js)?;
        Ok(PackLoader(Box::new(loader.on(self.0.clone()))))
    }

    /// As [`PackLoader::finish`], waiting for the device's answers to the golden questions.
    ///
    /// # Errors
    /// As there.
    pub async fn finish(loader: PackLoader) -> Result<Classifier, JsValue> {
        let mut check = loader.0.finish_unchecked().map_err(to_js)?;
        loop {
            match check.advance().map_err(to_js)? {
                Checked::Running => {}
                Checked::Waiting(signal) => signal.await,
                Checked::Passed(classifier) => return Ok(Classifier::from(*classifier)),
            }
        }
    }

    /// What went wrong first, if anything did: nothing can be read of the device any more then.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        self.0.fault()
    }

    /// Gives back all that is on the device, whoever still holds it.
    pub fn destroy(&self) {
        self.0.destroy();
    }
}

#[wasm_bindgen]
impl Classifier {
    /// Resolves when a step that said `{ state: 'waiting' }` can go on.
    pub fn answered(&self) -> Promise {
        let waiting = self.0.waiting();
        future_to_promise(async move {
            if let Some(signal) = waiting {
                signal.await;
            }
            Ok(JsValue::UNDEFINED)
        })
    }
}
