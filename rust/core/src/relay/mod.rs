//! The journey of a message. The outside is reached only through [`ports`].
pub mod message;
pub mod ports;
pub mod record;

pub use message::{Head, Reply};
