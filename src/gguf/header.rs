//! The header: metadata and tensor directory.

use std::collections::{HashMap, HashSet};

use candle_core::Shape;
use candle_core::quantized::GgmlDType;
use candle_core::quantized::gguf_file::{TensorInfo, Value, ValueType};

use super::Metadata;
use crate::{IntentError, Result};

/// A header may take this many bytes; Qwen2.5's takes 6 million.
pub const MAX_HEADER_BYTES: usize = 64 << 20;
/// All arrays of a header together may have this many elements; Qwen2.5's have 455 thousand. It bounds what a
/// hostile header can make the reader allocate: an element takes at most 32 bytes besides its own text.
pub const MAX_ARRAY_ELEMENTS: u64 = 1 << 20;
/// A key or a tensor's name may have this many bytes (the format's own limit for keys).
pub const MAX_NAME_BYTES: u64 = (1 << 16) - 1;
/// Tensors a header may list; Qwen2.5-1.5B lists 339.
pub const MAX_TENSORS: u64 = 1 << 16;
/// Metadata entries a header may list.
pub const MAX_METADATA: u64 = 1 << 16;

/// A parsed header.
pub struct Header {
    /// Everything but the tensors.
    pub metadata: Metadata,
    /// Directory of tensors in the order of the file's listing; shapes are row-major (ggml's reversed).
    pub tensors: Vec<(String, TensorInfo)>,
    /// Byte offset of the tensor data in the file.
    pub data_offset: u64,
    /// Tensors start at multiples of this.
    pub alignment: u64,
}

/// What [`parse`] made of the bytes so far.
pub enum Parsed {
    /// The whole header was there.
    Complete(Box<Header>),
    /// The bytes ended while this field was being read.
    Incomplete(String),
}

enum Stop {
    NeedMore(String),
    Bad(IntentError),
}

type Step<T> = std::result::Result<T, Stop>;

/// Parses the header at the start of `bytes`; `file` is for error messages.
///
/// # Errors
/// `invalid_gguf` for a broken header, `unsupported_model` for versions and tensor types that are not read.
pub fn parse(file: &str, bytes: &[u8]) -> Result<Parsed> {
    let mut cursor = Cursor { file, bytes, at: 0, elements_left: MAX_ARRAY_ELEMENTS };
    match cursor.header() {
        Ok(header) => Ok(Parsed::Complete(Box::new(header))),
        Err(Stop::NeedMore(field)) if bytes.len() < MAX_HEADER_BYTES => Ok(Parsed::Incomplete(field)),
        Err(Stop::NeedMore(field)) => {
            let detail = format!("the header is longer than {MAX_HEADER_BYTES} bytes");
            Err(IntentError::InvalidGguf { file: file.to_owned(), field, detail })
        }
        Err(Stop::Bad(error)) => Err(error),
    }
}

struct Cursor<'a> {
    file: &'a str,
    bytes: &'a [u8],
    at: usize,
    elements_left: u64,
}

