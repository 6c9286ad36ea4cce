//! `adapter_config.json`, as PEFT writes it.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Adapter, CONFIG, Projection, pattern};
use crate::model::qwen2::Qwen2Config;
use crate::{IntentError, Result};

/// The part of the configuration that decides what an adapter computes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AdapterConfig {
    /// `LORA`.
    pub peft_type: String,
    /// `CAUSAL_LM`.
    #[serde(default)]
    pub task_type: Option<String>,
    /// The base as its trainer called it; not interpreted.
    #[serde(default)]
    pub base_model_name_or_path: Option<String>,
    /// Rank of the paths that `rank_pattern` does not name.
    pub r: usize,
    /// Numerator of the scale of the paths that `alpha_pattern` does not name.
    pub lora_alpha: f64,
    /// Dropout while training.
    #[serde(default)]
    pub lora_dropout: f64,
    /// Scale by `alpha / sqrt(r)` instead of `alpha / r`.
    #[serde(default)]
    pub use_rslora: bool,
    /// Modules that have a path: a list of names, or a regular expression.
    pub target_modules: Targets,
    /// Ranks by name of module; the first that fits is taken.
    #[serde(default)]
    pub rank_pattern: Map<String, Value>,
    /// Numerators by name of module; the first that fits is taken.
    #[serde(default)]
    pub alpha_pattern: Map<String, Value>,
    /// Layers that have paths; all where it is missing.
    #[serde(default)]
    pub layers_to_transform: Option<Layers>,
    /// Everything else.
    #[serde(flatten)]
    rest: Map<String, Value>,
}

/// Modules that have a path.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Targets {
    /// Names, or ends of names behind a dot.
    Names(Vec<String>),
    /// A regular expression over whole names.
    Pattern(String),
}

/// Layers that have paths.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Layers {
    /// One.
    One(usize),
    /// Some.
    Some(Vec<usize>),
}

/// Fields that change what is computed unless they are null, false, empty or this text; none is supported.
const UNSUPPORTED: [(&str, &str); 21] = [
    ("bias", "none"),
    ("use_dora", ""),
    ("modules_to_save", ""),
    ("lora_bias", ""),
    ("fan_in_fan_out", ""),
    ("layer_replication", ""),
    ("layers_pattern", ""),
    ("trainable_token_indices", ""),
    ("target_parameters", ""),
    ("use_qalora", ""),
    ("use_bdlora", ""),
    ("alora_invocation_tokens", ""),
    ("arrow_config", ""),
    ("kasa_config", ""),
    ("velora_config", ""),
    ("monteclora_config", ""),
    ("megatron_config", ""),
    ("loftq_config", ""),
    ("corda_config", ""),
    ("lora_ga_config", ""),
    ("ensure_weight_tying", ""),
];

/// Ways of initialising that leave the base as it is; the others subtract the first path from it.
const INITIALISATIONS: [&str; 4] = ["", "gaussian", "eva", "orthogonal"];

impl AdapterConfig {
    /// The configuration of an adapter whose paths are all alike.
    #[must_use]
    pub fn uniform(
        base: &str,
        rank: usize,
        alpha: f64,
        dropout: f64,
        use_rslora: bool,
        projections: &[Projection],
        layers: Option<Vec<usize>>,
    ) -> Self {
        let flag = |name: &str, value: Value| (name.to_owned(), value);
        let rest = [
            flag("bias", "none".into()),
            flag("fan_in_fan_out", false.into()),
            flag("inference_mode", true.into()),
            flag("init_lora_weights", true.into()),
            flag("modules_to_save", Value::Null),
            flag("use_dora", false.into()),
        ];
        Self {
            peft_type: "LORA".to_owned(),
            task_type: Some("CAUSAL_LM".to_owned()),
            base_model_name_or_path: Some(base.to_owned()),
            r: rank,
            lora_alpha: alpha,
            lora_dropout: dropout,
            use_rslora,
            target_modules: Targets::Names(projections.iter().map(ToString::to_string).collect()),
            rank_pattern: Map::new(),
            alpha_pattern: Map::new(),
            layers_to_transform: layers.map(Layers::Some),
            rest: rest.into_iter().collect(),
        }
    }

    /// Reads and checks it.
    ///
    /// # Errors
    /// `invalid_config` where it is no such file, `unsupported_model` naming the field that asks for what is not done here.
    pub fn from_json(json: &str) -> Result<Self> {
        let config: Self = serde_json::from_str(json).map_err(|error| IntentError::config(CONFIG, error))?;
        let unsupported = |field: &str, value: &dyn std::fmt::Display, supported: &str| {
            Err(IntentError::UnsupportedModel {
                file: CONFIG.to_owned(),
                field: field.to_owned(),
                detail: format!("{value}; {supported}"),
            })
        };
        if config.peft_type != "LORA" {
            return unsupported("peft_type", &config.peft_type, "LORA is read");
        }
        for (field, neutral) in UNSUPPORTED {
            if let Some(value) = config.rest.get(field).filter(|value| !is_neutral(value, neutral)) {
                return unsupported(field, value, "adapters with it are not run");
            }
        }
        match config.rest.get("init_lora_weights") {
            Some(Value::String(way)) if !INITIALISATIONS.contains(&way.to_lowercase().as_str()) => {
                return unsupported("init_lora_weights", way, "it changes the base, which is taken as it is");
            }
            _ => {}
        }
        if config.r == 0 {
            return Err(IntentError::config(format!("{CONFIG}: r"), "is 0"));
        }
        if let Some((key, value)) = config.rank_pattern.iter().find(|(_, value)| rank_of(value).is_none()) {
            let detail = format!("{value} is no rank");
            return Err(IntentError::config(format!("{CONFIG}: rank_pattern.{key}"), detail));
        }
        if let Some((key, value)) = config.alpha_pattern.iter().find(|(_, value)| value.as_f64().is_none()) {
            let detail = format!("{value} is no number");
            return Err(IntentError::config(format!("{CONFIG}: alpha_pattern.{key}"), detail));
        }
        Ok(config)
    }

