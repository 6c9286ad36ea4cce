//! Ordered rules: the first pattern that is found names the intent.

use regex::{Regex, RegexBuilder};

use super::info;
use crate::classifier::{LabelModel, ModelInfo, UNKNOWN};
use crate::scoring::Scores;
use crate::{IntentError, Result};

/// One rule: intent, how sure it is (before calibration; the rest is shared by the other intents), and the words to find:
/// whole words, whatever their case, in regular-expression syntax with `'` for any apostrophe.
pub type Rule = (&'static str, f32, &'static str);

/// The rules, in the order of the taxonomy: what is forbidden, money, acts, states, questions, politeness.
pub const RULES: [Rule; 22] = [
    // Around the rules, other people's data, identity and access.
    (
        "unknown",
        0.9,
        r"(ignore|forget|disregard|override) (all |any |the |your |my |previous )*(instructions?|rules?|prompts?|checks?|policy)",
    ),
    ("unknown", 0.9, r"system prompt|jailbreak|developer mode|pretend (to be|you)|you are now|act as"),
    (
        "unknown",
        0.9,
        r"passwords?|passcodes?|pin( code| number)?|log ?ins?|log(ged)? (in|out)|sign(ed)? in|locked out|2fa|verification code|security question",
    ),
    (
        "unknown",
        0.8,
        r"(delete|close|hack|transfer) (my|the|his|her|their) account|account holder|change (the|my) name|ownership|e-?mail address",
    ),
    (
        "unknown",
        0.7,
        r"(my )?(neighbou?r|ex|wife|husband|boyfriend|girlfriend|landlord|tenant)'s (account|router|modem|line|bill|number|data|details|address)",
    ),
    // Money.
    (
        "billing",
        0.9,
        r"bill(s|ed|ing)?|invoices?|charge[sd]?|charging me|overcharged?|fees?|refund(s|ed)?|credit(s|ed)?|compensat\w+|discounts?|promo\w*",
    ),
    (
        "billing",
        0.9,
        r"pric(e|es|ed|ing)|pay(s|ing|ment|ments)?|paid|due date|autopay|direct debit|contract|cancel(led|ling|lation)?|subscription|tariff|plans?|upgrade|downgrade",
    ),
    (
        "billing",
        0.8,
        r"money|dollars?|euros?|pounds?|bucks|cost(s|ing)?|cheap(er)?|expensive|afford|owe[ds]?|balance|\d+(\.\d\d)? ?(usd|eur|gbp)",
    ),
    // Questions whether to act, or whether it worked, before the acts themselves.
    (
        "device_faq",
        0.7,
        r"(should|do|must|can|could) i (reset|restart|reboot|unplug|power.?cycle|refresh)|how (do|can|to|often|long|should)( i| you| one)?|is it (normal|safe|ok|okay|bad)|what happens (if|when)",
    ),
    (
        "device_status",
        0.8,
        r"did (the|my|that|your|it) .{0,20}(work|take|go through|succeed)|(has|is) (it|my \w+|the \w+) (back|finished|done)( up| online)?",
    ),
    // Acts.
    (
        "reset_device",
        0.9,
        r"(please|pls|plz|can you|could you|would you|want you to|need you to|go ahead and|just) .{0,30}(reset|restart|reboot|power.?cycle|refresh|bounce|kick)",
    ),
    (
        "reset_device",
        0.8,
        r"(reset|restart|reboot|power.?cycle|refresh|bounce) (my|the|our|this|that|it)|send (a|another) (refresh|reset)? ?signal",
    ),
    // States.
    (
        "device_status",
        0.8,
        r"(is|are) (my|our|the) .{0,40}(online|offline|on line|connected|up|down|reachable|active|working|running|alive|live|responding|back)",
    ),
    (
        "device_status",
        0.8,
        r"(check|see|tell me|look up|confirm|verify|know) (if|whether|that|the status)|status of|do you see|can you see|showing (as|up)",
    ),
    // Questions.
    (
        "device_faq",
        0.8,
        r"what (does|do|is|are)|why (is|are|do|does|did)|how (do|does|can|much|many|far|fast|often|long|to)|difference between|meaning|where (do|should|can|is)",
    ),
    (
        "device_faq",
        0.7,
        r"outages?|in my area|maintenance|which (channel|band|port|cable)|how|why|should i|is it|does (a|the|my)|wi-?fi name|ssid|5 ?ghz|2\.4",
    ),
    // Symptoms.
    (
        "reset_device",
        0.8,
        r"not working|isn't working|doesn't work|won't (connect|load|work|turn on|come)|stopped working|(no|lost|without) (internet|connection|signal|service|wi-?fi)|down|dead|dropp(ed|ing)|drops|offline",
    ),
    (
        "reset_device",
        0.7,
        r"keeps? (dropping|cutting|disconnecting|freezing|going)|cut(s|ting)? out|frozen|stuck|slow|lag(gy|ging)?|buffering|nothing loads|can't (connect|get on|load|stream)|broken|red light",
    ),
    ("reset_device", 0.6, r"reset|restart|reboot|power.?cycle|refresh|bounce|fix"),
    ("device_status", 0.6, r"online|status|reachable|active"),
    // Politeness.
    (
        "greeting",
        0.8,
        r"hi|hello|hey|hiya|howdy|good (morning|afternoon|evening|day|night)|thanks?|thank you|thx|ty|cheers|bye|goodbye|see you|take care|anyone there|can (someone|somebody|anyone) help",
    ),
    (
        "device_faq",
        0.5,
        r"router|modem|gateway|wi-?fi|internet|extender|ont|hotspot|sim|cable|ethernet|mesh|speed",
    ),
];
/// How sure `unknown` is where no rule holds.
const OTHERWISE: f32 = 0.6;

