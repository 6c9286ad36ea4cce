//! WordPiece (Schuster and Nakajima 2012; Devlin et al. 2019), lower case, without accents, as uncased BERT has it.
//!
//! In GGUF files (`tokenizer.ggml.model` = `bert`) a piece that starts a word is written with U+2581 before it and a
//! piece that goes on without the `##` that vocabularies of this kind have elsewhere; control tokens stand as they are.
//! That is llama.cpp's convention, and so is the text's preparation, which such files do not describe: control
//! characters dropped, CJK characters apart, lower case, accents stripped, cut at white space and punctuation.

use tokenizers::models::bpe::Vocab;
use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;

use super::{CONTROL, NORMAL, TokenId, encode, tokens_and_types};
use crate::gguf::Metadata;
use crate::{IntentError, Result};

/// Stands before a piece that starts a word.
const WORD_START: char = '\u{2581}';
/// Stands before a piece that goes on, outside GGUF files.
const CONTINUES: &str = "##";
/// Words of more characters are unknown, as in BERT's own tokenizer.
pub const MAX_WORD_CHARS: usize = 100;

/// A piece (`word`, `##piece`) as GGUF files spell it.
#[must_use]
pub fn gguf_spelling(piece: &str) -> String {
    match piece.strip_prefix(CONTINUES) {
        Some(rest) => rest.to_owned(),
        None => format!("{WORD_START}{piece}"),
    }
}

/// The inverse of [`gguf_spelling`].
fn piece(spelling: &str) -> String {
    match spelling.strip_prefix(WORD_START) {
        Some(word) => word.to_owned(),
        None => format!("{CONTINUES}{spelling}"),
    }
}

/// The vocabulary of an encoder.
pub struct WordPiece {
    text: tokenizers::Tokenizer,
    /// Before every text.
    cls: TokenId,
    /// Behind every text.
    sep: TokenId,
}

impl WordPiece {
    /// Builds the tokenizer that a GGUF header describes.
    ///
    /// # Errors
    /// `unsupported_model` for another tokenizer than BERT's, `invalid_gguf` for a broken description.
    pub fn from_metadata(metadata: &Metadata) -> Result<Self> {
        const MODEL: &str = "tokenizer.ggml.model";
        let model = metadata.text(MODEL)?;
        if model != "bert" {
            return Err(metadata.unsupported(MODEL, format!("{model:?}; \"bert\" is read")));
        }
        let (tokens, types) = tokens_and_types(metadata)?;
        let control = |key: &str| {
            let id = metadata.size(key)?;
            match types.get(id) {
                Some(kind) if *kind == CONTROL => Ok(id),
                Some(_) => Err(metadata.invalid(key, format!("token {id} is not a control token"))),
                None => Err(metadata.invalid(key, format!("{id} is outside the vocabulary"))),
            }
        };
        let unknown = control("tokenizer.ggml.unknown_token_id")?;
        let mut vocab = Vocab::default();
        for ((id, token), kind) in (0u32..).zip(&tokens).zip(&types) {
            if *kind == NORMAL && vocab.insert(piece(token), id).is_some() {
                return Err(
                    metadata.invalid("tokenizer.ggml.tokens", format!("token {token:?} stands twice"))
                );
            }
        }
        // The one control token that text may become; brackets are cut off words, so it can't be spelled.
        let unknown_token = tokens[unknown].to_owned();
        let id =
            |id: usize| u32::try_from(id).map(TokenId).map_err(|error| metadata.invalid("tokens", error));
        vocab.insert(unknown_token.clone(), id(unknown)?.0);
        Ok(Self {
            text: encoder(vocab, unknown_token)?,
            cls: id(control("tokenizer.ggml.cls_token_id")?)?,
            // llama.cpp's spelling.
            sep: id(control("tokenizer.ggml.seperator_token_id")?)?,
        })
    }

    /// Token ids of `text` as plain text.
    ///
    /// # Errors
    /// `tokenizer` where the encoder fails.
    pub fn encode(&self, text: &str) -> Result<Vec<TokenId>> {
        encode(&self.text, text)
    }

    /// What the model reads: `[CLS]`, the tokens of `text`, `[SEP]`.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn sequence(&self, text: &str) -> Result<Vec<TokenId>> {
        let text = self.encode(text)?;
        Ok([&[self.cls], text.as_slice(), &[self.sep]].concat())
    }
}

fn encoder(vocab: Vocab, unknown: String) -> Result<tokenizers::Tokenizer> {
    let fault = |error: tokenizers::Error| IntentError::Tokenizer(error.to_string());
    let model = tokenizers::models::wordpiece::WordPiece::builder()
        .vocab(vocab)
        .unk_token(unknown)
        .continuing_subword_prefix(CONTINUES.to_owned())
        .max_input_chars_per_word(MAX_WORD_CHARS)
        .build()
        .map_err(fault)?;
    let mut tokenizer = tokenizers::Tokenizer::new(model);
    tokenizer
        .with_normalizer(Some(BertNormalizer::new(true, true, None, true)))
        .map_err(fault)?
        .with_pre_tokenizer(Some(BertPreTokenizer));
    Ok(tokenizer)
}
