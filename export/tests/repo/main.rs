//! Repositories as their publisher makes them, read by a real TUF client.
#![allow(clippy::unwrap_used)]

mod bundles;
mod client;
mod flow;
mod gate;
mod keys;
mod killed;
mod rotation;
mod status;
