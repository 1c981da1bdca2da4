//! The message log: one line of JSON per message, written by a thread of its own.
//!
//! The relay never waits for the sink. Lines go into a bounded queue; where it is full the line is
//! dropped and counted (`safety.md` F08). Control characters are escaped, so that nothing from the wire
//! can start a line or move a terminal's cursor (A130), and no line is longer than `log.line_bytes`.
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread::{self, Thread};
use std::time::Duration;

use crossbeam_queue::ArrayQueue;
use serde::Serialize;
use serde_json::Value;
use serde_json::ser::{CharEscape, Formatter};

/// One write takes at most about this much: enough to amortise the call, little enough to be prompt.
const BATCH_BYTES: usize = 64 * 1024;

/// Lines of this long go out together. Waking this thread for each of them would cost the relay a system call and
/// the machine two switches per message.
const GATHER: Duration = Duration::from_millis(5);

/// Where a string of an overlong line is cut.
const CUT_CHARS: usize = 64;

/// Takes lines without ever blocking.
#[derive(Debug)]
pub(crate) struct Log {
    shared: Arc<Shared>,
    line_bytes: usize,
    writer: Thread,
    finished: std::sync::Mutex<mpsc::Receiver<()>>,
}

#[derive(Debug)]
struct Shared {
    lines: ArrayQueue<Vec<u8>>,
    closing: AtomicBool,
    dropped: AtomicU64,
    written: AtomicU64,
}

impl Log {
    /// Starts the writer thread. `lines` are held at most while the sink is slow.
    pub(crate) fn start(
        sink: impl Write + Send + 'static,
        lines: usize,
        line_bytes: usize,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            lines: ArrayQueue::new(lines.max(1)),
            closing: AtomicBool::new(false),
            dropped: AtomicU64::new(0),
            written: AtomicU64::new(0),
        });
        let (finish, finished) = mpsc::channel();
        let theirs = Arc::clone(&shared);
        let writer = thread::Builder::new()
            .name("ocn-log".into())
            .spawn(move || {
                write_lines(&theirs, sink);
                // Nobody may wait for it any more.
                let _ = finish.send(());
            })?;
        Ok(Self {
            shared,
            line_bytes,
            writer: writer.thread().clone(),
            finished: std::sync::Mutex::new(finished),
        })
    }

    /// Queues one line for `entry`, or counts it as dropped.
    pub(crate) fn write(&self, entry: &impl Serialize) {
        let line = line(entry, self.line_bytes);
        if line.is_none_or(|line| self.shared.lines.push(line).is_err()) {
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
        }
        self.writer.unpark();
    }

    /// Lines that were lost: the queue was full or the sink refused.
    pub(crate) fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }

    /// Lines that the sink took.
    pub(crate) fn written(&self) -> u64 {
        self.shared.written.load(Ordering::Relaxed)
    }

    /// Writes what is queued and ends the thread; gives up after `patience`, because a sink that blocks
    /// must not hold up the end of the process.
    pub(crate) fn close(&self, patience: Duration) {
        self.shared.closing.store(true, Ordering::Release);
        self.writer.unpark();
        let finished = self
            .finished
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        // Late or already gone: both are the end of our interest.
        let _ = finished.recv_timeout(patience);
    }
}

fn write_lines(shared: &Shared, mut sink: impl Write) {
    let mut batch = Vec::with_capacity(BATCH_BYTES);
    loop {
        // Read before the queue, so that a line queued before closing is still seen.
        let closing = shared.closing.load(Ordering::Acquire);
        let mut lines = 0;
        while batch.len() < BATCH_BYTES
            && let Some(line) = shared.lines.pop()
        {
            batch.extend_from_slice(&line);
            lines += 1;
        }
        if lines > 0 {
            let counter = match sink.write_all(&batch) {
                Ok(()) => &shared.written,
                Err(_) => &shared.dropped,
            };
            counter.fetch_add(lines, Ordering::Relaxed);
            if batch.len() < BATCH_BYTES && !closing {
                thread::sleep(GATHER);
            }
            batch.clear();
        } else if closing {
            return;
        } else {
            thread::park();
        }
    }
}

/// The line for `entry`, with its line feed; shortened until it fits.
fn line(entry: &impl Serialize, limit: usize) -> Option<Vec<u8>> {
    let whole = encode(entry)?;
    if whole.len() <= limit {
        return Some(whole);
    }
    let mut cut = serde_json::to_value(entry).ok()?;
    shorten(&mut cut);
    if let Value::Object(members) = &mut cut {
        members.insert("cut".into(), Value::Bool(true));
    }
    encode(&cut).filter(|line| line.len() <= limit)
}

