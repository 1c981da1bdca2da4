//! The journal port: SQL is Python's business, so the relay asks through the queue and waits.
//!
//! `drain` hands each question to Python, `Node.resume` brings the answer. The deadline is kept here as
//! well: a store that never answers must not keep a message (`safety.md` F09).
use std::collections::HashMap;
use std::str::FromStr as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ocn_core::ocpi::{InterfaceRole, Module, Party};
use ocn_core::relay::ports::{Journal, JournalError, Link};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

/// SQL work for Python.
#[derive(Debug)]
pub(crate) struct Question {
    pub(crate) id: u64,
    pub(crate) verb: &'static str,
    /// JSON.
    pub(crate) payload: Vec<u8>,
}

/// Brings a question to the event loop.
type Post = Box<dyn Fn(Question) + Send + Sync>;

/// What Python answers: a JSON document, nothing, or why not.
pub(crate) type WorkResult = Result<Option<Vec<u8>>, JournalError>;

/// Asks Python for SQL work.
pub(crate) struct SqlJournal {
    post: Post,
    deadline: Duration,
    next_id: AtomicU64,
    waiting: Mutex<HashMap<u64, oneshot::Sender<WorkResult>>>,
}

impl SqlJournal {
    pub(crate) fn new(post: Post, deadline: Duration) -> Self {
        Self {
            post,
            deadline,
            next_id: AtomicU64::new(1),
            waiting: Mutex::default(),
        }
    }

    /// Answers a question; false if nobody waits for it any more.
    pub(crate) fn resume(&self, id: u64, result: WorkResult) -> bool {
        let waiting = self.waiting().remove(&id);
        waiting.is_some_and(|answer| answer.send(result).is_ok())
    }

    /// Refuses everything that still waits: the store is going away.
    pub(crate) fn close(&self) {
        self.waiting().clear();
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<u64, oneshot::Sender<WorkResult>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn ask(&self, verb: &'static str, question: &impl Serialize) -> WorkResult {
        let payload = serde_json::to_vec(question).map_err(|_| JournalError::Unavailable)?;
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let (answer, answered) = oneshot::channel();
        self.waiting().insert(id, answer);
        let _forget = Forget { journal: self, id };
        (self.post)(Question { id, verb, payload });
        match tokio::time::timeout(self.deadline, answered).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) | Err(_) => Err(JournalError::Unavailable),
        }
    }
}

/// Removes a question that timed out or whose message was dropped.
struct Forget<'a> {
    journal: &'a SqlJournal,
    id: u64,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.journal.waiting().remove(&self.id);
    }
}

impl Journal for SqlJournal {
    async fn reserve(&self, link: Link) -> Result<(), JournalError> {
        self.ask("reserve", &LinkRow::from(&link)).await.map(drop)
    }

    async fn fill(&self, id: String, url: String) -> Result<(), JournalError> {
        self.ask("fill", &serde_json::json!({ "id": id, "url": url }))
            .await
            .map(drop)
    }

    async fn find(&self, id: String) -> Result<Option<Link>, JournalError> {
        let Some(row) = self.ask("find", &serde_json::json!({ "id": id })).await? else {
            return Ok(None);
        };
        // A row that does not read back is a damaged store, not an unknown link.
        let row: Option<LinkRow> =
            serde_json::from_slice(&row).map_err(|_| JournalError::Unavailable)?;
        row.map(|row| row.into_link().ok_or(JournalError::Unavailable))
            .transpose()
    }
}

/// A link as JSON, in both directions.
#[derive(Debug, Serialize, Deserialize)]
struct LinkRow {
    id: String,
    caller: (String, String),
    owner: (String, String),
    module: String,
    role: String,
    method: String,
    place: String,
    url: String,
    expires_at: i64,
    platform: i64,
}

