//! The outbound port: an HTTP/1.1 client that keeps deadlines, bounds everything that a peer may send,
//! and never claims "not sent" of a request of which a byte was written.
//!
//! Start reading at [`Client`]. `target` says what may be called, `dial` opens connections, `link` speaks HTTP
//! over one of them, `pool` keeps them apart per owner and origin.
#![forbid(unsafe_code)]

mod address;
mod client;
mod dial;
mod link;
mod pool;
mod resolve;
mod room;
mod settings;
mod target;
pub mod text;
mod tls;
mod wire;

pub use address::{Cidr, CidrError, is_global};
pub use client::{Client, ClientError, Fetch, Stats};
pub use resolve::{Resolve, Resolving};
pub use settings::{
    HttpSettings, LimitSettings, NetSettings, NodeSettings, OutboundSettings, RelaySettings,
};
pub use target::{UrlError, check_url};
pub use tls::TlsError;
