//! Motion JPEG in AVI. Chunks are read one after the other; lists are only entered, so that their sizes, which a file that was cut off has not got
//! right, do not matter.

use std::io::{ErrorKind, Read, Seek};

use super::{Info, MAX_FRAME_BYTES, fps, read_exactly};
use crate::pixels::{Color, Layout, PixelFormat};

/// Largest header chunk.
const MAX_HEADER_BYTES: u32 = 1 << 20;

pub(super) struct Avi<R> {
    file: R,
    /// The two digits that the chunks of our stream begin with.
    stream: [u8; 2],
}

struct Chunk {
    name: [u8; 4],
    bytes: u32,
}

/// Reads up to the first frame.
pub(super) fn open<R: Read + Seek>(mut file: R) -> Result<(Avi<R>, Info), String> {
    let (mut streams, mut is_video, mut rate, mut frames, mut found, mut bytes) = (0u8, false, None, None, None, Vec::new());
    let mut start = [0; 12];
    file.read_exact(&mut start).map_err(|_| "shorter than the header of an AVI file".to_owned())?;
    if &start[..4] != b"RIFF" || &start[8..] != b"AVI " {
        return Err("does not begin like an AVI file".to_owned());
    }
    while let Some(chunk) = next_chunk(&mut file)? {
        if &chunk.name == b"LIST" {
            if enter(&mut file)? == Some(*b"movi") {
                break;
            }
            continue;
        }
        if chunk.bytes > MAX_HEADER_BYTES || !matches!(&chunk.name, b"avih" | b"strh" | b"strf") {
            skip(&mut file, chunk.bytes)?;
            continue;
        }
        let padded = chunk.bytes + chunk.bytes % 2;
        if !read_exactly(&mut file, padded as usize, &mut bytes)? {
            break;
        }
        match &chunk.name {
            b"avih" => frames = number(&bytes, 4).filter(|n| *n > 0).map(u64::from),
            b"strh" => {
                streams = streams.saturating_add(1);
                is_video = found.is_none() && bytes.starts_with(b"vids");
                if is_video {
                    rate = number(&bytes, 6).zip(number(&bytes, 5)).and_then(|(rate, scale)| fps(rate, scale));
                }
            }
            // A BITMAPINFOHEADER.
            _ if is_video => {
                let codec: [u8; 4] = bytes.get(16..20).and_then(|b| b.try_into().ok()).unwrap_or_default();
                let size = number(&bytes, 1).zip(number(&bytes, 2)).ok_or("a header of the picture that is too short")?;
                if !codec.eq_ignore_ascii_case(b"MJPG") {
                    return Err(format!("its video is {:?}, expected MJPG", String::from_utf8_lossy(&codec)));
                }
                found = Some((streams - 1, size));
                is_video = false;
            }
            _ => {}
        }
    }
    let (stream, size) = found.ok_or("no video in it")?;
    let layout = Layout::new(PixelFormat::Mjpeg, size, 0, Color::BT601_LIMITED)?;
    let fps = rate.ok_or("no frame rate in it")?;
    Ok((Avi { file, stream: [b'0' + stream / 10, b'0' + stream % 10] }, Info { layout, fps, frames }))
}

impl<R: Read + Seek> Avi<R> {
    /// See [`super::Frames::next`].
    pub(super) fn next(&mut self, bytes: &mut Vec<u8>) -> Result<bool, String> {
        while let Some(chunk) = next_chunk(&mut self.file)? {
            match &chunk.name {
                b"LIST" | b"RIFF" => {
                    enter(&mut self.file)?;
                }
                [a, b, b'd', b'c' | b'b'] if [*a, *b] == self.stream => {
                    if chunk.bytes as usize > MAX_FRAME_BYTES {
                        return Err(format!("{} bytes, expected at most {MAX_FRAME_BYTES}", chunk.bytes));
                    }
                    if !read_exactly(&mut self.file, chunk.bytes as usize, bytes)? {
                        return Ok(false);
                    }
                    // Only the padding is left.
                    self.file.seek_relative(i64::from(chunk.bytes % 2)).map_err(|e| e.to_string())?;
                    return Ok(true);
                }
                _ => skip(&mut self.file, chunk.bytes)?,
            }
        }
        Ok(false)
    }
}

/// The next chunk's name and length; none at the end of the file.
fn next_chunk(file: &mut impl Read) -> Result<Option<Chunk>, String> {
    let mut header = [0; 8];
    match file.read_exact(&mut header) {
        Ok(()) => {}
        Err(e) if e.kind() == ErrorKind::UnexpectedEof => return Ok(None),
        Err(e) => return Err(e.to_string()),
    }
    let [a, b, c, d, length @ ..] = header;
    Ok(Some(Chunk { name: [a, b, c, d], bytes: u32::from_le_bytes(length) }))
}

/// Goes into a list, whose kind comes back; none at the end of the file.
fn enter(file: &mut impl Read) -> Result<Option<[u8; 4]>, String> {
    let mut kind = [0; 4];
    match file.read_exact(&mut kind) {
        Ok(()) => Ok(Some(kind)),
        Err(e) if e.kind() == ErrorKind::UnexpectedEof => Ok(None),
        Err(e) => Err(e.to_string()),
    }
}

/// Goes over a chunk's contents; chunks start at even places.
fn skip(file: &mut impl Seek, bytes: u32) -> Result<(), String> {
    file.seek_relative(i64::from(bytes) + i64::from(bytes % 2)).map_err(|e| e.to_string())
}

/// The number at place `index` of a chunk of numbers.
fn number(bytes: &[u8], index: usize) -> Option<u32> {
    bytes.get(4 * index..4 * index + 4).and_then(|b| b.try_into().ok()).map(u32::from_le_bytes)
}
