//! HTTP/1.1 over one connection: one request, one whole answer, and the judgement whether the connection may serve again.
//!
//! Hyper's connection is driven by the task that waits for the answer, not by a task of its own: no hop between
//! threads, and dropping the exchange drops the connection with everything that was not written yet.
use std::error::Error as _;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread::ThreadId;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, Request, Response, StatusCode};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1::{Builder, Connection, SendRequest};
use hyper_util::rt::TokioIo;
use ocn_core::relay::ports::{Answer, SendError};

use crate::room::{Collected, Full};
use crate::settings::HttpSettings;
use crate::text;
use crate::wire::{Account, Wire};

/// Informational answers that are skipped before the real one (`safety.md` F33).
const INTERIM_ANSWERS: usize = 16;

/// Hyper's least buffer.
const LEAST_BUFFER: usize = 8_192;

/// A request's body, at hand as a whole.
pub(crate) type Payload = http_body_util::Full<Bytes>;

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Not one byte of the request was written. Says what to report if no other connection helps.
    Untouched(SendError),
    Final(SendError),
}

/// A connection that speaks HTTP.
pub(crate) struct Link {
    sender: SendRequest<Payload>,
    /// `None` once it has ended.
    connection: Option<Connection<TokioIo<Wire>, Payload>>,
    /// Why it ended, if hyper could tell nobody else.
    ended: Option<hyper::Error>,
    account: Arc<Account>,
    home: ThreadId,
}

impl Link {
    /// # Errors
    /// A sentence of [`text`]; nothing was written.
    pub(crate) async fn over(wire: Wire, bounds: &HttpSettings) -> Result<Self, &'static str> {
        let account = wire.account();
        let (sender, connection) = Builder::new()
            .title_case_headers(true)
            .max_headers(bounds.header_count)
            .max_header_size(bounds.header_bytes)
            .max_buf_size(bounds.header_bytes.max(LEAST_BUFFER))
            .handshake(TokioIo::new(wire))
            .await
            .map_err(|_| text::CONNECTION_FAILED)?;
        Ok(Self {
            sender,
            connection: Some(connection),
            ended: None,
            account,
            home: std::thread::current().id(),
        })
    }

    /// The thread that opened it, whose runtime sees first that something has come.
    pub(crate) fn home(&self) -> ThreadId {
        self.home
    }

    pub(crate) fn account(&self) -> &Arc<Account> {
        &self.account
    }

    /// Whether the connection can take a request now: open, nothing unread on it, nothing left to write
    /// (`safety.md` I20).
    pub(crate) async fn is_usable(&mut self) -> bool {
        poll_fn(|context| {
            self.drive(context);
            Poll::Ready(
                self.connection.is_some() && self.sender.is_ready() && self.account.flushed(),
            )
        })
        .await
    }

    /// Sends one request and reads the whole answer, its body into `collected`.
    pub(crate) async fn exchange(
        &mut self,
        mut request: Request<Payload>,
        collected: Collected,
    ) -> Result<Answer, Failure> {
        let before = self.account.written();
        self.account.forget_interim();
        let counting = Arc::clone(&self.account);
        hyper::ext::on_informational(&mut request, move |_| counting.count_interim());
        let response = match self.head(request).await {
            Ok(response) => response,
            Err(error) => return Err(self.judge(error, before)),
        };
        self.answer(response, collected)
            .await
            .map_err(Failure::Final)
    }

    async fn head(&mut self, request: Request<Payload>) -> Result<Response<Incoming>, Ending> {
        let mut waiting = pin!(self.sender.send_request(request));
        poll_fn(|context| {
            self.drive(context);
            if self.account.interim() > INTERIM_ANSWERS {
                return Poll::Ready(Err(Ending::Interim));
            }
            waiting.as_mut().poll(context).map_err(Ending::Hyper)
        })
        .await
    }

    async fn answer(
        &mut self,
        response: Response<Incoming>,
        mut collected: Collected,
    ) -> Result<Answer, SendError> {
        let (head, mut body) = response.into_parts();
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            return Err(SendError::Unusable(text::PROTOCOL_SWITCH));
        }
        if announced_length(&head.headers)?.is_some_and(|length| !collected.may_reach(length)) {
            return Err(SendError::Unusable(text::ANSWER_TOO_LARGE));
        }
        poll_fn(|context| {
            loop {
                self.drive(context);
                let frame = match Pin::new(&mut body).poll_frame(context) {
                    Poll::Ready(Some(Ok(frame))) => frame,
                    Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(broken_body(&error))),
                    Poll::Ready(None) => return Poll::Ready(Ok(())),
                    Poll::Pending => return Poll::Pending,
                };
                // Trailers mean nothing to OCPI.
                let Ok(data) = frame.into_data() else {
                    continue;
                };
                if let Err(full) = collected.add(data) {
                    return Poll::Ready(Err(SendError::Unusable(match full {
                        Full::Body => text::ANSWER_TOO_LARGE,
                        Full::Room => text::NO_ROOM,
                    })));
                }
            }
        })
        .await?;
        let headers = head.headers.iter();
        Ok(Answer {
            status: head.status.as_u16(),
            headers: headers
                .map(|(name, value)| {
                    (
                        name.as_str().to_owned(),
                        Bytes::copy_from_slice(value.as_bytes()),
                    )
                })
                .collect(),
            body: collected.into_bytes(),
        })
    }

    fn drive(&mut self, context: &mut Context<'_>) {
        if let Some(connection) = &mut self.connection
            && let Poll::Ready(result) = Pin::new(connection).poll(context)
        {
            // Dropping it releases a request that still waits inside.
            self.connection = None;
            self.ended = result.err();
        }
    }

    /// Turns an error into a verdict on what may have become of the request.
    fn judge(&mut self, ending: Ending, before: u64) -> Failure {
        let error = match ending {
            Ending::Interim => return Failure::Final(SendError::Unusable(text::TOO_MANY_INTERIM)),
            Ending::Hyper(error) => error,
        };
        // Hyper tells a request that it did not take only that it was cancelled; the reason is the connection's.
        let error = match self.ended.take() {
            Some(reason) if error.is_canceled() => reason,
            _ => error,
        };
        let untouched = self.account.written() == before;
        if speaks_no_http(&error) {
            let verdict = SendError::Unusable(head_text(&error));
            return if untouched {
                Failure::Untouched(verdict)
            } else {
                Failure::Final(verdict)
            };
        }
        if untouched {
            Failure::Untouched(SendError::NotSent(text::LOST_BEFORE_SENDING))
        } else {
            Failure::Final(SendError::MaybeSent(text::LOST_AFTER_SENDING))
        }
    }
}