fn shorten(value: &mut Value) {
    match value {
        Value::String(text) => {
            if let Some((end, _)) = text.char_indices().nth(CUT_CHARS) {
                text.truncate(end);
                text.push('…');
            }
        }
        Value::Array(items) => items.iter_mut().for_each(shorten),
        Value::Object(members) => members.values_mut().for_each(shorten),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn encode(entry: &impl Serialize) -> Option<Vec<u8>> {
    let mut line = Vec::with_capacity(1024);
    let mut serializer = serde_json::Serializer::with_formatter(&mut line, Plain);
    entry.serialize(&mut serializer).ok()?;
    line.push(b'\n');
    Some(line)
}

/// Compact JSON in which no control character survives, not even those that JSON allows.
struct Plain;

impl Formatter for Plain {
    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut rest = fragment;
        while let Some(at) = rest.find(moves_the_cursor) {
            writer.write_all(&rest.as_bytes()[..at])?;
            let mut chars = rest[at..].chars();
            if let Some(control) = chars.next() {
                write!(writer, "\\u{:04x}", u32::from(control))?;
            }
            rest = chars.as_str();
        }
        writer.write_all(rest.as_bytes())
    }

    fn write_char_escape<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        escape: CharEscape,
    ) -> io::Result<()> {
        serde_json::ser::CompactFormatter.write_char_escape(writer, escape)
    }
}

/// Control characters, line separators and the marks that reverse the direction of writing.
fn moves_the_cursor(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The process's standard error. Unlike the standard library's it reports a closed descriptor and waits
/// where somebody else has made the descriptor non-blocking.
#[derive(Debug)]
pub(crate) struct StandardError;

impl Write for StandardError {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        write_blocking(rustix::stdio::stderr(), bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn write_blocking(sink: impl AsFd, bytes: &[u8]) -> io::Result<usize> {
    use rustix::event::{PollFd, PollFlags, poll};
    use rustix::io::Errno;
    loop {
        match rustix::io::write(&sink, bytes) {
            Err(Errno::AGAIN) => {
                poll(&mut [PollFd::new(&sink, PollFlags::OUT)], None)?;
            }
            result => return Ok(result?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    fn parsed(line: &[u8]) -> Value {
        assert_eq!(line.last(), Some(&b'\n'));
        serde_json::from_slice(line).unwrap()
    }

    #[test]
    fn test_a130_control_characters_are_escaped() {
        let text = "a\nb\u{1b}[31m\u{7f}\u{9b}\u{2028}\u{202e}é";
        let line = line(&serde_json::json!({ "text": text }), 8_192).unwrap();
        assert!(
            line[..line.len() - 1]
                .iter()
                .all(|byte| *byte >= 0x20 && *byte != 0x7f)
        );
        assert!(
            !String::from_utf8(line.clone())
                .unwrap()
                .trim_end()
                .contains(moves_the_cursor)
        );
        assert_eq!(parsed(&line)["text"], text);
    }

    #[test]
    fn test_a130_a_line_is_one_line_within_its_bound_whatever_is_in_it() {
        for text in [
            "\r\nGET / HTTP/1.1",
            "\u{1b}]8;;x\u{7}",
            "{\"event\":\"message\"}",
            &"\u{1b}".repeat(1 << 20),
        ] {
            let line = line(
                &serde_json::json!({ "id": text, "list": [text, text] }),
                8_192,
            )
            .unwrap();
            assert!(line.len() <= 8_192);
            assert_eq!(
                line.iter()
                    .filter(|byte| matches!(byte, b'\n' | b'\r'))
                    .count(),
                1
            );
            assert!(parsed(&line)["id"].is_string());
        }
    }

    #[test]
    fn a_line_is_cut_one_byte_above_the_limit_and_not_at_it() {
        let entry = serde_json::json!({ "error": "x".repeat(200), "id": "y" });
        let whole = line(&entry, 8_192).unwrap();
        assert_eq!(line(&entry, whole.len()).unwrap(), whole);
        let cut = line(&entry, whole.len() - 1).unwrap();
        assert!(cut.len() < whole.len());
        assert_eq!(
            (parsed(&cut)["cut"].clone(), parsed(&cut)["id"].clone()),
            (true.into(), "y".into())
        );
        assert_eq!(line(&entry, 16), None);
    }

    #[test]
    fn test_f08_a_blocked_sink_costs_lines_and_never_a_wait() {
        let (reader, mut writer) = io::pipe().unwrap();
        // Nobody reads: fill the pipe to the brim first.
        rustix::io::ioctl_fionbio(&writer, true).unwrap();
        while writer.write(&[b' '; 4096]).is_ok() {}
        rustix::io::ioctl_fionbio(&writer, false).unwrap();
        let log = Log::start(writer, 4, 8_192).unwrap();
        for number in 0..100 {
            log.write(&serde_json::json!({ "number": number }));
        }
        // Four wait in the queue; the writer may hold a batch of up to four in its hands.
        assert!(log.dropped() >= 92, "{}", log.dropped());
        drop(reader);
        log.close(PATIENCE);
        assert_eq!((log.written(), log.dropped()), (0, 100));
    }

    #[test]
    fn test_f08_a_closed_sink_is_counted() {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let log = Log::start(writer, 10, 8_192).unwrap();
        log.write(&serde_json::json!({}));
        log.close(PATIENCE);
        assert_eq!((log.written(), log.dropped()), (0, 1));
    }

    #[test]
    fn what_is_queued_is_written_before_the_end() {
        let (mut reader, writer) = io::pipe().unwrap();
        let log = Log::start(writer, 1_000, 8_192).unwrap();
        for number in 0..500 {
            log.write(&serde_json::json!({ "number": number }));
        }
        log.close(PATIENCE);
        let mut text = String::new();
        io::Read::read_to_string(&mut reader, &mut text).unwrap();
        assert_eq!(
            (text.lines().count(), log.written(), log.dropped()),
            (500, 500, 0)
        );
    }
}
