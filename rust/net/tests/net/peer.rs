//! A scripted TCP peer that records every byte, and the client set up to talk to it.
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use ocn_core::relay::ports::{Answer, Departure, Outbound, Outgoing, Owner, SendError};
use ocn_net::{Client, NetSettings};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

pub(crate) const OK: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: application/json\r\n\r\n{}";

/// What each connection received, in order of arrival.
pub(crate) type Journal = Arc<Mutex<Vec<Vec<u8>>>>;

pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    journal: Journal,
    task: tokio::task::JoinHandle<()>,
}

impl Peer {
    /// Runs the script for each connection; it gets the connection's number, counted from 0.
    pub(crate) async fn start<F, Running>(script: F) -> Self
    where
        F: Fn(Talk<TcpStream>, usize) -> Running + Send + 'static,
        Running: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let journal = Journal::default();
        let entries = Arc::clone(&journal);
        let task = tokio::spawn(async move {
            for number in 0.. {
                let (stream, _) = listener.accept().await.unwrap();
                entries.lock().unwrap().push(Vec::new());
                tokio::spawn(script(
                    Talk::new(stream, Arc::clone(&entries), number),
                    number,
                ));
            }
        });
        Self {
            address,
            journal,
            task,
        }
    }

    /// Answers every request with these bytes, over and over on each connection.
    pub(crate) async fn answering(answer: impl Into<Bytes>) -> Self {
        let answer = answer.into();
        Self::start(move |mut talk, _| {
            let answer = answer.clone();
            async move {
                while talk.request().await.is_some() {
                    talk.write(&answer).await;
                }
            }
        })
        .await
    }

    /// Answers one request with these bytes and closes.
    pub(crate) async fn closing(answer: impl Into<Bytes>) -> Self {
        let answer = answer.into();
        Self::start(move |mut talk, _| {
            let answer = answer.clone();
            async move {
                talk.request().await;
                talk.write(&answer).await;
            }
        })
        .await
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/x", self.address)
    }

    pub(crate) fn journal(&self) -> Vec<Vec<u8>> {
        self.journal.lock().unwrap().clone()
    }

    /// Everything received, as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.journal().concat()).into_owned()
    }

    /// How often these bytes were received.
    pub(crate) fn count(&self, marker: &str) -> usize {
        self.text().matches(marker).count()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One connection, seen from the peer.
pub(crate) struct Talk<S> {
    pub(crate) stream: S,
    journal: Journal,
    number: usize,
    unread: Vec<u8>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Talk<S> {
    pub(crate) fn new(stream: S, journal: Journal, number: usize) -> Self {
        Self {
            stream,
            journal,
            number,
            unread: Vec::new(),
        }
    }

    /// The next whole request; `None` at the end of the connection.
    pub(crate) async fn request(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some(length) = whole_length(&self.unread) {
                return Some(self.unread.drain(..length).collect());
            }
            if self.read().await == 0 {
                return None;
            }
        }
    }

    /// Some bytes of a request, however many; 0 at the end.
    pub(crate) async fn read(&mut self) -> usize {
        let mut buffer = [0; 16_384];
        let count = self.stream.read(&mut buffer).await.unwrap_or(0);
        self.unread.extend_from_slice(&buffer[..count]);
        self.journal.lock().unwrap()[self.number].extend_from_slice(&buffer[..count]);
        count
    }

    /// Reads until the client closes.
    pub(crate) async fn until_closed(&mut self) {
        while self.read().await > 0 {}
    }

    /// False if the client takes no more.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).await.is_ok() && self.stream.flush().await.is_ok()
    }
}

impl Talk<TcpStream> {
    pub(crate) fn reset(self) {
        self.stream.set_zero_linger().unwrap();
    }
}

fn whole_length(bytes: &[u8]) -> Option<usize> {
    let head = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&bytes[..head])
        .unwrap()
        .to_ascii_lowercase();
    let body = text
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .map_or(0, |digits| digits.parse().unwrap());
    (bytes.len() >= head + body).then_some(head + body)
}

/// Settings that allow the loopback network and plain http.
pub(crate) fn local() -> NetSettings {
    let document =
        br#"{"outbound": {"schemes": ["http", "https"], "private_networks": ["127.0.0.0/8"]}}"#;
    NetSettings::from_json(document).unwrap()
}

pub(crate) fn client() -> Client {
    Client::new(&local(), Arc::default()).unwrap()
}

/// A small POST.
pub(crate) fn post(url: impl Into<String>) -> Outgoing {
    Outgoing {
        method: Bytes::from_static(b"POST"),
        url: url.into(),
        headers: vec![("authorization", Bytes::from_static(b"Token QUJD"))],
        body: Bytes::from_static(b"{\"marker\":1}"),
        owner: Owner::Platform(7),
        deadline: Duration::from_secs(10),
        response_bytes: 1_048_576,
    }
}

/// A small POST that must be over soon.
pub(crate) fn hasty(url: impl Into<String>) -> Outgoing {
    Outgoing {
        deadline: Duration::from_millis(400),
        ..post(url)
    }
}

pub(crate) async fn send(client: &Client, request: Outgoing) -> Result<Answer, SendError> {
    client.send(request, &Departure::default()).await
}

/// Sends to a peer and expects an answer.
pub(crate) async fn answered(client: &Client, request: Outgoing) -> Answer {
    send(client, request).await.expect("an answer")
}

/// Sends to a peer and expects none.
pub(crate) async fn refused(client: &Client, request: Outgoing) -> SendError {
    send(client, request).await.expect_err("no answer")
}
