//! The network: Segmenter with a class-token decoder (AMIS.md section 1) and the Global Attention Block (section 2).

mod decoder;
mod encoder;
mod gab;
mod init;
mod layers;
mod params;
mod precision;
mod segmenter;

pub(crate) use init::add_group;
pub use init::initial_weights;
pub use params::Params;
pub(crate) use params::to_host;
pub use precision::Precision;
pub use segmenter::{Mode, Output, Segmenter};
