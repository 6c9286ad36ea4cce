//! Errors that no scope of a device catches, in a browser.
//!
//! Not by wgpu, which knows two kinds and panics at the third, `GPUInternalError`: what becomes of a shader that is sound
//! and that the driver does not compile all the same.

use wasm_bindgen::prelude::*;

use super::device::Faults;

#[wasm_bindgen]
extern "C" {
    type EventTarget;

    #[wasm_bindgen(method, js_name = addEventListener)]
    fn add_event_listener(this: &EventTarget, kind: &str, listener: &Closure<dyn FnMut(UncapturedError)>);

    type UncapturedError;

    #[wasm_bindgen(method, getter)]
    fn error(this: &UncapturedError) -> GpuError;

    type GpuError;

    #[wasm_bindgen(method, getter)]
    fn message(this: &GpuError) -> String;

    #[wasm_bindgen(js_name = GPUOutOfMemoryError)]
    type OutOfMemory;
}

/// Notes them in `faults` from now on.
pub(super) fn note_in(faults: &Faults, device: &wgpu::Device) {
    let Some(device) = device.as_webgpu() else { return };
    let faults = faults.clone();
    let listener = Closure::new(move |event: UncapturedError| {
        let error = event.error();
        if error.has_type::<OutOfMemory>() {
            faults.out_of_memory(error.message());
        } else {
            faults.other(error.message());
        }
    });
    device.unchecked_ref::<EventTarget>().add_event_listener("uncapturederror", &listener);
    // From now on it is the device's.
    listener.forget();
}
