//! Constant weights: their values, and output channels that are dead.

use amis_artifacts::onnx::{DataLocation, DataType, TensorProto};

/// Values of a float32 constant, row-major.
///
/// # Errors
/// Says what does not fit: another type, data in another file, or a number of values that its dimensions do not say.
pub(crate) fn values(tensor: &TensorProto) -> Result<Vec<f32>, String> {
    if tensor.data_type != Some(DataType::Float.into()) || tensor.data_location() == DataLocation::External {
        return Err("is no float32 constant in the file".into());
    }
    let values = match &tensor.raw_data {
        Some(raw) => raw.as_chunks::<4>().0.iter().map(|&b| f32::from_le_bytes(b)).collect(),
        None => tensor.float_data.clone(),
    };
    let expected = tensor.dims.iter().try_fold(1i64, |n, &d| n.checked_mul(d).filter(|_| d > 0));
    if expected == Some(values.len() as i64) { Ok(values) } else { Err(format!("has {} values and the sizes {:?}", values.len(), tensor.dims)) }
}

/// Output channels, along `out_axis` of `dims`, that are all 0.
///
/// # Errors
/// Names the channel with a value that is not finite.
pub(crate) fn dead_channels(values: &[f32], dims: &[i64], out_axis: usize) -> Result<Vec<usize>, String> {
    let channels = dims[out_axis] as usize;
    let inner: usize = dims[out_axis + 1..].iter().product::<i64>() as usize;
    let mut dead = vec![true; channels];
    for (place, value) in values.iter().enumerate() {
        let channel = place / inner % channels;
        if !value.is_finite() {
            return Err(format!("has the value {value} in output channel {channel}"));
        }
        dead[channel] &= *value == 0.0;
    }
    Ok((0..channels).filter(|&channel| dead[channel]).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn channels_lie_along_their_axis_and_dead_ones_are_named() {
        let weight = [1.0, 0.0, -3.0, /**/ -2.0, 0.0, 0.5];
        assert_eq!(dead_channels(&weight, &[2, 3], 1).unwrap(), [1]);
        assert!(dead_channels(&weight, &[2, 3], 0).unwrap().is_empty());
        assert!(dead_channels(&[1.0, f32::NAN], &[1, 2], 1).unwrap_err().contains("NaN in output channel 1"));
    }

    #[test]
    fn a_constant_that_lies_about_its_size_is_refused() {
        let tensor = |dims: &[i64], data: &[f32]| TensorProto {
            data_type: Some(DataType::Float.into()),
            dims: dims.to_vec(),
            float_data: data.to_vec(),
            ..TensorProto::default()
        };
        assert_eq!(values(&tensor(&[1, 2], &[1.0, 2.0])).unwrap(), [1.0, 2.0]);
        for wrong in [tensor(&[2, 2], &[1.0, 2.0]), tensor(&[0, 2], &[]), tensor(&[i64::MAX, 4], &[1.0]), tensor(&[-1, -2], &[1.0, 2.0])] {
            assert!(values(&wrong).is_err());
        }
        let external = TensorProto { data_location: Some(DataLocation::External.into()), ..tensor(&[1], &[1.0]) };
        assert!(values(&external).unwrap_err().contains("in the file"));
    }
}