impl From<&Link> for LinkRow {
    fn from(link: &Link) -> Self {
        let ids = |party: &Party| (party.country_code().into(), party.party_id().into());
        Self {
            id: link.id.clone(),
            caller: ids(&link.caller),
            owner: ids(&link.owner),
            module: link.module.as_str().into(),
            role: link.role.as_str().into(),
            method: link.method.into(),
            place: link.place.clone(),
            url: link.url.clone(),
            expires_at: link.expires_at,
            platform: link.platform,
        }
    }
}

impl LinkRow {
    fn into_link(self) -> Option<Link> {
        let party =
            |(country_code, party_id): &(String, String)| Party::new(country_code, party_id).ok();
        Some(Link {
            caller: party(&self.caller)?,
            owner: party(&self.owner)?,
            module: Module::from_id(&self.module),
            role: InterfaceRole::from_str(&self.role).ok()?,
            method: ["DELETE", "GET", "PATCH", "POST", "PUT"]
                .into_iter()
                .find(|method| *method == self.method)?,
            id: self.id,
            place: self.place,
            url: self.url,
            expires_at: self.expires_at,
            platform: self.platform,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, channel};

    use super::*;

    fn link() -> Link {
        Link {
            id: "00112233445566778899aabbccddeeff".into(),
            caller: Party::new("DE", "CPO").unwrap(),
            owner: Party::new("NL", "MSP").unwrap(),
            module: Module::Commands,
            role: InterfaceRole::Sender,
            method: "POST",
            place: "START_SESSION".into(),
            url: "https://msp.example/result?x=1".into(),
            expires_at: 1_800_000_000_000,
            platform: 7,
        }
    }

    /// A journal, and the questions that it asks.
    fn journal(deadline: Duration) -> (SqlJournal, Receiver<Question>) {
        let (post, questions) = channel();
        (
            SqlJournal::new(
                Box::new(move |question| post.send(question).unwrap()),
                deadline,
            ),
            questions,
        )
    }

    #[tokio::test]
    async fn a_link_goes_out_and_comes_back_as_it_was() {
        let (journal, questions) = journal(Duration::from_secs(5));
        let python = async {
            let Question { id, verb, payload } = questions.recv().unwrap();
            assert_eq!(verb, "reserve");
            assert!(journal.resume(id, Ok(None)));
            payload
        };
        let (reserved, row) = tokio::join!(journal.reserve(link()), python);
        assert_eq!(reserved, Ok(()));
        let python = async {
            let Question { id, verb, payload } = questions.recv().unwrap();
            assert_eq!(
                (verb, payload.as_slice()),
                ("find", br#"{"id":"x"}"#.as_slice())
            );
            assert!(journal.resume(id, Ok(Some(row))));
        };
        let (found, ()) = tokio::join!(journal.find("x".into()), python);
        assert_eq!(found, Ok(Some(link())));
    }

    #[tokio::test]
    async fn a_damaged_row_is_not_an_unknown_link() {
        let (journal, questions) = journal(Duration::from_secs(5));
        let python = async {
            journal.resume(questions.recv().unwrap().id, Ok(Some(b"{}".to_vec())));
        };
        let (found, ()) = tokio::join!(journal.find("x".into()), python);
        assert_eq!(found, Err(JournalError::Unavailable));
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_never_answers_is_unavailable_and_forgotten() {
        let (journal, questions) = journal(Duration::from_secs(5));
        let filled = journal.fill("x".into(), "https://a.example/".into()).await;
        assert_eq!(filled, Err(JournalError::Unavailable));
        assert!(!journal.resume(questions.recv().unwrap().id, Ok(None)));
        assert!(journal.waiting().is_empty());
    }

    #[tokio::test]
    async fn closing_refuses_what_still_waits() {
        let (journal, _questions) = journal(Duration::from_secs(60));
        let (found, ()) = tokio::join!(journal.find("x".into()), async { journal.close() });
        assert_eq!(found, Err(JournalError::Unavailable));
    }
}
