//! The class `Node`: what a worker's Python sees of the native relay.
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ocn_core::eth::SigningKey;
use ocn_core::notary::Container;
use ocn_core::relay::ports::{Answer, Clock as _, JournalError, SendError};
use ocn_core::relay::{self, Query, Reply, Settings};
use ocn_core::table::Change;
use ocn_net::{Client, Fetch, NetSettings};
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList};
use serde::Deserialize;
use serde_json::json;

use crate::convert;
use crate::crossing::{Event, EventQueue, Gate, ReplyMessages};
use crate::errors::{self, ConfigError};
use crate::journal::{Question, SqlJournal};
use crate::log::{Log, StandardError};
use crate::ports::{NativePorts, SystemClock, SystemRandom};
use crate::runtime::{Runtime, caught};

/// How long `close` waits for the step a task is in, and then for the log's sink.
const PATIENCE: Duration = Duration::from_secs(1);

/// The settings that this crate itself needs; the relay and the client read theirs.
#[derive(Debug, Deserialize)]
struct CrossingSettings {
    relay: RelaySettings,
    log: LogSettings,
}

#[derive(Debug, Deserialize)]
struct RelaySettings {
    threads: usize,
}

#[derive(Debug, Deserialize)]
struct LogSettings {
    level: String,
    queue: usize,
    line_bytes: usize,
}

/// The native half of a worker: table, relay, client, journal, message log.
#[pyclass(frozen, module = "ocn_fast._native")]
pub(crate) struct Node {
    core: Arc<relay::Node>,
    crossing: CrossingSettings,
    net: NetSettings,
    opened: Mutex<Option<Arc<Opened>>>,
}

/// What there is between `open` and `close`. Every message in flight holds it.
pub(crate) struct Opened {
    pub(crate) core: Arc<relay::Node>,
    pub(crate) ports: NativePorts,
    pub(crate) queue: Arc<EventQueue>,
    pub(crate) runtime: Runtime,
    create_future: Py<PyAny>,
    on_work: Py<PyAny>,
    panics: AtomicU64,
}

impl Opened {
    /// A new `asyncio.Future` of the loop on which the node was opened.
    pub(crate) fn create_future(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.create_future.call0(py)
    }

    /// The answer where the relay itself fell over: nobody knows what became of the message.
    #[cold]
    pub(crate) fn panicked(&self) -> Reply {
        self.count_panic();
        relay::broken(self.ports.clock.unix_millis())
    }

    pub(crate) fn count_panic(&self) {
        self.panics.fetch_add(1, Ordering::Relaxed);
    }

    fn deliver(&self, py: Python<'_>, event: Event) -> PyResult<()> {
        match event {
            Event::Replied { awaitable, reply } => resolve(awaitable.bind(py), || {
                Ok(Py::new(py, ReplyMessages::new(py, reply)?)?.into_any())
            }),
            Event::Fetched { awaitable, answer } => resolve(awaitable.bind(py), || match answer {
                Ok(answer) => fetched(py, &answer),
                Err(error) => Err(errors::outbound(&error)),
            }),
            Event::Work(Question { id, verb, payload }) => {
                let asked = self
                    .on_work
                    .call1(py, (id, verb, PyBytes::new(py, &payload)));
                if asked.is_err() {
                    self.ports
                        .journal
                        .resume(id, Err(JournalError::Unavailable));
                }
                asked.map(drop)
            }
        }
    }
}

/// Resolves a future with what `make` gives or raises; one that nobody waits for any more stays as it is.
fn resolve(future: &Bound<'_, PyAny>, make: impl FnOnce() -> PyResult<Py<PyAny>>) -> PyResult<()> {
    let py = future.py();
    if future.call_method0(intern!(py, "done"))?.is_truthy()? {
        return Ok(());
    }
    match make() {
        Ok(value) => future.call_method1(intern!(py, "set_result"), (value,)),
        Err(error) => future.call_method1(intern!(py, "set_exception"), (error,)),
    }
    .map(drop)
}

fn fetched(py: Python<'_>, answer: &Answer) -> PyResult<Py<PyAny>> {
    let headers = PyList::empty(py);
    for (name, value) in &answer.headers {
        headers.append((name, PyBytes::new(py, value)))?;
    }
    let parts = (answer.status, headers, PyBytes::new(py, &answer.body));
    Ok(parts.into_pyobject(py)?.into_any().unbind())
}

