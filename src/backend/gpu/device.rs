//! The adapter and what goes wrong with it.

use std::sync::{Arc, Mutex, PoisonError};

use super::uncaptured;
use crate::{IntentError, Result};

/// The first thing that went wrong. It stays: whatever was to be computed or written then was not, and nobody can say what
/// of the device's buffers was built on it since.
#[derive(Clone, Default)]
pub(super) struct Faults(Arc<Mutex<Option<Fault>>>);

#[derive(Clone)]
enum Fault {
    Lost(String),
    OutOfMemory(String),
    Other(String),
}

impl Faults {
    fn note(&self, fault: Fault) {
        let mut first = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A lost device stays lost, whatever else it was before.
        if first.is_none() || matches!(fault, Fault::Lost(_)) {
            *first = Some(fault);
        }
    }

    /// Notes that the device is gone, and says so.
    pub(super) fn lost(&self, detail: impl ToString) -> IntentError {
        let detail = detail.to_string();
        self.note(Fault::Lost(detail.clone()));
        IntentError::DeviceLost(detail)
    }

    pub(super) fn other(&self, detail: impl ToString) {
        self.note(Fault::Other(detail.to_string()));
    }

    pub(super) fn out_of_memory(&self, detail: impl ToString) {
        self.note(Fault::OutOfMemory(detail.to_string()));
    }

    fn first(&self) -> Option<Fault> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What it was, for people.
    pub(super) fn describe(&self) -> Option<String> {
        self.first().map(|fault| match fault {
            Fault::Lost(detail) | Fault::Other(detail) => detail,
            Fault::OutOfMemory(detail) => format!("out of memory: {detail}"),
        })
    }

    /// An error from the first fault on.
    pub(super) fn check(&self) -> Result<()> {
        Err(match self.first() {
            None => return Ok(()),
            Some(Fault::Lost(detail)) => IntentError::DeviceLost(detail),
            Some(Fault::OutOfMemory(detail)) => {
                IntentError::OutOfMemory { what: format!("of the GPU: {detail}"), bytes: 0 }
            }
            Some(Fault::Other(detail)) => IntentError::Inference(format!("the GPU: {detail}")),
        })
    }
}

/// What runs the shaders.
pub(super) struct Opened {
    pub(super) device: wgpu::Device,
    pub(super) queue: wgpu::Queue,
    pub(super) info: wgpu::AdapterInfo,
    pub(super) faults: Faults,
}

/// How large buffers and bindings may be.
pub(super) enum Room {
    /// As WebGPU promises everywhere: 256 MiB and 128 MiB.
    Default,
    /// As the adapter offers.
    Offered,
}

impl Room {
    fn limits(&self, adapter: &wgpu::Adapter) -> wgpu::Limits {
        let limits = wgpu::Limits::default();
        match self {
            Self::Default => limits,
            Self::Offered => {
                let offered = adapter.limits();
                wgpu::Limits {
                    max_storage_buffer_binding_size: offered.max_storage_buffer_binding_size,
                    max_buffer_size: offered.max_buffer_size,
                    ..limits
                }
            }
        }
    }
}

/// Opens the fastest adapter there is.
///
/// # Errors
/// `unavailable` where there is none, or it gives no device.
pub(super) async fn open(room: Room) -> Result<Opened> {
    let unavailable = |detail: String| IntentError::Unavailable(format!("WebGPU: {detail}"));
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
    let options = wgpu::RequestAdapterOptions {
        power_preference: wgpu::PowerPreference::HighPerformance,
        ..wgpu::RequestAdapterOptions::default()
    };
    let adapter = instance
        .request_adapter(&options)
        .await
        .map_err(|error| unavailable(format!("no adapter: {error}")))?;
    let descriptor = wgpu::DeviceDescriptor {
        label: Some("relayops-intent"),
        required_limits: room.limits(&adapter),
        ..wgpu::DeviceDescriptor::default()
    };
    let (device, queue) = adapter
        .request_device(&descriptor)
        .await
        .map_err(|error| unavailable(format!("no device: {error}")))?;
    let faults = Faults::default();
    let lost = faults.clone();
    device.set_device_lost_callback(move |reason, message| {
        lost.note(Fault::Lost(format!("{reason:?}: {message}")));
    });
    uncaptured::note_in(&faults, &device);
    Ok(Opened { device, queue, info: adapter.get_info(), faults })
}
