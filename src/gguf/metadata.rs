//! Typed access to a header's metadata, with errors that name the key.

use std::collections::{BTreeMap, HashMap};

use candle_core::quantized::gguf_file::Value;

use crate::{IntentError, Result};

/// The metadata of one file.
pub struct Metadata {
    file: String,
    values: HashMap<String, Value>,
}

impl Metadata {
    pub(crate) fn new(file: &str, values: HashMap<String, Value>) -> Self {
        Self { file: file.to_owned(), values }
    }

    /// Name of the file, for errors.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }

    /// An `invalid_gguf` error about `key` of this file.
    pub fn invalid(&self, key: &str, detail: impl ToString) -> IntentError {
        IntentError::InvalidGguf {
            file: self.file.clone(),
            field: key.to_owned(),
            detail: detail.to_string(),
        }
    }

    /// The value under `key`, if it is there.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.values.get(key)
    }

    /// All entries, by key.
    #[must_use]
    pub fn entries(&self) -> BTreeMap<&str, &Value> {
        self.values.iter().map(|(key, value)| (key.as_str(), value)).collect()
    }

    fn require(&self, key: &str) -> Result<&Value> {
        self.get(key).ok_or_else(|| self.invalid(key, "is missing from the metadata"))
    }

    /// A size: an unsigned integer of 32 bits or fewer.
    ///
    /// # Errors
    /// `invalid_gguf` where the key is missing or holds something else.
    pub fn size(&self, key: &str) -> Result<usize> {
        let value = self.require(key)?;
        match value {
            Value::U8(n) => Ok(usize::from(*n)),
            Value::U16(n) => Ok(usize::from(*n)),
            Value::U32(n) => usize::try_from(*n).map_err(|error| self.invalid(key, error)),
            other => {
                Err(self.invalid(key, format!("{:?} where an unsigned integer belongs", other.value_type())))
            }
        }
    }

    /// A 32-bit float.
    ///
    /// # Errors
    /// `invalid_gguf` where the key is missing or holds something else.
    pub fn f32(&self, key: &str) -> Result<f32> {
        match self.require(key)? {
            Value::F32(x) => Ok(*x),
            other => Err(self.invalid(key, format!("{:?} where a float belongs", other.value_type()))),
        }
    }

    /// A size between 1 and `limit`.
    ///
    /// # Errors
    /// `invalid_gguf` where the key is missing, holds something else or another number.
    pub fn size_up_to(&self, key: &str, limit: usize) -> Result<usize> {
        let value = self.size(key)?;
        if (1..=limit).contains(&value) {
            Ok(value)
        } else {
            Err(self.invalid(key, format!("{value} is not between 1 and {limit}")))
        }
    }

    /// A 32-bit float above zero.
    ///
    /// # Errors
    /// `invalid_gguf` where the key is missing, holds something else or another number.
    pub fn positive(&self, key: &str) -> Result<f32> {
        let value = self.f32(key)?;
        if value.is_finite() && value > 0.0 {
            Ok(value)
        } else {
            Err(self.invalid(key, format!("{value} is not a positive number")))
        }
    }

    /// A truth value.
    ///
    /// # Errors
    /// `invalid_gguf` where the key is missing or holds something else.
    pub fn bool(&self, key: &str) -> Result<bool> {
        match self.require(key)? {
            Value::Bool(value) => Ok(*value),
            other => Err(self.invalid(key, format!("{:?} where a boolean belongs", other.value_type()))),
        }
    }

    /// An `unsupported_model` error about `key` of this file.
    pub fn unsupported(&self, key: &str, detail: impl ToString) -> IntentError {
        IntentError::UnsupportedModel {
            file: self.file.clone(),
            field: key.to_owned(),
            detail: detail.to_string(),
        }
    }

    /// A text.
    ///
    /// # Errors
    /// `invalid_gguf` where the key is missing or holds something else.
    pub fn text(&self, key: &str) -> Result<&str> {
        match self.require(key)? {
            Value::String(text) => Ok(text),
            other => Err(self.invalid(key, format!("{:?} where a string belongs", other.value_type()))),
        }
    }

    fn array(&self, key: &str) -> Result<&[Value]> {
        match self.require(key)? {
            Value::Array(values) => Ok(values),
            other => Err(self.invalid(key, format!("{:?} where an array belongs", other.value_type()))),
        }
    }

    /// An array of texts.
    ///
    /// # Errors
    /// `invalid_gguf` where the key is missing or holds something else.
    pub fn texts<'a>(&'a self, key: &str) -> Result<Vec<&'a str>> {
        let text = |value: &'a Value| match value {
            Value::String(text) => Ok(text.as_str()),
            other => Err(self.invalid(key, format!("an element is {:?}, not a string", other.value_type()))),
        };
        self.array(key)?.iter().map(text).collect()
    }

    /// An array of 32-bit signed integers.
    ///
    /// # Errors
    /// `invalid_gguf` where the key is missing or holds something else.
    pub fn i32s(&self, key: &str) -> Result<Vec<i32>> {
        let number = |value: &Value| match value {
            Value::I32(n) => Ok(*n),
            other => Err(self.invalid(key, format!("an element is {:?}, not an i32", other.value_type()))),
        };
        self.array(key)?.iter().map(number).collect()
    }

    /// An array of 32-bit unsigned integers.
    ///
    /// # Errors
    /// `invalid_gguf` where the key is missing or holds something else.
    pub fn u32s(&self, key: &str) -> Result<Vec<u32>> {
        let number = |value: &Value| match value {
            Value::U32(n) => Ok(*n),
            other => Err(self.invalid(key, format!("an element is {:?}, not a u32", other.value_type()))),
        };
        self.array(key)?.iter().map(number).collect()
    }
}
