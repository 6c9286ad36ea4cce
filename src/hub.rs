//! Qwen2 models in the layout of the Hugging Face hub, read as if they were GGUF files: `config.json`, `tokenizer.json`
//! and `model.safetensors`, which may be in parts.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use candle_core::Shape;
use candle_core::quantized::GgmlDType;
use candle_core::quantized::gguf_file::{TensorInfo, Value};
use half::bf16;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;
use serde_json::Value as Json;
use sha2::{Digest, Sha256};

use crate::adapter::Projection;
use crate::gguf::{Gguf, Header, Metadata};
use crate::pack::manifest::hex;
use crate::quant::{Format, QuantMatrix};
use crate::tokenizer::QWEN2_SPLIT;
use crate::{IntentError, Result};

/// Sizes.
const CONFIG: &str = "config.json";
/// Vocabulary.
const TOKENIZER: &str = "tokenizer.json";
/// Weights, or a list of the files that hold them.
const WEIGHTS: [&str; 2] = ["model.safetensors", "model.safetensors.index.json"];

/// Token types of `tokenizer.ggml.token_type`: ordinary, control, user-defined, unused.
const TYPES: [i32; 4] = [1, 3, 4, 5];

/// A model from a folder.
pub struct Model {
    /// What a GGUF file of it would begin with.
    pub header: Header,
    /// Its tensors under GGUF's names, in 2- or 4-byte floats.
    pub tensors: HashMap<String, QuantMatrix>,
    /// SHA-256 of the weights' file; of several, one after the other in the order of their names.
    pub sha256: String,
}

impl Model {
    /// Whether a folder holds such a model.
    #[must_use]
    pub fn is_in(folder: &Path) -> bool {
        folder.join(CONFIG).is_file() && WEIGHTS.iter().any(|file| folder.join(file).is_file())
    }

    /// Reads a folder.
    ///
    /// # Errors
    /// `io`, and `invalid_config`, `unsupported_model` and `invalid_tensor` naming file and field or tensor.
    pub fn read(folder: &Path) -> Result<Self> {
        let name = folder.display().to_string();
        let config: Config = parse(folder, CONFIG)?;
        let mut metadata = config.metadata(&name)?;
        metadata.extend(tokenizer(&parse(folder, TOKENIZER)?, config.vocab_size, &name)?);
        let (mut tensors, mut infos, mut hash) = (HashMap::new(), Vec::new(), Sha256::new());
        for file in weight_files(folder)? {
            let path = folder.join(&file);
            let bytes = std::fs::read(&path).map_err(|error| IntentError::io(path.display(), error))?;
            hash.update(&bytes);
            let parsed = SafeTensors::deserialize(&bytes)
                .map_err(|error| IntentError::config(path.display().to_string(), error))?;
            for (theirs, view) in parsed.iter() {
                let Some(ours) = gguf_name(theirs) else {
                    return Err(invalid(&path, theirs, "is not part of a Qwen2 model"));
                };
                // Files of tied models may hold the embedding twice.
                if ours == "output.weight" && config.tie_word_embeddings {
                    continue;
                }
                let (matrix, info) = tensor(&path, theirs, &view)?;
                infos.push((ours.clone(), info));
                tensors.insert(ours, matrix);
            }
        }
        let header = Header {
            metadata: Metadata::new(&name, metadata),
            tensors: infos,
            data_offset: 0,
            alignment: 32,
        };
        let sha256 = hex(&hash.finalize());
        Ok(Self { header, tensors, sha256 })
    }

    /// The parts that a GGUF file would have given.
    #[must_use]
    pub fn into_gguf(self) -> Gguf {
        Gguf { metadata: self.header.metadata, tensors: self.tensors }
    }
}

fn parse<T: for<'a> Deserialize<'a>>(folder: &Path, file: &str) -> Result<T> {
    let path = folder.join(file);
    let bytes = std::fs::read(&path).map_err(|error| IntentError::io(path.display(), error))?;
    serde_json::from_slice(&bytes).map_err(|error| IntentError::config(path.display().to_string(), error))
}

fn invalid(path: &Path, tensor: &str, detail: impl ToString) -> IntentError {
    IntentError::InvalidTensor {
        file: path.display().to_string(),
        tensor: tensor.to_owned(),
        detail: detail.to_string(),
    }
}

