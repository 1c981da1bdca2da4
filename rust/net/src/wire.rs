//! The bytes of one connection, and the account of them that verdicts rest on.
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// What went over a connection. Only the task that uses the connection writes it.
#[derive(Debug, Default)]
pub(crate) struct Account {
    /// Bytes handed to the socket, or to TLS, since the connection was opened.
    written: AtomicU64,
    /// The peer takes no bytes at the moment, and some wait to be written.
    blocked: AtomicBool,
    /// Writing failed.
    broken: AtomicBool,
    /// Informational answers to the request under way.
    interim: AtomicUsize,
}

impl Account {
    pub(crate) fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Whether everything handed over so far was taken.
    pub(crate) fn flushed(&self) -> bool {
        !self.blocked.load(Ordering::Relaxed) && !self.broken.load(Ordering::Relaxed)
    }

    pub(crate) fn count_interim(&self) {
        self.interim.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn interim(&self) -> usize {
        self.interim.load(Ordering::Relaxed)
    }

    pub(crate) fn forget_interim(&self) {
        self.interim.store(0, Ordering::Relaxed);
    }
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// A connection that counts what is written to it.
pub(crate) struct Wire {
    stream: Stream,
    account: Arc<Account>,
}

impl Wire {
    pub(crate) fn plain(stream: TcpStream) -> Self {
        Self::over(Stream::Plain(stream))
    }

    pub(crate) fn tls(stream: TlsStream<TcpStream>) -> Self {
        Self::over(Stream::Tls(Box::new(stream)))
    }

    fn over(stream: Stream) -> Self {
        Self {
            stream,
            account: Arc::default(),
        }
    }

    pub(crate) fn account(&self) -> Arc<Account> {
        Arc::clone(&self.account)
    }

    /// Books the result of a write. After a failed one the peer's answer may still lie unread (it refused a large
    /// body and closed), so the failure shows as a write that never ends, and reading brings the answer or the end.
    fn book(&self, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        self.account
            .blocked
            .store(result.is_pending(), Ordering::Relaxed);
        match result {
            Poll::Ready(Ok(count)) => {
                self.account
                    .written
                    .fetch_add(count as u64, Ordering::Relaxed);
                Poll::Ready(Ok(count))
            }
            Poll::Ready(Err(error)) => {
                self.account.broken.store(true, Ordering::Relaxed);
                if let Stream::Tls(_) = self.stream {
                    // TLS does not say how much of what it was given left before the failure.
                    self.account.written.fetch_add(1, Ordering::Relaxed);
                }
                if self.account.written() == 0 {
                    Poll::Ready(Err(error))
                } else {
                    Poll::Pending
                }
            }
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Stream::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Stream::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        };
        self.book(result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            Stream::Tls(stream) => Pin::new(stream).poll_write_vectored(context, slices),
        };
        self.book(result)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Stream::Plain(stream) => stream.is_write_vectored(),
            Stream::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(context),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(context),
        };
        self.book(result.map_ok(|()| 0)).map_ok(|_| ())
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
