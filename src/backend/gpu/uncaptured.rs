//! Errors that no scope of a device catches, natively.

use std::sync::Arc;

use super::device::Faults;

/// Notes them in `faults` from now on.
pub(super) fn note_in(faults: &Faults, device: &wgpu::Device) {
    let faults = faults.clone();
    device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| match error {
        wgpu::Error::OutOfMemory { source } => faults.out_of_memory(source),
        other => faults.other(other),
    }));
}
