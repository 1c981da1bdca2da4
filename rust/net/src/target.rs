//! One reading of a URL for both the check and the call (`safety.md` A56, A84).
use http::HeaderValue;
use http::uri::PathAndQuery;
use url::{Host, Position, Url};

use crate::address::is_allowed;
use crate::settings::OutboundSettings;

/// Why a URL is not called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    #[error("the URL names an address that is not allowed")]
    Address,
    #[error("the URL is malformed")]
    Malformed,
    #[error("the URL's scheme is not allowed")]
    Scheme,
}

/// Checks a URL that somebody gave us: an absolute URL of an allowed scheme, in visible ASCII, without user
/// info, fragment or backslash, with a port other than 0; a literal host must be an allowed address.
/// Names are judged when they are resolved, at connect.
///
/// # Errors
/// [`UrlError`] says which of these it is.
pub fn check_url(text: &str, settings: &OutboundSettings) -> Result<Url, UrlError> {
    let url = read(text)?;
    if !settings.schemes.iter().any(|scheme| scheme == url.scheme()) {
        return Err(UrlError::Scheme);
    }
    if let Some(address) = literal(&url)
        && !is_allowed(address, &settings.private_networks)
    {
        return Err(UrlError::Address);
    }
    Ok(url)
}

/// What readers of URLs are known to disagree on is refused, so that ours is everybody's reading.
fn read(text: &str) -> Result<Url, UrlError> {
    if !text
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && byte != b'\\' && byte != b'#')
    {
        return Err(UrlError::Malformed);
    }
    let (scheme, rest) = text.split_once("://").ok_or(UrlError::Malformed)?;
    if !scheme.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Err(UrlError::Malformed);
    }
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return Err(UrlError::Scheme);
    }
    let authority = &rest[..authority_end(rest)];
    // An escaped host is another spelling of a host, never needed; an empty port says nothing.
    if authority.is_empty() || authority.contains(['@', '%']) || authority.ends_with(':') {
        return Err(UrlError::Malformed);
    }
    let url = Url::parse(text).map_err(|_| UrlError::Malformed)?;
    if url.port() == Some(0) || url.host().is_none() {
        return Err(UrlError::Malformed);
    }
    Ok(url)
}

fn authority_end(rest: &str) -> usize {
    rest.find(['/', '?']).unwrap_or(rest.len())
}

fn literal(url: &Url) -> Option<std::net::IpAddr> {
    match url.host()? {
        Host::Ipv4(address) => Some(address.into()),
        Host::Ipv6(address) => Some(address.into()),
        Host::Domain(_) => None,
    }
}

/// A checked URL, taken apart for the call.
#[derive(Debug)]
pub(crate) struct Target {
    /// `scheme://host[:port]`, as the `url` crate spells it.
    pub(crate) origin: String,
    pub(crate) secure: bool,
    pub(crate) host: Host<String>,
    pub(crate) port: u16,
    /// The `Host` header.
    pub(crate) authority: HeaderValue,
    /// Path and query exactly as given: a parser would write some of it differently (`safety.md` I03).
    pub(crate) path: PathAndQuery,
}

impl Target {
    pub(crate) fn of(text: &str, settings: &OutboundSettings) -> Result<Self, UrlError> {
        let url = check_url(text, settings)?;
        let (_, rest) = text.split_once("://").ok_or(UrlError::Malformed)?;
        let raw = &rest[authority_end(rest)..];
        let path = match raw.as_bytes().first() {
            Some(b'/') => PathAndQuery::try_from(raw),
            _ => PathAndQuery::try_from(format!("/{raw}")),
        }
        .map_err(|_| UrlError::Malformed)?;
        let authority = HeaderValue::from_str(&url[Position::BeforeHost..Position::AfterPort])
            .map_err(|_| UrlError::Malformed)?;
        Ok(Self {
            origin: url[..Position::BeforePath].to_owned(),
            secure: url.scheme() == "https",
            host: url.host().ok_or(UrlError::Malformed)?.to_owned(),
            port: url.port_or_known_default().ok_or(UrlError::Malformed)?,
            authority,
            path,
        })
    }
}
