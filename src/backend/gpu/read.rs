//! Values on their way back to the host.
//!
//! What a device refuses is dropped whole, a submission with all its commands, and the word of it may come after the values.
//! So every submission counts itself on the device, and values come with that count: where it is not the host's, something
//! that they may rest on was never computed, be it the copy that should have brought them.

use std::sync::{Arc, Mutex, PoisonError};

use super::device::Faults;
use super::recorder::{COUNT_BYTES, DeviceBuffer, Shared};
use crate::Result;
use crate::backend::{Buffer, Signal, Taken};

/// Values on their way back.
pub struct Reading {
    /// The values and the count of submissions; nothing when they have been handed out, or there are none.
    staging: Option<DeviceBuffer>,
    /// Of the values.
    bytes: u64,
    /// The host's count.
    submissions: u32,
    answer: Arc<Mutex<Option<std::result::Result<(), String>>>>,
    signal: Signal,
}

impl Reading {
    /// Asks for the first `count` values of `slot` after all that is recorded.
    pub(super) fn begin(shared: &Arc<Shared>, slot: &DeviceBuffer, count: usize) -> Result<Self> {
        shared.faults.check()?;
        let bytes = 4 * count as u64;
        let (answer, signal) = (Arc::default(), Signal::default());
        let mut reading = Self { staging: None, bytes, submissions: 0, answer, signal };
        if count == 0 {
            return Ok(reading);
        }
        let (staging, submissions) = shared.stage(slot, bytes);
        reading.submissions = submissions;
        if let Some(buffer) = staging.buffer() {
            let (answer, signal) = (Arc::clone(&reading.answer), reading.signal.clone());
            buffer.map_async(wgpu::MapMode::Read, ..bytes + COUNT_BYTES, move |result| {
                let result = result.map_err(|error| error.to_string());
                *answer.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
                signal.set();
            });
        }
        reading.staging = Some(staging);
        Ok(reading)
    }

    pub(super) fn take(&mut self, shared: &Shared) -> Result<Taken> {
        let Some(staging) = &self.staging else { return Ok(Taken::Values(Buffer::default())) };
        // Waits where that can be done; in a browser it does nothing, and the answer comes between two calls.
        if let Err(error) = shared.wait() {
            return Err(shared.faults.lost(error));
        }
        let answer = self.answer.lock().unwrap_or_else(PoisonError::into_inner).clone();
        shared.faults.check()?;
        match (answer, staging.buffer()) {
            (None, _) => Ok(Taken::Later(self.signal.clone())),
            // After a device is lost, this is the one call that says so.
            (Some(Err(error)), _) => Err(shared.faults.lost(error)),
            (Some(Ok(())), None) => Ok(Taken::Values(Buffer::default())),
            (Some(Ok(())), Some(buffer)) => {
                let view = buffer.get_mapped_range(..self.bytes + COUNT_BYTES);
                let view = view.map_err(|error| shared.faults.lost(error))?;
                let (words, count) = view.as_chunks::<4>().0.split_at(self.bytes as usize / 4);
                let mut values = Buffer::new(words.len());
                values.iter_mut().zip(words).for_each(|(value, word)| *value = f32::from_le_bytes(*word));
                let count = count.first().map_or(0, |bytes| u32::from_le_bytes(*bytes));
                drop(view);
                buffer.unmap();
                self.staging = None;
                check_values(&values, self.submissions.wrapping_sub(count), &shared.faults)?;
                Ok(Taken::Values(values))
            }
        }
    }
}

/// `missing` submissions were not carried out.
fn check_values(values: &[f32], missing: u32, faults: &Faults) -> Result<()> {
    if missing != 0 {
        faults.other(format!("{missing} of its submissions were not carried out"));
    } else if !values.iter().all(|value| value.is_finite()) {
        faults.other("it computed what is no number");
    }
    faults.check()
}

impl Drop for Reading {
    fn drop(&mut self) {
        // Nobody wants them any more, but the device is still at it.
        if let Some(staging) = &mut self.staging {
            staging.abandon();
        }
    }
}
