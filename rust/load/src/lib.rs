//! A load that does not wait for what it is put on: requests at a fixed rate, and how long each was under way.
//!
//! Made for the benchmarks, never shipped. Linux only: it sleeps in `epoll_pwait2`, to the nanosecond, where others
//! count in milliseconds.
#![forbid(unsafe_code)]

mod connection;
pub mod openloop;
pub mod outcome;
pub mod requests;
