//! Values on their way back to the host.

use std::sync::{Arc, Mutex, PoisonError};

use super::recorder::{DeviceBuffer, Shared};
use crate::backend::{Buffer, Signal, Taken};
use crate::{IntentError, Result};

/// Values on their way back.
pub struct Reading {
    /// Nothing when they have been handed out, or there are none.
    staging: Option<DeviceBuffer>,
    bytes: u64,
    answer: Arc<Mutex<Option<std::result::Result<(), String>>>>,
    signal: Signal,
}

impl Reading {
    /// Asks for the first `count` values of `slot` after all that is recorded.
    pub(super) fn begin(shared: &Arc<Shared>, slot: &DeviceBuffer, count: usize) -> Result<Self> {
        shared.faults.check()?;
        let bytes = 4 * count as u64;
        let mut reading = Self { staging: None, bytes, answer: Arc::default(), signal: Signal::default() };
        if count == 0 {
            return Ok(reading);
        }
        let staging = shared.stage(slot, bytes);
        if let Some(buffer) = staging.buffer() {
            let (answer, signal) = (Arc::clone(&reading.answer), reading.signal.clone());
            buffer.map_async(wgpu::MapMode::Read, ..bytes, move |result| {
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
        if let Err(error) = shared.device.poll(wgpu::PollType::wait_indefinitely()) {
            shared.faults.lost(error);
        }
        let answer = self.answer.lock().unwrap_or_else(PoisonError::into_inner).clone();
        shared.faults.check()?;
        match (answer, staging.buffer()) {
            (None, _) => Ok(Taken::Later(self.signal.clone())),
            // After a device is lost, this is the one call that says so.
            (Some(Err(error)), _) => Err(IntentError::DeviceLost(error)),
            (Some(Ok(())), None) => Ok(Taken::Values(Buffer::default())),
            (Some(Ok(())), Some(buffer)) => {
                let lost = |error: wgpu::MapRangeError| IntentError::DeviceLost(error.to_string());
                let view = buffer.get_mapped_range(..self.bytes).map_err(lost)?;
                let words = view.as_chunks::<4>().0;
                let mut values = Buffer::new(words.len());
                values.iter_mut().zip(words).for_each(|(value, word)| *value = f32::from_le_bytes(*word));
                drop(view);
                buffer.unmap();
                self.staging = None;
                Ok(Taken::Values(values))
            }
        }
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        // Nobody wants them any more, but the device is still at it.
        if let Some(staging) = &mut self.staging {
            staging.abandon();
        }
    }
}
