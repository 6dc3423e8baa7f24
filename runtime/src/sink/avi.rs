//! Motion JPEG in AVI: the video that every player shows and that needs no encoder library.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Size of everything before the first frame: RIFF, header list and the start of the frame list.
const HEADER_BYTES: u64 = 224;
/// Largest file: some players read sizes as signed 32-bit numbers. Room for the index is kept.
const MAX_BYTES: u64 = (1 << 31) - (64 << 20);
/// The header is brought up to date this often, so that a video that was cut off plays up to there.
const FRAMES_PER_UPDATE: u32 = 30;
/// AVIF_HASINDEX.
const HAS_INDEX: u32 = 0x10;
/// AVIIF_KEYFRAME: with Motion JPEG every frame is one.
const KEY_FRAME: u32 = 0x10;

/// Writes frames one after the other. Layout: `RIFF(AVI, LIST(hdrl), LIST(movi, 00dc...), idx1)`, all numbers little-endian.
pub(super) struct AviWriter {
    file: BufWriter<File>,
    size: (u32, u32),
    /// Place and length of each frame, relative to the word `movi`.
    index: Vec<(u32, u32)>,
    /// Bytes up to here.
    end: u64,
    largest_frame: u32,
}

impl AviWriter {
    /// Starts a file, replacing one that is there.
    pub(super) fn create(path: &Path, size: (u32, u32), fps: f64) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let file = BufWriter::with_capacity(1 << 20, File::create(path)?);
        let mut writer = Self { file, size, index: Vec::new(), end: HEADER_BYTES, largest_frame: 0 };
        let header = writer.header(fps, 0);
        writer.file.write_all(&header)?;
        Ok(writer)
    }

    /// Whether a picture of so many bytes would make the file larger than `max_bytes` or than players read.
    pub(super) fn full(&self, jpeg_bytes: usize, max_bytes: Option<u64>) -> bool {
        self.end + jpeg_bytes as u64 > max_bytes.unwrap_or(MAX_BYTES).min(MAX_BYTES)
    }

    /// Bytes that it has when it is finished now.
    pub(super) fn bytes(&self) -> u64 {
        self.end + 8 + 16 * self.index.len() as u64
    }

    /// Appends a JPEG picture.
    pub(super) fn add(&mut self, jpeg: &[u8], fps: f64) -> io::Result<()> {
        if self.end + jpeg.len() as u64 > MAX_BYTES {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("an AVI video ends at {MAX_BYTES} bytes")));
        }
        let length = jpeg.len() as u32;
        self.file.write_all(b"00dc")?;
        self.file.write_all(&length.to_le_bytes())?;
        self.file.write_all(jpeg)?;
        // Chunks start at even places.
        self.file.write_all(&[0][..jpeg.len() % 2])?;
        self.index.push(((self.end - HEADER_BYTES + 4) as u32, length));
        self.end += 8 + jpeg.len() as u64 + jpeg.len() as u64 % 2;
        self.largest_frame = self.largest_frame.max(length);
        if self.index.len() as u32 % FRAMES_PER_UPDATE == 1 {
            self.update(fps, 0)?;
        }
        Ok(())
    }

    /// Writes the index and the final header.
    pub(super) fn finish(mut self, fps: f64) -> io::Result<()> {
        let mut index = Vec::with_capacity(8 + 16 * self.index.len());
        index.extend(b"idx1");
        index.extend((16 * self.index.len() as u32).to_le_bytes());
        for (place, length) in &self.index {
            index.extend(b"00dc");
            [KEY_FRAME, *place, *length].iter().for_each(|n| index.extend(n.to_le_bytes()));
        }
        self.file.write_all(&index)?;
        self.update(fps, index.len() as u64)
    }

    /// Writes the header anew over the old one.
    fn update(&mut self, fps: f64, index_bytes: u64) -> io::Result<()> {
        self.file.flush()?;
        self.file.get_ref().write_all_at(&self.header(fps, index_bytes), 0)
    }

    fn header(&self, fps: f64, index_bytes: u64) -> Vec<u8> {
        let (width, height) = self.size;
        let frames = self.index.len() as u32;
        let mut out = Header(Vec::with_capacity(HEADER_BYTES as usize));
        out.word(b"RIFF").numbers(&[(self.end + index_bytes - 8) as u32]).word(b"AVI ");
        out.word(b"LIST").numbers(&[192]).word(b"hdrl");
        // avih: microseconds a frame, bytes a second, padding, flags, frames, initial frames, streams, buffer, size, reserved.
        let flags = if index_bytes > 0 { HAS_INDEX } else { 0 };
        let bytes_per_second = (f64::from(self.largest_frame) * fps) as u32;
        out.word(b"avih").numbers(&[56, (1e6 / fps).round() as u32, bytes_per_second, 0, flags, frames, 0, 1, self.largest_frame, width, height, 0, 0, 0, 0]);
        out.word(b"LIST").numbers(&[116]).word(b"strl");
        // strh: kind, codec, flags, priority and language, initial frames, scale, rate, start, length, buffer, quality, sample size, frame rectangle.
        let rate = (fps * 1000.0).round() as u32;
        out.word(b"strh").numbers(&[56]).word(b"vids").word(b"MJPG").numbers(&[0, 0, 0, 1000, rate, 0, frames, self.largest_frame, u32::MAX, 0]);
        out.numbers(&[0, width & 0xffff | height << 16]);
        // strf, a BITMAPINFOHEADER: its size, width, height, planes and bits, codec, picture bytes, resolution, colours.
        let picture_bytes = width.saturating_mul(height).saturating_mul(3);
        out.word(b"strf").numbers(&[40, 40, width, height, 1 | 24 << 16]).word(b"MJPG").numbers(&[picture_bytes, 0, 0, 0, 0]);
        out.word(b"LIST").numbers(&[(self.end - HEADER_BYTES + 4) as u32]).word(b"movi");
        out.0
    }
}

struct Header(Vec<u8>);

impl Header {
    fn word(&mut self, word: &[u8; 4]) -> &mut Self {
        self.0.extend(word);
        self
    }

    fn numbers(&mut self, numbers: &[u32]) -> &mut Self {
        numbers.iter().for_each(|n| self.0.extend(n.to_le_bytes()));
        self
    }
}
