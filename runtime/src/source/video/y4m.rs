//! Y4M: a line of text, then each frame as a line of text and its planes without padding.

use std::io::{BufRead, Read};

use super::{Info, MAX_FRAME_BYTES, fps, read_exactly};
use crate::pixels::{Color, Layout, PixelFormat, YuvRange};

/// Longest line of text.
const MAX_LINE_BYTES: u64 = 4096;

pub(super) struct Y4m<R> {
    file: R,
    frame_bytes: usize,
}

/// Reads the first line.
pub(super) fn open<R: BufRead>(mut file: R) -> Result<(Y4m<R>, Info), String> {
    let line = line(&mut file)?.unwrap_or_default();
    let mut words = line.split(' ');
    if words.next() != Some("YUV4MPEG2") {
        return Err("does not begin like a Y4M file".to_owned());
    }
    let (mut width, mut height, mut rate, mut chroma, mut full) = (0, 0, None, "420", false);
    for word in words {
        match word.split_at_checked(1) {
            Some(("W", number)) => width = number.parse().unwrap_or(0),
            Some(("H", number)) => height = number.parse().unwrap_or(0),
            Some(("F", fraction)) => rate = fraction.split_once(':').and_then(|(a, b)| fps(a.parse().ok()?, b.parse().ok()?)),
            Some(("C", name)) => chroma = name,
            Some(("X", note)) => full |= note == "COLORRANGE=FULL",
            _ => {}
        }
    }
    let format = match chroma {
        "420" | "420jpeg" | "420mpeg2" | "420paldv" => PixelFormat::Yu12,
        "mono" => PixelFormat::Grey,
        other => return Err(format!("its pixels are {other:?}, expected 420 or mono")),
    };
    let range = if full { YuvRange::Full } else { YuvRange::Limited };
    let layout = Layout::new(format, (width, height), 0, Color { range, ..Color::BT601_LIMITED })?;
    let frame_bytes = layout.full_bytes();
    if frame_bytes > MAX_FRAME_BYTES {
        return Err(format!("{frame_bytes} bytes a frame, expected at most {MAX_FRAME_BYTES}"));
    }
    let fps = rate.ok_or("no frame rate in it")?;
    Ok((Y4m { file, frame_bytes }, Info { layout, fps, frames: None }))
}

impl<R: BufRead> Y4m<R> {
    /// See [`super::Frames::next`].
    pub(super) fn next(&mut self, bytes: &mut Vec<u8>) -> Result<bool, String> {
        match line(&mut self.file)? {
            None => Ok(false),
            Some(line) if line == "FRAME" || line.starts_with("FRAME ") => read_exactly(&mut self.file, self.frame_bytes, bytes),
            Some(_) => Err("does not begin with FRAME".to_owned()),
        }
    }
}

/// The next line of text; none at the end of the file.
fn line(file: &mut impl BufRead) -> Result<Option<String>, String> {
    let mut bytes = Vec::new();
    file.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut bytes).map_err(|e| e.to_string())?;
    match bytes.pop() {
        None => Ok(None),
        Some(b'\n') => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Some(_) if (bytes.len() as u64) < MAX_LINE_BYTES - 1 => Ok(None),
        Some(_) => Err(format!("a line of text of more than {MAX_LINE_BYTES} bytes")),
    }
}
