//! ONNX models: the messages of the format and their reader and writer.

mod batch;
mod builder;
mod linear;
mod proto;
mod sharding;

use std::path::Path;

use prost::Message;

pub use batch::{Batch, MAX_BATCH, MAX_BATCH_KEY};
pub use builder::{BUILDER_KEY, Builder};
pub use linear::{Linear, LinearOp, linears};
pub use proto::*;
pub use sharding::*;

use crate::{Error, Result, files};

/// Largest model file in bytes: protobuf ends at 2 GiB - 1, and so do the other readers of these files.
pub const MAX_MODEL_BYTES: u64 = (1 << 31) - 1;

/// Reads a model.
///
/// # Errors
/// Unreadable, over [`MAX_MODEL_BYTES`], or not a model.
pub fn read(path: &Path) -> Result<ModelProto> {
    parse(&files::read_limited(path, "an ONNX model", MAX_MODEL_BYTES)?, path)
}

/// The model in these bytes; `path` is for messages.
///
/// # Errors
/// Not protobuf, or a model without IR version, operator set or graph: almost any bytes decode as an empty message.
pub fn parse(bytes: &[u8], path: &Path) -> Result<ModelProto> {
    let wrong = |reason: String| Error::Malformed { what: "ONNX model", path: path.into(), reason };
    let model = ModelProto::decode(bytes).map_err(|e| wrong(e.to_string()))?;
    let missing = match &model {
        ModelProto { ir_version: None, .. } => "no ir_version",
        ModelProto { graph: None, .. } => "no graph",
        ModelProto { opset_import, .. } if opset_import.is_empty() => "no opset_import",
        _ => return Ok(model),
    };
    Err(wrong(missing.into()))
}

/// Writes a model, atomically. The same model gives the same bytes.
///
/// # Errors
/// Over [`MAX_MODEL_BYTES`], or the disk.
pub fn write(path: &Path, model: &ModelProto) -> Result<()> {
    let found_bytes = model.encoded_len() as u64;
    if found_bytes > MAX_MODEL_BYTES {
        return Err(Error::TooLarge { what: "an ONNX model", path: path.into(), found_bytes, limit_bytes: MAX_MODEL_BYTES });
    }
    files::write_atomic(path, &model.encode_to_vec())
}

impl ModelProto {
    /// A named value about the model.
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.metadata_props.iter().find(|entry| entry.key() == key).map(|entry| entry.value())
    }

    /// Precision that the graph itself asks for: "int8" where it quantizes, else "fp16" where it holds or casts to FP16, else "fp32".
    pub fn precision(&self) -> &'static str {
        let Some(graph) = &self.graph else { return "fp32" };
        let half = i64::from(DataType::Float16 as i32);
        let casts = |node: &NodeProto| node.op_type() == "Cast" && node.attribute.iter().any(|a| a.name() == "to" && a.i() == half);
        if graph.node.iter().any(|node| node.op_type() == "QuantizeLinear" || node.op_type() == "DequantizeLinear") {
            "int8"
        } else if graph.initializer.iter().any(|t| i64::from(t.data_type()) == half) || graph.node.iter().any(casts) {
            "fp16"
        } else {
            "fp32"
        }
    }
}

impl ValueInfoProto {
    /// A tensor of this type and of fixed sizes.
    pub fn tensor(name: &str, data_type: DataType, shape: &[i64]) -> Self {
        Self::sized(name, data_type, shape.iter().map(|&n| DimensionValue::DimValue(n)))
    }

