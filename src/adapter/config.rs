//! `adapter_config.json`, as PEFT writes it.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::pattern::Key;
use super::targets::{Layers, Targets, module};
use super::{CONFIG, Projection};
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
    /// Modules among these that have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exclude_modules: Option<Targets>,
    /// Ranks by name of module; the first that fits is taken.
    #[serde(default)]
    pub rank_pattern: Map<String, Value>,
    /// Numerators by name of module; the first that fits is taken.
    #[serde(default)]
    pub alpha_pattern: Map<String, Value>,
    /// Layers that have paths; all where it is missing. Of modules listed by their whole names it takes none away.
    #[serde(default)]
    pub layers_to_transform: Option<Layers>,
    /// Everything else.
    #[serde(flatten)]
    rest: Map<String, Value>,
}

/// Most keys of `rank_pattern` and of `alpha_pattern`, and names of a list of modules.
pub(super) const MAX_KEYS: usize = 1024;

/// Most keys of either that are more than a name: each is compiled, and asked about each module.
const MAX_EXPRESSIONS: usize = 64;

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

/// Fields that mean the same whether they are null or missing.
const DEFAULTED: [&str; 4] = ["rank_pattern", "alpha_pattern", "use_rslora", "lora_dropout"];

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
            exclude_modules: None,
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
        let mut fields: Map<String, Value> =
            serde_json::from_str(json).map_err(|error| IntentError::config(CONFIG, error))?;
        fields.retain(|name, value| !(value.is_null() && DEFAULTED.contains(&name.as_str())));
        check_types(&fields)?;
        let config: Self = serde_json::from_value(Value::Object(fields))
            .map_err(|error| IntentError::config(CONFIG, error))?;
        config.check_supported()?;
        config.check_numbers()?;
        Ok(config)
    }

    fn check_supported(&self) -> Result<()> {
        if self.peft_type != "LORA" {
            return Err(unsupported("peft_type", format!("{}; LORA is read", self.peft_type)));
        }
        for (field, neutral) in UNSUPPORTED {
            if let Some(value) = self.rest.get(field).filter(|value| !is_neutral(value, neutral)) {
                return Err(unsupported(field, format!("{value}; adapters with it are not run")));
            }
        }
        match self.rest.get("init_lora_weights") {
            Some(Value::String(way)) if !INITIALISATIONS.contains(&way.to_lowercase().as_str()) => {
                let detail = format!("{way}; it changes the base, which is taken as it is");
                Err(unsupported("init_lora_weights", detail))
            }
            _ => Ok(()),
        }
    }

    fn check_numbers(&self) -> Result<()> {
        let invalid =
            |field: &str, detail: String| Err(IntentError::config(format!("{CONFIG}: {field}"), detail));
        if self.r == 0 {
            return invalid("r", "is 0".to_owned());
        }
        for (field, patterns) in
            [("rank_pattern", &self.rank_pattern), ("alpha_pattern", &self.alpha_pattern)]
        {
            if patterns.len() > MAX_KEYS {
                return invalid(field, format!("{} keys; at most {MAX_KEYS} are read", patterns.len()));
            }
        }
        if let Some((key, value)) = self.rank_pattern.iter().find(|(_, value)| rank_of(value).is_none()) {
            return invalid(&format!("rank_pattern.{key}"), format!("{value} is no rank"));
        }
        if let Some((key, value)) = self.alpha_pattern.iter().find(|(_, value)| value.as_f64().is_none()) {
            return invalid(&format!("alpha_pattern.{key}"), format!("{value} is no number"));
        }
        Ok(())
    }

    /// The file.
    ///
    /// # Errors
    /// None that its values can bring about.
    pub fn to_json(&self) -> Result<String> {
        let json = serde_json::to_string_pretty(self).map_err(|error| IntentError::config(CONFIG, error))?;
        Ok(json + "\n")
    }

    /// Ranks and scales, ready to be asked for.
    ///
    /// # Errors
    /// `unsupported_model` where a pattern is no regular expression.
    pub(super) fn scales(&self) -> Result<Scales<'_>> {
        Ok(Scales {
            config: self,
            ranks: compiled("rank_pattern", &self.rank_pattern, rank_of)?,
            alphas: compiled("alpha_pattern", &self.alpha_pattern, Value::as_f64)?,
        })
    }
}

