//! A GGUF file arriving in chunks.

use std::collections::{HashMap, VecDeque};

use candle_core::quantized::GgmlDType;
use candle_core::quantized::gguf_file::TensorInfo;

use super::Metadata;
use super::header::{self, Header, Parsed};
use crate::quant::{Format, QuantMatrix};
use crate::{IntentError, Result};

/// The first try at the header, then after each doubling of the buffer.
const FIRST_PARSE: usize = 64 << 10;
/// Room is made in steps of this many bytes where the length of the file is not known: what a header says is only a claim
/// until the bytes arrive.
const STEP: usize = 64 << 20;

/// A whole file: metadata and tensors, each in its own allocation.
pub struct Gguf {
    /// Metadata; also knows the file's name.
    pub metadata: Metadata,
    /// Tensors by name; one-dimensional ones are matrices of one row.
    pub tensors: HashMap<String, QuantMatrix>,
}

impl Gguf {
    /// Takes tensor `name` out, which must have this shape (`[rows, cols]`; one row for vectors).
    ///
    /// # Errors
    /// `invalid_tensor` where it is missing or has another shape.
    pub fn take(&mut self, name: &str, rows: usize, cols: usize) -> Result<QuantMatrix> {
        let error = |detail| IntentError::InvalidTensor {
            file: self.metadata.file().to_owned(),
            tensor: name.to_owned(),
            detail,
        };
        let tensor = self.tensors.remove(name).ok_or_else(|| error("is missing".to_owned()))?;
        if (tensor.rows(), tensor.cols()) != (rows, cols) {
            return Err(error(format!(
                "shape [{}, {}], expected [{rows}, {cols}]",
                tensor.rows(),
                tensor.cols()
            )));
        }
        Ok(tensor)
    }

    /// Takes vector `name` of `len` floats out.
    ///
    /// # Errors
    /// `invalid_tensor` where it is missing or has another length.
    pub fn take_vector(&mut self, name: &str, len: usize) -> Result<Vec<f32>> {
        let tensor = self.take(name, 1, len)?;
        let mut values = vec![0.0; len];
        tensor.dequantize_row(0, &mut values);
        Ok(values)
    }
}

/// Takes the bytes of a GGUF file in order and in chunks of any size.
pub struct GgufStream {
    file: String,
    total: Option<u64>,
    received: u64,
    state: State,
}

enum State {
    Header {
        buffer: Vec<u8>,
        parse_at: usize,
    },
    Tensors(Filling),
    /// After an error: the stream can't go on.
    Failed,
}

struct Planned {
    name: String,
    format: Format,
    rows: usize,
    cols: usize,
    /// Offset in the file.
    start: u64,
    bytes: usize,
}

struct Filling {
    header: Header,
    /// What is still to come, in file order; the first is being filled.
    plan: VecDeque<Planned>,
    current: Vec<u8>,
    done: HashMap<String, QuantMatrix>,
    /// Offset after the last tensor.
    end: u64,
    /// Most room that is made at once: all of a tensor's where the file is known to be long enough for it.
    step: usize,
}

impl GgufStream {
    /// A stream of `total` bytes where that is known; `file` names it in errors.
    #[must_use]
    pub fn new(file: &str, total: Option<u64>) -> Self {
        let state = State::Header { buffer: Vec::new(), parse_at: FIRST_PARSE };
        Self { file: file.to_owned(), total, received: 0, state }
    }

