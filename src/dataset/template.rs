//! Template families: one idea in several wordings, with slots.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::random::Random;

/// A line of `templates.jsonl`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Family {
    pub(super) group: String,
    pub(super) intent: String,
    pub(super) slice: String,
    pub(super) templates: Vec<String>,
    slots: BTreeMap<String, Slot>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum Slot {
    Values(Vec<String>),
    /// `"@name"`, a list of `slots.json`.
    Shared(String),
}

/// The lists of `slots.json`.
pub(super) type SharedSlots = BTreeMap<String, Vec<String>>;

/// A wording: text before each slot, the slot, whether its value begins in upper case; then the rest.
#[derive(Debug, Clone)]
struct Frame {
    pieces: Vec<(String, usize, bool)>,
    rest: String,
}

/// A family whose slots are resolved and whose wordings are parsed.
#[derive(Debug, Clone)]
pub(super) struct Templates {
    frames: Vec<Frame>,
    /// Values of each slot, in the slots' order by name.
    slots: Vec<Vec<String>>,
}

impl Family {
    /// Resolves slots and parses wordings; the error says what is wrong.
    pub(super) fn resolve(&self, shared: &SharedSlots) -> Result<Templates, String> {
        if self.templates.is_empty() {
            return Err("templates is empty".to_owned());
        }
        let names: Vec<&str> = self.slots.keys().map(String::as_str).collect();
        let slots =
            self.slots.iter().map(|(name, slot)| values(name, slot, shared)).collect::<Result<_, _>>()?;
        let frames: Vec<Frame> =
            self.templates.iter().map(|template| parse(template, &names)).collect::<Result<_, _>>()?;
        let used: BTreeSet<usize> =
            frames.iter().flat_map(|f| f.pieces.iter().map(|piece| piece.1)).collect();
        match (0..names.len()).find(|slot| !used.contains(slot)) {
            Some(slot) => Err(format!("no template uses slot {:?}", names[slot])),
            None => Ok(Templates { frames, slots }),
        }
    }
}

fn values(name: &str, slot: &Slot, shared: &SharedSlots) -> Result<Vec<String>, String> {
    let values = match slot {
        Slot::Values(values) => values,
        Slot::Shared(list) => list
            .strip_prefix('@')
            .and_then(|list| shared.get(list))
            .ok_or_else(|| format!("slot {name:?}: slots.json has no list {list:?}"))?,
    };
    if values.is_empty() || values.iter().any(|value| value.trim().is_empty() || value.contains(['{', '}'])) {
        return Err(format!("slot {name:?}: no values, or one that is blank or holds a brace"));
    }
    Ok(values.clone())
}

fn parse(template: &str, names: &[&str]) -> Result<Frame, String> {
    let wrong = |what: &str| format!("template {template:?}: {what}");
    let mut frame = Frame { pieces: Vec::new(), rest: String::new() };
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        let (name, after) = after.split_once('}').ok_or_else(|| wrong("a brace is not closed"))?;
        if before.contains('}') {
            return Err(wrong("closes a brace that is not open"));
        }
        let upper = name.starts_with(char::is_uppercase);
        let slot = name.to_lowercase();
        let slot = names
            .iter()
            .position(|known| *known == slot)
            .ok_or_else(|| wrong(&format!("no slot {name:?}")))?;
        frame.pieces.push((before.to_owned(), slot, upper));
        rest = after;
    }
    if template.replace(['{', '}'], "").trim().is_empty() || rest.contains('}') {
        return Err(wrong("is blank, or closes a brace that is not open"));
    }
    rest.clone_into(&mut frame.rest);
    Ok(frame)
}

impl Frame {
    /// The wording with value number `digits[slot]` in each slot.
    fn fill(&self, slots: &[Vec<String>], digits: &[usize]) -> String {
        let mut text = String::new();
        for (before, slot, upper) in &self.pieces {
            text.push_str(before);
            let value = &slots[*slot][digits[*slot]];
            let mut chars = value.chars();
            match chars.next() {
                Some(first) if *upper => {
                    text.extend(first.to_uppercase());
                    text.push_str(chars.as_str());
                }
                _ => text.push_str(value),
            }
        }
        text + &self.rest
    }

    /// The slots it uses.
    fn used(&self) -> BTreeSet<usize> {
        self.pieces.iter().map(|piece| piece.1).collect()
    }

    /// How many different messages it gives.
    fn len(&self, slots: &[Vec<String>]) -> usize {
        self.used().into_iter().map(|slot| slots[slot].len()).product()
    }
}

