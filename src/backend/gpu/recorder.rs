//! Commands and buffers of one device.
//!
//! Commands are collected and given to the device some at a time. It runs them in order, so a buffer may be used anew as soon
//! as nothing that is still to be recorded refers to it. Writes from the host overtake commands that were recorded but not
//! given to the device, so what is uploaded has buffers of its own, which are used anew only after that.
//!
//! Every submission ends with a command that counts it; what the count is for is said in [`super::read`].

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use bytemuck::NoUninit;

use super::device::{Faults, Opened};
use super::pipelines::{OPS, Op, Pipeline};
use crate::backend::Signal;
use crate::{IntentError, Result};

/// Bytes of the count of submissions.
pub(super) const COUNT_BYTES: u64 = 4;

/// Bytes of the parameters of a command, the most that a shader has.
const PARAM_BYTES: u64 = 32;

/// Commands that are collected before they are given to the device: few enough that it need not wait long for the first.
const BATCH: usize = 48;

/// Bindings that are kept. They recur from message to message, as the buffers do.
const GROUPS: usize = 4_096;

/// Unused bytes that are kept between messages.
const SPARE_BYTES: u64 = 64 << 20;

/// What a buffer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    /// Written and read by shaders.
    Scratch,
    /// Written by the host.
    Upload,
    /// Weights: it is not used for anything else afterwards.
    Fixed,
    /// Read by the host.
    Staging,
}

/// A buffer of the device that goes back to where it came from.
pub struct DeviceBuffer {
    shared: Arc<Shared>,
    kind: Kind,
    id: u64,
    buffer: Option<wgpu::Buffer>,
}

impl Drop for DeviceBuffer {
    fn drop(&mut self) {
        if let Some(buffer) = self.buffer.take() {
            self.shared.lock().give_back(self.kind, self.id, buffer);
        }
    }
}

struct Command {
    op: usize,
    group: wgpu::BindGroup,
    offset: u32,
    workgroups: [u32; 3],
}

/// Which shader, and which buffers.
#[derive(PartialEq, Eq, Hash)]
struct GroupKey {
    op: usize,
    buffers: [u64; 6],
}

#[derive(Default)]
struct Recorder {
    commands: Vec<Command>,
    params: Vec<u8>,
    free: HashMap<(Kind, u64), Vec<(u64, wgpu::Buffer)>>,
    free_bytes: u64,
    /// Given back while recorded commands refer to them.
    retired: Vec<(Kind, u64, wgpu::Buffer)>,
    groups: HashMap<GroupKey, wgpu::BindGroup>,
    next_id: u64,
    /// Given to the device so far, as it counts them too.
    submissions: u32,
}

/// A device with its shaders, shared by all that lives on it.
pub(super) struct Shared {
    pub(super) device: wgpu::Device,
    queue: wgpu::Queue,
    pub(super) faults: Faults,
    pub(super) info: wgpu::AdapterInfo,
    pipelines: [OnceLock<Pipeline>; OPS.len()],
    params: wgpu::Buffer,
    param_stride: u64,
    /// Submissions that were carried out, as the device counts them.
    count: wgpu::Buffer,
    counting: OnceLock<wgpu::BindGroup>,
    /// Whether the next buffer is to be refused.
    refusing: AtomicBool,
    /// Bytes of a binding.
    most_bytes: u64,
    most_workgroups: usize,
    recorder: Mutex<Recorder>,
}

