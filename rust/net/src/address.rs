//! Which IP addresses may be called: global unicast ones, and the exceptions that the operator names.
//!
//! Sources: the IANA special-purpose address registries for IPv4 and IPv6 (RFC 6890 and later), `safety.md` A56.
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::Deserialize;

/// A network in CIDR notation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Cidr {
    network: IpAddr,
    prefix: u8,
}

/// Not a network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a network in CIDR notation, such as 10.1.0.0/16")]
pub struct CidrError;

impl Cidr {
    /// Whether the address, taken as it is (an IPv4 address inside IPv6 is IPv6), lies in this network.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.network, address) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let bits = u32::from(network) ^ u32::from(address);
                bits.checked_shr(32 - u32::from(self.prefix)).unwrap_or(0) == 0
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let bits = u128::from(network) ^ u128::from(address);
                bits.checked_shr(128 - u32::from(self.prefix)).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

impl FromStr for Cidr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, CidrError> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let network: IpAddr = address.parse().map_err(|_| CidrError)?;
        let longest = if network.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                digits.parse().map_err(|_| CidrError)?
            }
            Some(_) => return Err(CidrError),
            None => longest,
        };
        if prefix > longest || !has_only_network_bits(network, prefix) {
            return Err(CidrError);
        }
        Ok(Self { network, prefix })
    }
}

/// `10.1.2.3/8` is more likely a slip than a wish for all of 10.0.0.0/8.
fn has_only_network_bits(network: IpAddr, prefix: u8) -> bool {
    let host_bits = match network {
        IpAddr::V4(address) => u128::from(u32::from(address)) << 96,
        IpAddr::V6(address) => u128::from(address),
    };
    host_bits.checked_shl(u32::from(prefix)).unwrap_or(0) == 0
}

impl TryFrom<String> for Cidr {
    type Error = CidrError;

    fn try_from(text: String) -> Result<Self, CidrError> {
        text.parse()
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.network, self.prefix)
    }
}

const fn v4(octets: [u8; 4], prefix: u8) -> Cidr {
    let [a, b, c, d] = octets;
    Cidr {
        network: IpAddr::V4(Ipv4Addr::new(a, b, c, d)),
        prefix,
    }
}

const fn v6(first: [u16; 3], prefix: u8) -> Cidr {
    let [a, b, c] = first;
    Cidr {
        network: IpAddr::V6(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0)),
        prefix,
    }
}

/// IPv4 that is not global unicast.
const CLOSED_V4: [Cidr; 17] = [
    v4([0, 0, 0, 0], 8),        // this network
    v4([10, 0, 0, 0], 8),       // private
    v4([100, 64, 0, 0], 10),    // carrier-grade NAT
    v4([127, 0, 0, 0], 8),      // loopback
    v4([168, 63, 129, 16], 32), // a cloud's metadata service, on a global address
    v4([169, 254, 0, 0], 16),   // link-local, metadata
    v4([172, 16, 0, 0], 12),    // private
    v4([192, 0, 0, 0], 24),     // protocol assignments, another metadata service
    v4([192, 0, 2, 0], 24),     // documentation
    v4([192, 31, 196, 0], 24),  // AS112
    v4([192, 52, 193, 0], 24),  // multicast tunnels
    v4([192, 88, 99, 0], 24),   // 6to4 relays
    v4([192, 168, 0, 0], 16),   // private
    v4([198, 18, 0, 0], 15),    // benchmarks
    v4([198, 51, 100, 0], 24),  // documentation
    v4([203, 0, 113, 0], 24),   // documentation
    v4([224, 0, 0, 0], 3),      // multicast, reserved, broadcast
];

/// All of IPv6 that is global unicast today. Loopback, mapped and compatible IPv4, NAT64, unique local,
/// link-local and multicast lie outside.
const GLOBAL_V6: Cidr = v6([0x2000, 0, 0], 3);

/// What is not global inside [`GLOBAL_V6`].
const CLOSED_V6: [Cidr; 5] = [
    v6([0x2001, 0, 0], 23), // protocol assignments: Teredo, benchmarks, ORCHID
    v6([0x2001, 0x0db8, 0], 32), // documentation
    v6([0x2002, 0, 0], 16), // 6to4, which carries an IPv4 address
    v6([0x2620, 0x4f, 0x8000], 48), // AS112
    v6([0x3fff, 0, 0], 20), // documentation
];

/// Whether an address is global unicast, so that calling it cannot reach a network of the operator's own.
pub fn is_global(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(_) => !CLOSED_V4.iter().any(|network| network.contains(address)),
        IpAddr::V6(_) => {
            GLOBAL_V6.contains(address)
                && !CLOSED_V6.iter().any(|network| network.contains(address))
        }
    }
}

/// Whether an address may be called.
pub(crate) fn is_allowed(address: IpAddr, exceptions: &[Cidr]) -> bool {
    is_global(address) || exceptions.iter().any(|network| network.contains(address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_contains_its_first_and_last_address_and_no_neighbour() {
        let network: Cidr = "172.16.0.0/12".parse().expect("network");
        for (address, inside) in [
            ("172.15.255.255", false),
            ("172.16.0.0", true),
            ("172.31.255.255", true),
            ("172.32.0.0", false),
            ("::ffff:172.16.0.1", false),
        ] {
            assert_eq!(
                network.contains(address.parse().expect("address")),
                inside,
                "{address}"
            );
        }
        let everything: Cidr = "0.0.0.0/0".parse().expect("network");
        assert!(everything.contains("255.255.255.255".parse().expect("address")));
        let one: Cidr = "fd00::1".parse().expect("network");
        assert!(one.contains("fd00::1".parse().expect("address")));
        assert!(!one.contains("fd00::2".parse().expect("address")));
    }

    #[test]
    fn a_slip_is_no_network() {
        for text in [
            "",
            "10.0.0.0/33",
            "10.0.0.0/+8",
            "10.1.0.0/8",
            "::/129",
            "ten/8",
            "10.0.0.0/",
            "fd00::1/8",
        ] {
            assert_eq!(text.parse::<Cidr>(), Err(CidrError), "{text}");
        }
    }
}
