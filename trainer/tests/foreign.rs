//! Files that PyTorch and safetensors wrote (tests/fixtures/torch/make.py): what is read, what is refused, and what damage does.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use amis_artifacts::weights::{self, HostTensor, Weights};
use amis_trainer::Error;
use amis_trainer::foreign::{self, Element, ForeignWeights};
use proptest::prelude::*;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/torch").join(name)
}

/// Every tensor that the script expects in a file has its values, bit by bit; returns how many those are.
fn reads_as_expected(name: &str) -> usize {
    let mut file = ForeignWeights::open(&fixture(name)).unwrap();
    let prefix = format!("{name}/");
    let expected: Weights =
        weights::read(&fixture("expected.safetensors")).unwrap().into_iter().filter_map(|(key, t)| Some((key.strip_prefix(&prefix)?.to_owned(), t))).collect();
    let read = file.read(expected.keys().map(String::as_str)).unwrap();
    for (key, tensor) in &expected {
        assert_eq!(read[key].shape, tensor.shape, "{name}: {key}");
        let bits = |t: &HostTensor| t.data.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&read[key]), bits(tensor), "{name}: {key}");
    }
    expected.len()
}

fn refusal(name: &str) -> Error {
    ForeignWeights::open(&fixture(name)).unwrap_err()
}

#[test]
fn every_kind_of_tensor_is_read_as_pytorch_reads_it() {
    for (name, tensors) in [("plain.pth", 4), ("protocol4.pth", 4), ("kinds.pth", 5), ("kinds.safetensors", 3), ("shared.pth", 6), ("cuda.pth", 2)] {
        assert_eq!(reads_as_expected(name), tensors, "{name}");
    }
}

#[test]
fn tensors_are_found_in_nested_dicts_among_other_things() {
    assert_eq!(reads_as_expected("nested.pth"), 3);
    let file = ForeignWeights::open(&fixture("nested.pth")).unwrap();
    let names: Vec<&str> = file.names().collect();
    assert_eq!(
        names,
        [
            "model_state.module.bias",
            "model_state.module.weight",
            "optimizer_state.state.0.momentum_buffer",
            "optimizer_state.state.1.momentum_buffer",
            "parameter"
        ]
    );
}

#[test]
fn whole_numbers_are_no_weights() {
    for name in ["kinds.pth", "kinds.safetensors"] {
        let mut file = ForeignWeights::open(&fixture(name)).unwrap();
        assert_eq!(file.tensors()["steps"].element, Element::Other);
        let error = file.read(["steps"].into_iter()).unwrap_err().to_string();
        assert!(error.contains("tensor steps: its values are no floating-point numbers"), "{error}");
    }
}

#[test]
fn a_view_that_is_larger_than_what_is_stored_is_refused() {
    let mut file = ForeignWeights::open(&fixture("shared.pth")).unwrap();
    let error = file.read(["expanded"].into_iter()).unwrap_err().to_string();
    assert!(error.contains("tensor expanded") && error.contains("1 stored values"), "{error}");
}

#[test]
fn code_in_a_pickle_is_refused_by_name_and_not_run() {
    for name in ["evil.pth", "evil-protocol4.pth"] {
        let error = refusal(name);
        assert!(matches!(&error, Error::RefusedPickle { name, .. } if name == "posix.system"), "{error}");
        assert_eq!(amis_artifacts::cli::exit_code(&error), 3);
    }
    assert!(!Path::new("pickled-code-ran").exists());
    let whole_module = refusal("module.pth");
    assert!(whole_module.to_string().contains("__main__.Net, which is no part of weights; nothing was run"), "{whole_module}");
}

#[test]
fn other_formats_are_named() {
    assert!(refusal("legacy.pth").to_string().contains("as PyTorch before 1.6 wrote it"));
    assert!(refusal("compressed.pth").to_string().contains("ompress"), "{}", refusal("compressed.pth"));
    assert!(refusal("jax.npz").to_string().contains(".npz"), "{}", refusal("jax.npz"));
    assert!(refusal("make.py").to_string().contains("neither safetensors nor written by torch.save"));
    assert!(refusal(".").to_string().contains("it is no file"));
    assert!(refusal("nowhere.pth").to_string().contains("cannot read"));
}

#[test]
fn values_that_are_no_numbers_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["nan.pth", "nan.safetensors"] {
        let path = folder.path().join(name);
        foreign::write(&path, &Weights::from([("a".into(), HostTensor { shape: vec![2], data: vec![1.0, f32::NAN] })])).unwrap();
        let error = ForeignWeights::open(&path).unwrap().read(["a"].into_iter()).unwrap_err().to_string();
        assert!(error.contains("tensor a holds NaN"), "{error}");
    }
}