impl Cursor<'_> {
    fn invalid<T>(&self, field: &str, detail: impl ToString) -> Step<T> {
        Err(Stop::Bad(IntentError::InvalidGguf {
            file: self.file.to_owned(),
            field: field.to_owned(),
            detail: detail.to_string(),
        }))
    }

    fn unsupported<T>(&self, field: &str, detail: impl ToString) -> Step<T> {
        Err(Stop::Bad(IntentError::UnsupportedModel {
            file: self.file.to_owned(),
            field: field.to_owned(),
            detail: detail.to_string(),
        }))
    }

    fn take(&mut self, count: usize, field: &str) -> Step<&[u8]> {
        let end = self.at.checked_add(count).filter(|end| *end <= self.bytes.len());
        let Some(end) = end else { return Err(Stop::NeedMore(field.to_owned())) };
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, field: &str) -> Step<[u8; N]> {
        let mut bytes = [0; N];
        bytes.copy_from_slice(self.take(N, field)?);
        Ok(bytes)
    }

    fn u32(&mut self, field: &str) -> Step<u32> {
        Ok(u32::from_le_bytes(self.array(field)?))
    }

    fn u64(&mut self, field: &str) -> Step<u64> {
        Ok(u64::from_le_bytes(self.array(field)?))
    }

    /// A length that must not exceed `limit`.
    fn length(&mut self, field: &str, limit: u64) -> Step<usize> {
        let length = self.u64(field)?;
        match usize::try_from(length) {
            Ok(fits) if length <= limit => Ok(fits),
            _ => self.invalid(field, format!("{length} is more than the {limit} allowed")),
        }
    }

    fn name(&mut self, field: &str) -> Step<String> {
        self.string(field, MAX_NAME_BYTES)
    }

    fn string(&mut self, field: &str, limit: u64) -> Step<String> {
        let length = self.length(field, limit)?;
        match std::str::from_utf8(self.take(length, field)?) {
            Ok(text) => Ok(text.to_owned()),
            Err(error) => {
                let detail = format!("not UTF-8: {error}");
                self.invalid(field, detail)
            }
        }
    }

    fn header(&mut self) -> Step<Header> {
        if self.array::<4>("magic")? != *b"GGUF" {
            return self.invalid("magic", "this is not a GGUF file");
        }
        match self.u32("version")? {
            2 | 3 => {}
            version if matches!(version.swap_bytes(), 1..=3) => {
                return self.unsupported("version", "a big-endian file; convert it to little-endian");
            }
            version => return self.unsupported("version", format!("{version}; versions 2 and 3 are read")),
        }
        let tensor_count = self.length("tensor_count", MAX_TENSORS)?;
        let metadata_count = self.length("metadata_kv_count", MAX_METADATA)?;
        let metadata = self.metadata(metadata_count)?;
        let tensors = self.tensors(tensor_count)?;
        let alignment = match metadata.get("general.alignment") {
            None => 32,
            Some(Value::U32(value)) if *value > 0 && value.is_multiple_of(8) => u64::from(*value),
            Some(value) => {
                return self.invalid("general.alignment", format!("{value:?} is not a u32 multiple of 8"));
            }
        };
        let data_offset = (self.at as u64).next_multiple_of(alignment);
        Ok(Header { metadata: Metadata::new(self.file, metadata), tensors, data_offset, alignment })
    }

    fn metadata(&mut self, count: usize) -> Step<HashMap<String, Value>> {
        let mut metadata = HashMap::new();
        for index in 0..count {
            let key = self.name(&format!("key of metadata entry {index}"))?;
            let kind = self.u32(&key)?;
            let value = self.value(kind, &key, 0)?;
            if metadata.contains_key(&key) {
                return self.invalid(&key, "stands twice in the metadata");
            }
            metadata.insert(key, value);
        }
        Ok(metadata)
    }

    fn value(&mut self, kind: u32, key: &str, depth: usize) -> Step<Value> {
        Ok(match value_type(kind) {
            Some(ValueType::U8) => Value::U8(u8::from_le_bytes(self.array(key)?)),
            Some(ValueType::I8) => Value::I8(i8::from_le_bytes(self.array(key)?)),
            Some(ValueType::U16) => Value::U16(u16::from_le_bytes(self.array(key)?)),
            Some(ValueType::I16) => Value::I16(i16::from_le_bytes(self.array(key)?)),
            Some(ValueType::U32) => Value::U32(self.u32(key)?),
            Some(ValueType::I32) => Value::I32(i32::from_le_bytes(self.array(key)?)),
            Some(ValueType::F32) => Value::F32(f32::from_le_bytes(self.array(key)?)),
            Some(ValueType::U64) => Value::U64(self.u64(key)?),
            Some(ValueType::I64) => Value::I64(i64::from_le_bytes(self.array(key)?)),
            Some(ValueType::F64) => Value::F64(f64::from_le_bytes(self.array(key)?)),
            Some(ValueType::Bool) => match self.array::<1>(key)? {
                [0] => Value::Bool(false),
                [1] => Value::Bool(true),
                [other] => return self.invalid(key, format!("{other} is not a boolean")),
            },
            Some(ValueType::String) => Value::String(self.string(key, MAX_HEADER_BYTES as u64)?),
            Some(ValueType::Array) => self.value_array(key, depth)?,
            None => return self.invalid(key, format!("unknown value type {kind}")),
        })
    }

    fn value_array(&mut self, key: &str, depth: usize) -> Step<Value> {
        if depth > 2 {
            return self.invalid(key, "arrays nested more than three deep");
        }
        let kind = self.u32(key)?;
        let length = self.length(key, self.elements_left)?;
        self.elements_left -= length as u64;
        // Grown as elements arrive: a length is only a claim until then.
        let mut values = Vec::new();
        for _ in 0..length {
            values.push(self.value(kind, key, depth + 1)?);
        }
        Ok(Value::Array(values))
    }

    fn tensors(&mut self, count: usize) -> Step<Vec<(String, TensorInfo)>> {
        let (mut tensors, mut names) = (Vec::new(), HashSet::new());
        for index in 0..count {
            let name = self.name(&format!("name of tensor {index}"))?;
            let info = self.tensor(&name)?;
            if !names.insert(name.clone()) {
                return self.invalid(&name, "two tensors have this name");
            }
            tensors.push((name, info));
        }
        Ok(tensors)
    }

    fn tensor(&mut self, name: &str) -> Step<TensorInfo> {
        let field = |part: &str| format!("tensor {name}: {part}");
        let dimensions = self.u32(&field("n_dimensions"))?;
        if !(1..=4).contains(&dimensions) {
            return self.invalid(&field("n_dimensions"), format!("{dimensions} is not 1 to 4"));
        }
        let mut shape = Vec::new();
        for _ in 0..dimensions {
            shape.push(self.length(&field("dimensions"), u64::from(u32::MAX))?);
        }
        shape.reverse();
        let elements = shape.iter().try_fold(1usize, |product, n| product.checked_mul(*n));
        if elements.is_none_or(|n| n == 0) {
            return self
                .invalid(&field("dimensions"), format!("{shape:?} is not a shape this machine can address"));
        }
        let kind = self.u32(&field("type"))?;
        let Some(ggml_dtype) = dtype(kind) else {
            return self.unsupported(&field("type"), format!("unknown tensor type {kind}"));
        };
        let offset = self.u64(&field("offset"))?;
        Ok(TensorInfo { ggml_dtype, shape: Shape::from(shape), offset })
    }
}

