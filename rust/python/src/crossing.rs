//! One message between the event loop and Tokio: over with its body, back with its reply.
//!
//! On the loop the relay is polled once, which parses and authenticates; then it waits for its body.
//! With the body it is spawned, and from there on nothing needs the interpreter until the reply lies in
//! the queue. A requester who hangs up cancels only what has not left yet ([`Departure`]): the relay
//! then ends by itself at `forward`, so that its record and counters are complete.
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use ocn_core::relay::ports::{Answer, Body, BodyError, Departure, SendError};
use ocn_core::relay::{Booking, Head, Reply, keep_sessions, relay};
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use tokio::sync::oneshot;

use crate::convert;
use crate::journal::Question;
use crate::node::Opened;
use crate::queue::Queue;
use crate::runtime::caught;

/// What Tokio has for the event loop.
pub(crate) enum Event {
    /// A relay has ended.
    Replied { awaitable: Py<PyAny>, reply: Reply },
    /// An outbound call of Python's has ended.
    Fetched {
        awaitable: Py<PyAny>,
        answer: Result<Answer, SendError>,
    },
    /// SQL work for the store.
    Work(Question),
}

pub(crate) type EventQueue = Queue<Event>;

/// The walk of one message, owning all it needs.
type Journey = Pin<Box<dyn Future<Output = Reply> + Send>>;

/// An answer, ready for ASGI's `send`.
#[pyclass(frozen, get_all, name = "Reply", module = "ocn_fast._native")]
pub(crate) struct ReplyMessages {
    start: Py<PyDict>,
    body: Py<PyDict>,
    stale: Option<&'static str>,
}

impl ReplyMessages {
    pub(crate) fn new(py: Python<'_>, reply: Reply) -> PyResult<Self> {
        let (start, body) = convert::send_messages(py, &reply)?;
        Ok(Self {
            start,
            body,
            stale: reply.stale.map(convert::stale),
        })
    }

    /// A refusal of which the body was not read to its end. Where the fault is in how the request was
    /// written, nothing that follows on the connection can be trusted (`safety.md` A02, A07, A08, A10).
    fn refusal(py: Python<'_>, mut reply: Reply) -> PyResult<Self> {
        if matches!(reply.status, 400 | 408 | 413 | 431) {
            reply
                .headers
                .push(("connection", Bytes::from_static(b"close")));
        }
        Self::new(py, reply)
    }
}

/// A message at the door: refused, or waiting for its body.
#[pyclass(frozen, module = "ocn_fast._native")]
pub(crate) struct Gate {
    opened: Arc<Opened>,
    departure: Arc<Departure>,
    waiting: Mutex<Option<Waiting>>,
    /// The refusal, where the head was enough to refuse.
    #[pyo3(get)]
    reply: Option<Py<ReplyMessages>>,
    /// Bytes of body to come: 0 for none, `None` where the length is not known.
    #[pyo3(get)]
    announced: Option<u64>,
}

/// A journey that has not got its body yet.
struct Waiting {
    journey: Journey,
    body: oneshot::Sender<Result<Bytes, BodyError>>,
    /// Bytes that came without having been announced, and the room taken for them.
    grown: usize,
    room: Vec<Booking>,
}

impl Waiting {
    /// Ends the journey because the whole body will not come. The relay has nothing to wait for then.
    fn end(mut self, why: BodyError) -> PyResult<Reply> {
        // The receiving half lives in the journey.
        let _ = self.body.send(Err(why));
        match step(&mut self.journey) {
            Poll::Ready(reply) => Ok(reply),
            Poll::Pending => Err(PyRuntimeError::new_err(
                "a relay without a body did not end",
            )),
        }
    }
}

