//! What comes in through the door and what goes back out of it.
use std::net::IpAddr;

use bytes::Bytes;

/// The head of a request as the server read it; nothing decoded, nothing dropped.
#[derive(Debug, Clone)]
pub struct Head {
    pub method: Bytes,
    /// The path as it came over the wire, percent-encoding intact.
    pub path: Bytes,
    /// The query as it came over the wire, without `?`; empty if there is none.
    pub query: Bytes,
    /// Names in lower case, in order of arrival, repeated ones repeated.
    pub headers: Vec<(Bytes, Bytes)>,
    /// Where the connection comes from, if known.
    pub peer: Option<IpAddr>,
}

impl Head {
    /// Its size on the wire, but for what is the same in all: version and line ends of the first line, and the last line.
    pub fn bytes(&self) -> usize {
        let fields = self.headers.iter();
        // Colon, blank and line end.
        let fields: usize = fields
            .map(|(name, value)| name.len() + value.len() + 4)
            .sum();
        self.method.len() + self.path.len() + self.query.len() + fields
    }
}

/// The whole answer to a request: the receiver's, or the hub's own.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(&'static str, Bytes)>,
    pub body: Bytes,
    /// Set where a newer table could change the verdict: the door may refresh the table and try once more.
    pub stale: Option<Stale>,
}

/// Why a refusal might only mean that this worker's table is behind (`design.md` section 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stale {
    Token,
    /// A party, or the node that speaks for it, as another node names them.
    Sender,
    Receiver,
}
