//! Connections that are kept, shared, closed and never crossed.
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use ocn_core::eth::Address;
use ocn_core::relay::ports::{Outgoing, Owner, SendError};
use ocn_net::{Client, text};

use crate::peer::{OK, Peer, answered, client, local, post, send};

#[tokio::test]
async fn a_request_is_written_byte_for_byte_as_agreed() {
    let peer = Peer::answering(OK).await;
    let request = Outgoing {
        headers: vec![
            ("authorization", Bytes::from_static(b"Token QUJD")),
            ("x-request-id", Bytes::from_static(b"1")),
            ("ocpi-from-country-code", Bytes::from_static(b"DE")),
        ],
        url: format!(
            "http://{}/a%2Fb//c/../%7e;x='\"|?q=%20&&r=a+b?",
            peer.address
        ),
        ..post("")
    };
    answered(&client(), request).await;
    let expected = format!(
        "POST /a%2Fb//c/../%7e;x='\"|?q=%20&&r=a+b? HTTP/1.1\r\nHost: {}\r\nContent-Length: 12\r\n\
         Authorization: Token QUJD\r\nX-Request-Id: 1\r\nOcpi-From-Country-Code: DE\r\n\r\n{{\"marker\":1}}",
        peer.address
    );
    assert_eq!(peer.text(), expected);
}

#[tokio::test]
async fn lengths_of_empty_bodies_follow_the_method() {
    for (method, stated) in [
        ("GET", false),
        ("DELETE", false),
        ("POST", true),
        ("PUT", true),
        ("PATCH", true),
    ] {
        let peer = Peer::answering(OK).await;
        let request = Outgoing {
            method: Bytes::from_static(method.as_bytes()),
            body: Bytes::new(),
            ..post(peer.url())
        };
        answered(&client(), request).await;
        assert_eq!(
            peer.count("Content-Length: 0"),
            usize::from(stated),
            "{method}"
        );
    }
}

#[tokio::test]
async fn headers_that_frame_are_ours_alone() {
    let peer = Peer::answering(OK).await;
    for name in [
        "content-length",
        "transfer-encoding",
        "host",
        "connection",
        "upgrade",
        "not a name",
    ] {
        let request = Outgoing {
            headers: vec![(name, Bytes::from_static(b"0"))],
            ..post(peer.url())
        };
        assert_eq!(
            send(&client(), request).await.unwrap_err(),
            SendError::NotSent(text::REQUEST_NOT_USABLE)
        );
    }
    assert_eq!(peer.text(), "");
}

#[tokio::test]
async fn a_connection_is_kept_for_the_same_platform_and_origin() {
    let peer = Peer::answering(OK).await;
    let client = client();
    for _ in 0..10 {
        answered(&client, post(peer.url())).await;
    }
    assert_eq!(peer.journal().len(), 1);
    let other = Outgoing {
        owner: Owner::Platform(8),
        ..post(peer.url())
    };
    answered(&client, other).await;
    assert_eq!(peer.journal().len(), 2);
    assert_eq!(client.stats().reused, 9);
}

#[tokio::test]
async fn a_connection_is_left_to_its_thread_unless_there_may_be_no_more() {
    let another = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    for (most, connections) in [(1, 1), (2, 2)] {
        let peer = Peer::answering(OK).await;
        let mut settings = local();
        settings.limits.in_flight_per_receiver = most;
        let client = Client::new(&settings, Arc::default()).unwrap();
        for _ in 0..3 {
            answered(&client, post(peer.url())).await;
            let (client, request) = (client.clone(), post(peer.url()));
            let there = another.spawn(async move { answered(&client, request).await });
            there.await.unwrap();
        }
        assert_eq!(peer.journal().len(), connections);
        assert_eq!(client.stats().idle, connections);
    }
    another.shutdown_background();
}

#[tokio::test]
async fn an_unused_connection_is_closed_after_idle_ms() {
    let (closed, mut is_closed) = tokio::sync::mpsc::unbounded_channel();
    let peer = Peer::start(move |mut talk, _| {
        let closed = closed.clone();
        async move {
            talk.request().await;
            talk.write(OK).await;
            talk.until_closed().await;
            closed.send(()).unwrap();
        }
    })
    .await;
    let mut settings = local();
    settings.relay.idle_ms = 200;
    let client = Client::new(&settings, Arc::default()).unwrap();
    answered(&client, post(peer.url())).await;
    assert_eq!(client.stats().idle, 1);
    is_closed.recv().await.unwrap();
    assert_eq!(client.stats().idle, 0);
}