    /// A tensor of this type and of fixed or named sizes.
    pub fn sized(name: &str, data_type: DataType, sizes: impl IntoIterator<Item = DimensionValue>) -> Self {
        let dim = sizes.into_iter().map(|value| Dimension { value: Some(value), denotation: None }).collect();
        let tensor = TensorType { elem_type: Some(data_type.into()), shape: Some(TensorShapeProto { dim }) };
        let value = Some(TypeValue::TensorType(tensor));
        Self { name: Some(name.to_owned()), r#type: Some(TypeProto { value, denotation: None }), ..Self::default() }
    }

    /// Element type, if this is a tensor of a known type.
    pub fn element_type(&self) -> Option<DataType> {
        DataType::try_from(self.as_tensor()?.elem_type?).ok()
    }

    /// Sizes, if this is a tensor whose sizes are all fixed or named.
    pub fn sizes(&self) -> Option<Vec<DimensionValue>> {
        self.as_tensor()?.shape.as_ref()?.dim.iter().map(|dim| dim.value.clone()).collect()
    }

    /// Element type and sizes, if this is a tensor of a known type with all sizes fixed.
    pub fn fixed_tensor(&self) -> Option<(DataType, Vec<i64>)> {
        let size = |value| match value {
            DimensionValue::DimValue(n) => Some(n),
            DimensionValue::DimParam(_) => None,
        };
        Some((self.element_type()?, self.sizes()?.into_iter().map(size).collect::<Option<_>>()?))
    }

    fn as_tensor(&self) -> Option<&TensorType> {
        match self.r#type.as_ref()?.value.as_ref()? {
            TypeValue::TensorType(tensor) => Some(tensor),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    /// Written by Python's `onnx` 1.23: every field of every message that matters to us is set (see the script beside it).
    const FOREIGN: &[u8] = include_bytes!("../tests/fixtures/foreign.onnx");

    #[test]
    fn a_foreign_model_comes_back_byte_by_byte() {
        let model = parse(FOREIGN, Path::new("foreign.onnx")).unwrap();
        assert_eq!(model.encode_to_vec(), FOREIGN);
        let graph = model.graph.unwrap();
        assert_eq!(graph.input[0].fixed_tensor().unwrap(), (DataType::Float, vec![1, 3, 4]));
        assert_eq!(graph.initializer[0].float_data, [1.5, -2.0]);
        assert_eq!(graph.initializer[1].external_data[0].value(), "weights.bin");
        assert_eq!(graph.node[0].attribute.iter().find(|a| a.name() == "perm").unwrap().ints, [1, 0, 2]);
    }

    #[test]
    fn bytes_that_are_not_a_model_are_an_error() {
        for bytes in [&b""[..], b"\x08", b"hello world", &[0x08, 0x08]] {
            let error = parse(bytes, Path::new("x.onnx")).unwrap_err();
            assert!(error.to_string().starts_with("x.onnx is not a valid ONNX model: "), "{error}");
        }
    }

    #[test]
    fn a_model_over_the_limit_is_refused_before_it_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("big.onnx");
        std::fs::File::create(&path).unwrap().set_len(MAX_MODEL_BYTES + 1).unwrap();
        assert!(matches!(read(&path), Err(Error::TooLarge { .. })));
    }

    #[test]
    fn nesting_without_end_is_an_error_and_no_stack_overflow() {
        let mut node = NodeProto::default();
        for _ in 0..200 {
            let graph = GraphProto { node: vec![node], ..GraphProto::default() };
            node = NodeProto { attribute: vec![AttributeProto { g: Some(graph), ..AttributeProto::default() }], ..NodeProto::default() };
        }
        let graph = Some(GraphProto { node: vec![node], ..GraphProto::default() });
        let model = ModelProto { ir_version: Some(8), graph, opset_import: vec![OperatorSetIdProto::default()], ..ModelProto::default() };
        assert!(parse(&model.encode_to_vec(), Path::new("x")).unwrap_err().to_string().contains("recursion"));
    }

    proptest! {
        #[test]
        fn damaged_bytes_never_panic(cut in 0usize..FOREIGN.len(), flips in prop::collection::vec((0usize..FOREIGN.len(), any::<u8>()), 0..8)) {
            let mut bytes = FOREIGN.to_vec();
            for (at, value) in flips {
                bytes[at] = value;
            }
            bytes.truncate(FOREIGN.len() - cut);
            let _ = parse(&bytes, Path::new("x"));
        }

        #[test]
        fn any_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = parse(&bytes, Path::new("x"));
        }
    }
}
