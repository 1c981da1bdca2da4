//! OCPI status codes that this node writes itself (`ocpi-hub.md` 3.2).

/// A status code of the OCPI envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Status(pub u16);

impl Status {
    pub const SUCCESS: Self = Self(1000);
    pub const CLIENT_ERROR: Self = Self(2000);
    pub const INVALID_PARAMETERS: Self = Self(2001);
    pub const UNKNOWN_LOCATION: Self = Self(2003);
    pub const SERVER_ERROR: Self = Self(3000);
    pub const UNUSABLE_API: Self = Self(3001);
    pub const UNSUPPORTED_VERSION: Self = Self(3002);
    pub const NO_MATCHING_ENDPOINTS: Self = Self(3003);
    pub const HUB_ERROR: Self = Self(4000);
    pub const UNKNOWN_RECEIVER: Self = Self(4001);
    pub const TIMEOUT: Self = Self(4002);
    pub const CONNECTION_PROBLEM: Self = Self(4003);

    /// Success is 1000 to 1999 (`safety.md` A31).
    pub fn is_success(self) -> bool {
        (1000..2000).contains(&self.0)
    }
}
