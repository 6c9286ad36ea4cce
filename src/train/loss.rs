//! What is minimised.

use candle_core::{D, Device, Result, Tensor};

/// Logarithm of softmax over the last dimension.
///
/// # Errors
/// Those of candle.
pub fn log_softmax(x: &Tensor) -> Result<Tensor> {
    let shifted = x.broadcast_sub(&x.max_keepdim(D::Minus1)?.detach())?;
    shifted.broadcast_sub(&shifted.exp()?.sum_keepdim(D::Minus1)?.log()?)
}

/// Mean cross-entropy of `logits` `[n, labels]` against targets, of whose probability the share `smoothing` is spread
/// over all labels (Szegedy et al. 2016).
///
/// # Errors
/// Where a target is no label, and those of candle.
pub fn cross_entropy(logits: &Tensor, targets: &[usize], smoothing: f64) -> Result<Tensor> {
    let (n, labels) = logits.dims2()?;
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "a few labels")]
    let (low, high) = ((smoothing / labels as f64) as f32, (1.0 - smoothing) as f32);
    let mut wanted = vec![low; n * labels];
    for (row, target) in wanted.chunks_exact_mut(labels).zip(targets) {
        match row.get_mut(*target) {
            Some(cell) => *cell += high,
            None => candle_core::bail!("target {target} of {labels} labels"),
        }
    }
    let wanted = Tensor::from_vec(wanted, (n, labels), logits.device())?;
    mean_over(&(wanted * log_softmax(logits)?)?.neg()?, n)
}

/// Supervised contrastive loss of `embeddings` `[n, width]` (Khosla et al. 2020, the form with the sum outside the
/// logarithm): messages of a label attract each other, those of others repel. Mean over the messages that have another of
/// their label in the batch; 0 where none has.
///
/// # Errors
/// Those of candle.
pub fn contrastive(embeddings: &Tensor, targets: &[usize], temperature: f64) -> Result<Tensor> {
    let n = embeddings.dim(0)?;
    let length = (embeddings.sqr()?.sum_keepdim(1)? + 1e-12)?.sqrt()?;
    let unit = embeddings.broadcast_div(&length)?;
    let similarity = (unit.matmul(&unit.t()?)? / temperature)?;
    let (positives, anchors) = positives(targets, n, embeddings.device())?;
    if anchors == 0 {
        return similarity.sum_all()? * 0.0;
    }
    // A message is not compared with itself.
    let itself = (Tensor::eye(n, similarity.dtype(), similarity.device())? * -1e9)?;
    let log = log_softmax(&similarity.broadcast_add(&itself)?)?;
    mean_over(&(positives * log)?.neg()?, anchors)
}

/// `[n, n]`: in each row the messages of the same label share a weight of 1; and how many rows have any.
fn positives(targets: &[usize], n: usize, device: &Device) -> Result<(Tensor, usize)> {
    let mut weights = vec![0.0f32; n * n];
    let mut anchors = 0;
    for (i, row) in weights.chunks_exact_mut(n.max(1)).enumerate() {
        let same: Vec<usize> = (0..n).filter(|j| *j != i && targets.get(*j) == targets.get(i)).collect();
        anchors += usize::from(!same.is_empty());
        #[expect(clippy::cast_precision_loss, reason = "a batch's size")]
        let share = 1.0 / same.len() as f32;
        same.into_iter().for_each(|j| row[j] = share);
    }
    Ok((Tensor::from_vec(weights, (n, n), device)?, anchors))
}

/// Mean symmetric Kullback-Leibler divergence of two passes over the same messages (R-Drop, Wu et al. 2021).
///
/// # Errors
/// Those of candle.
pub fn divergence(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let n = a.dim(0)?;
    let (a, b) = (log_softmax(a)?, log_softmax(b)?);
    // KL(a, b) + KL(b, a) = sum of (p - q) (log p - log q).
    let both = ((a.exp()? - b.exp()?)? * (&a - &b)?)?;
    mean_over(&(both * 0.5)?, n)
}

/// Mean Kullback-Leibler divergence of `logits` `[n, labels]` from a teacher's log-probabilities of the same shape, both
/// softened by `temperature`, times its square, so that gradients keep their size (Hinton et al. 2015).
///
/// # Errors
/// Those of candle.
pub fn distillation(logits: &Tensor, teacher: &Tensor, temperature: f64) -> Result<Tensor> {
    let n = logits.dim(0)?;
    let teacher = log_softmax(&(teacher.detach() / temperature)?)?;
    let student = log_softmax(&(logits / temperature)?)?;
    let divergence = (teacher.exp()? * (&teacher - &student)?)?;
    mean_over(&(divergence * (temperature * temperature))?, n)
}

fn mean_over(sum: &Tensor, n: usize) -> Result<Tensor> {
    #[expect(clippy::cast_precision_loss, reason = "a batch's size")]
    let n = n.max(1) as f64;
    sum.sum_all()? / n
}
