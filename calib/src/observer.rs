//! What is kept of one tensor while images pass: its histogram, and vectors to compare ranges with.

use std::path::{Path, PathBuf};

use amis_artifacts::calibration::{Method, TensorRange};
use amis_artifacts::onnx::{LinearOp, ModelProto, linears};

use crate::histogram::Histogram;
use crate::network::Seen;
use crate::output_error::{Matrix, output_error};
use crate::rows::{Rows, vectors};
use crate::{Error, Result, threshold, weights};

/// What `auto` chooses from.
const CANDIDATES: [Method; 5] = [Method::Max, Method::Percentile(99.999), Method::Percentile(99.99), Method::Mse, Method::Entropy];

/// Observes one tensor.
pub(crate) struct Observer {
    pub(crate) tensor: String,
    histogram: Histogram,
    /// How many images made all values one and the same, and the first of them.
    constant: Option<(usize, PathBuf)>,
    images: usize,
    /// Only for `auto`.
    outputs: Option<Outputs>,
}

/// What the output error needs: vectors, and the weights that they are multiplied with.
struct Outputs {
    op: LinearOp,
    weight_dims: Vec<i64>,
    rows: Rows,
    weights: Vec<Matrix>,
}

/// One observer for every tensor that a Linear takes, in the order of the graph; `images` is how many will come. Also gives warnings.
///
/// # Errors
/// There is no Linear, or a weight that makes no range.
pub(crate) fn observers(path: &Path, model: &ModelProto, method: Method, images: usize) -> Result<(Vec<Observer>, Vec<String>)> {
    let (mut observers, mut warnings): (Vec<Observer>, _) = (Vec::new(), Vec::new());
    let graph = model.graph.as_ref().ok_or_else(|| Error::Graph { path: path.into(), reason: "it is empty".into() })?;
    for linear in linears(graph) {
        let wrong = |problem: String| Error::Weight { path: path.into(), weight: linear.weight.clone(), problem };
        let tensor = graph.initializer.iter().find(|t| t.name() == linear.weight).ok_or_else(|| wrong("is missing".into()))?;
        let values = weights::values(tensor).map_err(wrong)?;
        let dead = weights::dead_channels(&values, &tensor.dims, linear.out_axis).map_err(wrong)?;
        if let [first, ..] = dead[..] {
            warnings.push(format!("{}: {} output channels are all 0, the first is {first}", linear.weight, dead.len()));
        }
        let place = observers.iter().position(|o| o.tensor == linear.input).unwrap_or_else(|| {
            observers.push(Observer { tensor: linear.input.clone(), histogram: Histogram::default(), constant: None, images: 0, outputs: None });
            observers.len() - 1
        });
        if method == Method::Auto {
            let vector_len = values.len() / tensor.dims[linear.out_axis] as usize;
            let new = || Outputs { op: linear.op, weight_dims: tensor.dims.clone(), rows: Rows::new(vector_len, images), weights: Vec::new() };
            let outputs = observers[place].outputs.get_or_insert_with(new);
            if outputs.op == linear.op {
                outputs.weights.push(Matrix::new(values, &tensor.dims, linear.out_axis));
            }
        }
    }
    if observers.is_empty() {
        return Err(Error::Graph { path: path.into(), reason: "it has no Linear layer, so there is nothing to quantize".into() });
    }
    Ok((observers, warnings))
}

impl Observer {
    /// Takes what image `index`, the file `image`, made of the tensor.
    ///
    /// # Errors
    /// The tensor is empty, or has values that are not finite.
    pub(crate) fn add(&mut self, index: usize, image: &Path, seen: &Seen<'_>) -> Result<()> {
        let wrong = |problem: String| Error::Tensor { tensor: self.tensor.clone(), problem, image: image.into() };
        let [first, rest @ ..] = seen.values else { return Err(wrong(format!("is empty, of shape {:?},", seen.shape))) };
        self.histogram.add(seen.values).map_err(|bad| wrong(format!("has the value {}", bad.0)))?;
        if let Some(Outputs { op, weight_dims, rows, .. }) = &mut self.outputs {
            let misfit = || wrong(format!("has shape {:?}, which its weight {weight_dims:?} does not fit,", seen.shape));
            rows.add(index, &vectors(*op, weight_dims, &seen.shape, seen.values).ok_or_else(misfit)?);
        }
        self.images += 1;
        if rest.iter().all(|value| value == first) {
            self.constant.get_or_insert_with(|| (0, image.into())).0 += 1;
        }
        Ok(())
    }

    /// What a person should know about the tensor.
    pub(crate) fn warning(&self) -> Option<String> {
        let Self { tensor, histogram, constant, images, .. } = self;
        if histogram.amax() == 0.0 {
            return Some(format!("{tensor} is 0 on all images; its range is set to 1"));
        }
        let (count, first) = constant.as_ref()?;
        Some(format!("{tensor} has one and the same value in all places on {count} of {images} images, the first is {}", first.display()))
    }

    /// The range by `method`, finite and over 0.
    pub(crate) fn range(&self, method: Method) -> TensorRange {
        let candidate = |method| (method, amax_by(&self.histogram, method));
        let (method, amax) = match (method, &self.outputs) {
            // Any range holds a tensor that is always 0.
            _ if self.histogram.amax() == 0.0 => (Method::Max, 1.0),
            (Method::Auto, Some(Outputs { rows, weights, .. })) => {
                let error = |(method, amax)| (method, amax, output_error(rows, weights, amax));
                let best = CANDIDATES.map(candidate).map(error).into_iter().reduce(|best, next| if next.2 < best.2 { next } else { best });
                best.map_or(candidate(Method::Max), |(method, amax, _)| (method, amax))
            }
            _ => candidate(method),
        };
        TensorRange { amax, method, samples: self.histogram.count(), histogram_sha256: self.histogram.sha256() }
    }
}

/// The range that a method chooses on a histogram that is not all 0.
fn amax_by(histogram: &Histogram, method: Method) -> f32 {
    let (bins, width) = (histogram.bins(), histogram.width());
    let found = match method {
        Method::Max | Method::Auto => return histogram.amax(),
        Method::Percentile(percent) => threshold::percentile(bins, width, percent),
        Method::Entropy => threshold::entropy(bins, width),
        Method::Mse => threshold::mse(bins, width),
    };
    // The edge of the last bin lies beyond the largest value.
    (found as f32).min(histogram.amax())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_tensor_is_an_error_that_names_tensor_and_image() {
        let mut observer = Observer { tensor: "norm".into(), histogram: Histogram::default(), constant: None, images: 0, outputs: None };
        let error = observer.add(0, Path::new("7.png"), &Seen { shape: vec![1, 0, 4], values: &[] }).map_err(|e| e.to_string());
        assert_eq!(error, Err("tensor norm is empty, of shape [1, 0, 4], on image 7.png".into()));
        assert_eq!(observer.images, 0);
    }
}
