//! What customers write, on its way to token ids: through the byte-pair encoder with 1,500 of Qwen2.5's merges, and
//! through the compact model's own WordPiece vocabulary.

use std::sync::LazyLock;

use candle_core::quantized::GgmlDType;
use relayops_intent::gguf::Metadata;
use relayops_intent::gguf::header::{self, Parsed};
use relayops_intent::message::{MAX_MESSAGE_CHARS, Message};
use relayops_intent::tokenizer::{TokenId, Tokenizer, WordPiece};
use relayops_testkit::TinyQwen2;

/// The header and its tokenizer stand before the weights.
const COMPACT: &[u8] = include_bytes!("../../models/compact/model.gguf");

struct Encoders {
    bpe: Tokenizer,
    bpe_tokens: u32,
    /// Control tokens of the byte-pair encoder.
    control: Vec<TokenId>,
    word_piece: WordPiece,
    word_piece_tokens: u32,
    /// `[PAD]`, `[CLS]`, `[SEP]`, `[MASK]`: every control token but `[UNK]`.
    word_piece_control: Vec<TokenId>,
}

static ENCODERS: LazyLock<Encoders> = LazyLock::new(|| {
    let tiny = TinyQwen2 { layers: 1, hidden: 32, feed_forward: 32, ..TinyQwen2::uniform(GgmlDType::F16) };
    let tiny = metadata(&tiny.bytes().expect("a tiny model"));
    let bpe = Tokenizer::from_metadata(&tiny).expect("a tokenizer");
    let control = ["<|im_start|>", "<|im_end|>", "<|endoftext|>"].iter().filter_map(|name| bpe.control(name));
    let control: Vec<TokenId> = control.collect();
    assert!(control.len() >= 2, "the tiny model has control tokens");
    let compact = metadata(COMPACT);
    let ids = ["padding", "cls", "seperator", "mask"];
    let ids = ids.iter().filter_map(|name| compact.size(&format!("tokenizer.ggml.{name}_token_id")).ok());
    let word_piece_control: Vec<TokenId> = ids.filter_map(|id| u32::try_from(id).ok().map(TokenId)).collect();
    assert!(word_piece_control.len() >= 2, "the compact model has control tokens");
    Encoders {
        bpe_tokens: tokens(&tiny),
        bpe,
        control,
        word_piece: WordPiece::from_metadata(&compact).expect("a tokenizer"),
        word_piece_tokens: tokens(&compact),
        word_piece_control,
    }
});

fn metadata(file: &[u8]) -> Metadata {
    match header::parse("fuzz.gguf", file) {
        Ok(Parsed::Complete(header)) => header.metadata,
        _ => panic!("not a model"),
    }
}

fn tokens(metadata: &Metadata) -> u32 {
    let tokens = metadata.texts("tokenizer.ggml.tokens").expect("a vocabulary");
    u32::try_from(tokens.len()).expect("a vocabulary of this world")
}

/// Encodes a message in both ways.
pub fn take(data: &[u8]) -> bool {
    let text = String::from_utf8_lossy(data);
    let Ok(message) = Message::new(&text) else {
        assert!(text.trim().is_empty(), "a text that is no message");
        return false;
    };
    let Some(text) = message.text() else {
        assert!(text.chars().count() > MAX_MESSAGE_CHARS / 4, "too long for a message");
        return false;
    };
    assert_eq!(Message::new(text).ok().as_ref(), Some(&message), "preparing a message twice changes it");
    check(&ENCODERS.bpe.encode(text).expect("token ids"), ENCODERS.bpe_tokens, &ENCODERS.control);
    let ids = ENCODERS.word_piece.encode(text).expect("token ids");
    check(&ids, ENCODERS.word_piece_tokens, &ENCODERS.word_piece_control);
    assert_eq!(ENCODERS.word_piece.sequence(text).expect("token ids").len(), ids.len() + 2);
    true
}

/// Whatever a customer types, no token that means something to the model's turns comes of it.
fn check(ids: &[TokenId], vocabulary: u32, control: &[TokenId]) {
    assert!(ids.iter().all(|id| id.0 < vocabulary), "an id outside the vocabulary");
    assert!(ids.iter().all(|id| !control.contains(id)), "a control token was typed");
}
