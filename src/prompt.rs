//! The prompt as token ids.

use crate::pack::{IntentConfig, Piece};
use crate::tokenizer::{TokenId, Tokenizer};
use crate::{IntentError, Result};

/// A prompt, tokenized but for the message.
pub struct Prompt {
    /// Before the message; the same for every message, so its KV is computed once.
    pub prefix: Vec<TokenId>,
    /// From the end of the message up to the answer's label.
    pub suffix: Vec<TokenId>,
    /// How many of the suffix's last tokens are the forced opening of the answer.
    pub open: usize,
    /// For each label, its tokens and those of the answer's close.
    pub answers: Vec<Vec<TokenId>>,
}

impl Prompt {
    /// Tokenizes the prompt of `config`.
    ///
    /// # Errors
    /// `invalid_config` where there is no prompt, for a control token that the model lacks, or an answer whose label can't be told from
    /// its opening by tokens.
    pub fn new(config: &IntentConfig, tokenizer: &Tokenizer) -> Result<Self> {
        let prompt = config.require_prompt()?;
        let (mut prefix, mut suffix) = (Vec::new(), None);
        let mut text = String::new();
        for (index, piece) in prompt.pieces.iter().enumerate() {
            match piece {
                Piece::Text(plain) => text.push_str(plain),
                Piece::System => text.push_str(&prompt.system),
                Piece::Control(spelling) => {
                    let id = tokenizer.control(spelling).ok_or_else(|| {
                        let detail = format!("the model has no token {spelling:?}");
                        IntentError::config(format!("prompt.pieces[{index}].control"), detail)
                    })?;
                    let tokens = suffix.as_mut().unwrap_or(&mut prefix);
                    tokens.extend(tokenizer.encode(&std::mem::take(&mut text))?);
                    tokens.push(id);
                }
                Piece::Message => {
                    prefix.extend(tokenizer.encode(&std::mem::take(&mut text))?);
                    suffix = Some(Vec::new());
                }
            }
        }
        let Some(mut suffix) = suffix else {
            return Err(IntentError::config("prompt.pieces", "no message piece"));
        };
        let opened = tokenizer.encode(&format!("{text}{}", prompt.answer.open))?;
        let open = opened.len().saturating_sub(tokenizer.encode(&text)?.len());
        suffix.extend(&opened);
        if suffix.is_empty() {
            return Err(IntentError::config(
                "prompt.pieces",
                "nothing stands between the message and the label",
            ));
        }
        Ok(Self { prefix, suffix, open, answers: answers(config, tokenizer, &text, &opened)? })
    }
}

/// For each label the tokens that follow `opened`, the tokens of `text` (what stands right before the answer, on which
/// they may depend) and the answer's opening.
fn answers(
    config: &IntentConfig,
    tokenizer: &Tokenizer,
    text: &str,
    opened: &[TokenId],
) -> Result<Vec<Vec<TokenId>>> {
    let answer = &config.require_prompt()?.answer;
    let tokens = |label: &String| {
        let tokens = tokenizer.encode(&format!("{text}{}{label}{}", answer.open, answer.close))?;
        tokens.strip_prefix(opened).map(<[_]>::to_vec).ok_or_else(|| {
            let detail = format!("its tokens change when the label {label:?} follows");
            IntentError::config("prompt.answer.open", detail)
        })
    };
    config.labels.iter().map(tokens).collect()
}
