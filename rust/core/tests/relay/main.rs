//! The relay through in-memory ports: whole walks, and what holds for all of them.
#![allow(clippy::unwrap_used)]

mod across;
mod nodes;
mod properties;
mod sessions;
mod story;
mod trust;
mod world;
