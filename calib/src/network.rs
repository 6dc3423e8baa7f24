//! An FP32 graph in ONNX Runtime, with tensors in between as extra outputs.

use std::path::{Path, PathBuf};

use amis_artifacts::classes::MAX_CLASSES;
use amis_artifacts::image_spec::ImageSpec;
use amis_artifacts::onnx::{DataType, DimensionValue, ModelProto, TensorType, TypeProto, TypeValue, ValueInfoProto};
use amis_runtime::backend::onnxruntime::environment;
use ort::environment::Environment;
use ort::session::builder::GraphOptimizationLevel;
use ort::session::{OutputSelector, RunOptions, Session, SessionOutputs};
use ort::value::TensorRef;
use prost::Message;

use crate::{Error, Result};

/// A loaded graph.
pub(crate) struct Network {
    session: Session,
    /// Name of its input.
    input: String,
    input_shape: [usize; 4],
    /// Name of the output with a value by class and position, if it has one.
    masks: Option<String>,
}

/// What one run made.
pub(crate) struct Outputs<'a> {
    image: &'a Path,
    input: (&'a str, [usize; 4], &'a [f32]),
    masks: Option<&'a str>,
    values: SessionOutputs<'a>,
}

/// A value that a run made.
pub(crate) struct Seen<'a> {
    /// Sizes.
    pub(crate) shape: Vec<usize>,
    /// Values, row-major.
    pub(crate) values: &'a [f32],
}

impl Network {
    /// Loads `model` (of the file `path`, for messages) with `tensors` as outputs too.
    ///
    /// # Errors
    /// No ONNX Runtime, or a graph that it cannot run or that does not take images of this specification.
    pub(crate) fn open(path: &Path, mut model: ModelProto, tensors: &[String], spec: &ImageSpec, threads: usize) -> Result<Self> {
        let wrong = |reason: String| Error::Graph { path: path.into(), reason };
        let graph = model.graph.get_or_insert_default();
        let inputs: Vec<_> = graph.input.iter().filter(|i| !graph.initializer.iter().any(|t| t.name() == i.name())).collect();
        let [input] = inputs[..] else { return Err(wrong(format!("it has {} inputs, expected one", inputs.len()))) };
        let input_shape = [1, 3, spec.height_px as usize, spec.width_px as usize];
        match one_image(input) {
            Some((DataType::Float, shape)) if shape == input_shape.map(|n| n as i64) => {}
            found => {
                return Err(wrong(format!("its input {} is {found:?}, expected float32 {input_shape:?} as the checkpoint's image spec says", input.name())));
            }
        }
        let input = input.name().to_owned();
        let is_mask = |output: &&ValueInfoProto| match one_image(output) {
            Some((DataType::Float, shape)) => matches!(shape[..], [1, classes, _, _] if (1..=MAX_CLASSES as i64).contains(&classes)),
            _ => false,
        };
        let masks = graph.output.iter().find(is_mask).map(|output| output.name().to_owned());
        for name in tensors.iter().filter(|name| *name != &input) {
            if !graph.output.iter().any(|o| o.name() == name) {
                graph.output.push(float_output(name));
            }
        }
        let bytes = model.encode_to_vec();
        drop(model);
        let session = session(&environment()?, &bytes, threads).map_err(|e| wrong(e.message().to_owned()))?;
        Ok(Self { session, input, input_shape, masks })
    }

    /// Runs an image (`path` is for messages) and makes nothing but the masks: positions by predicted class, empty where the graph has no masks.
    ///
    /// # Errors
    /// Inference fails.
    pub(crate) fn classes(&mut self, path: &Path, input: &[f32]) -> Result<Vec<u64>> {
        let Some(masks) = &self.masks else { return Ok(Vec::new()) };
        let failed = |e: ort::Error| failed(path, &e);
        let options = RunOptions::new().map_err(failed)?.with_outputs(OutputSelector::no_default().with(masks));
        let tensor = TensorRef::from_array_view((self.input_shape, input)).map_err(failed)?;
        let outputs = self.session.run_with_options(ort::inputs![tensor], &options).map_err(failed)?;
        let (shape, values) = outputs[masks.as_str()].try_extract_tensor::<f32>().map_err(failed)?;
        Ok(count_classes(values, shape[1] as usize))
    }