    /// The file.
    ///
    /// # Errors
    /// None that its values can bring about.
    pub fn to_json(&self) -> Result<String> {
        let json = serde_json::to_string_pretty(self).map_err(|error| IntentError::config(CONFIG, error))?;
        Ok(json + "\n")
    }

    /// Rank and scale of the path beside a module.
    ///
    /// # Errors
    /// `unsupported_model` where a pattern is no regular expression.
    pub fn path(&self, layer: usize, projection: Projection) -> Result<(usize, f32)> {
        let name = module(layer, projection);
        let rank = find("rank_pattern", &self.rank_pattern, &name)?.and_then(rank_of).unwrap_or(self.r);
        let alpha = find("alpha_pattern", &self.alpha_pattern, &name)?.and_then(Value::as_f64);
        let alpha = alpha.unwrap_or(self.lora_alpha);
        #[expect(clippy::cast_precision_loss, reason = "a rank")]
        let rank_f = rank as f64;
        #[expect(clippy::cast_possible_truncation, reason = "the arithmetic is single precision")]
        let scale = (alpha / if self.use_rslora { rank_f.sqrt() } else { rank_f }) as f32;
        Ok((rank, scale))
    }

    /// Compares the paths that there are with those that the configuration names.
    ///
    /// # Errors
    /// `unsupported_model` for targets that are no projection of a layer, `invalid_tensor` for paths that are missing or
    /// not named.
    pub(super) fn check_targets(&self, adapter: &Adapter, sizes: &Qwen2Config) -> Result<()> {
        let named = self.named(sizes)?;
        let there: BTreeSet<(usize, Projection)> = adapter.paths.keys().copied().collect();
        let error = |(layer, projection): (usize, Projection), detail: &str| IntentError::InvalidTensor {
            file: super::TENSORS.to_owned(),
            tensor: module(layer, projection),
            detail: detail.to_owned(),
        };
        if let Some(missing) = named.difference(&there).next() {
            return Err(error(*missing, "has no path, but target_modules names it"));
        }
        match there.difference(&named).next() {
            Some(further) => Err(error(*further, "has a path, but target_modules does not name it")),
            None => Ok(()),
        }
    }

    /// The paths that the configuration names.
    fn named(&self, sizes: &Qwen2Config) -> Result<BTreeSet<(usize, Projection)>> {
        let layers: Vec<usize> = match &self.layers_to_transform {
            None => (0..sizes.layers).collect(),
            Some(Layers::One(layer)) => vec![*layer],
            Some(Layers::Some(layers)) => layers.clone(),
        };
        let all = layers.iter().flat_map(|layer| Projection::ALL.map(|projection| (*layer, projection)));
        match &self.target_modules {
            Targets::Names(names) => {
                let projections = names.iter().map(|name| by_name(name)).collect::<Result<Vec<_>>>()?;
                Ok(all.filter(|(_, projection)| projections.contains(projection)).collect())
            }
            Targets::Pattern(word) if word == "all-linear" => Ok(all.collect()),
            Targets::Pattern(expression) => {
                let expression = pattern::whole("target_modules", expression)?;
                let matches = |(layer, p): &(usize, Projection)| expression.is_match(&module(*layer, *p));
                Ok(all.filter(matches).collect())
            }
        }
    }
}

fn is_neutral(value: &Value, neutral: &str) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text == neutral || text.is_empty(),
        Value::Array(values) => values.is_empty(),
        Value::Object(values) => values.is_empty(),
        Value::Bool(true) | Value::Number(_) => false,
    }
}

/// Name of a module in the base.
fn module(layer: usize, projection: Projection) -> String {
    format!("model.layers.{layer}.{}", projection.module())
}

/// What a `target_modules` entry means: `q_proj`, `self_attn.q_proj`.
fn by_name(name: &str) -> Result<Projection> {
    let named = |p: &&Projection| p.name() == name || p.module() == name;
    Projection::ALL.iter().find(named).copied().ok_or_else(|| IntentError::UnsupportedModel {
        file: CONFIG.to_owned(),
        field: "target_modules".to_owned(),
        detail: format!("{name:?} is none of {}", Projection::ALL.map(Projection::name).join(", ")),
    })
}

fn rank_of(value: &Value) -> Option<usize> {
    value.as_u64().and_then(|rank| usize::try_from(rank).ok()).filter(|rank| *rank > 0)
}

/// The value of the first key that a module's name matches.
fn find<'a>(field: &str, patterns: &'a Map<String, Value>, name: &str) -> Result<Option<&'a Value>> {
    for (key, value) in patterns {
        if pattern::key(field, key)?.is_match(name) {
            return Ok(Some(value));
        }
    }
    Ok(None)
}
