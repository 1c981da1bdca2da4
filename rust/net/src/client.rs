//! The client: one request to one receiver, start to end.
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HOST};
use http::{HeaderName, HeaderValue, Method, Request, Uri};
use ocn_core::relay::ports::{Answer, Departure, Outbound, Outgoing, Owner, SendError};
use tokio::time::{Instant, timeout_at};

use crate::dial::Dialer;
use crate::link::{Failure, Link, Payload};
use crate::pool::{Pool, Seat};
use crate::resolve::{Resolve, SystemResolver};
use crate::room::{Collected, Room};
use crate::settings::{HttpSettings, NetSettings};
use crate::target::Target;
use crate::text;
use crate::tls::{self, TlsError};

/// Calls receivers. Cheap to clone; all clones share their connections.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    dialer: Dialer,
    pool: Arc<Pool>,
    connect: Duration,
    bounds: HttpSettings,
    room: Room,
    /// Our own origin, never called.
    own: Option<String>,
    dialled: AtomicU64,
    reused: AtomicU64,
}

/// The client cannot be made of these settings.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("outbound.schemes: only https and http can be called")]
    Schemes,
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// Figures of one client since it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stats {
    /// Connections with a request on them.
    pub used: usize,
    /// Connections kept for the next request.
    pub idle: usize,
    /// Connections tried to open.
    pub dialled: u64,
    /// Requests that found an open connection.
    pub reused: u64,
}

/// A call outside the relay: handshakes, tools.
#[derive(Debug, Clone, Copy)]
pub struct Fetch<'a> {
    pub method: &'a str,
    pub url: &'a str,
    pub headers: &'a [(String, String)],
    pub body: &'a [u8],
    /// In all: connect, write, wait, read.
    pub deadline: Duration,
    /// The largest answer body taken.
    pub max_bytes: usize,
}

/// A request as hyper wants it, made anew for each try.
struct Draft<'a> {
    method: Method,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Bytes,
    target: &'a Target,
}

impl Client {
    /// A client whose answers share the account of `limits.buffered_bytes` with whatever else is in memory.
    ///
    /// # Errors
    /// [`ClientError`] names the setting that cannot be used.
    pub fn new(settings: &NetSettings, buffered: Arc<AtomicUsize>) -> Result<Self, ClientError> {
        Self::with_resolver(settings, buffered, Arc::new(SystemResolver::default()))
    }

    /// The same, with another resolver than the system's.
    ///
    /// # Errors
    /// [`ClientError`] names the setting that cannot be used.
    pub fn with_resolver(
        settings: &NetSettings,
        buffered: Arc<AtomicUsize>,
        resolver: Arc<dyn Resolve>,
    ) -> Result<Self, ClientError> {
        let outbound = &settings.outbound;
        if !outbound
            .schemes
            .iter()
            .all(|scheme| scheme == "https" || scheme == "http")
        {
            return Err(ClientError::Schemes);
        }
        let limits = &settings.limits;
        let own = settings
            .node
            .url
            .as_deref()
            .and_then(|url| Target::of(url, outbound).ok());
        Ok(Self(Arc::new(Inner {
            dialer: Dialer {
                settings: outbound.clone(),
                resolver,
                tls: tls::configure(outbound.ca_file.as_deref())?,
            },
            pool: Pool::new(
                settings.relay.idle(),
                limits.in_flight,
                limits.in_flight_per_receiver,
            ),
            connect: settings.relay.connect(),
            bounds: settings.http.clone(),
            room: Room {
                taken: buffered,
                limit: limits.buffered_bytes,
            },
            own: own.map(|target| target.origin),
            dialled: AtomicU64::new(0),
            reused: AtomicU64::new(0),
        })))
    }

    pub fn stats(&self) -> Stats {
        let counts = self.0.pool.counts();
        Stats {
            used: counts.used,
            idle: counts.idle,
            dialled: self.0.dialled.load(Ordering::Relaxed),
            reused: self.0.reused.load(Ordering::Relaxed),
        }
    }

    /// One call over a connection of its own: same checks and bounds as a message, no redirects.
    ///
    /// # Errors
    /// As [`Outbound::send`], except that nobody can cancel it but by dropping it.
    pub async fn fetch(&self, fetch: Fetch<'_>) -> Result<Answer, SendError> {
        let until = Instant::now() + fetch.deadline;
        let target = self.0.target(fetch.url)?;
        let mut headers = Vec::with_capacity(fetch.headers.len());
        for (name, value) in fetch.headers {
            headers.push(header(
                name.as_bytes(),
                Bytes::copy_from_slice(value.as_bytes()),
            )?);
        }
        let draft = Draft {
            method: method(fetch.method.as_bytes())?,
            headers,
            body: Bytes::copy_from_slice(fetch.body),
            target: &target,
        };
        let departure = Departure::default();
        let _seat = self.0.enter(Owner::Platform(0), &target)?;
        let mut link = self.0.open(&target, until).await?;
        exchange(
            &mut link,
            &draft,
            self.0.collected(fetch.max_bytes),
            until,
            &departure,
        )
        .await
        .map_err(Failure::into_verdict)
    }
}