/// `config.json`; fields that do not matter here are left alone.
#[derive(Deserialize)]
struct Config {
    model_type: String,
    hidden_act: String,
    hidden_size: u32,
    intermediate_size: u32,
    num_hidden_layers: u32,
    num_attention_heads: u32,
    num_key_value_heads: u32,
    max_position_embeddings: u32,
    rms_norm_eps: f32,
    vocab_size: usize,
    #[serde(default)]
    tie_word_embeddings: bool,
    #[serde(default)]
    use_sliding_window: bool,
    rope_theta: Option<f32>,
    rope_scaling: Option<Json>,
    /// Where newer versions write what `rope_theta` and `rope_scaling` were.
    rope_parameters: Option<Json>,
    head_dim: Option<u32>,
}

impl Config {
    fn metadata(&self, name: &str) -> Result<HashMap<String, Value>> {
        let unsupported = |field: &str, detail: String| {
            Err(IntentError::UnsupportedModel {
                file: format!("{name}/{CONFIG}"),
                field: field.to_owned(),
                detail,
            })
        };
        for (field, value, expected) in
            [("model_type", &self.model_type, "qwen2"), ("hidden_act", &self.hidden_act, "silu")]
        {
            if value != expected {
                return unsupported(field, format!("{value:?}; {expected:?} is read"));
            }
        }
        if self.use_sliding_window {
            return unsupported("use_sliding_window", "true; every token sees all before it here".to_owned());
        }
        for (field, rope) in
            [("rope_scaling", &self.rope_scaling), ("rope_parameters", &self.rope_parameters)]
        {
            let kind = rope.as_ref().and_then(|rope| rope.get("rope_type").or_else(|| rope.get("type")));
            if let Some(kind) = kind.and_then(Json::as_str).filter(|kind| *kind != "default") {
                return unsupported(field, format!("{kind:?}; only unscaled angles are run"));
            }
        }
        let written = self.rope_parameters.as_ref().and_then(|rope| rope.get("rope_theta")?.as_f64());
        #[expect(clippy::cast_possible_truncation, reason = "GGUF holds it in single precision")]
        let Some(base) = self.rope_theta.or(written.map(|base| base as f32)) else {
            return unsupported("rope_theta", "is missing".to_owned());
        };
        let mut all = HashMap::from([
            ("general.architecture".to_owned(), Value::String("qwen2".to_owned())),
            ("tokenizer.ggml.model".to_owned(), Value::String("gpt2".to_owned())),
            ("tokenizer.ggml.pre".to_owned(), Value::String("qwen2".to_owned())),
            ("qwen2.rope.freq_base".to_owned(), Value::F32(base)),
            ("qwen2.attention.layer_norm_rms_epsilon".to_owned(), Value::F32(self.rms_norm_eps)),
        ]);
        let sizes = [
            ("block_count", self.num_hidden_layers),
            ("context_length", self.max_position_embeddings),
            ("embedding_length", self.hidden_size),
            ("feed_forward_length", self.intermediate_size),
            ("attention.head_count", self.num_attention_heads),
            ("attention.head_count_kv", self.num_key_value_heads),
        ];
        all.extend(sizes.map(|(key, size)| (format!("qwen2.{key}"), Value::U32(size))));
        if let Some(dim) = self.head_dim {
            all.insert("qwen2.attention.key_length".to_owned(), Value::U32(dim));
        }
        Ok(all)
    }
}

/// What GGUF metadata say of the vocabulary; ids behind its last token, to which some embeddings are padded, are unused.
fn tokenizer(json: &Json, vocab: usize, name: &str) -> Result<HashMap<String, Value>> {
    let file = format!("{name}/{TOKENIZER}");
    let wrong = |field: &str, detail: &str| IntentError::config(format!("{file}: {field}"), detail);
    let (model, normalizer) = (&json["model"], &json["normalizer"]);
    if model["type"] != "BPE" || normalizer["type"] != "NFC" || !splits_like_qwen2(&json["pre_tokenizer"]) {
        return Err(wrong("model, normalizer, pre_tokenizer", "are not those of Qwen2"));
    }
    let mut tokens: Vec<(String, i32)> = (0..vocab).map(|id| (format!("[UNUSED{id}]"), TYPES[3])).collect();
    let mut put = |token: &str, id: &Json, kind: i32| {
        let slot = id.as_u64().and_then(|id| usize::try_from(id).ok()).and_then(|id| tokens.get_mut(id));
        let slot =
            slot.ok_or_else(|| wrong("model.vocab", &format!("token {token:?} has the id {id} of {vocab}")))?;
        *slot = (token.to_owned(), kind);
        Ok(())
    };
    for (token, id) in model["vocab"].as_object().ok_or_else(|| wrong("model.vocab", "is no object"))? {
        put(token, id, TYPES[0])?;
    }
    for added in json["added_tokens"].as_array().into_iter().flatten() {
        let content = added["content"].as_str().ok_or_else(|| wrong("added_tokens", "one has no content"))?;
        put(content, &added["id"], if added["special"] == true { TYPES[1] } else { TYPES[2] })?;
    }
    let merge = |merge: &Json| match merge {
        Json::String(pair) => Some(pair.clone()),
        Json::Array(pair) => Some(format!("{} {}", pair.first()?.as_str()?, pair.get(1)?.as_str()?)),
        _ => None,
    };
    let merges: Option<Vec<String>> =
        model["merges"].as_array().and_then(|all| all.iter().map(merge).collect());
    let merges = merges.ok_or_else(|| wrong("model.merges", "are not pairs of tokens"))?;
    let (texts, kinds): (Vec<String>, Vec<i32>) = tokens.into_iter().unzip();
    let strings = |texts: Vec<String>| Value::Array(texts.into_iter().map(Value::String).collect());
    Ok(HashMap::from([
        ("tokenizer.ggml.tokens".to_owned(), strings(texts)),
        ("tokenizer.ggml.token_type".to_owned(), Value::Array(kinds.into_iter().map(Value::I32).collect())),
        ("tokenizer.ggml.merges".to_owned(), strings(merges)),
    ]))
}

