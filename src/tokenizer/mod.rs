//! From text to token ids, by the vocabulary in a GGUF file's metadata.
//!
//! Customer text goes through encoders that have no control tokens at all: `<|im_end|>` or `[SEP]` typed by a customer
//! comes out as ordinary tokens. Control tokens are put in by id ([`Tokenizer::control`], [`WordPiece::sequence`]).

mod bpe;
pub mod word_piece;

#[cfg(not(target_arch = "wasm32"))]
pub(crate) use bpe::QWEN2_SPLIT;
pub use bpe::Tokenizer;
pub use word_piece::WordPiece;

use crate::gguf::Metadata;
pub use crate::model::TokenId;
use crate::{IntentError, Result};

/// Token types of `tokenizer.ggml.token_type` (llama.cpp's `llama_token_type`).
pub(crate) const NORMAL: i32 = 1;
pub(crate) const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;

/// The tokens with their types, one each.
fn tokens_and_types(metadata: &Metadata) -> Result<(Vec<&str>, Vec<i32>)> {
    let tokens = metadata.texts("tokenizer.ggml.tokens")?;
    let types = metadata.i32s("tokenizer.ggml.token_type")?;
    if types.len() == tokens.len() {
        Ok((tokens, types))
    } else {
        let detail = format!("{} types for {} tokens", types.len(), tokens.len());
        Err(metadata.invalid("tokenizer.ggml.token_type", detail))
    }
}

fn encode(tokenizer: &tokenizers::Tokenizer, text: &str) -> Result<Vec<TokenId>> {
    let encoding =
        tokenizer.encode_fast(text, false).map_err(|error| IntentError::Tokenizer(error.to_string()))?;
    Ok(encoding.get_ids().iter().map(|id| TokenId(*id)).collect())
}