pub(super) fn value_type(kind: u32) -> Option<ValueType> {
    Some(match kind {
        0 => ValueType::U8,
        1 => ValueType::I8,
        2 => ValueType::U16,
        3 => ValueType::I16,
        4 => ValueType::U32,
        5 => ValueType::I32,
        6 => ValueType::F32,
        7 => ValueType::Bool,
        8 => ValueType::String,
        9 => ValueType::Array,
        10 => ValueType::U64,
        11 => ValueType::I64,
        12 => ValueType::F64,
        _ => return None,
    })
}

/// ggml's numbers for tensor types (`enum ggml_type` in `ggml.h`), as far as candle-core names them.
pub(super) fn dtype(kind: u32) -> Option<GgmlDType> {
    Some(match kind {
        0 => GgmlDType::F32,
        1 => GgmlDType::F16,
        2 => GgmlDType::Q4_0,
        3 => GgmlDType::Q4_1,
        6 => GgmlDType::Q5_0,
        7 => GgmlDType::Q5_1,
        8 => GgmlDType::Q8_0,
        9 => GgmlDType::Q8_1,
        10 => GgmlDType::Q2K,
        11 => GgmlDType::Q3K,
        12 => GgmlDType::Q4K,
        13 => GgmlDType::Q5K,
        14 => GgmlDType::Q6K,
        15 => GgmlDType::Q8K,
        30 => GgmlDType::BF16,
        _ => return None,
    })
}
