//! A graph as the kernels that TensorRT makes of it: what is computed in each, and what each has to move.
//!
//! Fusion is taken at its best, so that the time of the kernels is a bound from below: everything elementwise, and every other view of the same
//! values, belongs to the kernel that made the last of its inputs; both products of attention and the softmax between them are one kernel.

use std::collections::{HashMap, HashSet};

use amis_artifacts::onnx::{self, DataType, GraphProto, NodeProto};
use serde::Serialize;

use super::shapes::{Tensor, Tensors};
use crate::passes::edit;

/// What a kernel does, by its first node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// Product with constant weights, convolutions included.
    Linear,
    /// Products of two computed tensors, with the softmax between them.
    Attention,
    /// LayerNorm, softmax alone, means, lengths.
    Normalization,
    /// Resizing of pictures.
    Resize,
    /// What follows no kernel of another kind.
    Elementwise,
}

/// Bytes in FP16 and in INT8, where only Linear layers are INT8.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Bytes {
    /// All of it in FP16.
    pub fp16: u64,
    /// INT8 into and in the weights of Linear layers, FP16 elsewhere.
    pub int8: u64,
}

/// A kernel.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Kernel {
    pub(super) part: Part,
    /// Multiplications and additions of products, for the tensor cores.
    pub(super) products: u64,
    /// Other operations, for the CUDA cores.
    pub(super) others: u64,
    /// Whether its product is INT8 in an INT8 graph.
    pub(super) quantized: bool,
    /// Constants that it reads.
    pub(super) weights: Bytes,
    /// Values that it reads and writes.
    pub(super) moved: Bytes,
}

/// A graph in kernels.
pub(super) struct Kernels {
    /// In the order in which they run.
    pub(super) list: Vec<Kernel>,
    /// Most bytes of FP16 values that are needed at the same time.
    pub(super) peak_bytes: u64,
}

/// Cuts a graph into kernels. Nodes that are known before it runs cost nothing.
pub(super) fn kernels(graph: &GraphProto, tensors: &Tensors<'_>) -> Kernels {
    let quantized: HashSet<usize> = onnx::linears(graph).into_iter().map(|l| l.node).collect();
    let mut made_by: HashMap<&str, usize> = HashMap::new();
    let mut owner: Vec<Option<usize>> = vec![None; graph.node.len()];
    let mut list: Vec<Kernel> = Vec::new();
    let mut has_softmax: Vec<bool> = Vec::new();
    for (place, node) in graph.node.iter().enumerate() {
        let Some(output) = node.output.first().and_then(|o| tensors.get(o.as_str())).filter(|t| !t.constant) else { continue };
        let last = node.input.iter().filter_map(|i| made_by.get(i.as_str()).copied()).max();
        let (part, products, others) = cost(node, output, tensors);
        let joins = match part {
            Part::Elementwise => last,
            Part::Normalization if node.op_type() == "Softmax" => last.filter(|&k| list[k].part == Part::Attention),
            Part::Attention => last.filter(|&k| has_softmax[k]),
            _ => None,
        };
        let kernel = joins.unwrap_or(list.len());
        if joins.is_none() {
            list.push(Kernel { part, products: 0, others: 0, quantized: quantized.contains(&place), weights: Bytes::default(), moved: Bytes::default() });
            has_softmax.push(false);
        }
        list[kernel].products += products;
        list[kernel].others += others;
        has_softmax[kernel] |= node.op_type() == "Softmax" && list[kernel].part == Part::Attention;
        owner[place] = Some(kernel);
        made_by.extend(node.output.iter().map(|o| (o.as_str(), kernel)));
    }
    let peak_bytes = move_values(graph, tensors, &owner, &made_by, &mut list);
    Kernels { list, peak_bytes }
}