impl Gate {
    /// Starts the walk on the calling thread: `parse`, `authenticate`, and booking the announced bytes.
    pub(crate) fn enter(py: Python<'_>, opened: Arc<Opened>, head: Head) -> PyResult<Self> {
        let announced = convert::announced(&head);
        let departure = Arc::new(Departure::default());
        let (body, late) = oneshot::channel();
        let mut journey: Journey = {
            let (opened, departure) = (Arc::clone(&opened), Arc::clone(&departure));
            Box::pin(async move {
                relay(
                    head,
                    LateBody(late),
                    &opened.core,
                    &opened.ports,
                    &departure,
                )
                .await
            })
        };
        let (reply, waiting) = match step(&mut journey) {
            Poll::Ready(reply) => (Some(Py::new(py, ReplyMessages::refusal(py, reply)?)?), None),
            Poll::Pending => (
                None,
                Some(Waiting {
                    journey,
                    body,
                    grown: 0,
                    room: Vec::new(),
                }),
            ),
        };
        Ok(Self {
            opened,
            departure,
            waiting: Mutex::new(waiting),
            reply,
            announced,
        })
    }

    fn waiting(&self) -> MutexGuard<'_, Option<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> PyResult<Waiting> {
        self.waiting()
            .take()
            .ok_or_else(|| PyRuntimeError::new_err("this gate has been passed"))
    }
}

#[pymethods]
impl Gate {
    /// Hands the body over and lets the relay go.
    fn relay(&self, py: Python<'_>, body: Bytes) -> PyResult<Py<PyAny>> {
        let awaitable = self.opened.create_future(py)?;
        let Waiting {
            journey,
            body: hand_over,
            room,
            ..
        } = self.take()?;
        // The receiving half lives in the journey.
        let _ = hand_over.send(Ok(body));
        let (opened, resolved) = (Arc::clone(&self.opened), awaitable.clone_ref(py));
        self.opened.runtime.spawn(async move {
            // The relay turns its own panics into answers; this catches one in that very code.
            let reply = caught(journey).await.unwrap_or_else(|| opened.panicked());
            drop(room);
            opened.queue.push(Event::Replied {
                awaitable: resolved,
                reply,
            });
            // Nobody waits for this task any more.
            if caught(keep_sessions(&opened.core, &opened.ports))
                .await
                .is_none()
            {
                opened.count_panic();
            }
        })?;
        Ok(awaitable)
    }

    /// Takes room for bytes that were not announced; a refusal if there is none.
    fn grow(&self, py: Python<'_>, more: usize) -> PyResult<Option<ReplyMessages>> {
        let mut waiting = self.take()?;
        let core = &self.opened.core;
        waiting.grown = waiting.grown.saturating_add(more);
        let refused = if waiting.grown > core.settings().http.body_bytes {
            Some(BodyError::TooLarge)
        } else {
            match core.book(more) {
                Some(booking) => {
                    waiting.room.push(booking);
                    None
                }
                None => Some(BodyError::NoRoom),
            }
        };
        match refused {
            Some(why) => ReplyMessages::refusal(py, waiting.end(why)?).map(Some),
            None => {
                *self.waiting() = Some(waiting);
                Ok(None)
            }
        }
    }

    /// Ends the journey of a message whose body will not come.
    fn refuse(&self, py: Python<'_>, why: &str) -> PyResult<ReplyMessages> {
        let why = match why {
            "gone" => BodyError::Gone,
            "slow" => BodyError::Slow,
            _ => return Err(PyValueError::new_err("expected 'gone' or 'slow'")),
        };
        ReplyMessages::refusal(py, self.take()?.end(why)?)
    }

    /// The requester hung up: true if nothing has left for the receiver and nothing will.
    fn cancel(&self) -> bool {
        self.departure.cancel()
    }
}

impl Drop for Gate {
    /// A handler that ended between admission and relay (it was cancelled, or failed) still ends its
    /// journey, so that the counters add up (`safety.md` I24).
    fn drop(&mut self) {
        if let Some(waiting) = self.waiting().take() {
            let _ = waiting.end(BodyError::Gone);
        }
    }
}

/// One poll without a waker: whoever polls next brings one.
fn step(journey: &mut Journey) -> Poll<Reply> {
    journey
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()))
}

/// The body, which the door reads only after the sender is authenticated.
struct LateBody(oneshot::Receiver<Result<Bytes, BodyError>>);

impl Body for LateBody {
    async fn read(self) -> Result<Bytes, BodyError> {
        // A gate that is gone will not bring the body.
        self.0.await.unwrap_or(Err(BodyError::Gone))
    }
}
