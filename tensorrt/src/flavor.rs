//! The two products that are called TensorRT, and their versions.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Which TensorRT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Flavor {
    /// TensorRT proper, as JetPack and data centre systems bring it: builds for the GPU of the machine it runs on.
    Enterprise,
    /// TensorRT-RTX: builds ahead of time for named compute capabilities, on machines without a GPU too.
    Rtx,
}

impl Flavor {
    /// Environment variable that names the folder with the product's libraries.
    pub const fn library_variable(self) -> &'static str {
        match self {
            Self::Enterprise => "AMIS_TENSORRT_LIB",
            Self::Rtx => "AMIS_TENSORRT_RTX_LIB",
        }
    }

    pub(crate) const fn shim_file(self) -> &'static str {
        match self {
            Self::Enterprise => "libamis_trt.so",
            Self::Rtx => "libamis_trt_rtx.so",
        }
    }

    /// File names of TensorRT and its ONNX parser with the major version that they carry.
    pub(crate) fn library_files(self, major: u32) -> [String; 2] {
        match self {
            Self::Enterprise => [format!("libnvinfer.so.{major}"), format!("libnvonnxparser.so.{major}")],
            Self::Rtx => [format!("libtensorrt_rtx.so.{major}"), format!("libtensorrt_onnxparser_rtx.so.{major}")],
        }
    }
}

impl fmt::Display for Flavor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Enterprise => "TensorRT",
            Self::Rtx => "TensorRT-RTX",
        })
    }
}

/// A product and its version; displays as `TensorRT-RTX 1.7.1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Version {
    /// Which TensorRT.
    pub flavor: Flavor,
    /// Counts incompatible releases.
    pub major: u32,
    /// Counts releases that stay compatible.
    pub minor: u32,
    /// Counts corrections.
    pub patch: u32,
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}.{}.{}", self.flavor, self.major, self.minor, self.patch)
    }
}
