//! The adapters that ship: what their manifests say, and what they do beside the real base.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};

use relayops_intent::adapter::{AdapterFiles, Projection, TENSORS};
use relayops_intent::backend::Heads;
use relayops_intent::classifier::ClassifyOptions;
use relayops_intent::eval::sets::BuiltIn;
use relayops_intent::fetch;
use relayops_intent::loader::{Loader, PackLoader};
use relayops_intent::model::qwen2::Qwen2Config;
use relayops_intent::train::data::Data;
use relayops_testkit::{QWEN_05B, real_model};

/// What an adapter is for, and what its tensors may take.
struct Shipped {
    folder: &'static str,
    base: &'static str,
    sizes: [usize; 4],
    most_bytes: u64,
}

const SHIPPED: [Shipped; 2] = [
    Shipped {
        folder: "qwen2.5-0.5b-lora",
        base: "qwen2.5-0.5b",
        sizes: [24, 896, 4864, 14],
        most_bytes: 20_000_000,
    },
    Shipped {
        folder: "qwen2.5-1.5b-lora",
        base: "qwen2.5-1.5b",
        sizes: [28, 1536, 8960, 12],
        most_bytes: 40_000_000,
    },
];

impl Shipped {
    fn path(&self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("models").join(self.folder)
    }

    fn files(&self) -> AdapterFiles {
        AdapterFiles::read(&self.path()).unwrap()
    }

    /// Of its base; what the tensors' shapes follow from.
    fn model(&self) -> Qwen2Config {
        let [layers, hidden, feed_forward, query] = self.sizes;
        let heads = Heads { query, kv: 2, dim: hidden / query };
        Qwen2Config {
            layers,
            hidden,
            feed_forward,
            heads,
            context: 32_768,
            rope_base: 1e6,
            rms_eps: 1e-6,
            vocab: 151_936,
            label_rows: None,
        }
    }
}

#[test]
fn adapters_say_what_they_are_and_how_they_were_made() {
    let data = Data::read(true, 0).unwrap();
    for shipped in &SHIPPED {
        let (files, name) = (shipped.files(), shipped.folder);
        let bytes = std::fs::metadata(shipped.path().join(TENSORS)).unwrap().len();
        assert!(bytes <= shipped.most_bytes, "{name}: {bytes} bytes");
        let base = fetch::find(shipped.base).unwrap();
        assert_eq!(files.intent().unwrap().base.sha256, base.sha256, "{name}");
        let adapter = files.adapter(&shipped.model()).unwrap();
        assert_eq!(adapter.paths.len(), shipped.model().layers * Projection::ALL.len(), "{name}");
        let training = &files.intent().unwrap().training;
        let command = training["command"].as_str().unwrap();
        assert!(command.starts_with("relayops-intent train lora "), "{name}: {command}");
        assert_eq!(
            training["data"]["sha256"],
            data.account.sha256.as_str(),
            "{name}: trained on today's data"
        );
        let steps = training["figures"].as_array().unwrap().last().unwrap()["steps"].as_u64().unwrap();
        let log = std::fs::read_to_string(shipped.path().join("training.jsonl")).unwrap();
        let logged = log.lines().filter(|line| line.starts_with("{\"step\":")).count();
        assert_eq!(logged as u64, steps, "{name}: a loss for each step");
        let sets: Vec<&str> = files
            .intent()
            .unwrap()
            .figures
            .as_array()
            .unwrap()
            .iter()
            .map(|set| set["set"].as_str().unwrap())
            .collect();
        assert_eq!(sets, ["held-out", "adversarial", "dev", "dev-calibrate"], "{name}");
        assert!(files.intent().unwrap().files.is_some(), "{name}: digests");
    }
}

/// Thresholds of a cascade hold for the models that they were chosen for; with another compact they have to be chosen
/// anew.
#[test]
fn thresholds_of_the_cascade_are_for_the_compact_that_ships() {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/compact/pack.json");
    let compact = PackLoader::new(&std::fs::read(manifest).unwrap()).unwrap();
    for shipped in &SHIPPED {
        let cascade = shipped.files().intent_config().cascade.clone();
        assert_eq!(cascade.unwrap().first, compact.identity(), "{}", shipped.folder);
    }
}

/// Every tenth message of the adversarial set: enough to see that the adapter is at work (the base alone has 27% of the
/// whole), not to tell two adapters apart.
#[test]
fn the_adapter_of_the_05b_classifies_beside_its_base() {
    let Some(base) = real_model("the_adapter_of_the_05b_classifies_beside_its_base", QWEN_05B) else {
        return;
    };
    let files = SHIPPED[0].files();
    let mut classifier = Loader::read_base(&base, files.intent_config().clone()).unwrap().finish().unwrap();
    // Asks the golden questions.
    classifier.set_adapter(Some(&files), false).unwrap();
    let set = BuiltIn::Adversarial.load().unwrap();
    let messages: Vec<_> = set.messages.iter().step_by(10).collect();
    let right = messages.iter().filter(|message| {
        classifier.classify(&message.text, ClassifyOptions::default()).unwrap().intent == message.intent
    });
    let (right, n) = (right.count(), messages.len());
    assert!(right as f64 >= 0.85 * n as f64, "{right} of {n} right");
}
