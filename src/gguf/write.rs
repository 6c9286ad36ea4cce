//! Headers of GGUF files that are written as they are made: candle's own writer wants all tensors at once.

use candle_core::quantized::GgmlDType;
use candle_core::quantized::gguf_file::{Value, ValueType};

use super::header;
use crate::quant::Format;
use crate::{IntentError, Result};

/// Tensors start at multiples of this.
pub(crate) const ALIGNMENT: usize = 32;

/// Name and place of a tensor that will follow.
pub(crate) struct Listed {
    pub(crate) name: String,
    /// Row-major.
    pub(crate) shape: Vec<usize>,
    pub(crate) format: Format,
    pub(crate) bytes: usize,
}

/// Everything before the first tensor's bytes, padding included. Each tensor then takes its bytes and as many zeros as
/// lead to the next multiple of [`ALIGNMENT`].
///
/// # Errors
/// `invalid_data` for an array of values of several types.
pub(crate) fn header<'a>(
    metadata: &[(&str, &Value)],
    tensors: impl ExactSizeIterator<Item = &'a Listed>,
) -> Result<Vec<u8>> {
    let mut out = b"GGUF".to_vec();
    out.extend(3u32.to_le_bytes());
    for count in [tensors.len(), metadata.len()] {
        out.extend((count as u64).to_le_bytes());
    }
    for (key, value) in metadata {
        string(key, &mut out);
        kind(value.value_type(), &mut out);
        self::value(key, value, &mut out)?;
    }
    let mut offset = 0;
    for tensor in tensors {
        string(&tensor.name, &mut out);
        out.extend((tensor.shape.len() as u32).to_le_bytes());
        tensor.shape.iter().rev().for_each(|size| out.extend((*size as u64).to_le_bytes()));
        let dtype = dtype(tensor.format);
        let number = (0..32).find(|number| header::dtype(*number) == Some(dtype));
        out.extend(number.unwrap_or_default().to_le_bytes());
        out.extend((offset as u64).to_le_bytes());
        offset += tensor.bytes.next_multiple_of(ALIGNMENT);
    }
    out.resize(out.len().next_multiple_of(ALIGNMENT), 0);
    Ok(out)
}

fn string(text: &str, out: &mut Vec<u8>) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

fn kind(kind: ValueType, out: &mut Vec<u8>) {
    let number = (0..32).find(|number| header::value_type(*number) == Some(kind));
    out.extend(number.unwrap_or_default().to_le_bytes());
}

fn value(key: &str, value: &Value, out: &mut Vec<u8>) -> Result<()> {
    match value {
        Value::U8(n) => out.extend(n.to_le_bytes()),
        Value::I8(n) => out.extend(n.to_le_bytes()),
        Value::U16(n) => out.extend(n.to_le_bytes()),
        Value::I16(n) => out.extend(n.to_le_bytes()),
        Value::U32(n) => out.extend(n.to_le_bytes()),
        Value::I32(n) => out.extend(n.to_le_bytes()),
        Value::U64(n) => out.extend(n.to_le_bytes()),
        Value::I64(n) => out.extend(n.to_le_bytes()),
        Value::F32(x) => out.extend(x.to_le_bytes()),
        Value::F64(x) => out.extend(x.to_le_bytes()),
        Value::Bool(truth) => out.push(u8::from(*truth)),
        Value::String(text) => string(text, out),
        Value::Array(values) => {
            let of = values.first().map_or(ValueType::U32, Value::value_type);
            if values.iter().any(|value| value.value_type() != of) {
                return Err(IntentError::data(format!("GGUF: {key}"), "values of several types"));
            }
            kind(of, out);
            out.extend((values.len() as u64).to_le_bytes());
            for value in values {
                self::value(key, value, out)?;
            }
        }
    }
    Ok(())
}

/// candle's name of a format.
pub(crate) fn dtype(format: Format) -> GgmlDType {
    match format {
        Format::F32 => GgmlDType::F32,
        Format::F16 => GgmlDType::F16,
        Format::Q4_0 => GgmlDType::Q4_0,
        Format::Q5_0 => GgmlDType::Q5_0,
        Format::Q8_0 => GgmlDType::Q8_0,
        Format::Q4K => GgmlDType::Q4K,
        Format::Q6K => GgmlDType::Q6K,
    }
}