/// The rules over a list of labels.
pub struct Keyword {
    rules: Vec<(Regex, Vec<f32>)>,
    otherwise: Vec<f32>,
    info: ModelInfo,
}

impl Keyword {
    /// Compiles the rules.
    ///
    /// # Errors
    /// `invalid_config` where an intent of the rules is none of `labels`.
    pub fn new(labels: &[String]) -> Result<Self> {
        let compile = |(index, (intent, confidence, words)): (usize, &Rule)| {
            let regex = RegexBuilder::new(&format!(r"\b(?:{words})\b"))
                .case_insensitive(true)
                .build()
                .map_err(|error| IntentError::config(format!("keyword.rules[{index}]"), error))?;
            Ok((regex, spread(labels, intent, *confidence)?))
        };
        Ok(Self {
            rules: RULES.iter().enumerate().map(compile).collect::<Result<_>>()?,
            otherwise: spread(labels, UNKNOWN, OTHERWISE)?,
            info: info("keyword", RULES.len(), RULES.iter().map(|(_, _, words)| words.len()).sum()),
        })
    }
}

/// Log-probabilities: `confidence` for the intent, the rest in equal parts.
fn spread(labels: &[String], intent: &str, confidence: f32) -> Result<Vec<f32>> {
    if !labels.iter().any(|label| label == intent) {
        return Err(IntentError::config(
            "keyword",
            format!("the rules name {intent}, which is none of the labels"),
        ));
    }
    let rest = (1.0 - confidence) / (labels.len() as f32 - 1.0);
    Ok(labels.iter().map(|label| if label == intent { confidence.ln() } else { rest.ln() }).collect())
}

impl LabelModel for Keyword {
    fn score(&mut self, text: &str, token_confidence: bool) -> Result<Scores> {
        if token_confidence {
            return Err(IntentError::Unavailable("keyword emits no tokens: no token_confidence".to_owned()));
        }
        let text = text.replace('\u{2019}', "'");
        let found = self.rules.iter().find(|(regex, _)| regex.is_match(&text));
        let log_probabilities = found.map_or(&self.otherwise, |(_, log_probabilities)| log_probabilities);
        Ok(Scores { log_probabilities: log_probabilities.clone(), token_confidence: None })
    }

    fn info(&self) -> &ModelInfo {
        &self.info
    }
}
