use half::{bf16, f16};

/// Type of a tensor's elements in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Element {
    /// 8 bytes, rounded to float32.
    F64,
    /// 4 bytes.
    F32,
    /// IEEE half precision, 2 bytes.
    F16,
    /// The upper half of a float32, 2 bytes.
    Bf16,
    /// No floating-point number: counters and masks, which are no weights.
    Other,
}

impl Element {
    /// Bytes of one element; none for those that are not read.
    pub(super) fn size_bytes(self) -> Option<usize> {
        match self {
            Self::F64 => Some(8),
            Self::F32 => Some(4),
            Self::F16 | Self::Bf16 => Some(2),
            Self::Other => None,
        }
    }
}

/// Where the elements of a tensor lie in its storage; all counts are elements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) offset: usize,
    pub(super) shape: Vec<usize>,
    pub(super) stride: Vec<usize>,
}

impl Layout {
    /// Row-major from the start.
    pub(super) fn contiguous(shape: &[usize]) -> Self {
        let mut stride = vec![1usize; shape.len()];
        for d in (1..shape.len()).rev() {
            stride[d - 1] = stride[d].saturating_mul(shape[d]);
        }
        Self { offset: 0, shape: shape.to_vec(), stride }
    }

    /// Number of elements; none where it is beyond any memory.
    pub(super) fn elements(&self) -> Option<usize> {
        self.shape.iter().try_fold(1usize, |n, &side| n.checked_mul(side))
    }

    /// Checks that every element lies within a storage of `stored` elements and that there are not more of them than that:
    /// what is read then never exceeds the file.
    fn check(&self, stored: usize) -> Result<usize, String> {
        let wrong = || format!("shape {:?}, strides {:?} and offset {} do not lie within {stored} stored values", self.shape, self.stride, self.offset);
        let count = self.elements().filter(|&n| n <= stored).ok_or_else(wrong)?;
        if count == 0 {
            return Ok(0);
        }
        let last = self.shape.iter().zip(&self.stride).try_fold(self.offset, |at, (&side, &stride)| at.checked_add((side - 1).checked_mul(stride)?));
        if self.shape.len() == self.stride.len() && last.is_some_and(|at| at < stored) { Ok(count) } else { Err(wrong()) }
    }

    /// Calls `visit` with the place of every element, in row-major order.
    fn for_each(&self, count: usize, mut visit: impl FnMut(usize)) {
        let mut index = vec![0; self.shape.len()];
        let mut at = self.offset;
        for _ in 0..count {
            visit(at);
            for d in (0..self.shape.len()).rev() {
                index[d] += 1;
                if index[d] < self.shape[d] {
                    at += self.stride[d];
                    break;
                }
                at -= (self.shape[d] - 1) * self.stride[d];
                index[d] = 0;
            }
        }
    }
}

/// Elements of a tensor as float32, row-major, from the little-endian bytes of its storage.
pub(super) fn gather(bytes: &[u8], element: Element, layout: &Layout) -> Result<Vec<f32>, String> {
    let size = element.size_bytes().ok_or("its values are no floating-point numbers")?;
    let count = layout.check(bytes.len() / size)?;
    let mut values = Vec::with_capacity(count);
    match element {
        Element::F64 => {
            let stored = bytes.as_chunks::<8>().0;
            layout.for_each(count, |at| values.push(f64::from_le_bytes(stored[at]) as f32));
        }
        Element::F32 => {
            let stored = bytes.as_chunks::<4>().0;
            layout.for_each(count, |at| values.push(f32::from_le_bytes(stored[at])));
        }
        Element::F16 => {
            let stored = bytes.as_chunks::<2>().0;
            layout.for_each(count, |at| values.push(f16::from_le_bytes(stored[at]).to_f32()));
        }
        Element::Bf16 => {
            let stored = bytes.as_chunks::<2>().0;
            layout.for_each(count, |at| values.push(bf16::from_le_bytes(stored[at]).to_f32()));
        }
        Element::Other => {}
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn bytes(values: &[f32]) -> Vec<u8> {
        values.iter().flat_map(|v| v.to_le_bytes()).collect()
    }

    #[test]
    fn a_transposed_window_is_read_in_its_own_order() {
        let stored = bytes(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let layout = Layout { offset: 1, shape: vec![3, 2], stride: vec![1, 3] };
        assert_eq!(gather(&stored, Element::F32, &layout).unwrap(), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
        assert_eq!(gather(&stored, Element::F32, &Layout::contiguous(&[])).unwrap(), [0.0]);
        assert!(gather(&stored, Element::F32, &Layout::contiguous(&[0, 3])).unwrap().is_empty());
    }

    #[test]
    fn elements_outside_the_storage_are_refused() {
        let stored = bytes(&[0.0; 6]);
        let outside = [
            Layout { offset: 1, shape: vec![6], stride: vec![1] },
            Layout { offset: 0, shape: vec![3, 2], stride: vec![2, 2] },
            Layout { offset: 0, shape: vec![7], stride: vec![0] },
            Layout { offset: usize::MAX, shape: vec![2], stride: vec![1] },
            Layout { offset: 0, shape: vec![2, 2], stride: vec![usize::MAX, 1] },
            Layout { offset: 0, shape: vec![usize::MAX, 2], stride: vec![0, 0] },
            Layout { offset: 0, shape: vec![2], stride: vec![] },
        ];
        for layout in outside {
            assert!(gather(&stored, Element::F32, &layout).is_err(), "{layout:?}");
        }
    }
}