impl Templates {
    /// Every message that the family can give.
    pub(super) fn all(&self) -> Vec<String> {
        let mut all = Vec::new();
        for frame in &self.frames {
            let mut digits = vec![0; self.slots.len()];
            for mut number in 0..frame.len(&self.slots) {
                for slot in frame.used() {
                    digits[slot] = number % self.slots[slot].len();
                    number /= self.slots[slot].len();
                }
                all.push(frame.fill(&self.slots, &digits));
            }
        }
        all
    }
}

/// Draws messages from a family, different wordings and slot values before repeated ones.
pub(super) struct Sampler<'a> {
    templates: &'a Templates,
    random: Random,
    /// Wordings in the order in which they take turns, each with the messages it has left.
    turns: Vec<(usize, usize)>,
    next: usize,
    /// For each slot its values in a random order, taken from the end.
    stacks: Vec<Vec<usize>>,
    drawn: BTreeSet<(usize, Vec<usize>)>,
}

impl<'a> Sampler<'a> {
    pub(super) fn new(templates: &'a Templates, name: &str) -> Self {
        let mut random = Random::named(name);
        let turns = random.order(templates.frames.len());
        let turns = turns.into_iter().map(|f| (f, templates.frames[f].len(&templates.slots))).collect();
        let stacks = vec![Vec::new(); templates.slots.len()];
        Self { templates, random, turns, next: 0, stacks, drawn: BTreeSet::new() }
    }

    /// A message not drawn before; `None` when there is none left.
    pub(super) fn draw(&mut self) -> Option<String> {
        self.turns.retain(|&(_, left)| left > 0);
        let turn = self.next.checked_rem(self.turns.len())?;
        self.next = turn + 1;
        let number = self.turns[turn].0;
        let frame = &self.templates.frames[number];
        loop {
            let mut digits = vec![0; self.stacks.len()];
            for slot in frame.used() {
                digits[slot] = self.value(slot);
            }
            if self.drawn.insert((number, digits.clone())) {
                self.turns[turn].1 -= 1;
                return Some(frame.fill(&self.templates.slots, &digits));
            }
        }
    }

    fn value(&mut self, slot: usize) -> usize {
        if self.stacks[slot].is_empty() {
            self.stacks[slot] = self.random.order(self.templates.slots[slot].len());
        }
        self.stacks[slot].pop().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn family(templates: &[&str]) -> Family {
        let json = serde_json::json!({
            "group": "status/x", "intent": "device_status", "slice": "core",
            "templates": templates, "slots": { "a": ["one", "two"], "b": "@list" }
        });
        serde_json::from_value(json).unwrap()
    }

    fn shared() -> SharedSlots {
        BTreeMap::from([("list".to_owned(), vec!["x".to_owned(), "y".to_owned(), "ß".to_owned()])])
    }

    #[test]
    fn a_slot_may_begin_in_upper_case_and_repeat() {
        let templates = family(&["{A} {b}, {b}?", "{a}."]).resolve(&shared()).unwrap();
        let all = templates.all();
        assert_eq!(all.len(), 8);
        for text in ["One x, x?", "Two ß, ß?", "one."] {
            assert!(all.iter().any(|t| t == text), "{text}: {all:?}");
        }
    }

    #[test]
    fn every_message_is_drawn_once_and_wordings_take_turns() {
        let templates = family(&["{A} {b}, {b}?", "{a}."]).resolve(&shared()).unwrap();
        let mut sampler = Sampler::new(&templates, "test");
        let drawn: Vec<String> = std::iter::from_fn(|| sampler.draw()).collect();
        assert_ne!(drawn[0].contains(','), drawn[1].contains(','));
        assert_eq!(drawn.len(), 8);
        assert_eq!(BTreeSet::from_iter(&drawn), BTreeSet::from_iter(&templates.all()));
    }

    #[test]
    fn mistakes_are_named() {
        for (templates, named) in [
            (&["{a} {c} {b}"][..], "\"c\""),
            (&["{a} {b"], "not closed"),
            (&["{a} b} {b}"], "not open"),
            (&["{a}"], "\"b\""),
            (&[], "empty"),
        ] {
            let error = family(templates).resolve(&shared()).unwrap_err();
            assert!(error.contains(named), "{error}");
        }
        let error = family(&["{a} {b}"]).resolve(&SharedSlots::new()).unwrap_err();
        assert!(error.contains("@list"), "{error}");
    }
}
