//! Writes what `torch.load` reads, also with `weights_only=True`: an `OrderedDict` of float32 tensors.

use std::io::{Cursor, Write};

use amis_artifacts::weights::Weights;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::element::Layout;

/// Folder of all entries; PyTorch takes the file's name, any will do.
const FOLDER: &str = "weights";
/// PyTorch aligns storages so that they can be mapped into memory.
const ALIGNMENT_BYTES: u16 = 64;

/// The weights as the bytes of a `.pth` file.
pub(super) fn to_bytes(weights: &Weights) -> zip::result::ZipResult<Vec<u8>> {
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored).with_alignment(ALIGNMENT_BYTES);
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    let mut entry = |name: &str, bytes: &[u8]| -> zip::result::ZipResult<()> {
        archive.start_file(format!("{FOLDER}/{name}"), options)?;
        Ok(archive.write_all(bytes)?)
    };
    entry("data.pkl", &program(weights))?;
    entry("byteorder", b"little")?;
    for (key, tensor) in weights.values().enumerate() {
        let bytes: Vec<u8> = tensor.data.iter().flat_map(|v| v.to_le_bytes()).collect();
        entry(&format!("data/{key}"), &bytes)?;
    }
    entry("version", b"3\n")?;
    Ok(archive.finish()?.into_inner())
}

/// The pickle, protocol 2: every tensor is a call of `_rebuild_tensor_v2` with its storage, offset, shape and strides.
fn program(weights: &Weights) -> Vec<u8> {
    let mut p = b"\x80\x02ccollections\nOrderedDict\n)R(".to_vec();
    for (key, (name, tensor)) in weights.iter().enumerate() {
        text(&mut p, name);
        p.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
        text(&mut p, "storage");
        p.extend(b"ctorch\nFloatStorage\n");
        text(&mut p, &key.to_string());
        text(&mut p, "cpu");
        number(&mut p, tensor.data.len());
        p.extend(b"tQ"); // the storage
        number(&mut p, 0);
        for sizes in [&tensor.shape, &Layout::contiguous(&tensor.shape).stride] {
            p.push(b'(');
            sizes.iter().for_each(|&n| number(&mut p, n));
            p.push(b't');
        }
        p.extend(b"\x89ccollections\nOrderedDict\n)RtR"); // not trainable, no hooks
    }
    p.extend(b"u.");
    p
}

fn text(p: &mut Vec<u8>, text: &str) {
    p.push(b'X');
    p.extend((text.len() as u32).to_le_bytes());
    p.extend(text.as_bytes());
}

fn number(p: &mut Vec<u8>, value: usize) {
    p.extend(b"\x8a\x08");
    p.extend((value as i64).to_le_bytes());
}