    /// The header, once it has arrived.
    #[must_use]
    pub fn header(&self) -> Option<&Header> {
        match &self.state {
            State::Tensors(filling) => Some(&filling.header),
            State::Header { .. } | State::Failed => None,
        }
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// `invalid_gguf`, `unsupported_model`, `invalid_tensor`, `truncated` (the header asks for more than the total)
    /// or `out_of_memory`. After an error the stream takes nothing more.
    pub fn push(&mut self, chunk: &[u8]) -> Result<()> {
        let result = self.advance(chunk);
        if result.is_err() {
            self.state = State::Failed;
        }
        result
    }

    fn advance(&mut self, chunk: &[u8]) -> Result<()> {
        let position = self.received;
        self.received += chunk.len() as u64;
        match &mut self.state {
            State::Failed => Err(IntentError::argument("chunk", "the stream has failed before")),
            State::Tensors(filling) => filling.take(&self.file, position, chunk),
            State::Header { buffer, parse_at } => {
                buffer.extend_from_slice(chunk);
                if buffer.len() < *parse_at && self.total != Some(self.received) {
                    return Ok(());
                }
                *parse_at = buffer.len().saturating_mul(2);
                match header::parse(&self.file, buffer)? {
                    Parsed::Incomplete(_) => Ok(()),
                    Parsed::Complete(header) => {
                        let buffer = std::mem::take(buffer);
                        self.start_tensors(*header, &buffer)
                    }
                }
            }
        }
    }

    fn start_tensors(&mut self, header: Header, buffer: &[u8]) -> Result<()> {
        let plan = plan(&self.file, &header, self.total)?;
        let end = plan.back().map_or(header.data_offset, |last| last.start + last.bytes as u64);
        let step = if self.total.is_some() { usize::MAX } else { STEP };
        let mut filling = Filling { header, plan, current: Vec::new(), done: HashMap::new(), end, step };
        filling.take(&self.file, 0, buffer)?;
        self.state = State::Tensors(filling);
        Ok(())
    }

    /// Says that no more bytes will come, so that [`header`](Self::header) is settled.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub fn end(&mut self) -> Result<()> {
        self.total = Some(self.received);
        // The last doubling may not have been reached: the header may be whole all the same.
        if matches!(self.state, State::Header { .. }) { self.push(&[]) } else { Ok(()) }
    }

    /// Ends the stream and hands the file over.
    ///
    /// # Errors
    /// `truncated` where bytes are missing, `invalid_gguf` where there are more than the header accounts for.
    pub fn finish(mut self) -> Result<Gguf> {
        self.end()?;
        let truncated =
            |field| IntentError::Truncated { file: self.file.clone(), field, length: self.received };
        match self.state {
            State::Failed => Err(IntentError::argument("chunk", "the stream has failed before")),
            State::Header { buffer, .. } => match header::parse(&self.file, &buffer)? {
                Parsed::Incomplete(field) => Err(truncated(field)),
                Parsed::Complete(_) => Err(truncated("tensor data".to_owned())),
            },
            State::Tensors(filling) => {
                if let Some(next) = filling.plan.front() {
                    return Err(truncated(format!("tensor {}", next.name)));
                }
                let padded = filling.end.next_multiple_of(filling.header.alignment);
                if self.received > padded {
                    let detail = format!("{} bytes follow the last tensor", self.received - filling.end);
                    return Err(filling.header.metadata.invalid("tensor data", detail));
                }
                Ok(Gguf { metadata: filling.header.metadata, tensors: filling.done })
            }
        }
    }
}

impl Filling {
    /// Takes `chunk`, which stands at `position` of the file.
    fn take(&mut self, file: &str, mut position: u64, mut chunk: &[u8]) -> Result<()> {
        while let Some(next) = self.plan.front() {
            // Padding before the tensor.
            let skip =
                usize::try_from(next.start.saturating_sub(position)).unwrap_or(usize::MAX).min(chunk.len());
            chunk = &chunk[skip..];
            position += skip as u64;
            if chunk.is_empty() {
                return Ok(());
            }
            if self.current.len() == self.current.capacity() {
                reserve(&mut self.current, next, self.step)?;
            }
            let room = next.bytes.min(self.current.capacity()) - self.current.len();
            let (now, later) = chunk.split_at(chunk.len().min(room));
            self.current.extend_from_slice(now);
            chunk = later;
            position += now.len() as u64;
            if self.current.len() == next.bytes {
                let data = std::mem::take(&mut self.current);
                let matrix = QuantMatrix::new(next.format, next.rows, next.cols, data).map_err(|error| {
                    IntentError::InvalidTensor {
                        file: file.to_owned(),
                        tensor: next.name.clone(),
                        detail: error.to_string(),
                    }
                })?;
                if let Some(next) = self.plan.pop_front() {
                    self.done.insert(next.name, matrix);
                }
            }
        }
        Ok(())
    }
}