impl Shared {
    pub(super) fn new(opened: Opened) -> Self {
        let Opened { device, queue, info, faults } = opened;
        let limits = device.limits();
        let param_stride = u64::from(limits.min_uniform_buffer_offset_alignment).max(PARAM_BYTES);
        let params = device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("parameters"),
            size: param_stride * BATCH as u64,
            usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        let count = device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("count of submissions"),
            size: COUNT_BYTES,
            usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC,
            mapped_at_creation: false,
        });
        Self {
            device,
            queue,
            faults,
            info,
            pipelines: std::array::from_fn(|_| OnceLock::new()),
            params,
            param_stride,
            count,
            counting: OnceLock::new(),
            refusing: AtomicBool::new(false),
            most_bytes: limits.max_storage_buffer_binding_size.min(limits.max_buffer_size),
            most_workgroups: limits.max_compute_workgroups_per_dimension as usize,
            recorder: Mutex::default(),
        }
    }

    /// Waits until the device has done all that it was given, where that can be done; in a browser it does nothing.
    ///
    /// # Errors
    /// Where the device is gone.
    pub(super) fn wait(&self) -> std::result::Result<(), wgpu::PollError> {
        // Whoever submits or waits runs the callbacks of everybody's values: another thread would find that the device is
        // done, and not what it wrote.
        let _recorder = self.lock();
        self.device.poll(wgpu::PollType::wait_indefinitely()).map(|_| ())
    }

    /// Gives the device what is recorded. Ready when it has done all that it was given; nothing where that was waited for
    /// here.
    pub(super) fn under_way(&self) -> Option<Signal> {
        let mut recorder = self.lock();
        if !recorder.commands.is_empty() {
            self.flush(&mut recorder, None);
        }
        drop(recorder);
        let signal = Signal::default();
        let done = signal.clone();
        self.queue.on_submitted_work_done(move || done.set());
        match self.wait() {
            Ok(()) => (!signal.is_set()).then_some(signal),
            // Whoever reads of it is told.
            Err(_) => None,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Recorder> {
        self.recorder.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Compiles shader number `index`, unless that has been done.
    pub(super) fn pipeline(&self, index: usize) -> &Pipeline {
        self.pipelines[index].get_or_init(|| Pipeline::new(&self.device, OPS[index], PARAM_BYTES))
    }

    /// Buffers that were created so far.
    pub(super) fn created(&self) -> u64 {
        self.lock().next_id
    }

    /// Has the device refuse the next buffer that is created.
    pub(super) fn refuse_next_buffer(&self) {
        self.refusing.store(true, Ordering::Relaxed);
    }

    /// Room for `bytes` of what shaders compute.
    pub(super) fn scratch(self: &Arc<Self>, bytes: usize) -> DeviceBuffer {
        self.slot(Kind::Scratch, bytes as u64)
    }

    /// `values` on the device, for as long as a message.
    pub(super) fn upload<T: NoUninit>(self: &Arc<Self>, values: &[T]) -> DeviceBuffer {
        let slot = self.slot(Kind::Upload, size_of_val(values) as u64);
        self.write(&slot, values);
        slot
    }

    /// `values` on the device for good.
    ///
    /// # Errors
    /// `out_of_memory` where they are more than a binding takes.
    pub(super) fn fixed<T: NoUninit>(self: &Arc<Self>, values: &[T], what: &str) -> Result<DeviceBuffer> {
        let bytes = size_of_val(values) as u64;
        if bytes > self.most_bytes {
            return Err(IntentError::OutOfMemory {
                what: format!("{what} in one binding of the GPU"),
                bytes,
            });
        }
        let slot = self.slot(Kind::Fixed, bytes);
        self.write(&slot, values);
        Ok(slot)
    }

    /// `values` of 4 bytes each, which are little-endian on a device as on every host that has one.
    fn write<T: NoUninit>(&self, slot: &DeviceBuffer, values: &[T]) {
        if let Some(buffer) = slot.buffer.as_ref().filter(|_| !values.is_empty()) {
            self.queue.write_buffer(buffer, 0, bytemuck::cast_slice(values));
        }
    }

    fn slot(self: &Arc<Self>, kind: Kind, bytes: u64) -> DeviceBuffer {
        // Sizes in few classes, so that buffers are found again.
        let size = if kind == Kind::Fixed {
            bytes.max(16).next_multiple_of(4)
        } else {
            bytes.max(256).next_power_of_two()
        };
        let mut recorder = self.lock();
        let free = recorder.free.get_mut(&(kind, size)).and_then(Vec::pop);
        let (id, buffer) = match free {
            Some(found) => {
                recorder.free_bytes -= size;
                found
            }
            None => {
                recorder.next_id += 1;
                (recorder.next_id, self.create(kind, size))
            }
        };
        drop(recorder);
        DeviceBuffer { shared: Arc::clone(self), kind, id, buffer: Some(buffer) }
    }

    fn create(&self, kind: Kind, size: u64) -> wgpu::Buffer {
        let usage = match kind {
            Kind::Scratch => wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC,
            Kind::Upload | Kind::Fixed => {
                wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST
            }
            Kind::Staging => wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
        };
        // No device has a buffer that is for nothing.
        let usage =
            if self.refusing.swap(false, Ordering::Relaxed) { wgpu::BufferUsages::empty() } else { usage };
        self.device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size,
            usage,
            mapped_at_creation: false,
        })
    }

    /// How many workgroups there are to a line where there are so many that a device takes them in several lines only, and
    /// how many lines.
    pub(super) fn lines(&self, workgroups: usize) -> [usize; 2] {
        let lines = workgroups.div_ceil(self.most_workgroups.max(1)).max(1);
        [workgroups.div_ceil(lines), lines]
    }

    /// Records one command. `buffers` are those of the shader behind its parameters, in order.
    pub(super) fn run(&self, op: Op, params: &[u32], buffers: &[&DeviceBuffer], workgroups: [usize; 3]) {
        let most = self.most_workgroups;
        if workgroups.contains(&0) {
            return;
        }
        if workgroups.iter().any(|count| *count > most) {
            return self.faults.other(format!("{op:?} of {workgroups:?} workgroups; {most} are the most"));
        }
        let mut recorder = self.lock();
        let group = self.group(&mut recorder, op, buffers);
        let offset = recorder.params.len() as u64;
        recorder.params.extend(params.iter().flat_map(|word| word.to_le_bytes()));
        recorder.params.resize((offset + self.param_stride) as usize, 0);
        let workgroups = workgroups.map(|count| u32::try_from(count).unwrap_or(u32::MAX));
        let offset = u32::try_from(offset).unwrap_or(u32::MAX);
        recorder.commands.push(Command { op: op.index(), group, offset, workgroups });
        if recorder.commands.len() == BATCH {
            self.flush(&mut recorder, None);
        }
    }

    fn group(&self, recorder: &mut Recorder, op: Op, buffers: &[&DeviceBuffer]) -> wgpu::BindGroup {
        let mut key = GroupKey { op: op.index(), buffers: [0; 6] };
        key.buffers.iter_mut().zip(buffers).for_each(|(id, slot)| *id = slot.id);
        if let Some(group) = recorder.groups.get(&key) {
            return group.clone();
        }
        let group = self.bind(op, buffers.iter().filter_map(|slot| slot.buffer.as_ref()));
        if recorder.groups.len() >= GROUPS {
            recorder.groups.clear();
        }
        recorder.groups.insert(key, group.clone());
        group
    }

    fn bind<'a>(&self, op: Op, storage: impl Iterator<Item = &'a wgpu::Buffer>) -> wgpu::BindGroup {
        let params = wgpu::BufferBinding {
            buffer: &self.params,
            offset: 0,
            size: std::num::NonZeroU64::new(PARAM_BYTES),
        };
        let mut entries =
            vec![wgpu::BindGroupEntry { binding: 0, resource: wgpu::BindingResource::Buffer(params) }];
        for (binding, buffer) in (1..).zip(storage) {
            entries.push(wgpu::BindGroupEntry { binding, resource: buffer.as_entire_binding() });
        }
        self.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout: &self.pipeline(op.index()).layout,
            entries: &entries,
        })
    }

    /// Gives the device all that is recorded, and then a copy, where one is wanted: source, destination, bytes. The count of
    /// submissions goes behind it.
    fn flush(&self, recorder: &mut Recorder, copy: Option<(&wgpu::Buffer, &wgpu::Buffer, u64)>) {
        if !recorder.params.is_empty() {
            self.queue.write_buffer(&self.params, 0, &recorder.params);
        }
        let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            for command in &recorder.commands {
                pass.set_pipeline(&self.pipeline(command.op).pipeline);
                pass.set_bind_group(0, &command.group, &[command.offset]);
                let [x, y, z] = command.workgroups;
                pass.dispatch_workgroups(x, y, z);
            }
            pass.set_pipeline(&self.pipeline(Op::Count.index()).pipeline);
            let counting = self.counting.get_or_init(|| self.bind(Op::Count, std::iter::once(&self.count)));
            pass.set_bind_group(0, counting, &[0]);
            pass.dispatch_workgroups(1, 1, 1);
        }
        if let Some((from, to, bytes)) = copy {
            encoder.copy_buffer_to_buffer(from, 0, to, 0, bytes);
            encoder.copy_buffer_to_buffer(&self.count, 0, to, bytes, COUNT_BYTES);
        }
        self.queue.submit([encoder.finish()]);
        recorder.submissions = recorder.submissions.wrapping_add(1);
        recorder.submitted();
    }

    /// Gives the device all that is recorded and then a copy of the first `bytes` of `slot` to a buffer that the host can
    /// read, with the count of submissions behind them; and what that count must be.
    pub(super) fn stage(self: &Arc<Self>, slot: &DeviceBuffer, bytes: u64) -> (DeviceBuffer, u32) {
        let staging = self.slot(Kind::Staging, bytes + COUNT_BYTES);
        let mut recorder = self.lock();
        if let (Some(from), Some(to)) = (&slot.buffer, &staging.buffer) {
            self.flush(&mut recorder, Some((from, to, bytes)));
        }
        let submissions = recorder.submissions;
        drop(recorder);
        (staging, submissions)
    }
}