fn splits_like_qwen2(pre_tokenizer: &Json) -> bool {
    let steps = pre_tokenizer["pretokenizers"].as_array();
    steps.into_iter().flatten().any(|step| step["pattern"]["Regex"] == QWEN2_SPLIT)
}

/// The files that hold the weights, in the order of their names.
fn weight_files(folder: &Path) -> Result<BTreeSet<String>> {
    let [whole, index] = WEIGHTS;
    if folder.join(whole).is_file() {
        return Ok(BTreeSet::from([whole.to_owned()]));
    }
    let list: Json = parse(folder, index)?;
    let plain = |name: &&str| !name.is_empty() && !name.contains(['/', '\\']) && !name.starts_with('.');
    let names = list["weight_map"].as_object().into_iter().flatten();
    let names: Option<BTreeSet<String>> =
        names.map(|(_, file)| file.as_str().filter(plain).map(str::to_owned)).collect();
    let names = names.filter(|names| !names.is_empty());
    names.ok_or_else(|| {
        IntentError::config(format!("{}: weight_map", folder.join(index).display()), "names no files")
    })
}

/// The name that GGUF files have for a tensor.
fn gguf_name(name: &str) -> Option<String> {
    match name {
        "model.embed_tokens.weight" => return Some("token_embd.weight".to_owned()),
        "model.norm.weight" => return Some("output_norm.weight".to_owned()),
        "lm_head.weight" => return Some("output.weight".to_owned()),
        _ => {}
    }
    let (layer, part) = name.strip_prefix("model.layers.")?.split_once('.')?;
    let layer: usize = layer.parse().ok()?;
    let ours = match part {
        "input_layernorm.weight" => "attn_norm.weight".to_owned(),
        "post_attention_layernorm.weight" => "ffn_norm.weight".to_owned(),
        _ => {
            let (module, kind) = part.rsplit_once('.')?;
            let projection = Projection::ALL.into_iter().find(|p| p.module() == module)?;
            let own = projection.gguf_name();
            match kind {
                "weight" => own.to_owned(),
                "bias" => own.replace(".weight", ".bias"),
                _ => return None,
            }
        }
    };
    Some(format!("blk.{layer}.{ours}"))
}

/// A tensor as a matrix, and what a GGUF header would say of it.
fn tensor(path: &Path, name: &str, view: &TensorView) -> Result<(QuantMatrix, TensorInfo)> {
    let (rows, columns) = match view.shape() {
        [columns] => (1, *columns),
        [rows, columns] => (*rows, *columns),
        other => return Err(invalid(path, name, format!("{} dimensions, expected 1 or 2", other.len()))),
    };
    let (format, dtype, bytes) = match view.dtype() {
        Dtype::F32 => (Format::F32, GgmlDType::F32, view.data().to_vec()),
        Dtype::F16 => (Format::F16, GgmlDType::F16, view.data().to_vec()),
        Dtype::BF16 => {
            let wide = |bytes: &[u8; 2]| bf16::from_le_bytes(*bytes).to_f32().to_le_bytes();
            (Format::F32, GgmlDType::F32, view.data().as_chunks().0.iter().flat_map(wide).collect())
        }
        other => return Err(invalid(path, name, format!("type {other:?}; read are F32, F16 and BF16"))),
    };
    let matrix =
        QuantMatrix::new(format, rows, columns, bytes).map_err(|error| invalid(path, name, error))?;
    Ok((matrix, TensorInfo { ggml_dtype: dtype, shape: Shape::from_dims(view.shape()), offset: 0 }))
}
