#![allow(clippy::unwrap_used)]
//! The block alone in ONNX Runtime against plain float64 loops of its definition.

use amis_artifacts::onnx;
use amis_artifacts::weights::{HostTensor, Weights};
use amis_runtime::backend::Backend;
use amis_runtime::backend::onnxruntime::{OnnxRuntime, Options};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;

use super::super::Batch;
use super::super::builder::GraphBuilder;
use super::super::params::Params;

const D: usize = 12;
const N: usize = 8;
const GROUPS: [u32; 3] = [1, 3, 2];

fn random(rng: &mut Pcg64, len: usize) -> Vec<f32> {
    (0..len).map(|_| rng.random_range(-1.0..1.0)).collect()
}

fn weights(rng: &mut Pcg64) -> Weights {
    let shapes: [(&str, &[usize]); 12] = [
        ("norm.weight", &[D]),
        ("norm.bias", &[D]),
        ("wq.weight", &[D, D]),
        ("wk.weight", &[D, D]),
        ("wv.weight", &[D, D]),
        ("fc1.weight", &[D / 4, D]),
        ("fc1.bias", &[D / 4]),
        ("fc2.weight", &[D, D / 4]),
        ("fc2.bias", &[D]),
        ("spatial.weight", &[1, D]),
        ("spatial.bias", &[1]),
        ("gamma", &[D]),
    ];
    let tensor = |shape: &[usize], rng: &mut Pcg64| HostTensor { shape: shape.to_vec(), data: random(rng, shape.iter().product()) };
    shapes.iter().map(|(name, shape)| (format!("decoder.gab.{name}"), tensor(shape, rng))).collect()
}

/// `X'` by the letters of AMIS.md section 2, `x` `[N, D]`, `e` `[C, D]`.
fn oracle(weights: &Weights, x: &[f32], e: &[f32]) -> Vec<f64> {
    let get = |name: &str| -> Vec<f64> { weights[&format!("decoder.gab.{name}")].data.iter().map(|&v| f64::from(v)).collect() };
    let times =
        |matrix: &[f64], vector: &[f64]| -> Vec<f64> { matrix.chunks(vector.len()).map(|row| row.iter().zip(vector).map(|(a, b)| a * b).sum()).collect() };
    let sigmoid = |v: f64| 1.0 / (1.0 + (-v).exp());
    let (norm_weight, norm_bias, gamma) = (get("norm.weight"), get("norm.bias"), get("gamma"));
    let x: Vec<f64> = x.iter().map(|&v| f64::from(v)).collect();
    let mut n = vec![0.0; x.len()];
    for (row, out) in x.chunks(D).zip(n.chunks_mut(D)) {
        let mean = row.iter().sum::<f64>() / D as f64;
        let variance = row.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / D as f64;
        for d in 0..D {
            out[d] = (row[d] - mean) / (variance + 1e-5).sqrt() * norm_weight[d] + norm_bias[d];
        }
    }
    let g: Vec<f64> = (0..D).map(|d| n.chunks(D).map(|row| row[d]).sum::<f64>() / N as f64).collect();
    let mut first = 0;
    let prototypes = GROUPS.map(|count| {
        let rows = &e[first * D..(first + count as usize) * D];
        first += count as usize;
        (0..D).map(|d| rows.chunks(D).map(|row| f64::from(row[d])).sum::<f64>() / f64::from(count)).collect::<Vec<f64>>()
    });
    let query = times(&get("wq.weight"), &g);
    let scores = prototypes.each_ref().map(|t| times(&get("wk.weight"), t).iter().zip(&query).map(|(a, b)| a * b).sum::<f64>() / (D as f64).sqrt());
    let total: f64 = scores.iter().map(|s| s.exp()).sum();
    let mut c = g.clone();
    for (t, score) in prototypes.iter().zip(scores) {
        let value = times(&get("wv.weight"), t);
        c.iter_mut().zip(value).for_each(|(c, v)| *c += score.exp() / total * v);
    }
    let hidden: Vec<f64> = times(&get("fc1.weight"), &c).iter().zip(get("fc1.bias")).map(|(v, b)| gelu(v + b)).collect();
    let s: Vec<f64> = times(&get("fc2.weight"), &hidden).iter().zip(get("fc2.bias")).map(|(v, b)| sigmoid(v + b)).collect();
    let (w, b) = (get("spatial.weight"), get("spatial.bias")[0]);
    let mut out = Vec::new();
    for (row, normed) in x.chunks(D).zip(n.chunks(D)) {
        let m = sigmoid((0..D).map(|d| normed[d] * s[d] * w[d]).sum::<f64>() + b);
        out.extend((0..D).map(|d| row[d] + gamma[d] * (row[d] * s[d] * m)));
    }
    out
}

/// `x/2 (1 + erf(x / sqrt 2))`, erf by its series (converges fast for the small arguments here).
fn gelu(x: f64) -> f64 {
    let z = x / std::f64::consts::SQRT_2;
    let (mut term, mut sum) = (z, z);
    for k in 1..60 {
        term *= -z * z / f64::from(k);
        sum += term / f64::from(2 * k + 1);
    }
    x / 2.0 * (1.0 + sum * 2.0 / std::f64::consts::PI.sqrt())
}

#[test]
fn the_block_computes_its_definition() {
    let mut rng = Pcg64::seed_from_u64(7);
    let weights = weights(&mut rng);
    let classes = GROUPS.iter().sum::<u32>() as usize;
    let embeddings = random(&mut rng, classes * D);
    // The backend runs graphs with an image in and planes out: the tokens travel in that shape.
    let mut graph = GraphBuilder::new("gab", Batch::Fixed(1));
    let image = graph.input("image", &[3, N, D / 3]);
    let x = graph.reshape("tokens", &image, &[N, D]);
    let y = super::gab(&mut graph, &Params(&weights), &x, D, &GROUPS, &embeddings).unwrap();
    let planes = graph.reshape("planes", &y, &[1, N, D]);
    graph.output(&planes, &[1, N, D]);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("gab.onnx");
    onnx::write(&path, &graph.finish(&[])).unwrap();
    let mut backend = OnnxRuntime::open(&path, &Options::default()).unwrap();
    for _ in 0..3 {
        let x = random(&mut rng, N * D);
        let found = backend.infer(&x).unwrap();
        let expected = oracle(&weights, &x, &embeddings);
        for (found, expected) in found.iter().zip(expected) {
            assert!((f64::from(*found) - expected).abs() < 1e-5, "{found} {expected}");
        }
    }
}
