//! The decision record: what happened to one message, filled in stage by stage (`design.md` section 2).
/// Work in progress of the relay.
#[derive(Debug, Clone, Default)]
pub struct Record {}
