mod method;
pub use method::{Method, Preset};
