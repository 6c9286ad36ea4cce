//! A message under way, a step at a time.

use std::mem::replace;
use std::ops::Range;

use super::rows::Rows;
use super::{PREFILL_ROWS, Scorer, Scores, argmax};
use crate::Result;
use crate::backend::{Backend, Signal};
use crate::model::qwen2::{Pass, Step};
use crate::profile::{self, Part};
use crate::tokenizer::TokenId;

/// Most rows of a message in one pass while it is typed. A step is half a layer over at most these, the suffix and the
/// trie: what a newer text waits for an older one. A pass over fewer rows takes hardly less time, since each weight is
/// unpacked once a pass.
const TYPING_ROWS: usize = 32;

/// What a message is begun for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goal {
    /// Its keys and values, against the time when it is scored.
    Hold,
    /// Its scores.
    Score,
    /// Its scores with `token_confidence`.
    ScoreInFull,
    /// Its scores, in passes as large as those of a message that nobody types: nothing newer is expected meanwhile.
    ScoreAtOnce,
    /// The same with `token_confidence`.
    ScoreInFullAtOnce,
}

impl Goal {
    /// Whether `token_confidence` is asked for.
    #[must_use]
    pub fn is_in_full(self) -> bool {
        matches!(self, Self::ScoreInFull | Self::ScoreInFullAtOnce)
    }

    /// What a model is asked for that stands before the one whose goal this is: its scores.
    #[must_use]
    pub fn of_earlier_stage(self) -> Self {
        match self {
            Self::Hold | Self::Score | Self::ScoreInFull => Self::Score,
            Self::ScoreAtOnce | Self::ScoreInFullAtOnce => Self::ScoreAtOnce,
        }
    }

    /// Whether something newer may be wanted meanwhile.
    fn is_typed(self) -> bool {
        matches!(self, Self::Hold | Self::Score | Self::ScoreInFull)
    }

    /// Most rows of a message in one pass.
    fn rows(self) -> usize {
        if self.is_typed() { TYPING_ROWS } else { PREFILL_ROWS }
    }
}

/// How far a message has come.
#[derive(Debug, Clone, PartialEq)]
pub enum Progress {
    /// There is more to do.
    Running,
    /// All is asked of a device; there is more to do when the signal says so.
    Waiting(Signal),
    /// Its keys and values are held; or nothing is under way.
    Held,
    /// It is scored, and its keys and values are held.
    Scored(Scores),
}

/// What is left of a message.
pub(super) struct Run<B: Backend> {
    /// Tokens that the cache does not hold.
    rest: Vec<TokenId>,
    goal: Goal,
    pass: Option<(Pass<B>, Rest)>,
    /// Whether a device has been waited for before the next pass.
    is_clear: bool,
}

/// Which rows a pass is over.
enum Rest {
    /// The first tokens of the rest.
    Tokens(usize),
    /// All of the rest and the suffix, in these rows, and the trie. What comes back are logits of the rows where labels
    /// part; in full, hidden states, first of the last `opening` of these rows, which predict the answer's opening and the
    /// label, then of the rows where labels part.
    Last { sequence: Range<usize>, opening: usize },
    /// The best label's tokens but the last, in place of the trie: for `token_confidence`, whose tokens these rows predict,
    /// behind `forced`, which `predicting` does.
    Answer { log_probabilities: Vec<f32>, forced: Range<usize>, predicting: Vec<f32> },
}

impl<B: Backend> Scorer<B> {
    /// Begins `text` (already trimmed and normalised), from where the cache holds its beginning. What was under way is
    /// ended.
    ///
    /// # Errors
    /// `tokenizer`, and `unavailable` for `token_confidence` of a model without the whole output matrix; what was under way
    /// is ended all the same.
    pub fn begin(&mut self, text: &str, goal: Goal) -> Result<()> {
        self.cut_back(self.held.len());
        if goal.is_in_full() {
            self.model.require_output()?;
        }
        let tokens = profile::measure(Part::Tokenize, || self.tokenizer.encode(text))?;
        self.start(tokens, goal);
        Ok(())
    }

    fn start(&mut self, tokens: Vec<TokenId>, goal: Goal) {
        let same = tokens.iter().zip(&self.held).take_while(|(a, b)| a == b).count();
        // What predicts the answer's first token may be the message's last row.
        let most_held = tokens.len() - usize::from(goal.is_in_full() && !tokens.is_empty());
        let held = same.min(most_held);
        self.cut_back(held);
        let rest = tokens[held..].to_vec();
        self.run = Some(Run { rest, goal, pass: None, is_clear: false });
    }

    /// Does the next step of what is under way: half a layer of a pass.
    ///
    /// # Errors
    /// `inference`, `out_of_memory`; nothing is under way then.
    pub fn advance(&mut self) -> Result<Progress> {
        let Some(mut run) = self.run.take() else { return Ok(Progress::Held) };
        let result = self.step(&mut run);
        match result {
            Ok(Progress::Running | Progress::Waiting(_)) => self.run = Some(run),
            Ok(_) => {}
            Err(_) => self.cut_back(self.held.len()),
        }
        result
    }