impl Node {
    fn slot(&self) -> MutexGuard<'_, Option<Arc<Opened>>> {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn opened(&self) -> PyResult<Arc<Opened>> {
        self.slot()
            .clone()
            .ok_or_else(|| PyRuntimeError::new_err("the node is not open"))
    }
}

#[pymethods]
impl Node {
    #[new]
    fn new(settings: &[u8], key: &[u8], ring: Vec<(u8, Bound<'_, PyBytes>)>) -> PyResult<Self> {
        let unusable = |what: String| ConfigError::new_err(what);
        let settings_error = |error: serde_json::Error| unusable(format!("settings: {error}"));
        let core: Settings = serde_json::from_slice(settings).map_err(settings_error)?;
        let crossing = serde_json::from_slice(settings).map_err(settings_error)?;
        let net = NetSettings::from_json(settings).map_err(settings_error)?;
        let key = <&[u8; 32]>::try_from(key)
            .ok()
            .and_then(|key| SigningKey::from_bytes(key).ok())
            .ok_or_else(|| unusable("the node key is not a secp256k1 key of 32 bytes".into()))?;
        let ring = ring
            .into_iter()
            .map(|(id, key)| key.as_bytes().try_into().map(|key| (id, key)))
            .collect::<Result<Vec<(u8, [u8; 32])>, _>>()
            .map_err(|_| unusable("the key ring holds a key that is not 32 bytes long".into()))?;
        let core = relay::Node::new(core, key, ring)
            .map_err(|error| unusable(format!("node.country_code, node.party_id: {error}")))?;
        Ok(Self {
            core: Arc::new(core),
            crossing,
            net,
            opened: Mutex::default(),
        })
    }

    fn open(&self, py: Python<'_>, on_work: Py<PyAny>, work_timeout_ms: u64) -> PyResult<i32> {
        let mut slot = self.slot();
        if slot.is_some() {
            return Err(PyRuntimeError::new_err("the node is open already"));
        }
        let event_loop = py.import("asyncio")?.call_method0("get_running_loop")?;
        let queue = Arc::new(EventQueue::new()?);
        let client = Client::new(&self.net, self.core.buffer_account())
            .map_err(|error| ConfigError::new_err(error.to_string()))?;
        let post = {
            let queue = Arc::clone(&queue);
            Box::new(move |question| queue.push(Event::Work(question)))
        };
        let log = &self.crossing.log;
        let ports = NativePorts {
            client,
            journal: SqlJournal::new(post, Duration::from_millis(work_timeout_ms)),
            log: Log::start(StandardError, log.queue, log.line_bytes)?,
            log_messages: matches!(log.level.as_str(), "debug" | "info"),
            clock: SystemClock::new(),
            random: SystemRandom,
        };
        let descriptor = queue.descriptor();
        *slot = Some(Arc::new(Opened {
            core: Arc::clone(&self.core),
            ports,
            queue,
            runtime: Runtime::start(self.crossing.relay.threads)?,
            create_future: event_loop.getattr("create_future")?.unbind(),
            on_work,
            panics: AtomicU64::new(0),
        }));
        Ok(descriptor)
    }

    fn drain(&self, py: Python<'_>) -> PyResult<()> {
        let opened = self.opened()?;
        for event in opened.queue.drain() {
            // One that cannot be delivered must not keep the others.
            if let Err(error) = opened.deliver(py, event) {
                error.write_unraisable(py, None);
            }
        }
        Ok(())
    }

    fn admit(&self, scope: &Bound<'_, PyDict>) -> PyResult<Gate> {
        Gate::enter(scope.py(), self.opened()?, convert::head(scope)?)
    }

    fn unavailable(&self, scope: &Bound<'_, PyDict>) -> PyResult<ReplyMessages> {
        let (opened, head) = (self.opened()?, convert::head(scope)?);
        let reply = relay::unavailable(head, &self.core, &opened.ports);
        ReplyMessages::new(scope.py(), reply)
    }

    fn apply(&self, py: Python<'_>, change: &[u8]) -> PyResult<()> {
        // A borrowed `bytes` is immutable and its caller holds it until we return.
        py.detach(|| Change::parse(change).and_then(|change| self.core.table.apply(change)))
            .map(drop)
            .map_err(|error| PyValueError::new_err(error.to_string()))
    }

    #[allow(
        clippy::too_many_arguments,
        reason = "the arguments of a call, flat, as Python gives them"
    )]
    fn fetch(
        &self,
        py: Python<'_>,
        method: String,
        url: String,
        headers: Vec<(String, String)>,
        body: Option<Vec<u8>>,
        deadline_ms: u64,
        max_bytes: usize,
    ) -> PyResult<Py<PyAny>> {
        let opened = self.opened()?;
        let future = opened.create_future(py)?;
        let awaitable = future.clone_ref(py);
        let node = Arc::clone(&opened);
        node.runtime.spawn(async move {
            let call = opened.ports.client.fetch(Fetch {
                method: &method,
                url: &url,
                headers: &headers,
                body: body.as_deref().unwrap_or_default(),
                deadline: Duration::from_millis(deadline_ms),
                max_bytes,
            });
            let answer = caught(call).await.unwrap_or_else(|| {
                opened.count_panic();
                Err(SendError::MaybeSent("internal error"))
            });
            opened.queue.push(Event::Fetched { awaitable, answer });
        })?;
        Ok(future)
    }

    fn resume(&self, id: u64, payload: Option<Vec<u8>>, error: Option<&str>) -> PyResult<()> {
        let result = match error {
            None => Ok(payload),
            Some("unavailable") => Err(JournalError::Unavailable),
            Some("full") => Err(JournalError::Full),
            Some("taken") => Err(JournalError::Taken),
            Some(_) => {
                return Err(PyValueError::new_err(
                    "expected 'unavailable', 'full' or 'taken'",
                ));
            }
        };
        // Late answers find nobody: the message has got its own by then.
        self.opened()?.ports.journal.resume(id, result);
        Ok(())
    }

    fn explain<'py>(&self, py: Python<'py>, query: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
        let opened = self.opened()?;
        let invalid = |error: &dyn std::fmt::Display| PyValueError::new_err(error.to_string());
        let query: Query = serde_json::from_slice(query).map_err(|error| invalid(&error))?;
        let explanation =
            relay::explain(&query, &self.core, &opened.ports).map_err(|error| invalid(&error))?;
        let text = serde_json::to_vec(&explanation).map_err(|error| invalid(&error))?;
        Ok(PyBytes::new(py, &text))
    }

    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let opened = self.opened()?;
        let table = self.core.table.load();
        let (counts, connections) = (table.counts(), opened.ports.client.stats());
        let last_seen: serde_json::Map<_, _> = table
            .platforms()
            .filter_map(|platform| {
                Some((platform.id.to_string(), platform.live.last_seen()?.into()))
            })
            .collect();
        let stats = json!({
            "relay": self.core.metrics.to_json(),
            "in_flight": self.core.in_flight(),
            "buffered_bytes": self.core.buffered(),
            "completions": opened.queue.completions(),
            "wakes": opened.queue.wakes(),
            "panics": opened.panics.load(Ordering::Relaxed),
            "log": { "written": opened.ports.log.written(), "dropped": opened.ports.log.dropped() },
            "connections": {
                "used": connections.used,
                "idle": connections.idle,
                "dialled": connections.dialled,
                "reused": connections.reused,
            },
            "last_seen": last_seen,
            "table": {
                "version": table.version(),
                "block": table.block(),
                "block_time": table.block_time(),
                "parties": counts.parties,
                "operators": counts.operators,
                "platforms": counts.platforms,
                "local_parties": counts.local_parties,
                "tokens": counts.tokens,
            },
        });
        Ok(PyBytes::new(py, stats.to_string().as_bytes()))
    }

    fn in_flight(&self) -> usize {
        self.core.in_flight()
    }

    fn sign_answer<'py>(
        &self,
        py: Python<'py>,
        body: Vec<u8>,
        container: &str,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let container = match container {
            "brotli" => Container::Brotli,
            "gzip" => Container::Gzip,
            _ => return Err(PyValueError::new_err("expected 'brotli' or 'gzip'")),
        };
        Ok(PyBytes::new(py, &self.core.sign_answer(body, container)))
    }

    fn close(&self, py: Python<'_>) {
        let Some(opened) = self.slot().take() else {
            return;
        };
        py.detach(|| {
            opened.ports.journal.close();
            opened.runtime.stop(PATIENCE);
            opened.ports.log.close(PATIENCE);
        });
    }
}

impl Drop for Node {
    /// A node that nobody closed must not leave its runtime to be dropped by one of its own tasks.
    fn drop(&mut self) {
        if let Some(opened) = self.slot().take() {
            opened.runtime.stop(Duration::ZERO);
        }
    }
}
