//! Which modules have a path, by the rules of PEFT's `check_target_module_exists`.

use std::collections::BTreeSet;

use regex::Regex;
use serde::{Deserialize, Serialize};

use super::config::{MAX_KEYS, unsupported};
use super::{Adapter, AdapterConfig, CONFIG, Projection, TENSORS, pattern};
use crate::model::qwen2::Qwen2Config;
use crate::{IntentError, Result};

/// Modules by name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "is neither a list of names nor a regular expression")]
pub enum Targets {
    /// Names, or ends of names behind a dot.
    Names(Vec<String>),
    /// A regular expression over whole names.
    Pattern(String),
}

/// Layers that have paths.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "is neither a layer's number nor a list of them")]
pub enum Layers {
    /// One.
    One(usize),
    /// Some; all where the list is empty.
    Some(Vec<usize>),
}

impl Layers {
    /// Whether it names that layer. Layers beyond the model's are named in vain.
    fn contains(&self, layer: usize) -> bool {
        match self {
            Self::One(one) => *one == layer,
            Self::Some(layers) => layers.is_empty() || layers.contains(&layer),
        }
    }

    fn is_all(&self) -> bool {
        matches!(self, Self::Some(layers) if layers.is_empty())
    }
}

/// What stands for any module of a layer, in `target_modules`.
const ALL: &str = "all-linear";

/// A place of a path.
type Place = (usize, Projection);

/// Name of a module in the base.
pub(super) fn module((layer, projection): Place) -> String {
    format!("model.layers.{layer}.{}", projection.module())
}

/// [`Targets`] ready to be asked.
enum Matcher<'a> {
    Names(&'a [String]),
    Pattern(Regex),
    All,
}

impl<'a> Matcher<'a> {
    fn new(field: &str, targets: &'a Targets) -> Result<Self> {
        match targets {
            Targets::Names(names) if names.len() > MAX_KEYS => {
                let detail = format!("{} names; at most {MAX_KEYS} are read", names.len());
                Err(IntentError::config(format!("{CONFIG}: {field}"), detail))
            }
            Targets::Names(names) => Ok(Self::Names(names)),
            Targets::Pattern(expression) => pattern::whole(field, expression).map(Self::Pattern),
        }
    }

    /// Whether it names a module, and whether by its whole name.
    fn find(&self, module: &str) -> Option<Named> {
        match self {
            Self::Names(names) => {
                let whole = names.iter().any(|name| name == module).then_some(Named::Whole);
                whole.or_else(|| names.iter().any(|name| is_end(module, name)).then_some(Named::Otherwise))
            }
            Self::Pattern(expression) => expression.is_match(module).then_some(Named::Otherwise),
            Self::All => Some(Named::Otherwise),
        }
    }
}

/// How a module is named.
#[derive(PartialEq, Eq)]
enum Named {
    /// By its whole name, of which `layers_to_transform` takes nothing away.
    Whole,
    Otherwise,
}

/// Whether `module` ends with `name` behind a dot.
fn is_end(module: &str, name: &str) -> bool {
    module.strip_suffix(name).is_some_and(|before| before.ends_with('.'))
}

/// Compares the paths that there are with those that the configuration names.
///
/// # Errors
/// `unsupported_model` for targets that are no projection of a layer, `invalid_tensor` for paths that are missing or
/// not named.
pub(super) fn check(config: &AdapterConfig, adapter: &Adapter, sizes: &Qwen2Config) -> Result<()> {
    let named = named(config, sizes)?;
    let there: BTreeSet<Place> = adapter.paths.keys().copied().collect();
    let error = |place: Place, detail: &str| IntentError::InvalidTensor {
        file: TENSORS.to_owned(),
        tensor: module(place),
        detail: detail.to_owned(),
    };
    if let Some(missing) = named.difference(&there).next() {
        return Err(error(*missing, "has no path, but target_modules names it"));
    }
    match there.difference(&named).next() {
        Some(further) => Err(error(*further, "has a path, but target_modules does not name it")),
        None => Ok(()),
    }
}

/// The paths that the configuration names.
fn named(config: &AdapterConfig, sizes: &Qwen2Config) -> Result<BTreeSet<Place>> {
    let places = (0..sizes.layers).flat_map(|layer| Projection::ALL.map(|projection| (layer, projection)));
    let modules: Vec<(Place, String)> = places.map(|place| (place, module(place))).collect();
    let wanted = match &config.target_modules {
        Targets::Pattern(word) if word == ALL => Matcher::All,
        targets => Matcher::new("target_modules", targets)?,
    };
    if let Matcher::Names(names) = &wanted {
        let is_in_vain =
            |name: &&String| !modules.iter().any(|(_, module)| module == *name || is_end(module, name));
        if let Some(name) = names.iter().find(is_in_vain) {
            let all = Projection::ALL.map(Projection::name).join(", ");
            let detail = format!("{name:?} is no matrix of the {} layers; those are {all}", sizes.layers);
            return Err(unsupported("target_modules", detail));
        }
    }
    let layers = config.layers_to_transform.as_ref().filter(|layers| !layers.is_all());
    if layers.is_some() && !matches!(wanted, Matcher::Names(_)) {
        let detail = "is given, but target_modules is no list of names";
        return Err(unsupported("layers_to_transform", detail));
    }
    let excluded = config.exclude_modules.as_ref();
    let excluded = excluded.map(|targets| Matcher::new("exclude_modules", targets)).transpose()?;
    let is_named = |((layer, _), module): &(Place, String)| {
        let is_excluded = excluded.as_ref().is_some_and(|excluded| excluded.find(module).is_some());
        let of_layer = layers.is_none_or(|layers| layers.contains(*layer));
        !is_excluded && wanted.find(module).is_some_and(|how| of_layer || how == Named::Whole)
    };
    Ok(modules.into_iter().filter(is_named).map(|(place, _)| place).collect())
}