    /// Ends what is under way and forgets all but the prefix.
    pub fn forget(&mut self) {
        self.cut_back(0);
    }

    /// Ends what is under way and keeps the first `held` tokens.
    fn cut_back(&mut self, held: usize) {
        self.run = None;
        self.held.truncate(held);
        self.model.truncate(&mut self.cache, self.task.prompt.prefix.len() + self.held.len());
    }

    fn step(&mut self, run: &mut Run<B>) -> Result<Progress> {
        let Some((pass, _)) = &mut run.pass else {
            // What a device has been given can't be taken back, and nothing newer gets past it: one pass at a time.
            if run.goal.is_typed()
                && !replace(&mut run.is_clear, true)
                && let Some(signal) = self.model.backend().under_way()
            {
                return Ok(Progress::Waiting(signal));
            }
            // It is there, but for an adapter that was refused while memory was short.
            self.fill_prefix()?;
            run.pass = self.next_pass(run)?;
            run.is_clear = false;
            return Ok(if run.pass.is_some() { Progress::Running } else { Progress::Held });
        };
        let values = match self.model.advance(&mut self.cache, pass)? {
            Step::Running => return Ok(Progress::Running),
            Step::Waiting(signal) => return Ok(Progress::Waiting(signal)),
            Step::Done(values) => values,
        };
        match run.pass.take() {
            Some((_, Rest::Last { sequence, opening })) if run.goal.is_in_full() => {
                self.begin_answer(run, &sequence, opening, &values)
            }
            Some((_, Rest::Last { .. })) => {
                let log_probabilities = self.label_log_probabilities(&values)?;
                Ok(self.scored(run, log_probabilities, None))
            }
            Some((_, Rest::Answer { log_probabilities, forced, predicting })) => {
                let predicting = [&predicting[..], &values].concat();
                let forced = &self.task.prompt.suffix[forced];
                let confidence = self.token_confidence(&log_probabilities, forced, &predicting)?;
                Ok(self.scored(run, log_probabilities, Some(confidence)))
            }
            Some((_, Rest::Tokens(count))) => {
                self.held.extend(run.rest.drain(..count));
                Ok(Progress::Running)
            }
            None => Ok(Progress::Running),
        }
    }

    fn next_pass(&self, run: &Run<B>) -> Result<Option<(Pass<B>, Rest)>> {
        let mut rows = Rows::behind(self.cache.slots());
        let most = run.goal.rows();
        let rest = if run.rest.len() > most || (run.goal == Goal::Hold && !run.rest.is_empty()) {
            let count = run.rest.len().min(most);
            rows.sequence(&run.rest[..count]);
            Rest::Tokens(count)
        } else if run.goal == Goal::Hold {
            return Ok(None);
        } else {
            let sequence = rows.sequence(run.rest.iter().chain(&self.task.prompt.suffix));
            let opening = if run.goal.is_in_full() { self.task.prompt.open + 1 } else { 0 };
            let opening = opening.min(sequence.len());
            rows.ask(sequence.end - opening..sequence.end);
            rows.trie(&self.task.trie, &sequence);
            Rest::Last { sequence, opening }
        };
        let mut pass = self.model.begin(&self.cache, rows.into_batch())?;
        if matches!(rest, Rest::Last { .. }) && !run.goal.is_in_full() {
            pass.read_through(&self.task.head);
        }
        Ok(Some((pass, rest)))
    }

    /// Scores from the hidden states of the last pass, whose rows the cache holds, and begins the pass over the answer.
    fn begin_answer(
        &mut self,
        run: &mut Run<B>,
        sequence: &Range<usize>,
        opening: usize,
        hidden: &[f32],
    ) -> Result<Progress> {
        let (predicting, parting) = hidden.split_at(opening * self.model.config().hidden);
        let logits = profile::measure(Part::Head, || self.task.logits(parting));
        let log_probabilities = self.label_log_probabilities(&logits)?;
        // The trie's rows are siblings of what follows.
        let before = self.task.prompt.prefix.len() + self.held.len();
        self.model.truncate(&mut self.cache, before + sequence.len());
        let answer = &self.task.prompt.answers[argmax(&log_probabilities)];
        let mut rows = Rows::behind(self.cache.slots());
        let asked = rows.sequence(&answer[..answer.len() - 1]);
        rows.ask(asked);
        let suffix = self.task.prompt.suffix.len();
        let rest = Rest::Answer {
            log_probabilities,
            forced: suffix + 1 - opening..suffix,
            predicting: predicting.to_vec(),
        };
        run.pass = Some((self.model.begin(&self.cache, rows.into_batch())?, rest));
        Ok(Progress::Running)
    }

    /// The end of a run: the message's rows stay in the cache.
    fn scored(
        &mut self,
        run: &mut Run<B>,
        log_probabilities: Vec<f32>,
        token_confidence: Option<f32>,
    ) -> Progress {
        self.held.append(&mut run.rest);
        self.cut_back(self.held.len());
        Progress::Scored(Scores { log_probabilities, token_confidence })
    }
}