/// Ranks and scales of paths.
pub(super) struct Scales<'a> {
    config: &'a AdapterConfig,
    /// The first that fits a module's name is taken, of these too.
    ranks: Vec<(Key, usize)>,
    alphas: Vec<(Key, f64)>,
}

impl Scales<'_> {
    /// Rank and scale of the path beside a module.
    ///
    /// # Errors
    /// `invalid_config` where the scale is no number of single precision.
    pub(super) fn path(&self, layer: usize, projection: Projection) -> Result<(usize, f32)> {
        let name = module((layer, projection));
        let rank = first(&self.ranks, &name).unwrap_or(self.config.r);
        let alpha = first(&self.alphas, &name);
        let (field, alpha) =
            alpha.map_or(("lora_alpha", self.config.lora_alpha), |alpha| ("alpha_pattern", alpha));
        #[expect(clippy::cast_precision_loss, reason = "a rank")]
        let rank_f = rank as f64;
        #[expect(clippy::cast_possible_truncation, reason = "the arithmetic is single precision")]
        let scale = (alpha / if self.config.use_rslora { rank_f.sqrt() } else { rank_f }) as f32;
        if scale.is_finite() {
            return Ok((rank, scale));
        }
        let detail = format!("{alpha} makes a scale of {name} that is not finite");
        Err(IntentError::config(format!("{CONFIG}: {field}"), detail))
    }
}

/// An error of what is asked for and not done here.
pub(super) fn unsupported(field: &str, detail: impl Into<String>) -> IntentError {
    IntentError::UnsupportedModel { file: CONFIG.to_owned(), field: field.to_owned(), detail: detail.into() }
}

/// Names the field that is of another type than it should be, which [`serde_json`] does not.
fn check_types(fields: &Map<String, Value>) -> Result<()> {
    fn check<T: DeserializeOwned>(fields: &Map<String, Value>, names: &[&str]) -> Result<()> {
        for name in names {
            if let Some(value) = fields.get(*name) {
                let of = |error| IntentError::config(format!("{CONFIG}: {name}"), error);
                serde_json::from_value::<T>(value.clone()).map_err(of)?;
            }
        }
        Ok(())
    }
    check::<String>(fields, &["peft_type"])?;
    check::<Option<String>>(fields, &["task_type", "base_model_name_or_path"])?;
    check::<usize>(fields, &["r"])?;
    check::<f64>(fields, &["lora_alpha", "lora_dropout"])?;
    check::<bool>(fields, &["use_rslora"])?;
    check::<Targets>(fields, &["target_modules"])?;
    check::<Option<Targets>>(fields, &["exclude_modules"])?;
    check::<Option<Layers>>(fields, &["layers_to_transform"])?;
    check::<Map<String, Value>>(fields, &["rank_pattern", "alpha_pattern"])
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

fn rank_of(value: &Value) -> Option<usize> {
    value.as_u64().and_then(|rank| usize::try_from(rank).ok()).filter(|rank| *rank > 0)
}

fn compiled<T>(
    field: &str,
    patterns: &Map<String, Value>,
    read: impl Fn(&Value) -> Option<T>,
) -> Result<Vec<(Key, T)>> {
    let values = patterns.iter().filter_map(|(key, value)| Some((key, read(value)?)));
    let mut expressions = 0;
    let key = |(key, value): (&String, T)| {
        let key = Key::new(field, key)?;
        expressions += usize::from(key.is_expression());
        if expressions > MAX_EXPRESSIONS {
            let detail = format!("more than {MAX_EXPRESSIONS} keys that are more than a name");
            return Err(IntentError::config(format!("{CONFIG}: {field}"), detail));
        }
        Ok((key, value))
    };
    values.map(key).collect()
}

/// The value of the first key that a module's name matches.
fn first<T: Copy>(patterns: &[(Key, T)], name: &str) -> Option<T> {
    patterns.iter().find(|(key, _)| key.matches(name)).map(|(_, value)| *value)
}