/// How waiting for an answer's head ended without one.
enum Ending {
    Hyper(hyper::Error),
    Interim,
}

/// The length that the answer announces.
///
/// # Errors
/// Framing that two readers could read differently: both kinds at once, a repeated length, a coding that is not
/// exactly `chunked` (`safety.md` F38).
fn announced_length(headers: &HeaderMap) -> Result<Option<usize>, SendError> {
    let ambiguous = SendError::Unusable(text::FRAMING_AMBIGUOUS);
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    match (lengths.next(), codings.next()) {
        (None, None) => Ok(None),
        (Some(length), None) if lengths.next().is_none() => {
            let digits = length.to_str().ok().and_then(|digits| digits.parse().ok());
            digits.map(Some).ok_or(ambiguous)
        }
        (None, Some(coding))
            if codings.next().is_none() && coding.as_bytes().eq_ignore_ascii_case(b"chunked") =>
        {
            Ok(None)
        }
        _ => Err(ambiguous),
    }
}

/// Whether the peer sent something that is not the answer to a request, rather than nothing.
fn speaks_no_http(error: &hyper::Error) -> bool {
    !error.is_incomplete_message()
        && !error.is_canceled()
        && !error.is_closed()
        && !error.is_body_write_aborted()
        && io_cause(error).is_none()
}

fn head_text(error: &hyper::Error) -> &'static str {
    // Hyper's predicate for this comes only with its server half.
    if error.is_parse() && error.to_string().contains("too large") {
        text::ANSWER_HEAD_TOO_LARGE
    } else {
        text::NOT_HTTP
    }
}

fn broken_body(error: &hyper::Error) -> SendError {
    let malformed = io_cause(error).is_some_and(|cause| {
        matches!(
            cause.kind(),
            io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput
        ) && !cause
            .get_ref()
            .is_some_and(|inner| inner.is::<rustls::Error>())
    });
    if malformed {
        SendError::Unusable(text::NOT_HTTP)
    } else {
        SendError::MaybeSent(text::LOST_AFTER_SENDING)
    }
}

fn io_cause(error: &hyper::Error) -> Option<&io::Error> {
    let mut cause = error.source();
    while let Some(inner) = cause {
        if let Some(found) = inner.downcast_ref::<io::Error>() {
            return Some(found);
        }
        cause = inner.source();
    }
    None
}
