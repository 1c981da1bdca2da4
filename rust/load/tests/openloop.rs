//! Runs against a server with real sockets, which can be told to stall.
#![allow(clippy::unwrap_used)]
use std::collections::HashSet;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use ocn_load::openloop::{Plan, run};

const STALL: Duration = Duration::from_millis(500);

/// Answers at once; but what comes in the time of its stall waits for its end.
struct Server {
    stall: Option<Range<Instant>>,
    /// Bytes that answer the n-th request.
    answer: fn(usize) -> &'static [u8],
    asked: AtomicUsize,
    bodies: Mutex<Vec<Vec<u8>>>,
    lanes: Mutex<HashSet<u16>>,
}

impl Server {
    fn start(
        stall: Option<Range<Instant>>,
        answer: fn(usize) -> &'static [u8],
    ) -> (u16, Arc<Self>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = Arc::new(Self {
            stall,
            answer,
            asked: AtomicUsize::default(),
            bodies: Mutex::default(),
            lanes: Mutex::default(),
        });
        let accepting = Arc::clone(&server);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let serving = Arc::clone(&accepting);
                thread::spawn(move || serving.serve(stream.unwrap()));
            }
        });
        (port, server)
    }

    fn serve(&self, mut stream: TcpStream) {
        stream.set_nodelay(true).unwrap();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        while let Some(body) = request(&mut reader) {
            let number = self.asked.fetch_add(1, Ordering::Relaxed);
            let lane = stream.peer_addr().unwrap().port();
            self.lanes.lock().unwrap().insert(lane);
            self.bodies.lock().unwrap().push(body);
            if let Some(stall) = &self.stall
                && stall.contains(&Instant::now())
            {
                thread::sleep(stall.end - Instant::now());
            }
            for piece in (self.answer)(number).chunks(20) {
                if stream.write_all(piece).is_err() {
                    return;
                }
            }
        }
    }
}

/// The body of the next request; none once the other side has closed.
fn request(reader: &mut BufReader<TcpStream>) -> Option<Vec<u8>> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
        if let Some(value) = line.strip_prefix("content-length: ") {
            length = value.trim_end().parse().unwrap();
        }
        if line == "\r\n" {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(body)
}

fn put(body: &[u8]) -> Vec<u8> {
    let head = format!(
        "PUT / HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

fn fine(_: usize) -> &'static [u8] {
    b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"
}

/// 100 messages a second for two seconds over four connections: only four can be out when all stands still, but fifty
/// fall due. A generator that waits for answers would show four late ones.
#[test]
fn a_stall_counts_for_everyone_who_was_due_in_it() {
    let begin = Instant::now() + Duration::from_millis(500);
    let (port, server) = Server::start(Some(begin..begin + STALL), fine);
    let outcome = run(port, &[put(b"{}")], &Plan::new(100.0, 2.0, 4)).unwrap();
    let late = outcome
        .latencies
        .iter()
        .filter(|one| **one > STALL / 4)
        .count();
    assert_eq!((outcome.sent, outcome.bad, outcome.behind), (200, 0, false));
    assert_eq!((outcome.latencies.len(), outcome.lags.len()), (200, 200));
    assert!(late >= 25, "{late}");
    assert!(*outcome.latencies.iter().max().unwrap() >= STALL.mul_f64(0.8));
    // The timer goes on while nothing comes back: the generator itself is not late.
    let unaware = outcome.lags.iter().filter(|one| **one > STALL / 4).count();
    assert!(unaware < late / 2, "{unaware} of {late}");
    assert!(server.lanes.lock().unwrap().len() <= 4);
}

#[test]
fn a_relay_that_is_far_behind_is_given_up() {
    let begin = Instant::now();
    let (port, _) = Server::start(Some(begin..begin + Duration::from_secs(30)), fine);
    let plan = Plan {
        backlog: Duration::from_millis(200),
        ..Plan::new(200.0, 2.0, 2)
    };
    let outcome = run(port, &[put(b"{}")], &plan).unwrap();
    assert!(outcome.behind);
    assert_eq!((outcome.sent, outcome.latencies.len()), (2, 0));
    assert!(outcome.took < Duration::from_secs(2));
}

#[test]
fn answers_that_never_come_end_the_run_after_its_grace() {
    let begin = Instant::now();
    let (port, _) = Server::start(Some(begin..begin + Duration::from_secs(30)), fine);
    let plan = Plan {
        grace: Duration::from_millis(200),
        ..Plan::new(100.0, 0.1, 64)
    };
    let outcome = run(port, &[put(b"{}")], &plan).unwrap();
    assert!(outcome.behind);
    assert_eq!((outcome.sent, outcome.latencies.len()), (10, 0));
}

#[test]
fn requests_are_sent_in_turn_and_what_is_refused_is_counted() {
    let (port, server) = Server::start(None, |number| match number % 4 {
        0 => b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
        _ => fine(number),
    });
    let requests = [put(b"a"), put(b"b"), put(b"c")];
    let outcome = run(port, &requests, &Plan::new(1_000.0, 0.2, 8)).unwrap();
    assert_eq!(
        (outcome.sent, outcome.latencies.len(), outcome.bad),
        (200, 200, 50)
    );
    let bodies = server.bodies.lock().unwrap();
    let count = |body: &[u8]| bodies.iter().filter(|one| *one == body).count();
    assert_eq!((count(b"a"), count(b"b"), count(b"c")), (67, 67, 66));
}

#[test]
fn a_request_that_is_larger_than_a_socket_holds_goes_out_whole() {
    let (port, server) = Server::start(None, fine);
    let large = vec![b'x'; 20_000_000];
    let outcome = run(port, &[put(&large)], &Plan::new(10.0, 0.2, 2)).unwrap();
    assert_eq!((outcome.latencies.len(), outcome.bad), (2, 0));
    assert!(
        server
            .bodies
            .lock()
            .unwrap()
            .iter()
            .all(|body| *body == large)
    );
}

#[test]
fn a_connection_that_breaks_ends_the_run_with_an_error() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let closing = thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        request(&mut BufReader::new(stream))
    });
    assert!(run(port, &[put(b"{}")], &Plan::new(10.0, 1.0, 1)).is_err());
    assert_eq!(closing.join().unwrap(), Some(b"{}".to_vec()));
    assert!(run(port, &[put(b"{}")], &Plan::new(10.0, 1.0, 1)).is_err());
}

#[test]
fn a_plan_of_nothing_is_an_error() {
    for (rate, seconds, connections) in [
        (0.0, 1.0, 1),
        (-1.0, 1.0, 1),
        (1e12, 1.0, 1),
        (1.0, -1.0, 1),
        (1.0, 1.0, 0),
    ] {
        let plan = Plan::new(rate, seconds, connections);
        assert!(run(1, &[put(b"{}")], &plan).is_err(), "{plan:?}");
    }
    assert!(run(1, &[], &Plan::new(1.0, 1.0, 1)).is_err());
}
