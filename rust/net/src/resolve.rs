//! Names to addresses; a trait, so that a test can bring a resolver that lies.
use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt;
use futures_util::future::Shared;
use tokio::sync::oneshot;

/// A lookup under way.
pub type Resolving = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>>;

/// Finds the addresses of a name. Called once for each new connection.
pub trait Resolve: Send + Sync + 'static {
    fn resolve(&self, name: &str) -> Resolving;
}

/// The system's resolver. It blocks a thread for each lookup and cannot be cancelled, so there is one lookup for a
/// name at a time and a bounded number in all: a silent name server of one receiver must not stop the others.
#[derive(Default)]
pub(crate) struct SystemResolver {
    under_way: Arc<Mutex<HashMap<String, Lookup>>>,
}

type Lookup = Shared<oneshot::Receiver<Result<Vec<IpAddr>, io::ErrorKind>>>;

/// Names looked up at once; each holds a thread of the runtime's blocking pool, which has 512.
const LOOKUPS: usize = 128;

impl SystemResolver {
    fn join(&self, name: &str) -> io::Result<Lookup> {
        let mut under_way = self
            .under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(lookup) = under_way.get(name) {
            return Ok(lookup.clone());
        }
        if under_way.len() >= LOOKUPS {
            return Err(io::ErrorKind::ResourceBusy.into());
        }
        let (found, lookup) = oneshot::channel();
        let lookup = lookup.shared();
        under_way.insert(name.to_owned(), lookup.clone());
        let (table, name) = (Arc::clone(&self.under_way), name.to_owned());
        tokio::spawn(async move {
            let addresses = tokio::net::lookup_host((name.as_str(), 0))
                .await
                .map(|found| found.map(|socket| socket.ip()).collect())
                .map_err(|error| error.kind());
            table
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .remove(&name);
            // Nobody may be waiting any more.
            let _ = found.send(addresses);
        });
        Ok(lookup)
    }
}

impl Resolve for SystemResolver {
    fn resolve(&self, name: &str) -> Resolving {
        let lookup = self.join(name);
        Box::pin(async move {
            let found = lookup?.await.map_err(io::Error::other)?;
            found.map_err(io::Error::from)
        })
    }
}
