//! How much at once.
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ocn_core::relay::ports::{Outgoing, Owner, SendError};
use ocn_net::{Client, text};
use tokio::sync::watch;

use crate::peer::{OK, Peer, answered, local, post, refused, send};

/// A peer that answers nobody until told to.
async fn holding() -> (Peer, watch::Sender<bool>) {
    let (release, released) = watch::channel(false);
    let peer = Peer::start(move |mut talk, _| {
        let mut released = released.clone();
        async move {
            while talk.request().await.is_some() {
                released.wait_for(|go| *go).await.unwrap();
                talk.write(OK).await;
            }
        }
    })
    .await;
    (peer, release)
}

/// Starts this many requests and waits until the peer has them all.
async fn hold(client: &Client, peer: &Peer, count: usize) -> Vec<tokio::task::JoinHandle<u16>> {
    let calls = (0..count)
        .map(|_| {
            let (client, request) = (client.clone(), post(peer.url()));
            tokio::spawn(async move { answered(&client, request).await.status })
        })
        .collect();
    while peer.count("marker") < count {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    calls
}

#[tokio::test]
async fn test_a147_a_receiver_that_hangs_holds_only_so_many_requests() {
    let (peer, release) = holding().await;
    let other = Peer::answering(OK).await;
    let mut settings = local();
    settings.limits.in_flight_per_receiver = 3;
    let client = Client::new(&settings, Arc::default()).unwrap();
    let calls = hold(&client, &peer, 3).await;
    assert_eq!(
        refused(&client, post(peer.url())).await,
        SendError::NotSent(text::TOO_MANY_AT_RECEIVER)
    );
    assert_eq!(answered(&client, post(other.url())).await.status, 200);
    // Another platform at the same address is another receiver.
    let elsewhere = Outgoing {
        owner: Owner::Platform(8),
        deadline: Duration::from_millis(200),
        ..post(peer.url())
    };
    assert_eq!(
        refused(&client, elsewhere).await,
        SendError::MaybeSent(text::NO_ANSWER_IN_TIME)
    );
    release.send(true).unwrap();
    for call in calls {
        assert_eq!(call.await.unwrap(), 200);
    }
    assert_eq!(answered(&client, post(peer.url())).await.status, 200);
    assert_eq!(client.stats().used, 0);
}

#[tokio::test]
async fn connections_are_bounded_and_unused_ones_make_room() {
    let (peer, release) = holding().await;
    let other = Peer::answering(OK).await;
    let mut settings = local();
    settings.limits.in_flight = 3;
    let client = Client::new(&settings, Arc::default()).unwrap();
    answered(&client, post(other.url())).await;
    assert_eq!(client.stats().idle, 1);
    let calls = hold(&client, &peer, 3).await;
    assert_eq!((client.stats().used, client.stats().idle), (3, 0));
    assert_eq!(
        refused(&client, post(other.url())).await,
        SendError::NotSent(text::TOO_MANY_CONNECTIONS)
    );
    release.send(true).unwrap();
    for call in calls {
        call.await.unwrap();
    }
    assert_eq!(answered(&client, post(other.url())).await.status, 200);
    assert!(client.stats().idle <= 3);
}

#[tokio::test]
async fn a_dropped_call_frees_its_place() {
    let (peer, _release) = holding().await;
    let mut settings = local();
    settings.limits.in_flight_per_receiver = 1;
    let client = Client::new(&settings, Arc::default()).unwrap();
    let calls = hold(&client, &peer, 1).await;
    assert_eq!(
        send(&client, post(peer.url())).await.unwrap_err(),
        SendError::NotSent(text::TOO_MANY_AT_RECEIVER)
    );
    for call in calls {
        call.abort();
        assert!(call.await.unwrap_err().is_cancelled());
    }
    assert_eq!((client.stats().used, client.stats().idle), (0, 0));
}

#[tokio::test]
async fn test_a138_answers_count_until_they_are_dropped() {
    let body = "x".repeat(600);
    let peer = Peer::answering(format!(
        "HTTP/1.1 200 OK\r\nContent-Length: 600\r\n\r\n{body}"
    ))
    .await;
    let mut settings = local();
    settings.limits.buffered_bytes = 1_000;
    let buffered = Arc::new(AtomicUsize::new(0));
    let client = Client::new(&settings, Arc::clone(&buffered)).unwrap();
    let answer = answered(&client, post(peer.url())).await;
    assert_eq!(buffered.load(Ordering::Relaxed), 600);
    assert_eq!(
        refused(&client, post(peer.url())).await,
        SendError::Unusable(text::NO_ROOM)
    );
    drop(answer);
    assert_eq!(buffered.load(Ordering::Relaxed), 0);
    assert_eq!(answered(&client, post(peer.url())).await.body, body);
}
