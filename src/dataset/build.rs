//! From seeds and families to the 2,400 examples.

use std::collections::BTreeMap;

use super::files::{Corpus, Placed};
use super::random::Random;
use super::similarity::Taken;
use super::template::{Family, Sampler, Templates};
use super::{Example, Source, noise};
use crate::pack::IntentConfig;
use crate::{IntentError, Result};

/// Examples of each intent.
pub const PER_INTENT: usize = 400;

/// Of these, hand-written seeds; the others are drawn from families.
pub const SEEDS_PER_INTENT: usize = 180;

/// Of the drawn ones, how many of each intent go through noise: three in ten.
pub const NOISY_PER_INTENT: usize = 66;

/// Messages drawn from one family, at most.
pub const FAMILY_CAP: usize = 6;

const FILE: &str = "data/templates.jsonl";

impl Corpus {
    /// The 2,400 examples in the order of their files, each with its place.
    ///
    /// Every family of an intent gives one message before any gives two, and a family's wordings and slot values
    /// take turns, so the dataset is as varied as the families are.
    ///
    /// # Errors
    /// `invalid_data` where the families do not give enough messages.
    pub fn build(&self) -> Result<Vec<Placed<Example>>> {
        let mut taken = Taken::default();
        for seed in &self.seeds {
            taken.take(&seed.value.text);
        }
        let mut examples = self.seeds.clone();
        for intent in IntentConfig::default().labels {
            let mut drawn = self.draw(&intent, &mut taken)?;
            self.add_noise(&intent, &mut drawn, &mut taken)?;
            examples.extend(drawn.into_iter().map(|drawn| drawn.example));
        }
        Ok(examples)
    }

    /// Draws the messages of one intent, in the order of the families.
    fn draw(&self, intent: &str, taken: &mut Taken) -> Result<Vec<Drawn>> {
        let families: Vec<_> = self.families.iter().filter(|line| line.value.0.intent == intent).collect();
        let mut samplers: Vec<Sampler> = families.iter().map(|line| sampler(line)).collect();
        let order = Random::named(&format!("families/{intent}")).order(families.len());
        let wanted = PER_INTENT - SEEDS_PER_INTENT;
        let mut drawn = Vec::new();
        for &number in std::iter::repeat_n(&order, FAMILY_CAP).flatten() {
            if drawn.len() == wanted {
                break;
            }
            let free = |text: &String| taken.take(text);
            if let Some(text) = std::iter::from_fn(|| samplers[number].draw()).find(free) {
                let example = families[number].with(families[number].value.0.example(text));
                drawn.push(Drawn { family: number, example });
            }
        }
        if drawn.len() < wanted {
            let detail = format!(
                "the families of {intent} give {} messages of {wanted}, at {FAMILY_CAP} each",
                drawn.len()
            );
            return Err(IntentError::data(FILE, detail));
        }
        drawn.sort_by_key(|drawn| drawn.family);
        Ok(drawn)
    }

    /// Puts some of the messages through noise.
    fn add_noise(&self, intent: &str, drawn: &mut [Drawn], taken: &mut Taken) -> Result<()> {
        let mut left = NOISY_PER_INTENT;
        for number in Random::named(&format!("noise/{intent}")).order(drawn.len()) {
            if left == 0 {
                return Ok(());
            }
            let example = &mut drawn[number].example.value;
            let accept = |noisy: &str| {
                self.rules.keeps_label(&example.text, noisy) && noisy_is_free(example, noisy, taken)
            };
            if let Some(noisy) = noise::noisy(&example.text, accept) {
                example.text = noisy;
                example.source = Source::TemplateNoise;
                "noisy".clone_into(&mut example.slice);
                left -= 1;
            }
        }
        match left {
            0 => Ok(()),
            _ => {
                Err(IntentError::data(FILE, format!("{left} more messages of {intent} can't be made noisy")))
            }
        }
    }

    /// Families of each intent, and how many of them and of their wordings the examples use.
    pub(super) fn families_used(&self, built: &[Placed<Example>]) -> BTreeMap<String, (usize, usize)> {
        let mut used = BTreeMap::new();
        for line in &self.families {
            let entry: &mut (usize, usize) = used.entry(line.value.0.intent.clone()).or_default();
            entry.1 += 1;
            entry.0 += usize::from(built.iter().any(|example| example.place == line.place));
        }
        used
    }
}

/// A message and the number of its family among those of its intent.
struct Drawn {
    family: usize,
    example: Placed<Example>,
}

/// Its draws depend on the family's own words only, so that a change in one family leaves the others alone.
fn sampler(line: &Placed<(Family, Templates)>) -> Sampler<'_> {
    sampler_of(line, "family")
}

/// A sampler for the purpose `name`.
pub(super) fn sampler_of<'a>(line: &'a Placed<(Family, Templates)>, name: &str) -> Sampler<'a> {
    let (family, templates) = &line.value;
    Sampler::new(templates, &format!("{name}/{}/{}", family.group, family.templates[0]))
}

/// Noise that only changes case or punctuation keeps the message's key, which the message itself has taken.
fn noisy_is_free(example: &Example, noisy: &str, taken: &mut Taken) -> bool {
    super::similarity::key(&example.text) == super::similarity::key(noisy) || taken.take(noisy)
}
