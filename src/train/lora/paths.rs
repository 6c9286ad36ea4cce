//! Between the matrices that are trained and an adapter's.
//!
//! Projections that take the same input are trained as one pair of matrices, under each other: `A` of all of them in one
//! product.

use candle_core::{DType, Tensor, Var};

use crate::adapter::{Adapter, Path, Projection};
use crate::dataset::random::Random;
use crate::model::qwen2::Qwen2Config;
use crate::train::qwen2::{GROUPS, Network, Paths, parameter_name};
use crate::train::{Parameter, Parameters, Weights, failed};
use crate::{IntentError, Result};

/// New paths: `A` uniform in `±1 / sqrt(in)`, as PEFT draws it, and `B` zero, so that the first pass is the base's.
///
/// # Errors
/// `training` where memory runs out.
pub fn start(network: &Network, seed: u64, rate: f64) -> Result<Parameters> {
    let parameter = |(name, [rows, columns]): (String, [usize; 2])| {
        let values: Vec<f32> = if name.ends_with(".a") {
            let mut random = Random::named(&format!("train/{seed}/{name}"));
            #[expect(clippy::cast_precision_loss, reason = "a model's width")]
            let bound = 1.0 / (columns as f32).sqrt();
            (0..rows * columns).map(|_| bound * unit(&mut random)).collect()
        } else {
            vec![0.0; rows * columns]
        };
        let value = Var::from_vec(values, (rows, columns), network.device()).map_err(failed)?;
        Ok(Parameter { name, value, rate, decay: true })
    };
    Ok(Parameters::new(network.parameters().into_iter().map(parameter).collect::<Result<_>>()?))
}

/// Uniform in -1..1.
#[expect(clippy::cast_precision_loss, reason = "24 bits are exact")]
fn unit(random: &mut Random) -> f32 {
    const HALF: usize = 1 << 23;
    random.below(2 * HALF) as f32 / HALF as f32 - 1.0
}

/// Which paths `adapter` has, for a network that runs them.
///
/// # Errors
/// `invalid_argument` where layers or projections have others than the first: the network runs one kind.
pub fn paths_of(adapter: &Adapter, sizes: &Qwen2Config) -> Result<Paths> {
    let Some(((first_layer, _), first)) = adapter.paths.first_key_value() else {
        return Err(IntentError::argument("--adapter", "it has no paths"));
    };
    let projections: Vec<Projection> =
        adapter.paths.keys().filter(|(layer, _)| layer == first_layer).map(|(_, other)| *other).collect();
    #[expect(clippy::float_cmp, reason = "the same number, not a result")]
    let same = |path: &Path| path.rank == first.rank && path.scale == first.scale;
    let mut wanted =
        (*first_layer..sizes.layers).flat_map(|layer| projections.iter().map(move |p| (layer, *p)));
    let uniform = adapter.paths.iter().all(|(place, path)| wanted.next() == Some(*place) && same(path));
    if !uniform || wanted.next().is_some() {
        let detail = "layers differ in matrices, rank or factor, which training's forward pass does not run";
        return Err(IntentError::argument("--adapter", detail));
    }
    Ok(Paths { rank: first.rank, scale: f64::from(first.scale), projections, first_layer: *first_layer })
}

/// Rows of `A` and `B` that a projection has in its group's.
struct Place {
    projection: Projection,
    group: &'static str,
    ranks: [usize; 2],
    rows: [usize; 2],
    width: usize,
}

fn places(paths: &Paths, sizes: &Qwen2Config) -> Vec<Place> {
    let mut places = Vec::new();
    for (group, members) in GROUPS {
        let (mut rank, mut row) = (0, 0);
        for projection in members.iter().copied().filter(|p| paths.projections.contains(p)) {
            let [out, width] = projection.shape(sizes);
            places.push(Place { projection, group, ranks: [rank, paths.rank], rows: [row, out], width });
            rank += paths.rank;
            row += out;
        }
    }
    places
}

/// The adapter that trained matrices are.
///
/// # Errors
/// `training` where one is missing.
pub fn adapter(network: &Network, weights: &Weights) -> Result<Adapter> {
    let paths = network.paths();
    let mut adapter = Adapter::default();
    for layer in paths.first_layer..network.config().layers {
        for place in places(paths, network.config()) {
            let read = |matrix: &str, [start, count]: [usize; 2]| {
                let name = parameter_name(layer, place.group, matrix);
                let tensor = weights.get(&name).ok_or_else(|| failed(format!("no {name}")))?;
                let rows = tensor.narrow(0, start, count).and_then(|rows| rows.to_dtype(DType::F32));
                rows.and_then(|rows| rows.flatten_all()?.to_vec1::<f32>()).map_err(failed)
            };
            #[expect(clippy::cast_possible_truncation, reason = "the arithmetic is single precision")]
            let scale = paths.scale as f32;
            let path =
                Path { rank: paths.rank, scale, a: read("a", place.ranks)?, b: read("b", place.rows)? };
            adapter.paths.insert((layer, place.projection), path);
        }
    }
    Ok(adapter)
}

/// The reverse of [`adapter`]: matrices as the network takes them.
///
/// # Errors
/// `training` where a path is missing, or memory runs out.
pub fn weights(network: &Network, adapter: &Adapter) -> Result<Weights> {
    let paths = network.paths();
    let mut weights = Weights::new();
    for layer in paths.first_layer..network.config().layers {
        for place in places(paths, network.config()) {
            let path = adapter.paths.get(&(layer, place.projection));
            let path =
                path.ok_or_else(|| failed(format!("no path beside {} of layer {layer}", place.projection)))?;
            let [ranks, rows] = [place.ranks[1], place.rows[1]];
            for (matrix, values, shape) in
                [("a", &path.a, [ranks, place.width]), ("b", &path.b, [rows, ranks])]
            {
                let name = parameter_name(layer, place.group, matrix);
                let [count, columns] = shape;
                let more = Tensor::from_slice(values, (count, columns), network.device()).map_err(failed)?;
                let all = match weights.remove(&name) {
                    Some(former) => Tensor::cat(&[former, more], 0).map_err(failed)?,
                    None => more,
                };
                weights.insert(name, all);
            }
        }
    }
    Ok(weights)
}
