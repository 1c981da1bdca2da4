//! Receivers that are gone, silent, slow or cut off.
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::FutureExt;
use ocn_core::relay::ports::{Departure, Outbound, Outgoing, SendError};
use ocn_net::{Client, text};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::peer::{OK, Peer, answered, client, hasty, local, post, refused};

/// Runs until the answer, and says how long that took.
async fn timed(client: &Client, request: Outgoing) -> (SendError, Duration) {
    let start = Instant::now();
    let verdict = refused(client, request).await;
    (verdict, start.elapsed())
}

fn assert_about(taken: Duration, expected_ms: u64) {
    let expected = Duration::from_millis(expected_ms);
    assert!(
        taken >= expected && taken < expected + Duration::from_millis(900),
        "{taken:?}"
    );
}

#[tokio::test]
async fn test_f25_an_address_that_never_answers_the_connect_is_not_sent_after_connect_ms() {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    // The kernel completes connects until the queue of those not accepted is full; then it drops them.
    let mut filling = Vec::new();
    while let Ok(Ok(stream)) =
        tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(address)).await
    {
        filling.push(stream);
    }
    let mut settings = local();
    settings.relay.connect_ms = 300;
    let client = Client::new(&settings, Arc::default()).unwrap();
    let (verdict, taken) = timed(&client, post(format!("http://{address}/"))).await;
    assert_eq!(verdict, SendError::NotSent(text::NO_CONNECTION_IN_TIME));
    assert_about(taken, 300);
}

#[tokio::test]
async fn test_f26_a_closed_port_is_not_sent_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    drop(listener);
    let (verdict, taken) = timed(&client(), post(url)).await;
    assert_eq!(verdict, SendError::NotSent(text::CONNECTION_REFUSED));
    assert_about(taken, 0);
}

#[tokio::test]
async fn test_f27_a_peer_that_never_answers_is_maybe_sent_at_the_deadline() {
    let peer = Peer::start(|mut talk, _| async move { talk.until_closed().await }).await;
    let (verdict, taken) = timed(&client(), hasty(peer.url())).await;
    assert_eq!(verdict, SendError::MaybeSent(text::NO_ANSWER_IN_TIME));
    assert_about(taken, 400);
    assert_eq!(peer.count("marker"), 1);
}

#[tokio::test]
async fn test_f28_a_dripping_answer_ends_at_the_same_deadline() {
    let head: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n";
    for at_once in [3, head.len()] {
        let peer = Peer::start(move |mut talk, _| async move {
            talk.request().await;
            let answer = [head, &[b' '; 1000]].concat();
            talk.write(&answer[..at_once]).await;
            for byte in &answer[at_once..] {
                tokio::time::sleep(Duration::from_millis(30)).await;
                if !talk.write(&[*byte]).await {
                    return;
                }
            }
        })
        .await;
        let (verdict, taken) = timed(&client(), hasty(peer.url())).await;
        assert_eq!(verdict, SendError::MaybeSent(text::NO_ANSWER_IN_TIME));
        assert_about(taken, 400);
    }
}

#[tokio::test]
async fn test_f29_a_reset_after_the_connect_is_never_claimed_as_sent_or_not_against_the_journal() {
    let peer = Peer::start(|talk, _| async move { talk.reset() }).await;
    let client = client();
    for _ in 0..50 {
        match refused(&client, post(peer.url())).await {
            SendError::NotSent(reason) => assert_eq!(reason, text::LOST_BEFORE_SENDING),
            SendError::MaybeSent(reason) => assert_eq!(reason, text::LOST_AFTER_SENDING),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(peer.count("marker"), 0);
}

#[tokio::test]
async fn test_f29_a_reset_inside_the_request_is_maybe_sent() {
    let peer = Peer::start(|mut talk, _| async move {
        talk.read().await;
        talk.reset();
    })
    .await;
    let large = Outgoing {
        body: Bytes::from(vec![b' '; 8 << 20]),
        ..post(peer.url())
    };
    assert_eq!(
        refused(&client(), large).await,
        SendError::MaybeSent(text::LOST_AFTER_SENDING)
    );
}

#[tokio::test]
async fn test_f29_a_reset_after_the_request_or_inside_the_answer_is_maybe_sent_and_never_repeated()
{
    let parts: [&[u8]; 3] = [
        b"",
        b"HTTP/1.1 200 O",
        b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n{",
    ];
    for part in parts {
        let peer = Peer::start(move |mut talk, _| async move {
            talk.request().await;
            talk.write(part).await;
            talk.reset();
        })
        .await;
        assert_eq!(
            refused(&client(), post(peer.url())).await,
            SendError::MaybeSent(text::LOST_AFTER_SENDING)
        );
        assert_eq!(peer.count("marker"), 1);
    }
}

#[tokio::test]
async fn test_f30_a_whole_answer_is_taken_whatever_is_closed_around_it() {
    let endings: [&[u8]; 3] = [
        OK,
        b"HTTP/1.1 200 OK\r\n\r\n{}",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}",
    ];
    for answer in endings {
        for half in [false, true] {
            let peer = Peer::start(move |mut talk, _| async move {
                talk.request().await;
                talk.write(answer).await;
                if half {
                    talk.stream.shutdown().await.unwrap();
                    talk.until_closed().await;
                }
            })
            .await;
            let client = client();
            assert_eq!(answered(&client, post(peer.url())).await.body, "{}");
            // The next one comes on a new connection.
            assert_eq!(answered(&client, post(peer.url())).await.body, "{}");
            assert_eq!(peer.count("marker"), 2);
        }
    }
}

#[tokio::test]
async fn test_f30_a_close_without_a_whole_answer_is_maybe_sent() {
    let parts: [&[u8]; 4] = [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n",
    ];
    for part in parts {
        let peer = Peer::closing(part).await;
        assert_eq!(
            refused(&client(), post(peer.url())).await,
            SendError::MaybeSent(text::LOST_AFTER_SENDING)
        );
        assert_eq!(peer.count("marker"), 1);
    }
}

#[tokio::test]
async fn test_f43_an_answer_lost_on_the_way_back_is_maybe_sent_and_never_sent_again() {
    let peer = Peer::start(|mut talk, _| async move {
        talk.request().await;
    })
    .await;
    let client = client();
    assert_eq!(
        refused(&client, post(peer.url())).await,
        SendError::MaybeSent(text::LOST_AFTER_SENDING)
    );
    assert_eq!(peer.journal().len(), 1);
}

#[tokio::test]
async fn a_requester_who_gave_up_before_the_first_byte_costs_the_receiver_nothing() {
    let peer = Peer::answering(OK).await;
    let departure = Departure::default();
    assert!(departure.cancel());
    let verdict = client().send(post(peer.url()), &departure).await;
    assert_eq!(verdict.unwrap_err(), SendError::Cancelled);
    assert_eq!(peer.text(), "");
}

#[tokio::test]
async fn a_call_dropped_while_it_connects_sends_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = client();
    let departure = Departure::default();
    {
        let mut call = Box::pin(client.send(
            post(format!("http://{}/", listener.local_addr().unwrap())),
            &departure,
        ));
        assert!((&mut call).now_or_never().is_none());
    }
    assert!(!departure.departed());
    // Nothing is left of it: no seat, no connection.
    assert_eq!((client.stats().used, client.stats().idle), (0, 0));
}
