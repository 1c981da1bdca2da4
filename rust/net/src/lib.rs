//! The outbound port: see client.rs.
#![forbid(unsafe_code)]
