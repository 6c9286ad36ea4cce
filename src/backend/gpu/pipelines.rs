//! The shaders and how they are bound.

use std::borrow::Cow;

use crate::quant::Format;

/// What a shader does; each is one file, the products one file a format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Op {
    Matmul(Format),
    RmsNorm,
    LayerNorm,
    Rope,
    SiluMul,
    Gelu,
    MeanRows,
    Add,
    SelectRows,
    Copy,
    Attention,
    Count,
}

/// Every shader, the one of index `op.index()` for `op`: first those that every model needs, then the products.
pub(super) const OPS: [Op; 18] = [
    Op::RmsNorm,
    Op::LayerNorm,
    Op::Rope,
    Op::SiluMul,
    Op::Gelu,
    Op::MeanRows,
    Op::Add,
    Op::SelectRows,
    Op::Copy,
    Op::Attention,
    Op::Count,
    Op::Matmul(Format::F32),
    Op::Matmul(Format::F16),
    Op::Matmul(Format::Q4_0),
    Op::Matmul(Format::Q5_0),
    Op::Matmul(Format::Q8_0),
    Op::Matmul(Format::Q4K),
    Op::Matmul(Format::Q6K),
];

/// How many of them are no products.
pub(super) const COMMON: usize = OPS.len() - Format::ALL.len();

const MATMUL: &str = include_str!("shaders/matmul.wgsl");
const NIBBLES: &str = include_str!("shaders/nibbles.wgsl");
const BLOCK_SCALE: &str = include_str!("shaders/block_scale.wgsl");

impl Op {
    pub(super) fn index(self) -> usize {
        match self {
            Self::RmsNorm => 0,
            Self::LayerNorm => 1,
            Self::Rope => 2,
            Self::SiluMul => 3,
            Self::Gelu => 4,
            Self::MeanRows => 5,
            Self::Add => 6,
            Self::SelectRows => 7,
            Self::Copy => 8,
            Self::Attention => 9,
            Self::Count => 10,
            Self::Matmul(Format::F32) => 11,
            Self::Matmul(Format::F16) => 12,
            Self::Matmul(Format::Q4_0) => 13,
            Self::Matmul(Format::Q5_0) => 14,
            Self::Matmul(Format::Q8_0) => 15,
            Self::Matmul(Format::Q4K) => 16,
            Self::Matmul(Format::Q6K) => 17,
        }
    }

    /// The files that make the shader.
    fn files(self) -> Vec<&'static str> {
        match self {
            Self::Matmul(format) => {
                let mut files = vec![MATMUL];
                files.extend_from_slice(match format {
                    Format::F32 => &[include_str!("shaders/weights_f32.wgsl")],
                    Format::F16 => &[include_str!("shaders/weights_f16.wgsl")],
                    Format::Q4_0 => &[include_str!("shaders/weights_q4_0.wgsl"), NIBBLES, BLOCK_SCALE],
                    Format::Q5_0 => &[include_str!("shaders/weights_q5_0.wgsl"), NIBBLES, BLOCK_SCALE],
                    Format::Q8_0 => &[include_str!("shaders/weights_q8_0.wgsl"), BLOCK_SCALE],
                    Format::Q4K => &[include_str!("shaders/weights_q4_k.wgsl"), NIBBLES],
                    Format::Q6K => &[include_str!("shaders/weights_q6_k.wgsl"), NIBBLES],
                });
                files
            }
            Self::RmsNorm => vec![include_str!("shaders/rms_norm.wgsl")],
            Self::LayerNorm => vec![include_str!("shaders/layer_norm.wgsl")],
            Self::Rope => vec![include_str!("shaders/rope.wgsl")],
            Self::SiluMul => vec![include_str!("shaders/silu_mul.wgsl")],
            Self::Gelu => vec![include_str!("shaders/gelu.wgsl")],
            Self::MeanRows => vec![include_str!("shaders/mean_rows.wgsl")],
            Self::Add => vec![include_str!("shaders/add.wgsl")],
            Self::SelectRows => vec![include_str!("shaders/select_rows.wgsl")],
            Self::Copy => vec![include_str!("shaders/copy.wgsl")],
            Self::Attention => vec![include_str!("shaders/attention.wgsl")],
            Self::Count => vec![include_str!("shaders/count.wgsl")],
        }
    }

    /// Storage buffers behind the parameters: this many are read, then one is written, which may be read too.
    fn inputs(self) -> u32 {
        match self {
            Self::Gelu | Self::Count => 0,
            Self::Rope | Self::SiluMul | Self::MeanRows | Self::Add | Self::Copy => 1,
            Self::RmsNorm | Self::SelectRows => 2,
            Self::LayerNorm => 3,
            Self::Attention => 4,
            Self::Matmul(_) => 5,
        }
    }
}

/// A compiled shader.
pub(super) struct Pipeline {
    pub(super) pipeline: wgpu::ComputePipeline,
    pub(super) layout: wgpu::BindGroupLayout,
}

impl Pipeline {
    pub(super) fn new(device: &wgpu::Device, op: Op, param_bytes: u64) -> Self {
        let label = format!("{op:?}");
        let label = Some(label.as_str());
        let source = wgpu::ShaderSource::Wgsl(Cow::Owned(op.files().concat()));
        let module = device.create_shader_module(wgpu::ShaderModuleDescriptor { label, source });
        let entry = |binding: u32, ty: wgpu::BufferBindingType| wgpu::BindGroupLayoutEntry {
            binding,
            visibility: wgpu::ShaderStages::COMPUTE,
            ty: wgpu::BindingType::Buffer {
                ty,
                has_dynamic_offset: binding == 0,
                min_binding_size: if binding == 0 { std::num::NonZeroU64::new(param_bytes) } else { None },
            },
            count: None,
        };
        let mut entries = vec![entry(0, wgpu::BufferBindingType::Uniform)];
        for binding in 1..=op.inputs() + 1 {
            let read_only = binding <= op.inputs();
            entries.push(entry(binding, wgpu::BufferBindingType::Storage { read_only }));
        }
        let layout =
            device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label, entries: &entries });
        let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label,
            bind_group_layouts: &[Some(&layout)],
            immediate_size: 0,
        });
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label,
            layout: Some(&pipeline_layout),
            module: &module,
            entry_point: Some("main"),
            compilation_options: wgpu::PipelineCompilationOptions::default(),
            cache: None,
        });
        Self { pipeline, layout }
    }
}

#[cfg(test)]
mod tests {
    use super::OPS;

    #[test]
    fn every_shader_is_where_its_index_says() {
        for (index, op) in OPS.into_iter().enumerate() {
            assert_eq!(op.index(), index, "{op:?}");
        }
    }
}
