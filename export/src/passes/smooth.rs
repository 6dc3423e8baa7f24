//! Moves large channels of activations into the weights behind them, so that both quantize well: what a LayerNorm makes is divided by a factor a
//! channel and the Linears that take it multiply by it, in gain, bias and weights. After SmoothQuant (Xiao et al., 2023).
//!
//! The factors are powers of two: every product is the one it was, so the float32 graph gives the same numbers as before.

use std::collections::{BTreeMap, HashMap};

use amis_artifacts::onnx::{GraphProto, Linear, LinearOp, ModelProto, linears};

use super::edit;
use crate::{Error, Result};

/// Largest exponent of a factor: far from where products overflow or vanish.
const MAX_EXPONENT: f32 = 16.0;

/// A LayerNorm whose result nothing but Linears take.
struct Norm {
    /// Its result.
    tensor: String,
    /// Constants, both used by nothing else.
    gain: String,
    bias: String,
    /// Weights `[channels, out]` of the Linears.
    weights: Vec<String>,
}

/// The tensors that [`smooth`] can scale, in the order of the graph: results of LayerNorms that go into Linears and nowhere else.
pub fn smoothable(model: &ModelProto) -> Vec<String> {
    model.graph.iter().flat_map(norms).map(|norm| norm.tensor).collect()
}

/// Scales the results of LayerNorms; `largest` has the largest magnitude of every channel of each tensor that [`smoothable`] names. A channel's factor is
/// `largest^strength / weight^(1 - strength)`, rounded to a power of two, where `weight` is the largest magnitude that it is multiplied with: at 0
/// the activations keep all that is hard to quantize, at 1 the weights take all of it. Gives the tensors that were scaled.
///
/// # Errors
/// No such LayerNorm, a tensor without `largest`, or constants that are no float32 of fitting sizes.
pub fn smooth(model: &mut ModelProto, largest: &BTreeMap<String, Vec<f32>>, strength: f32) -> Result<Vec<String>> {
    let graph = edit::graph(model)?;
    let norms = norms(graph);
    if norms.is_empty() {
        return Err(Error::Pass { reason: "it has no LayerNorm whose result only Linears take; this pass knows the graphs of `amis-export onnx`".into() });
    }
    for norm in &norms {
        let largest = largest.get(&norm.tensor).ok_or_else(|| range(&norm.tensor, "has no range by channel"))?;
        let mut weight_largest = vec![0f32; largest.len()];
        for weight in &norm.weights {
            for (most, line) in weight_largest.iter_mut().zip(lines(&mut floats(graph, weight)?, largest.len(), weight)?) {
                *most = line.iter().fold(*most, |most, w| most.max(w.abs()));
            }
        }
        let factors: Vec<f32> = largest.iter().zip(&weight_largest).map(|(&x, &w)| factor(x, w, strength)).collect();
        for constant in [&norm.gain, &norm.bias] {
            let mut values = floats(graph, constant)?;
            for (line, factor) in lines(&mut values, factors.len(), constant)?.zip(&factors) {
                line.iter_mut().for_each(|v| *v /= factor);
            }
            store(graph, constant, &values);
        }
        for weight in &norm.weights {
            let mut values = floats(graph, weight)?;
            for (line, factor) in lines(&mut values, factors.len(), weight)?.zip(&factors) {
                line.iter_mut().for_each(|v| *v *= factor);
            }
            store(graph, weight, &values);
        }
    }
    Ok(norms.into_iter().map(|norm| norm.tensor).collect())
}

/// A power of two; 1 where the channel is always 0 or multiplied with nothing.
fn factor(x: f32, weight: f32, strength: f32) -> f32 {
    let exponent = strength * x.log2() - (1.0 - strength) * weight.log2();
    if exponent.is_finite() { exponent.round().clamp(-MAX_EXPONENT, MAX_EXPONENT).exp2() } else { 1.0 }
}

fn norms(graph: &GraphProto) -> Vec<Norm> {
    let mut uses: HashMap<&str, usize> = HashMap::new();
    let inputs = graph.node.iter().flat_map(|n| &n.input).map(String::as_str);
    inputs.chain(graph.output.iter().map(|o| o.name())).for_each(|name| *uses.entry(name).or_default() += 1);
    let used_once = |name: &str| uses.get(name) == Some(&1);
    let mut takers: HashMap<String, Vec<Linear>> = HashMap::new();
    for linear in linears(graph).into_iter().filter(|l| l.op == LinearOp::MatMul) {
        takers.entry(linear.input.clone()).or_default().push(linear);
    }
    let norm = |node: &amis_artifacts::onnx::NodeProto| {
        let ([_, gain, bias], [tensor]) = (&node.input[..], &node.output[..]) else { return None };
        let weights: Vec<String> = takers.get(tensor)?.iter().map(|l| l.weight.clone()).collect();
        let is_ours = node.op_type() == "LayerNormalization" && uses.get(tensor.as_str()) == Some(&weights.len());
        let alone = [gain, bias].into_iter().chain(&weights).all(|name| used_once(name));
        (is_ours && alone).then(|| Norm { tensor: tensor.clone(), gain: gain.clone(), bias: bias.clone(), weights })
    };
    graph.node.iter().filter_map(norm).collect()
}

fn range(tensor: &str, reason: &str) -> Error {
    Error::Range { tensor: tensor.to_owned(), reason: reason.to_owned() }
}

fn floats(graph: &GraphProto, name: &str) -> Result<Vec<f32>> {
    let tensor = graph.initializer.iter().find(|t| t.name() == name).and_then(edit::floats);
    tensor.ok_or_else(|| Error::Weight { name: name.to_owned(), reason: "is no float32 constant in the file".into() })
}

/// The values of every channel of a constant whose first dimension counts them.
fn lines<'a>(values: &'a mut [f32], channels: usize, name: &str) -> Result<std::slice::ChunksExactMut<'a, f32>> {
    let fits = channels > 0 && !values.is_empty() && values.len().is_multiple_of(channels);
    let wrong = || Error::Weight { name: name.to_owned(), reason: format!("has {} values, which {channels} channels do not divide", values.len()) };
    if fits { Ok(values.chunks_exact_mut(values.len() / channels)) } else { Err(wrong()) }
}

fn store(graph: &mut GraphProto, name: &str, values: &[f32]) {
    for tensor in graph.initializer.iter_mut().filter(|t| t.name() == name) {
        *tensor = edit::float_constant(name, &tensor.dims, values);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_are_powers_of_two_between_activation_and_weight() {
        assert_eq!(factor(64.0, 0.25, 0.5), 16.0);
        assert_eq!(factor(64.0, 0.25, 1.0), 64.0);
        assert_eq!(factor(64.0, 0.25, 0.0), 4.0);
        assert_eq!(factor(3.0, 1.0, 1.0), 4.0);
        for (x, weight) in [(0.0, 1.0), (1.0, 0.0), (0.0, 0.0)] {
            assert_eq!(factor(x, weight, 0.5), 1.0);
        }
        assert_eq!(factor(f32::MAX, f32::MIN_POSITIVE, 0.5), 65536.0);
    }
}
