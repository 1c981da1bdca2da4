//! Opening a connection: resolve once, check every address, connect to checked ones only, TLS.
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use rustls::ClientConfig;
use rustls::pki_types::{DnsName, ServerName};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tokio_rustls::TlsConnector;
use url::Host;

use crate::address::is_allowed;
use crate::resolve::Resolve;
use crate::settings::OutboundSettings;
use crate::target::Target;
use crate::text;
use crate::tls;
use crate::wire::Wire;

/// How long one address may keep the next one waiting (RFC 8305; `safety.md` F40).
const HEAD_START: Duration = Duration::from_millis(300);

pub(crate) struct Dialer {
    pub(crate) settings: OutboundSettings,
    pub(crate) resolver: Arc<dyn Resolve>,
    pub(crate) tls: Arc<ClientConfig>,
}

impl Dialer {
    /// Opens a connection to the target's origin before the given instant.
    ///
    /// # Errors
    /// A sentence of [`text`]; nothing of any request was written.
    pub(crate) async fn dial(&self, target: &Target, until: Instant) -> Result<Wire, &'static str> {
        timeout_at(until, self.open(target))
            .await
            .unwrap_or(Err(text::NO_CONNECTION_IN_TIME))
    }

    async fn open(&self, target: &Target) -> Result<Wire, &'static str> {
        let addresses = self.addresses(&target.host).await?;
        let stream = connect_first(&addresses, target.port).await?;
        // A message is written in one go: waiting for more of it only costs time.
        stream
            .set_nodelay(true)
            .map_err(|_| text::CONNECTION_FAILED)?;
        if !target.secure {
            return Ok(Wire::plain(stream));
        }
        let name = server_name(&target.host).ok_or(text::TLS_WRONG_NAME)?;
        TlsConnector::from(Arc::clone(&self.tls))
            .connect(name, stream)
            .await
            .map(Wire::tls)
            .map_err(|error| tls::name_of(&error))
    }

    /// The addresses to try, in order. One that is not allowed spoils the name: a mixed answer is an attack.
    async fn addresses(&self, host: &Host<String>) -> Result<Vec<IpAddr>, &'static str> {
        let found = match host {
            Host::Ipv4(address) => vec![IpAddr::V4(*address)],
            Host::Ipv6(address) => vec![IpAddr::V6(*address)],
            Host::Domain(name) => timeout(
                Duration::from_millis(self.settings.dns_timeout_ms),
                self.resolver.resolve(name),
            )
            .await
            .map_err(|_| text::NAME_TIMEOUT)?
            .map_err(|_| text::NAME_NOT_FOUND)?,
        };
        if found.is_empty() {
            return Err(text::NAME_NOT_FOUND);
        }
        if !found
            .iter()
            .all(|address| is_allowed(*address, &self.settings.private_networks))
        {
            return Err(text::ADDRESS_NOT_ALLOWED);
        }
        let mut ordered = alternate(found);
        ordered.truncate(self.settings.dns_addresses);
        Ok(ordered)
    }
}

/// IPv6 and IPv4 in turns, so that a dead family costs one head start only.
fn alternate(found: Vec<IpAddr>) -> Vec<IpAddr> {
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    for address in found {
        let family = if address.is_ipv6() { &mut v6 } else { &mut v4 };
        if !family.contains(&address) {
            family.push(address);
        }
    }
    let mut ordered = Vec::with_capacity(v4.len() + v6.len());
    for turn in 0..v4.len().max(v6.len()) {
        ordered.extend(v6.get(turn));
        ordered.extend(v4.get(turn));
    }
    ordered
}

/// Connects to the first address that answers; the next one is tried after a head start, or at once after a failure.
async fn connect_first(addresses: &[IpAddr], port: u16) -> Result<TcpStream, &'static str> {
    let mut waiting = addresses.iter();
    let mut trying = FuturesUnordered::new();
    let mut failure = text::CONNECTION_FAILED;
    let mut next = Instant::now();
    loop {
        if Instant::now() >= next || trying.is_empty() {
            match waiting.next() {
                Some(address) => {
                    trying.push(TcpStream::connect(SocketAddr::new(*address, port)));
                    next = Instant::now() + HEAD_START;
                }
                None if trying.is_empty() => return Err(failure),
                None => {}
            }
        }
        tokio::select! {
            Some(connected) = trying.next() => match connected {
                Ok(stream) => return Ok(stream),
                Err(error) => {
                    failure = name_of(&error);
                    next = Instant::now();
                }
            },
            () = sleep_until(next), if waiting.len() > 0 => {}
        }
    }
}

fn name_of(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => text::CONNECTION_REFUSED,
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => text::NO_ROUTE,
        io::ErrorKind::TimedOut => text::NO_CONNECTION_IN_TIME,
        _ => text::CONNECTION_FAILED,
    }
}

fn server_name(host: &Host<String>) -> Option<ServerName<'static>> {
    match host {
        Host::Ipv4(address) => Some(ServerName::IpAddress(IpAddr::V4(*address).into())),
        Host::Ipv6(address) => Some(ServerName::IpAddress(IpAddr::V6(*address).into())),
        Host::Domain(name) => {
            // Certificates name hosts without the root's dot.
            let name = name.strip_suffix('.').unwrap_or(name).to_owned();
            DnsName::try_from(name).ok().map(ServerName::DnsName)
        }
    }
}