/// Makes room for what is still to come of a tensor, at most `step` bytes of it.
fn reserve(buffer: &mut Vec<u8>, next: &Planned, step: usize) -> Result<()> {
    let missing = next.bytes - buffer.len();
    buffer.try_reserve_exact(missing.min(step)).map_err(|_| IntentError::OutOfMemory {
        what: format!("tensor {}", next.name),
        bytes: next.bytes as u64,
    })
}

/// The tensors in file order, checked: known type, whole blocks, aligned, apart, inside the file.
fn plan(file: &str, header: &Header, total: Option<u64>) -> Result<VecDeque<Planned>> {
    let mut plan: Vec<Planned> =
        header.tensors.iter().map(|(name, info)| planned(file, header, name, info)).collect::<Result<_>>()?;
    plan.sort_by_key(|tensor| tensor.start);
    let mut free = header.data_offset;
    for tensor in &plan {
        if tensor.start < free {
            return Err(invalid(file, &tensor.name, "overlaps the tensor before it"));
        }
        free = tensor
            .start
            .checked_add(tensor.bytes as u64)
            .ok_or_else(|| invalid(file, &tensor.name, "ends beyond what a file can hold"))?;
        if let Some(total) = total.filter(|total| free > *total) {
            return Err(IntentError::Truncated {
                file: file.to_owned(),
                field: format!("tensor {} (its data ends at byte {free})", tensor.name),
                length: total,
            });
        }
    }
    Ok(plan.into())
}

fn planned(file: &str, header: &Header, name: &str, info: &TensorInfo) -> Result<Planned> {
    let (rows, cols) = match info.shape.dims() {
        [cols] => (1, *cols),
        [rows, cols] => (*rows, *cols),
        other => return Err(invalid(file, name, format!("{} dimensions, expected 1 or 2", other.len()))),
    };
    let Some(format) = format(info.ggml_dtype) else {
        return Err(IntentError::UnsupportedModel {
            file: file.to_owned(),
            field: format!("tensor {name}"),
            detail: format!("type {:?}; read are F32, F16, Q4_0, Q5_0, Q8_0, Q4_K and Q6_K", info.ggml_dtype),
        });
    };
    let bytes = format.row_bytes(cols).and_then(|row| row.checked_mul(rows)).ok_or_else(|| {
        invalid(file, name, format!("rows of {cols} values are not whole {format:?} blocks"))
    })?;
    if !info.offset.is_multiple_of(header.alignment) {
        return Err(invalid(
            file,
            name,
            format!("offset {} is not a multiple of {}", info.offset, header.alignment),
        ));
    }
    let start = header
        .data_offset
        .checked_add(info.offset)
        .ok_or_else(|| invalid(file, name, "starts beyond what a file can hold"))?;
    Ok(Planned { name: name.to_owned(), format, rows, cols, start, bytes })
}

fn invalid(file: &str, tensor: &str, detail: impl ToString) -> IntentError {
    IntentError::InvalidTensor {
        file: file.to_owned(),
        tensor: tensor.to_owned(),
        detail: detail.to_string(),
    }
}

fn format(dtype: GgmlDType) -> Option<Format> {
    Some(match dtype {
        GgmlDType::F32 => Format::F32,
        GgmlDType::F16 => Format::F16,
        GgmlDType::Q4_0 => Format::Q4_0,
        GgmlDType::Q5_0 => Format::Q5_0,
        GgmlDType::Q8_0 => Format::Q8_0,
        GgmlDType::Q4K => Format::Q4K,
        GgmlDType::Q6K => Format::Q6K,
        _ => return None,
    })
}
