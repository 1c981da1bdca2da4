//! OCPI's own vocabulary: party ids, roles, modules, versions, status codes.
mod ids;
mod status;

pub use ids::{IdError, InterfaceRole, Module, Party, Role, Version};
pub use status::Status;
