//! Byte-pair encoding (Sennrich et al. 2016, arXiv 1508.07909) over bytes, as Qwen2 has it.

use std::collections::HashMap;

use tokenizers::models::bpe::BPE;
use tokenizers::normalizers::NFC;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{PreTokenizerWrapper, SplitDelimiterBehavior};

use super::{CONTROL, NORMAL, TokenId, USER_DEFINED, encode, tokens_and_types};
use crate::gguf::Metadata;
use crate::{IntentError, Result};

/// How Qwen2 cuts text into words before merging (`pre = "qwen2"`).
pub(crate) const QWEN2_SPLIT: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*",
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
);

/// The vocabulary of a model that answers prompts.
pub struct Tokenizer {
    text: tokenizers::Tokenizer,
    added: HashMap<String, TokenId>,
}

impl Tokenizer {
    /// Builds the tokenizer that a GGUF header describes.
    ///
    /// # Errors
    /// `unsupported_model` for other tokenizers than Qwen2's, `invalid_gguf` for a broken description.
    pub fn from_metadata(metadata: &Metadata) -> Result<Self> {
        for (key, expected) in [("tokenizer.ggml.model", "gpt2"), ("tokenizer.ggml.pre", "qwen2")] {
            let value = metadata.text(key)?;
            if value != expected {
                return Err(metadata.unsupported(key, format!("{value:?}; {expected:?} is read")));
            }
        }
        let (tokens, types) = tokens_and_types(metadata)?;
        let (vocab, added) = vocabulary(metadata, &tokens, &types)?;
        let merges = merges(metadata, &vocab)?;
        let text = encoder(vocab, merges).map_err(|error| IntentError::Tokenizer(error.to_string()))?;
        Ok(Self { text, added })
    }

    /// Token ids of `text` as plain text, normalised to NFC.
    ///
    /// # Errors
    /// `tokenizer` where the encoder fails.
    pub fn encode(&self, text: &str) -> Result<Vec<TokenId>> {
        encode(&self.text, text)
    }

    /// The control or user-defined token with this spelling.
    #[must_use]
    pub fn control(&self, spelling: &str) -> Option<TokenId> {
        self.added.get(spelling).copied()
    }
}

type Vocabulary = tokenizers::models::bpe::Vocab;
type Merges = Vec<(String, String)>;

/// Splits tokens into the ordinary vocabulary and the added tokens.
fn vocabulary(
    metadata: &Metadata,
    tokens: &[&str],
    types: &[i32],
) -> Result<(Vocabulary, HashMap<String, TokenId>)> {
    const KEY: &str = "tokenizer.ggml.tokens";
    let (mut vocab, mut added) = (Vocabulary::default(), HashMap::new());
    for ((id, token), kind) in (0u32..).zip(tokens).zip(types) {
        let again = match *kind {
            NORMAL => vocab.insert((*token).to_owned(), id).is_some(),
            CONTROL | USER_DEFINED => added.insert((*token).to_owned(), TokenId(id)).is_some(),
            _ => false,
        };
        if again {
            return Err(metadata.invalid(KEY, format!("token {token:?} stands twice")));
        }
    }
    // Text outside the vocabulary would be dropped; with all bytes in it there is none.
    if let Some(missing) = ByteLevel::alphabet().into_iter().find(|c| !vocab.contains_key(&c.to_string())) {
        return Err(metadata.invalid(KEY, format!("the byte token {missing:?} is missing")));
    }
    Ok((vocab, added))
}

/// The merges, in rank order; each must join two tokens of the vocabulary to a third, which the encoder relies on.
fn merges(metadata: &Metadata, vocab: &Vocabulary) -> Result<Merges> {
    const KEY: &str = "tokenizer.ggml.merges";
    let split = |(rank, merge): (usize, &str)| match merge.split_once(' ') {
        Some((left, right))
            if [left, right, &[left, right].concat()].iter().all(|token| vocab.contains_key(*token)) =>
        {
            Ok((left.to_owned(), right.to_owned()))
        }
        _ => Err(metadata.invalid(KEY, format!("merge {rank} does not join two tokens to a third"))),
    };
    metadata.texts(KEY)?.into_iter().enumerate().map(split).collect()
}

fn encoder(vocab: Vocabulary, merges: Merges) -> tokenizers::Result<tokenizers::Tokenizer> {
    let bpe = BPE::builder().vocab_and_merges(vocab, merges).build()?;
    let split =
        Split::new(SplitPattern::Regex(QWEN2_SPLIT.to_owned()), SplitDelimiterBehavior::Isolated, false)?;
    let bytes = ByteLevel::new(false, false, false);
    let pieces = vec![PreTokenizerWrapper::Split(split), PreTokenizerWrapper::ByteLevel(bytes)];
    let mut tokenizer = tokenizers::Tokenizer::new(bpe);
    tokenizer.with_normalizer(Some(NFC))?.with_pre_tokenizer(Some(Sequence::new(pieces)));
    Ok(tokenizer)
}
