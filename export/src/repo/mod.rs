//! A signed repository of releases (TUF): a static folder that any web server or a USB stick serves.
//!
//! `metadata/` holds the four roles, `targets/` the files. Names carry version or hash and such a file never changes; only `timestamp.json` is replaced, last and
//! atomically. So a device that reads during a publication sees the repository of before or of after it, and a publisher that is killed has done all or nothing.
//! `staged.json` is the list of files as the next publication will sign it: it needs no key, so whoever checks a release need not be who signs it.

mod add;
mod delta;
mod gate;
mod init;
mod keys;
mod publish;
mod rotate;
mod sign;
mod stage;
mod status;
mod store;

pub use add::{Added, Channel, add};
pub use gate::{Comparison, Gate};
pub use init::{Created, Roots, init};
pub use keys::{Ask, KeyRing};
pub use publish::{Published, What, publish};
pub use rotate::{Rotated, rotate};
pub use stage::{Staged, promote, remove};
pub use status::{Device, RoleStatus, Status, status};
pub use store::Repository;
pub use tough::schema::RoleType;