/// Fills in what every kernel reads and writes; the result is the most that is alive at once.
fn move_values(graph: &GraphProto, tensors: &Tensors<'_>, owner: &[Option<usize>], made_by: &HashMap<&str, usize>, list: &mut [Kernel]) -> u64 {
    let mut readers: HashMap<&str, HashSet<usize>> = HashMap::new();
    for (node, kernel) in graph.node.iter().zip(owner) {
        let inputs = node.input.iter().filter(|i| !i.is_empty() && kernel.is_some_and(|k| made_by.get(i.as_str()) != Some(&k)));
        inputs.for_each(|input| readers.entry(input).or_default().extend(kernel));
    }
    let integers: HashSet<&str> = graph.initializer.iter().filter(|t| edit::data_type(t) == DataType::Int64).map(|t| t.name()).collect();
    let outputs: HashSet<&str> = graph.output.iter().map(|o| o.name()).collect();
    // What begins to be needed at a kernel, and what ends after it.
    let mut begins = vec![0; list.len()];
    let mut ends = vec![0; list.len()];
    for (&name, tensor) in tensors.iter().filter(|(name, _)| !integers.contains(*name)) {
        let none = HashSet::new();
        let readers = readers.get(name).unwrap_or(&none);
        let elements = tensor.elements();
        for &kernel in readers {
            let int8 = if list[kernel].quantized && (!tensor.constant || tensor.shape.len() > 1) { elements } else { 2 * elements };
            let bytes = if tensor.constant { &mut list[kernel].weights } else { &mut list[kernel].moved };
            bytes.fp16 += 2 * elements;
            bytes.int8 += int8;
        }
        if tensor.constant || (readers.is_empty() && !outputs.contains(name)) {
            continue;
        }
        let maker = made_by.get(name).copied();
        if let Some(maker) = maker {
            let narrow = !outputs.contains(name) && readers.iter().all(|&k| list[k].quantized);
            list[maker].moved.fp16 += 2 * elements;
            list[maker].moved.int8 += if narrow { elements } else { 2 * elements };
        }
        let last = if outputs.contains(name) { list.len().checked_sub(1) } else { readers.iter().max().copied() };
        if let Some(last) = last {
            begins[maker.unwrap_or(0)] += 2 * elements;
            ends[last] += 2 * elements;
        }
    }
    let mut alive = 0u64;
    let sum = |(begins, ends): (&u64, &u64)| {
        alive += begins;
        let peak = alive;
        alive = alive.saturating_sub(*ends);
        peak
    };
    begins.iter().zip(&ends).map(sum).max().unwrap_or(0)
}

/// Kind of a node, operations of its products and other ones.
fn cost(node: &NodeProto, output: &Tensor, tensors: &Tensors<'_>) -> (Part, u64, u64) {
    let input = |at: usize| node.input.get(at).and_then(|i| tensors.get(i.as_str()));
    let elements = output.elements();
    // Of every element of the output, the elements of the second operand that it is a sum over.
    let product = |terms: Option<u64>| 2 * elements * terms.unwrap_or(0);
    match node.op_type() {
        "MatMul" | "Gemm" => {
            let constant = (0..2).filter_map(input).any(|t| t.constant);
            let inner = input(0).and_then(|a| if edit::attribute(node, "transA").is_some_and(|a| a.i() != 0) { a.shape.first() } else { a.shape.last() });
            (if constant { Part::Linear } else { Part::Attention }, product(inner.copied()), 0)
        }
        "Conv" => (Part::Linear, product(input(1).map(|w| w.shape[1..].iter().product())), 0),
        // Mean, variance, scale and shift; maximum, difference, exponential, sum and quotient.
        "LayerNormalization" => (Part::Normalization, 0, 8 * elements),
        "Softmax" => (Part::Normalization, 0, 5 * elements),
        "ReduceMean" | "ReduceSum" | "ReduceMax" | "ReduceMin" | "ReduceL2" | "GlobalAveragePool" => {
            (Part::Normalization, 0, input(0).map_or(0, Tensor::elements))
        }
        // Three mixtures of two neighbours.
        "Resize" => (Part::Resize, 0, 9 * elements),
        "Reshape" | "Transpose" | "Split" | "Slice" | "Concat" | "Squeeze" | "Unsqueeze" | "Flatten" | "Identity" | "Cast" | "Expand" | "Gather"
        | "Dropout" => (Part::Elementwise, 0, 0),
        _ => (Part::Elementwise, 0, elements),
    }
}
