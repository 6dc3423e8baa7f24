//! A picture of what two graphs say about an image.

use std::io::Cursor;
use std::path::Path;

use amis_artifacts::classes::{ClassList, IGNORE};
use amis_artifacts::files;
use image::{ImageFormat, RgbImage};

use crate::Result;

/// Where two graphs differ.
const DIFFERENT: [u8; 3] = [255, 0, 0];

/// Writes panels side by side as PNG, all of the size of `rgb`: image, classes of the first map, classes of the second, labels if there are any,
/// and a grey image with red where the maps differ.
pub(crate) fn write(path: &Path, classes: &ClassList, rgb: &[u8], width_px: u32, maps: [&[u8]; 2], labels: Option<&[u8]>) -> Result<()> {
    let coloured = |map: &[u8]| -> Vec<u8> {
        let blend = |(pixel, &id): (&[u8; 3], &u8)| {
            let color = if id == IGNORE { [0; 3] } else { classes.get(id).map_or([255; 3], |c| c.color) };
            std::array::from_fn::<u8, 3, _>(|i| ((u16::from(pixel[i]) + 2 * u16::from(color[i])) / 3) as u8)
        };
        rgb.as_chunks::<3>().0.iter().zip(map).flat_map(blend).collect()
    };
    let marked = |(pixel, (a, b)): (&[u8; 3], (&u8, &u8))| {
        let grey = (pixel.iter().map(|&v| u16::from(v)).sum::<u16>() / 3) as u8;
        if a == b { [grey; 3] } else { DIFFERENT }
    };
    let mut panels = vec![rgb.to_vec(), coloured(maps[0]), coloured(maps[1])];
    panels.extend(labels.map(coloured));
    panels.push(rgb.as_chunks::<3>().0.iter().zip(maps[0].iter().zip(maps[1])).flat_map(marked).collect());
    let line = 3 * width_px as usize;
    let height = rgb.len() / line;
    let pixels: Vec<u8> = (0..height).flat_map(|y| panels.iter().flat_map(move |p| &p[y * line..][..line])).copied().collect();
    let mut encoded = Cursor::new(Vec::new());
    let failed = |reason: String| amis_artifacts::Error::Io { action: "write", path: path.into(), source: std::io::Error::other(reason) };
    let picture = RgbImage::from_raw(panels.len() as u32 * width_px, height as u32, pixels).ok_or_else(|| failed("a panel has another size".into()))?;
    picture.write_to(&mut encoded, ImageFormat::Png).map_err(|e| failed(e.to_string()))?;
    Ok(files::write_atomic(path, encoded.get_ref())?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn panels_stand_side_by_side_and_differences_are_red() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("picture.png");
        let classes = ClassList::from_names(&["background", "road"]).unwrap();
        write(&path, &classes, &[90; 12], 2, [&[0, 1, 1, 0], &[0, 1, 0, 0]], Some(&[IGNORE, 1, 1, 0])).unwrap();
        let picture = image::open(&path).unwrap().into_rgb8();
        assert_eq!(picture.dimensions(), (10, 2));
        let pixel = |x, y| picture.get_pixel(x, y).0;
        assert_eq!((pixel(0, 0), pixel(8, 0), pixel(8, 1), pixel(9, 1)), ([90; 3], [90; 3], DIFFERENT, [90; 3]));
        assert_eq!((pixel(3, 0), pixel(5, 0)), ([115, 30, 30], [115, 30, 30]));
        // Where the label says nothing, black.
        assert_eq!(pixel(6, 0), [30; 3]);
    }
}
