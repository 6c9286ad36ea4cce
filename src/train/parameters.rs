//! What is trained.

use std::collections::BTreeMap;

use candle_core::{Tensor, Var};

use super::failed;
use crate::{IntentError, Result};

/// Tensors by name.
pub type Weights = BTreeMap<String, Tensor>;

/// A tensor that is trained.
#[derive(Clone)]
pub struct Parameter {
    /// Name, unique among the parameters.
    pub name: String,
    /// Its value.
    pub value: Var,
    /// Its learning rate at the schedule's top.
    pub rate: f64,
    /// Whether weight decay applies.
    pub decay: bool,
}

/// All tensors that are trained, in a fixed order.
#[derive(Clone, Default)]
pub struct Parameters(Vec<Parameter>);

impl Parameters {
    /// These parameters, in this order.
    #[must_use]
    pub fn new(parameters: Vec<Parameter>) -> Self {
        Self(parameters)
    }

    /// In order.
    pub fn iter(&self) -> std::slice::Iter<'_, Parameter> {
        self.0.iter()
    }

    /// How many tensors.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Numbers that are trained.
    #[must_use]
    pub fn elements(&self) -> usize {
        self.0.iter().map(|parameter| parameter.value.elem_count()).sum()
    }

    /// Their values; they change when the parameters do.
    #[must_use]
    pub fn weights(&self) -> Weights {
        self.0.iter().map(|p| (p.name.clone(), p.value.as_tensor().clone())).collect()
    }

    /// Copies of their values.
    ///
    /// # Errors
    /// `training` where memory runs out.
    pub fn snapshot(&self) -> Result<Weights> {
        let copy = |p: &Parameter| Ok((p.name.clone(), p.value.detach().copy().map_err(failed)?));
        self.0.iter().map(copy).collect()
    }

    /// Sets their values.
    ///
    /// # Errors
    /// `invalid_tensor` where one is missing or has another shape; `file` is named as their source.
    pub fn set(&self, weights: &Weights, file: &str) -> Result<()> {
        for parameter in &self.0 {
            let invalid = |detail: String| IntentError::InvalidTensor {
                file: file.to_owned(),
                tensor: parameter.name.clone(),
                detail,
            };
            let tensor = weights.get(&parameter.name).ok_or_else(|| invalid("is missing".to_owned()))?;
            parameter.value.set(tensor).map_err(|error| invalid(error.to_string()))?;
        }
        Ok(())
    }
}

impl<'a> IntoIterator for &'a Parameters {
    type Item = &'a Parameter;
    type IntoIter = std::slice::Iter<'a, Parameter>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}
