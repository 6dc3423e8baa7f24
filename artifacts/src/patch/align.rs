//! Which bytes of a new ONNX file belong to which of the old one: the weights of the same names.

use std::collections::HashMap;
use std::ops::Range;

/// Bytes of the new file that are numbers as in the old one.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Match {
    /// Where they lie in the new file.
    pub(super) new: Range<usize>,
    /// Where they start in the old one.
    pub(super) old: usize,
    /// Bytes of a number: 1, 2 or 4.
    pub(super) width: usize,
}

/// Matches in the order of the new file. A weight that has grown or shrunk matches as far as both reach. Files that are no ONNX models have none.
pub(super) fn matches(new: &[u8], old: &[u8]) -> Vec<Match> {
    let old: HashMap<&[u8], Tensor> = tensors(old).into_iter().map(|t| (t.name, t)).collect();
    let to_match = |t: Tensor| {
        let other = old.get(t.name).filter(|o| o.width == t.width)?;
        let bytes = t.data.len().min(other.data.len()) / t.width * t.width;
        (bytes > 0).then(|| Match { new: t.data.start..t.data.start + bytes, old: other.data.start, width: t.width })
    };
    tensors(new).into_iter().filter_map(to_match).collect()
}

struct Tensor<'a> {
    name: &'a [u8],
    data: Range<usize>,
    width: usize,
}

/// Initializers whose numbers are in `raw_data`: field 7 of a model is its graph, field 5 of that an initializer, with type 2, name 8 and raw data 9.
fn tensors(model: &[u8]) -> Vec<Tensor<'_>> {
    let mut found = Vec::new();
    for (_, graph) in Fields::new(model, 0..model.len()).filter(|(field, _)| *field == 7) {
        for (_, initializer) in Fields::new(model, graph.range()).filter(|(field, _)| *field == 5) {
            let (mut name, mut data, mut width) = (None, None, 1);
            for (field, value) in Fields::new(model, initializer.range()) {
                match (field, value) {
                    (2, Value::Number(data_type)) => width = width_of(data_type),
                    (8, Value::Bytes(range)) => name = Some(&model[range]),
                    (9, Value::Bytes(range)) => data = Some(range),
                    _ => {}
                }
            }
            found.extend(name.zip(data).map(|(name, data)| Tensor { name, data, width }));
        }
    }
    found
}

/// Float and int32 have four bytes; float16, bfloat16, int16 and uint16 two. All others are compared byte by byte.
fn width_of(data_type: u64) -> usize {
    match data_type {
        1 | 6 | 12 => 4,
        4 | 5 | 10 | 16 => 2,
        _ => 1,
    }
}

enum Value {
    Number(u64),
    Bytes(Range<usize>),
    Other,
}

impl Value {
    fn range(&self) -> Range<usize> {
        if let Self::Bytes(range) = self { range.clone() } else { 0..0 }
    }
}

/// Fields of a protobuf message; ends at the first thing that is none.
struct Fields<'a> {
    bytes: &'a [u8],
    at: usize,
    end: usize,
}

impl<'a> Fields<'a> {
    fn new(bytes: &'a [u8], range: Range<usize>) -> Self {
        Self { bytes, at: range.start, end: range.end }
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = *self.bytes.get(self.at..self.end)?.first()?;
            self.at += 1;
            value |= u64::from(byte & 127) << shift;
            if byte < 128 {
                return Some(value);
            }
        }
        None
    }

    fn skip(&mut self, bytes: u64) -> Option<Range<usize>> {
        let end = self.at.checked_add(usize::try_from(bytes).ok()?).filter(|&end| end <= self.end)?;
        Some(std::mem::replace(&mut self.at, end)..end)
    }
}

impl Iterator for Fields<'_> {
    type Item = (u64, Value);

    fn next(&mut self) -> Option<Self::Item> {
        let key = self.varint()?;
        let value = match key & 7 {
            0 => Value::Number(self.varint()?),
            1 => self.skip(8).map(|_| Value::Other)?,
            2 => {
                let bytes = self.varint()?;
                Value::Bytes(self.skip(bytes)?)
            }
            5 => self.skip(4).map(|_| Value::Other)?,
            _ => return None,
        };
        Some((key >> 3, value))
    }
}
