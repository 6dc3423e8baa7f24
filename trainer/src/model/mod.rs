//! The network: Segmenter with a class-token decoder (AMIS.md section 1) and the Global Attention Block (section 2).

mod backbone;
mod best_class;
mod decoder;
mod encoder;
mod gab;
mod init;
mod layers;
mod params;
mod position;
mod precision;
mod segmenter;

pub use backbone::{Backbone, HEAD_DIM};
pub(crate) use best_class::best_class;
pub(crate) use gab::GAMMA;
pub(crate) use init::add_group;
pub use init::initial_weights;
pub use params::Params;
pub(crate) use params::to_host;
pub(crate) use position::resize_position;
pub use precision::Precision;
pub use segmenter::{Mode, Output, Segmenter};