/// Answers as often as told, then closes after a pause that differs each time.
async fn closing_at_random() -> Peer {
    Peer::start(|mut talk, number| async move {
        for turn in 0..1 + number % 7 {
            if talk.request().await.is_none() || !talk.write(OK).await {
                return;
            }
            if turn == number % 7 {
                let pause = (number * 7_919) % 2_000;
                tokio::time::sleep(Duration::from_micros(pause as u64)).await;
            }
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn test_f37_a_message_arrives_at_most_once_when_the_peer_closes_idle_connections() {
    const MESSAGES: usize = 10_000;
    let peer = closing_at_random().await;
    let client = client();
    let next = Arc::new(AtomicUsize::new(0));
    let mut senders = Vec::new();
    for _ in 0..16 {
        let (client, next, url) = (client.clone(), Arc::clone(&next), peer.url());
        senders.push(tokio::spawn(async move {
            let mut lost = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= MESSAGES {
                    return lost;
                }
                if number.is_multiple_of(64) {
                    tokio::time::sleep(Duration::from_millis((number % 50) as u64)).await;
                }
                let request = Outgoing {
                    body: Bytes::from(format!("<{number}>")),
                    ..post(url.clone())
                };
                match send(&client, request).await {
                    Ok(answer) => assert_eq!(answer.status, 200),
                    Err(SendError::MaybeSent(text::LOST_AFTER_SENDING)) => lost.push(number),
                    Err(other) => panic!("{other:?}"),
                }
            }
        }));
    }
    let mut lost = Vec::new();
    for sender in senders {
        lost.extend(sender.await.unwrap());
    }
    let received = peer.text();
    let mut times = vec![0; MESSAGES];
    for entry in received.split('<').skip(1) {
        times[entry.split_once('>').unwrap().0.parse::<usize>().unwrap()] += 1;
    }
    for (number, times) in times.iter().enumerate() {
        let expected = if lost.contains(&number) { 0..=1 } else { 1..=1 };
        assert!(
            expected.contains(times),
            "message {number} arrived {times} times"
        );
    }
    assert!(client.stats().reused > 0 && peer.journal().len() > 1_000);
}

#[tokio::test]
async fn test_f38_bytes_after_an_answer_never_become_another_answer() {
    let ok = std::str::from_utf8(OK).unwrap();
    let foreign = ok.replace("{}", "!!");
    for extra in [foreign.as_str(), "x", "\r\nHTTP"] {
        // In one piece with the answer, and in a second one right after it.
        for apart in [false, true] {
            let (first, second) = (ok.to_owned(), extra.to_owned());
            let (wrote, mut has_written) = tokio::sync::mpsc::unbounded_channel();
            let peer = Peer::start(move |mut talk, _| {
                let (first, second, wrote) = (first.clone(), second.clone(), wrote.clone());
                async move {
                    while talk.request().await.is_some() {
                        if apart {
                            talk.write(first.as_bytes()).await;
                            talk.write(second.as_bytes()).await;
                        } else {
                            talk.write(format!("{first}{second}").as_bytes()).await;
                        }
                        wrote.send(()).unwrap();
                    }
                }
            })
            .await;
            let client = client();
            for _ in 0..5 {
                assert_eq!(answered(&client, post(peer.url())).await.body, "{}");
                has_written.recv().await.unwrap();
            }
            assert_eq!(peer.journal().len(), 5, "{extra:?} apart: {apart}");
        }
    }
}

/// Platforms and nodes, whatever number or address they have.
#[tokio::test]
async fn test_f38_two_owners_behind_one_address_share_no_connection() {
    let peer = Peer::start(|mut talk, number| async move {
        while talk.request().await.is_some() {
            let body = format!("{number:08}");
            talk.write(format!("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n{body}").as_bytes())
                .await;
        }
    })
    .await;
    let client = client();
    let owners = [
        Owner::Platform(0),
        Owner::Platform(1),
        Owner::Node(Address::from_bytes([0; 20])),
        Owner::Node(Address::from_bytes([1; 20])),
    ];
    let mut connections = owners.map(|_| Vec::new());
    for turn in 0..40 {
        let owner = turn % owners.len();
        let request = Outgoing {
            owner: owners[owner],
            ..post(peer.url())
        };
        connections[owner].push(answered(&client, request).await.body);
    }
    for connections in &mut connections {
        connections.dedup();
        assert_eq!(connections.len(), 1, "each owner keeps its own");
    }
    assert_eq!(peer.journal().len(), owners.len());
}