#[test]
fn what_we_write_is_what_we_read() {
    let folder = tempfile::tempdir().unwrap();
    let tensor = |shape: &[usize], data: &[f32]| HostTensor { shape: shape.to_vec(), data: data.to_vec() };
    let weights = Weights::from([
        ("encoder.a".to_owned(), tensor(&[2, 3], &[0.1, -0.0, 2.0, f32::MIN_POSITIVE, 1e-45, f32::MAX])),
        ("scalar".to_owned(), tensor(&[], &[4.0])),
        ("empty".to_owned(), tensor(&[0, 2], &[])),
    ]);
    for name in ["w.pth", "w.pt", "w.safetensors"] {
        let path = folder.path().join(name);
        foreign::write(&path, &weights).unwrap();
        let mut file = ForeignWeights::open(&path).unwrap();
        let names: Vec<String> = file.names().map(str::to_owned).collect();
        assert_eq!(file.read(names.iter().map(String::as_str)).unwrap(), weights, "{name}");
    }
    assert_eq!(amis_artifacts::cli::exit_code(&foreign::write(&folder.path().join("w.bin"), &weights).unwrap_err()), 2);
}

/// Opens damaged bytes and reads whatever is found in them: it may fail, and that is all.
fn survives(bytes: &[u8]) {
    let Ok(mut file) = ForeignWeights::from_reader(Cursor::new(bytes), bytes.len() as u64, Path::new("damaged")) else { return };
    let names: Vec<String> = file.names().map(str::to_owned).collect();
    let _ = file.read(names.iter().map(String::as_str));
    for name in &names {
        let _ = file.read([name.as_str()].into_iter());
    }
}

const WHOLE: [&str; 5] = ["nested.pth", "shared.pth", "kinds.pth", "protocol4.pth", "kinds.safetensors"];

#[test]
fn a_file_cut_short_anywhere_is_an_error() {
    for name in WHOLE {
        let bytes = fs::read(fixture(name)).unwrap();
        for length in 0..bytes.len() {
            let cut = &bytes[..length];
            survives(cut);
            let read = ForeignWeights::from_reader(Cursor::new(cut), length as u64, Path::new("cut")).and_then(|mut file| {
                let names: Vec<String> = file.tensors().iter().filter(|(_, t)| t.element != Element::Other).map(|(name, _)| name.clone()).collect();
                file.read(names.iter().map(String::as_str)).map(drop)
            });
            assert!(read.is_err(), "{name} cut to {length} bytes");
        }
    }
}

#[test]
fn a_changed_byte_never_panics() {
    for name in WHOLE {
        let bytes = fs::read(fixture(name)).unwrap();
        for at in 0..bytes.len() {
            for value in [0, 0x7f, 0xff, bytes[at] ^ 1] {
                let mut changed = bytes.clone();
                changed[at] = value;
                survives(&changed);
            }
        }
    }
}

proptest! {
    #[test]
    fn many_changed_bytes_never_panic(which in 0usize..5, changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20)) {
        let mut bytes = fs::read(fixture(WHOLE[which])).unwrap();
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        survives(&bytes);
    }

    #[test]
    fn random_bytes_never_panic(start in 0usize..4, bytes: Vec<u8>) {
        let head: &[u8] = [b"".as_slice(), b"PK\x03\x04", b"\x80\x02", b"\x10\0\0\0\0\0\0\0{"][start];
        survives(&[head, &bytes].concat());
    }

    /// A pickle of random operations in a sound archive, so that they reach the machine and the storages.
    #[test]
    fn a_random_pickle_in_a_sound_archive_never_panics(at in any::<prop::sample::Index>(), codes: Vec<u8>) {
        let mut archive = zip::ZipArchive::new(fs::File::open(fixture("shared.pth")).unwrap()).unwrap();
        let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
        for i in 0..archive.len() {
            use std::io::{Read, Write};
            let mut entry = archive.by_index(i).unwrap();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            let name = entry.name().unwrap().into_owned();
            if name.ends_with("data.pkl") {
                let at = at.index(bytes.len());
                bytes.splice(at..(at + codes.len()).min(bytes.len()), codes.iter().copied());
            }
            let options = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
            writer.start_file(name, options).unwrap();
            writer.write_all(&bytes).unwrap();
        }
        survives(&writer.finish().unwrap().into_inner());
    }
}
