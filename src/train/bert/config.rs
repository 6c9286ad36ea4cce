//! `config.json` of a BERT encoder.

use serde::Deserialize;

use crate::model::bert::MAX_POSITIONS;
use crate::{IntentError, Result};

/// The sizes of an encoder, as Hugging Face writes them; fields that do not matter here are left alone.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct BertConfig {
    /// `bert`, where it is given.
    #[serde(default = "bert")]
    pub model_type: String,
    /// Rows of the word embedding.
    pub vocab_size: usize,
    /// Width of a token.
    pub hidden_size: usize,
    /// Layers.
    pub num_hidden_layers: usize,
    /// Heads of an attention; they divide the width.
    pub num_attention_heads: usize,
    /// Width of the feed-forward layer.
    pub intermediate_size: usize,
    /// `gelu`, the exact one.
    pub hidden_act: String,
    /// Rows of the position embedding.
    pub max_position_embeddings: usize,
    /// Rows of the segment embedding.
    pub type_vocab_size: usize,
    /// Added to variances.
    pub layer_norm_eps: f64,
    /// `absolute`, where it is given.
    #[serde(default = "absolute")]
    pub position_embedding_type: String,
}

fn bert() -> String {
    "bert".to_owned()
}

fn absolute() -> String {
    "absolute".to_owned()
}

impl BertConfig {
    /// Reads and checks it; errors name `file` and the field.
    ///
    /// # Errors
    /// `invalid_config` where it is not such a file or its sizes can't work, `unsupported_model` for another
    /// architecture.
    pub fn from_json(json: &str, file: &str) -> Result<Self> {
        let config: Self = serde_json::from_str(json).map_err(|error| IntentError::config(file, error))?;
        let texts = [
            ("model_type", &config.model_type, "bert"),
            ("hidden_act", &config.hidden_act, "gelu"),
            ("position_embedding_type", &config.position_embedding_type, "absolute"),
        ];
        for (field, value, expected) in texts {
            if value != expected {
                return Err(IntentError::UnsupportedModel {
                    file: file.to_owned(),
                    field: field.to_owned(),
                    detail: format!("{value:?}; {expected:?} is read"),
                });
            }
        }
        config.check_sizes(file)?;
        Ok(config)
    }

    fn check_sizes(&self, file: &str) -> Result<()> {
        // A message is at least a token between two control tokens.
        let sizes = [
            ("vocab_size", self.vocab_size, 1..=1 << 24),
            ("hidden_size", self.hidden_size, 1..=1 << 14),
            ("num_hidden_layers", self.num_hidden_layers, 1..=1 << 8),
            ("num_attention_heads", self.num_attention_heads, 1..=1 << 8),
            ("intermediate_size", self.intermediate_size, 1..=1 << 16),
            ("max_position_embeddings", self.max_position_embeddings, 3..=MAX_POSITIONS),
            ("type_vocab_size", self.type_vocab_size, 1..=1 << 8),
        ];
        for (field, size, range) in sizes {
            if !range.contains(&size) {
                let detail = format!("{size} is not {} to {}", range.start(), range.end());
                return Err(IntentError::config(format!("{file}: {field}"), detail));
            }
        }
        if !self.hidden_size.is_multiple_of(self.num_attention_heads) {
            let detail =
                format!("{} heads do not divide a width of {}", self.num_attention_heads, self.hidden_size);
            return Err(IntentError::config(format!("{file}: num_attention_heads"), detail));
        }
        if !(self.layer_norm_eps > 0.0 && self.layer_norm_eps < 1.0) {
            let detail = format!("{} is not above 0 and below 1", self.layer_norm_eps);
            return Err(IntentError::config(format!("{file}: layer_norm_eps"), detail));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_named() {
        let good = serde_json::json!({
            "vocab_size": 10, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2,
            "intermediate_size": 16, "hidden_act": "gelu", "max_position_embeddings": 4, "type_vocab_size": 2,
            "layer_norm_eps": 1e-12, "hidden_dropout_prob": 0.1
        });
        assert_eq!(BertConfig::from_json(&good.to_string(), "config.json").unwrap().hidden_size, 8);
        for (field, value, code) in [
            ("hidden_act", "relu".into(), "unsupported_model"),
            ("model_type", "roberta".into(), "unsupported_model"),
            ("position_embedding_type", "relative_key".into(), "unsupported_model"),
            ("hidden_size", 0.into(), "invalid_config"),
            ("num_attention_heads", 3.into(), "invalid_config"),
            ("max_position_embeddings", 2.into(), "invalid_config"),
            ("layer_norm_eps", 0.into(), "invalid_config"),
            ("vocab_size", "many".into(), "invalid_config"),
        ] {
            let mut bad = good.clone();
            bad[field] = value;
            let error = BertConfig::from_json(&bad.to_string(), "a/config.json").unwrap_err();
            assert_eq!(error.code(), code, "{error}");
            assert!(error.to_string().starts_with("a/config.json"), "{error}");
            assert!(field == "vocab_size" || error.to_string().contains(field), "{error}");
        }
    }
}
