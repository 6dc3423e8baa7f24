//! One file of a repository, over links that break.

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use amis_artifacts::files;
use url::Url;

use super::transport::Fetcher;
use super::{Error, Result};

/// Tries in a row that bring nothing before the file is left for the next look.
const MAX_TRIES: u32 = 6;
/// Wait after the first try that failed; doubles, up to [`MAX_WAIT`].
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// Longest wait.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// A file that signed metadata describes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Where it is.
    pub url: Url,
    /// Its size.
    pub bytes: u64,
    /// Its hash, in hexadecimal.
    pub sha256: String,
}

/// Fetches a file to `path`, going on with what is there; tells how many of its bytes have arrived. At most `max_bytes_per_s`, if given.
///
/// # Errors
/// [`Error::Transport`] if nothing came for long; [`Error::Target`] if it is not the signed file; the disk. What has arrived stays, to go on with.
pub(super) fn fetch(fetcher: &Fetcher, wanted: &Wanted, path: &Path, max_bytes_per_s: Option<u64>, progress: &mut dyn FnMut(u64)) -> Result<()> {
    let io = |source| Error::io("write", path, source);
    let mut file = File::options().create(true).truncate(false).read(true).write(true).open(path).map_err(io)?;
    let mut have = file.metadata().map_err(io)?.len();
    let mut resumed = have > 0;
    let mut backoff = Backoff::default();
    loop {
        if have > wanted.bytes {
            (have, resumed) = (0, false);
        }
        file.set_len(have).map_err(io)?;
        let before = have;
        let result = part(fetcher, wanted, &mut file, &mut have, max_bytes_per_s, progress);
        match result {
            Ok(()) => {
                file.sync_all().map_err(io)?;
                let found = files::sha256_file(path)?;
                if found == wanted.sha256 {
                    return Ok(());
                }
                // What was there before may have been of a broken try: once more from the start.
                if !std::mem::take(&mut resumed) {
                    fs::remove_file(path).map_err(io)?;
                    return Err(Error::Target { url: wanted.url.to_string(), reason: format!("its SHA-256 is {found}, expected {}", wanted.sha256) });
                }
                have = 0;
            }
            Err(Part::Disk(source)) => return Err(io(source)),
            Err(Part::TooLong) => {
                fs::remove_file(path).map_err(io)?;
                return Err(Error::Target { url: wanted.url.to_string(), reason: format!("it has more than its {} bytes", wanted.bytes) });
            }
            Err(Part::Link(error)) => {
                if have > before {
                    backoff = Backoff::default();
                }
                let gone = error.kind() == ErrorKind::NotFound;
                match backoff.next().filter(|_| !gone) {
                    Some(wait) => {
                        tracing::info!("{} broke off at {have} of {} bytes ({error}); again in {:.1} s", wanted.url, wanted.bytes, wait.as_secs_f32());
                        thread::sleep(wait);
                    }
                    None => return Err(Error::Transport { url: wanted.url.to_string(), reason: error.to_string() }),
                }
            }
        }
    }
}

/// Why a part ends before the file does.
enum Part {
    Link(std::io::Error),
    Disk(std::io::Error),
    TooLong,
}

/// Appends what one answer brings.
fn part(
    fetcher: &Fetcher,
    wanted: &Wanted,
    file: &mut File,
    have: &mut u64,
    max_bytes_per_s: Option<u64>,
    progress: &mut dyn FnMut(u64),
) -> std::result::Result<(), Part> {
    if *have == wanted.bytes {
        return Ok(());
    }
    let mut body = fetcher.open(&wanted.url, *have).map_err(Part::Link)?;
    if body.start > *have {
        return Err(Part::Link(std::io::Error::new(ErrorKind::InvalidData, "the server sends another part than was asked for")));
    }
    *have = body.start;
    file.seek(SeekFrom::Start(*have)).map_err(Part::Disk)?;
    let (begin, first) = (Instant::now(), *have);
    let mut piece = vec![0; 64 << 10];
    loop {
        match body.reader.read(&mut piece).map_err(Part::Link)? {
            0 if *have == wanted.bytes => return Ok(()),
            0 => return Err(Part::Link(ErrorKind::UnexpectedEof.into())),
            n if *have + n as u64 > wanted.bytes => return Err(Part::TooLong),
            n => {
                file.write_all(&piece[..n]).map_err(Part::Disk)?;
                *have += n as u64;
                progress(*have);
            }
        }
        if let Some(limit) = max_bytes_per_s {
            let due = Duration::from_secs_f64((*have - first) as f64 / limit as f64);
            thread::sleep(due.saturating_sub(begin.elapsed()));
        }
    }
}

