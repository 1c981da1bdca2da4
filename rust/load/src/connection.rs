//! One connection: a request goes out, then its answer is read to the last byte.
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Instant;

const MOST_HEADERS: usize = 64;

/// One request at a time; nothing here waits.
pub(crate) struct Connection<'a> {
    pub(crate) stream: TcpStream,
    /// When the request that is out was due; none: free for the next one.
    due: Option<Instant>,
    unsent: &'a [u8],
    answer: Answer,
}

/// A request that has been answered.
pub(crate) struct Answered {
    pub(crate) due: Instant,
    pub(crate) status: u16,
}

impl<'a> Connection<'a> {
    /// To a port of this machine.
    pub(crate) fn open(port: u16) -> io::Result<Self> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream,
            due: None,
            unsent: &[],
            answer: Answer::default(),
        })
    }

    /// Sends as much of a request as goes out now; [`Self::go_on`] sends the rest.
    pub(crate) fn begin(&mut self, request: &'a [u8], due: Instant) -> io::Result<()> {
        self.due = Some(due);
        self.unsent = request;
        self.write()
    }

    /// Goes on where the socket has moved; tells when the answer is whole. `piece` is room to read into.
    pub(crate) fn go_on(&mut self, piece: &mut [u8]) -> io::Result<Option<Answered>> {
        let Some(due) = self.due else {
            // Nobody waits for it: if it is closed, the next request finds out.
            return Ok(None);
        };
        self.write()?;
        while let Some(length) = now(|| self.stream.read(piece))? {
            if length == 0 {
                return Err(io::Error::other("the relay closed a connection"));
            }
            if let Some(status) = self.answer.add(&piece[..length])? {
                self.due = None;
                return Ok(Some(Answered { due, status }));
            }
        }
        Ok(None)
    }

    fn write(&mut self) -> io::Result<()> {
        while !self.unsent.is_empty() {
            let Some(length) = now(|| self.stream.write(self.unsent))? else {
                break;
            };
            self.unsent = &self.unsent[length..];
        }
        Ok(())
    }
}

/// None: the socket cannot, yet.
fn now(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<Option<usize>> {
    loop {
        match call() {
            Ok(length) => return Ok(Some(length)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// What has come of an answer.
#[derive(Default)]
struct Answer {
    bytes: Vec<u8>,
    /// Status, and the length of head and body; once the head is there.
    whole: Option<(u16, usize)>,
}

impl Answer {
    /// The status, once all of it is there; then it is empty for the next one.
    fn add(&mut self, piece: &[u8]) -> io::Result<Option<u16>> {
        self.bytes.extend_from_slice(piece);
        if self.whole.is_none() {
            self.whole = head(&self.bytes)?;
        }
        let Some((status, length)) = self.whole else {
            return Ok(None);
        };
        if self.bytes.len() < length {
            return Ok(None);
        }
        if self.bytes.len() > length {
            return Err(io::Error::other("more came than the answer"));
        }
        self.bytes.clear();
        self.whole = None;
        Ok(Some(status))
    }
}

fn head(bytes: &[u8]) -> io::Result<Option<(u16, usize)>> {
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(length) = response.parse(bytes).map_err(io::Error::other)?
    else {
        return Ok(None);
    };
    let body = response
        .headers
        .iter()
        .find(|header| header.name.eq_ignore_ascii_case("content-length"))
        .and_then(|header| str::from_utf8(header.value).ok()?.parse::<usize>().ok())
        .ok_or_else(|| io::Error::other("an answer without its length"))?;
    let status = response.code.unwrap_or_default();
    Ok(Some((status, length + body)))
}

#[cfg(test)]
mod tests {
    use super::Answer;

    const TEXT: &[u8] = b"HTTP/1.1 201 Created\r\nserver: x\r\nContent-Length: 3\r\n\r\nabc";

    #[test]
    fn an_answer_may_come_in_any_two_pieces_one_after_the_other() {
        let mut answer = Answer::default();
        for cut in 1..TEXT.len() {
            assert_eq!(answer.add(&TEXT[..cut]).unwrap(), None);
            assert_eq!(answer.add(&TEXT[cut..]).unwrap(), Some(201));
        }
    }

    #[test]
    fn an_answer_that_does_not_tell_its_end_is_an_error() {
        for text in [
            "HTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: some\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nab",
            "SMTP ready\r\n\r\n",
        ] {
            assert!(Answer::default().add(text.as_bytes()).is_err(), "{text}");
        }
    }
}
