//! The matrices of a layer that can have a low-rank path.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::model::qwen2::Qwen2Config;
use crate::{IntentError, Result};

/// A matrix of a Qwen2 layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Projection {
    /// Queries.
    #[serde(rename = "q_proj")]
    Query,
    /// Keys.
    #[serde(rename = "k_proj")]
    Key,
    /// Values.
    #[serde(rename = "v_proj")]
    Value,
    /// What attention gives.
    #[serde(rename = "o_proj")]
    Output,
    /// The gate of the feed-forward layer.
    #[serde(rename = "gate_proj")]
    Gate,
    /// What the gate lets through.
    #[serde(rename = "up_proj")]
    Up,
    /// Out of the feed-forward layer.
    #[serde(rename = "down_proj")]
    Down,
}

impl Projection {
    /// All of a layer, in the order of its computation.
    pub const ALL: [Self; 7] =
        [Self::Query, Self::Key, Self::Value, Self::Output, Self::Gate, Self::Up, Self::Down];

    /// Its name in Hugging Face's files, which `target_modules` lists.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.module().split_once('.').map_or("", |(_, name)| name)
    }

    /// Its path within a layer in Hugging Face's files.
    #[must_use]
    pub fn module(self) -> &'static str {
        match self {
            Self::Query => "self_attn.q_proj",
            Self::Key => "self_attn.k_proj",
            Self::Value => "self_attn.v_proj",
            Self::Output => "self_attn.o_proj",
            Self::Gate => "mlp.gate_proj",
            Self::Up => "mlp.up_proj",
            Self::Down => "mlp.down_proj",
        }
    }

    /// Its name within a block in GGUF files.
    #[must_use]
    pub fn gguf_name(self) -> &'static str {
        match self {
            Self::Query => "attn_q.weight",
            Self::Key => "attn_k.weight",
            Self::Value => "attn_v.weight",
            Self::Output => "attn_output.weight",
            Self::Gate => "ffn_gate.weight",
            Self::Up => "ffn_up.weight",
            Self::Down => "ffn_down.weight",
        }
    }

    /// Output and input features in a model of that size.
    #[must_use]
    pub fn shape(self, config: &Qwen2Config) -> [usize; 2] {
        let (hidden, kv) = (config.hidden, config.heads.kv * config.heads.dim);
        match self {
            Self::Query | Self::Output => [hidden, hidden],
            Self::Key | Self::Value => [kv, hidden],
            Self::Gate | Self::Up => [config.feed_forward, hidden],
            Self::Down => [hidden, config.feed_forward],
        }
    }
}

impl fmt::Display for Projection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Projection {
    type Err = IntentError;

    /// Reads `q_proj` and the like, or `q`.
    fn from_str(text: &str) -> Result<Self> {
        let named = |p: &&Self| p.name() == text || p.name().strip_suffix("_proj") == Some(text);
        Self::ALL.iter().find(named).copied().ok_or_else(|| {
            let all: Vec<&str> = Self::ALL.iter().map(|p| p.name()).collect();
            IntentError::argument("target", format!("{text:?} is none of {}", all.join(", ")))
        })
    }
}