impl Outbound for Client {
    async fn send(&self, request: Outgoing, departure: &Departure) -> Result<Answer, SendError> {
        let until = Instant::now() + request.deadline;
        let target = self.0.target(&request.url)?;
        let mut headers = Vec::with_capacity(request.headers.len());
        for (name, value) in request.headers {
            headers.push(header(name.as_bytes(), value)?);
        }
        let draft = Draft {
            method: method(&request.method)?,
            headers,
            body: request.body,
            target: &target,
        };
        let seat = self.0.enter(request.owner, &target)?;
        while let Some(mut link) = seat.take() {
            if !link.is_usable().await {
                continue;
            }
            self.0.reused.fetch_add(1, Ordering::Relaxed);
            match exchange(
                &mut link,
                &draft,
                self.0.collected(request.response_bytes),
                until,
                departure,
            )
            .await
            {
                Ok(answer) => return Ok(keep(&seat, link, answer).await),
                // The peer closed just now. Not one byte was written: another connection may take it.
                Err(Failure::Untouched(_)) => {}
                Err(Failure::Final(verdict)) => return Err(verdict),
            }
        }
        let mut link = self.0.open(&target, until).await?;
        match exchange(
            &mut link,
            &draft,
            self.0.collected(request.response_bytes),
            until,
            departure,
        )
        .await
        {
            Ok(answer) => Ok(keep(&seat, link, answer).await),
            Err(failure) => Err(failure.into_verdict()),
        }
    }
}

impl Inner {
    fn target(&self, url: &str) -> Result<Target, SendError> {
        let target = Target::of(url, &self.dialer.settings).map_err(|error| {
            SendError::NotSent(match error {
                crate::UrlError::Address => text::ADDRESS_NOT_ALLOWED,
                crate::UrlError::Malformed | crate::UrlError::Scheme => text::URL_NOT_USABLE,
            })
        })?;
        if self.own.as_deref() == Some(target.origin.as_str()) {
            return Err(SendError::NotSent(text::ADDRESS_NOT_ALLOWED));
        }
        Ok(target)
    }

    fn collected(&self, response_bytes: usize) -> Collected {
        Collected::new(&self.room, response_bytes)
    }

    fn enter(&self, owner: Owner, target: &Target) -> Result<Seat, SendError> {
        self.pool
            .enter((owner, target.origin.clone()))
            .map_err(SendError::NotSent)
    }

    async fn open(&self, target: &Target, until: Instant) -> Result<Box<Link>, SendError> {
        self.dialled.fetch_add(1, Ordering::Relaxed);
        let connect_until = until.min(Instant::now() + self.connect);
        let wire = self
            .dialer
            .dial(target, connect_until)
            .await
            .map_err(SendError::NotSent)?;
        Link::over(wire, &self.bounds)
            .await
            .map(Box::new)
            .map_err(SendError::NotSent)
    }
}

impl Failure {
    fn into_verdict(self) -> SendError {
        match self {
            Self::Untouched(verdict) | Self::Final(verdict) => verdict,
        }
    }
}

/// Sends over one connection. The last moment to take the message back is here.
async fn exchange(
    link: &mut Link,
    draft: &Draft<'_>,
    collected: Collected,
    until: Instant,
    departure: &Departure,
) -> Result<Answer, Failure> {
    let request = draft.request();
    if !departure.depart() {
        return Err(Failure::Final(SendError::Cancelled));
    }
    let account = Arc::clone(link.account());
    let before = account.written();
    match timeout_at(until, link.exchange(request, collected)).await {
        Ok(result) => result,
        Err(_) if account.written() == before => Err(Failure::Final(SendError::NotSent(
            text::NO_CONNECTION_IN_TIME,
        ))),
        Err(_) => Err(Failure::Final(SendError::MaybeSent(
            text::NO_ANSWER_IN_TIME,
        ))),
    }
}

/// Keeps the connection if nothing is left on it.
async fn keep(seat: &Seat, mut link: Box<Link>, answer: Answer) -> Answer {
    if link.is_usable().await {
        seat.give_back(link);
    }
    answer
}

impl Draft<'_> {
    fn request(&self) -> Request<Payload> {
        let mut request = Request::new(Payload::new(self.body.clone()));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = Uri::from(self.target.path.clone());
        let headers = request.headers_mut();
        headers.reserve(self.headers.len() + 2);
        headers.insert(HOST, self.target.authority.clone());
        // A method that means a body says so even of an empty one (RFC 9110, 8.6).
        if !self.body.is_empty()
            || !matches!(self.method, Method::GET | Method::HEAD | Method::DELETE)
        {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(self.body.len()));
        }
        for (name, value) in &self.headers {
            headers.append(name.clone(), value.clone());
        }
        request
    }
}

fn method(name: &[u8]) -> Result<Method, SendError> {
    Method::from_bytes(name).map_err(|_| SendError::NotSent(text::REQUEST_NOT_USABLE))
}

/// A header as hyper takes it. Framing is ours alone: whoever could set it could hide a second request.
fn header(name: &[u8], value: Bytes) -> Result<(HeaderName, HeaderValue), SendError> {
    let unusable = SendError::NotSent(text::REQUEST_NOT_USABLE);
    let name = HeaderName::from_bytes(name).map_err(|_| unusable.clone())?;
    let value = HeaderValue::from_maybe_shared(value).map_err(|_| unusable.clone())?;
    let ours = [
        http::header::CONNECTION,
        CONTENT_LENGTH,
        HOST,
        http::header::TRANSFER_ENCODING,
        http::header::UPGRADE,
    ];
    if ours.contains(&name) {
        return Err(unusable);
    }
    Ok((name, value))
}