    /// Runs an image; `path` is for messages.
    ///
    /// # Errors
    /// Inference fails.
    pub(crate) fn run<'a>(&'a mut self, path: &'a Path, input: &'a [f32]) -> Result<Outputs<'a>> {
        let tensor = TensorRef::from_array_view((self.input_shape, input)).map_err(|e| failed(path, &e))?;
        let values = self.session.run(ort::inputs![tensor]).map_err(|e| failed(path, &e))?;
        Ok(Outputs { image: path, input: (&self.input, self.input_shape, input), masks: self.masks.as_deref(), values })
    }
}

impl Outputs<'_> {
    /// A tensor by name, the graph's input among them.
    ///
    /// # Errors
    /// It is no output, or not float32.
    pub(crate) fn tensor(&self, name: &str) -> Result<Seen<'_>> {
        let (input, shape, values) = self.input;
        if name == input {
            return Ok(Seen { shape: shape.to_vec(), values });
        }
        let value = self.values.get(name).ok_or_else(|| Error::Infer { image: self.image.into(), reason: format!("no output {name}") })?;
        let (shape, values) = value.try_extract_tensor::<f32>().map_err(|e| failed(self.image, &e))?;
        Ok(Seen { shape: shape.iter().map(|&n| n as usize).collect(), values })
    }

    /// Positions by predicted class, as [`Network::classes`].
    ///
    /// # Errors
    /// As [`Self::tensor`].
    pub(crate) fn classes(&self) -> Result<Vec<u64>> {
        let Some(masks) = self.masks else { return Ok(Vec::new()) };
        let masks = self.tensor(masks)?;
        Ok(count_classes(masks.values, masks.shape[1]))
    }
}

fn failed(image: &Path, error: &ort::Error) -> Error {
    Error::Infer { image: PathBuf::from(image), reason: error.message().to_owned() }
}

/// Positions by class with the largest value in `[C, positions]`.
fn count_classes(values: &[f32], classes: usize) -> Vec<u64> {
    let positions = values.len() / classes;
    let mut counts = vec![0; classes];
    for at in 0..positions {
        let best = (0..classes).fold(0, |best, class| if values[class * positions + at] > values[best * positions + at] { class } else { best });
        counts[best] += 1;
    }
    counts
}

/// Type and sizes of an input or output when one image is run: a dynamic batch is 1 then.
fn one_image(value: &ValueInfoProto) -> Option<(DataType, Vec<i64>)> {
    let mut sizes = value.sizes()?;
    if let Some(batch @ DimensionValue::DimParam(_)) = sizes.first_mut() {
        *batch = DimensionValue::DimValue(1);
    }
    ValueInfoProto::sized(value.name(), value.element_type()?, sizes).fixed_tensor()
}

/// A float32 output whose shape ONNX Runtime finds itself.
fn float_output(name: &str) -> ValueInfoProto {
    let tensor = TensorType { elem_type: Some(DataType::Float.into()), shape: None };
    let value = Some(TypeValue::TensorType(tensor));
    ValueInfoProto { name: Some(name.to_owned()), r#type: Some(TypeProto { value, denotation: None }), ..ValueInfoProto::default() }
}

fn session(environment: &Environment, model: &[u8], threads: usize) -> ort::Result<Session> {
    Session::builder(environment)?
        .with_optimization_level(GraphOptimizationLevel::All)?
        .with_intra_threads(threads)?
        // Between two runs the histograms need the processor.
        .with_intra_op_spinning(false)?
        .commit_from_memory(model)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_counted_by_position_and_of_equal_values_the_first_counts() {
        assert_eq!(count_classes(&[1.0, 0.0, 2.0, /**/ 0.0, 0.0, 3.0], 2), [2, 1]);
    }
}