/// Waits between tries: doubling, each between a half and the whole, so that a fleet does not come back in step. Ends after [`MAX_TRIES`].
#[derive(Default)]
pub(super) struct Backoff {
    tries: u32,
}

impl Iterator for Backoff {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        self.tries += 1;
        let whole = FIRST_WAIT.saturating_mul(1 << (self.tries - 1).min(16)).min(MAX_WAIT);
        (self.tries < MAX_TRIES).then(|| whole.mul_f64(rand::random_range(0.5..1.0)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn wanted(path: &Path, bytes: &[u8]) -> Wanted {
        fs::write(path, bytes).unwrap();
        Wanted { url: Url::from_file_path(path).unwrap(), bytes: bytes.len() as u64, sha256: files::sha256(bytes) }
    }

    proptest! {
        /// Whatever an earlier try has left, the signed file comes out.
        #[test]
        fn what_is_there_is_gone_on_with_or_replaced(bytes in proptest::collection::vec(any::<u8>(), 1..3000), left in proptest::collection::vec(any::<u8>(), 0..4000), good in 0usize..4000) {
            let dir = tempfile::tempdir().unwrap();
            let wanted = wanted(&dir.path().join("there"), &bytes);
            let path = dir.path().join("here");
            for left in [&left[..], &bytes[..good.min(bytes.len())]] {
                fs::write(&path, left).unwrap();
                fetch(&Fetcher::new(), &wanted, &path, None, &mut |_| {}).unwrap();
                prop_assert_eq!(&fs::read(&path).unwrap(), &bytes);
            }
        }
    }

    #[test]
    fn a_file_that_is_not_the_signed_one_is_refused_and_removed() {
        let dir = tempfile::tempdir().unwrap();
        let (there, here) = (dir.path().join("there"), dir.path().join("here"));
        let good = wanted(&there, b"signed content");
        for (content, reason) in [(&b"forged content"[..], "its SHA-256 is"), (b"signed content and more", "more than its 14 bytes")] {
            fs::write(&there, content).unwrap();
            let error = fetch(&Fetcher::new(), &good, &here, None, &mut |_| {}).unwrap_err();
            assert!(matches!(&error, Error::Target { .. }) && error.to_string().contains(reason), "{error}");
            assert!(!here.exists());
        }
        fs::remove_file(&there).unwrap();
        assert!(matches!(fetch(&Fetcher::new(), &good, &here, None, &mut |_| {}).unwrap_err(), Error::Transport { .. }));
    }

    #[test]
    fn the_rate_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let wanted = wanted(&dir.path().join("there"), &[7; 200_000]);
        let start = Instant::now();
        fetch(&Fetcher::new(), &wanted, &dir.path().join("here"), Some(1_000_000), &mut |_| {}).unwrap();
        assert!(start.elapsed() >= Duration::from_millis(190), "{:?}", start.elapsed());
    }

    #[test]
    fn waits_double_with_jitter_and_end() {
        let waits: Vec<Duration> = Backoff::default().collect();
        assert_eq!(waits.len() as u32, MAX_TRIES - 1);
        for (at, wait) in waits.iter().enumerate() {
            let whole = FIRST_WAIT.saturating_mul(1 << at).min(MAX_WAIT);
            assert!((whole / 2..=whole).contains(wait), "{waits:?}");
        }
    }
}