impl DeviceBuffer {
    /// The buffer itself.
    pub(super) fn buffer(&self) -> Option<&wgpu::Buffer> {
        self.buffer.as_ref()
    }

    /// Frees the buffer instead of giving it back, because the device may still write or map it.
    pub(super) fn abandon(&mut self) {
        if let Some(buffer) = self.buffer.take() {
            buffer.destroy();
        }
    }
}

impl Recorder {
    fn give_back(&mut self, kind: Kind, id: u64, buffer: wgpu::Buffer) {
        match kind {
            Kind::Scratch | Kind::Staging => self.keep(kind, id, buffer),
            Kind::Upload | Kind::Fixed => {
                self.retired.push((kind, id, buffer));
                if self.commands.is_empty() {
                    self.submitted();
                }
            }
        }
    }

    fn keep(&mut self, kind: Kind, id: u64, buffer: wgpu::Buffer) {
        self.free_bytes += buffer.size();
        self.free.entry((kind, buffer.size())).or_default().push((id, buffer));
    }

    /// Nothing is recorded that the device does not have.
    fn submitted(&mut self) {
        self.commands.clear();
        self.params.clear();
        let mut freed = Vec::new();
        for (kind, id, buffer) in std::mem::take(&mut self.retired) {
            match kind {
                Kind::Fixed => freed.push((id, buffer)),
                Kind::Upload | Kind::Scratch | Kind::Staging => self.keep(kind, id, buffer),
            }
        }
        if self.free_bytes > SPARE_BYTES {
            self.free_bytes = 0;
            freed.extend(self.free.drain().flat_map(|(_, buffers)| buffers));
        }
        if freed.is_empty() {
            return;
        }
        self.groups.retain(|key, _| freed.iter().all(|(id, _)| !key.buffers.contains(id)));
        // Waiting for the collector of a browser would take memory that is needed for what comes next.
        freed.iter().for_each(|(_, buffer)| buffer.destroy());
    }
}
