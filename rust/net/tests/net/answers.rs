//! Answers that are wrong, huge, ambiguous or early.
use bytes::Bytes;
use ocn_core::relay::ports::{Outgoing, SendError};
use ocn_net::{Client, text};
use std::sync::Arc;

use crate::peer::{OK, Peer, answered, client, local, post, refused};

async fn assert_unusable(answer: impl Into<Bytes>, reason: &'static str) {
    let answer = answer.into();
    let peer = Peer::answering(answer.clone()).await;
    let client = client();
    assert_eq!(
        refused(&client, post(peer.url())).await,
        SendError::Unusable(reason),
        "{:?}",
        &answer[..answer.len().min(80)]
    );
    assert_eq!(client.stats().idle, 0);
    assert_eq!(peer.count("marker"), 1);
}

#[tokio::test]
async fn test_f31_what_is_not_http_is_unusable() {
    let garbage: [&[u8]; 6] = [
        b"\x00\x01\x02\x03\xff\xfe garbage\r\n\r\n",
        b"<html>hello</html>\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"\x15\x03\x01\x00\x02\x02\x46",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nBad Name: 1\r\n\r\n",
    ];
    for answer in garbage {
        assert_unusable(answer, text::NOT_HTTP).await;
    }
}

#[tokio::test]
async fn test_f31_a_banner_before_any_request_is_unusable() {
    let peer = Peer::start(|mut talk, _| async move {
        talk.write(b"SSH-2.0-OpenSSH_9.6\r\n").await;
        talk.until_closed().await;
    })
    .await;
    let client = client();
    for _ in 0..20 {
        assert_eq!(
            refused(&client, post(peer.url())).await,
            SendError::Unusable(text::NOT_HTTP)
        );
    }
}

#[tokio::test]
async fn test_f32_an_answer_is_read_up_to_the_limit_and_not_one_byte_further() {
    let limit = 4_096;
    for (length, fits) in [(limit, true), (limit + 1, false)] {
        let body = "x".repeat(length);
        let answers = [
            format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}"),
            format!(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{length:x}\r\n{body}\r\n0\r\n\r\n"
            ),
            format!("HTTP/1.1 200 OK\r\n\r\n{body}"),
        ];
        for answer in answers {
            let peer = Peer::closing(answer).await;
            let request = Outgoing {
                response_bytes: limit,
                ..post(peer.url())
            };
            if fits {
                assert_eq!(answered(&client(), request).await.body.len(), length);
            } else {
                assert_eq!(
                    refused(&client(), request).await,
                    SendError::Unusable(text::ANSWER_TOO_LARGE)
                );
            }
        }
    }
}

#[tokio::test]
async fn test_f32_endless_answers_are_left_at_the_limit() {
    let heads = [
        "HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\n\r\n",
    ];
    for head in heads {
        let (report, mut reported) = tokio::sync::mpsc::unbounded_channel();
        let peer = Peer::start(move |mut talk, _| {
            let report = report.clone();
            async move {
                talk.request().await;
                talk.write(head.as_bytes()).await;
                let chunk = [b"10000\r\n".as_slice(), &[b'x'; 0x10000], b"\r\n"].concat();
                let mut written = 0;
                while talk.write(&chunk).await {
                    written += chunk.len();
                }
                report.send(written).unwrap();
            }
        })
        .await;
        let client = client();
        assert_eq!(
            refused(&client, post(peer.url())).await,
            SendError::Unusable(text::ANSWER_TOO_LARGE)
        );
        // The limit, and what the kernel's buffers hold.
        assert!(reported.recv().await.unwrap() < 16 << 20);
        assert_eq!(client.stats().idle, 0);
    }
}

#[tokio::test]
async fn test_f32_bad_chunks_are_unusable() {
    for chunks in [
        "zz\r\n{}\r\n0\r\n\r\n",
        "-1\r\n",
        "fffffffffffffffff\r\n{}",
        "2\r\n{}xx0\r\n\r\n",
    ] {
        assert_unusable(
            format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}"),
            text::NOT_HTTP,
        )
        .await;
    }
}

#[tokio::test]
async fn test_f33_sixteen_interim_answers_are_skipped_and_no_more() {
    let interim = "HTTP/1.1 102 Processing\r\n\r\n";
    let real = std::str::from_utf8(OK).unwrap();
    let peer = Peer::answering(format!(
        "HTTP/1.1 100 Continue\r\n\r\n{}{real}",
        interim.repeat(15)
    ))
    .await;
    let client = client();
    for _ in 0..3 {
        assert_eq!(answered(&client, post(peer.url())).await.body, "{}");
    }
    assert_eq!(client.stats().dialled, 1);
    assert_unusable(
        format!("{}{real}", interim.repeat(17)),
        text::TOO_MANY_INTERIM,
    )
    .await;
    assert_unusable(interim.repeat(10_000), text::TOO_MANY_INTERIM).await;
}

#[tokio::test]
async fn test_f33_a_switch_of_protocols_is_unusable() {
    assert_unusable(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
        text::PROTOCOL_SWITCH,
    )
    .await;
}

#[tokio::test]
async fn test_f34_an_early_answer_is_taken_and_its_connection_left() {
    for (status, then_closes) in [(413, true), (401, true), (503, true), (413, false)] {
        let answer = format!("HTTP/1.1 {status} Early\r\nContent-Length: 2\r\n\r\n{{}}");
        let peer = Peer::start(move |mut talk, _| {
            let answer = answer.clone();
            async move {
                talk.read().await;
                talk.write(answer.as_bytes()).await;
                // Closing with bytes unread is a reset; the other one stays and takes no more bytes.
                if !then_closes {
                    std::future::pending::<()>().await;
                }
            }
        })
        .await;
        let client = client();
        let large = Outgoing {
            body: Bytes::from(vec![b' '; 8 << 20]),
            ..post(peer.url())
        };
        assert_eq!(answered(&client, large).await.status, status);
        assert_eq!(client.stats().idle, 0);
    }
}

#[tokio::test]
async fn test_f35_answers_without_a_body_are_handed_on_as_they_are() {
    for (answer, status) in [
        ("HTTP/1.1 204 No Content\r\n\r\n", 204),
        (
            "HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n",
            205,
        ),
        ("HTTP/1.1 304 Not Modified\r\n\r\n", 304),
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200),
    ] {
        let peer = Peer::answering(answer).await;
        let client = client();
        for _ in 0..2 {
            let answer = answered(&client, post(peer.url())).await;
            assert_eq!((answer.status, answer.body.len()), (status, 0));
        }
        assert_eq!(client.stats().dialled, 1);
    }
}

#[tokio::test]
async fn test_f36_a60_redirects_are_not_followed() {
    let second = Peer::answering(OK).await;
    for status in [301, 302, 303, 307, 308] {
        let location = second.url();
        let peer = Peer::answering(format!(
            "HTTP/1.1 {status} Moved\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n"
        ))
        .await;
        let answer = answered(&client(), post(peer.url())).await;
        assert_eq!(answer.status, status);
        assert!(
            answer
                .headers
                .contains(&("location".to_owned(), Bytes::from(location)))
        );
    }
    assert_eq!(second.journal().len(), 0);
}

#[tokio::test]
async fn test_f38_ambiguous_framing_is_unusable() {
    for framing in [
        "Content-Length: 2\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 2",
        "Content-Length: 2\r\nContent-Length: 2",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: identity",
    ] {
        assert_unusable(
            format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n"),
            text::FRAMING_AMBIGUOUS,
        )
        .await;
    }
    for framing in [
        "Content-Length: 2, 3",
        "Content-Length: +2",
        "Content-Length: 2\r\nContent-Length: 3",
    ] {
        let peer = Peer::answering(format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n{{}}")).await;
        assert!(matches!(
            refused(&client(), post(peer.url())).await,
            SendError::Unusable(text::FRAMING_AMBIGUOUS | text::NOT_HTTP)
        ));
    }
}

#[tokio::test]
async fn test_a80_a_head_is_bounded_in_count_and_bytes() {
    let mut settings = local();
    settings.http.header_count = 20;
    settings.http.header_bytes = 16_384;
    let client = Client::new(&settings, Arc::default()).unwrap();
    // Two headers are the framing's and the type's.
    for (count, fits) in [(18, true), (19, false), (1_000, false)] {
        let many = "X-A: 1\r\n".repeat(count);
        let peer = Peer::answering(format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 0\r\n{many}\r\n"
        ))
        .await;
        if fits {
            assert_eq!(answered(&client, post(peer.url())).await.headers.len(), 20);
        } else {
            assert_eq!(
                refused(&client, post(peer.url())).await,
                SendError::Unusable(text::ANSWER_HEAD_TOO_LARGE)
            );
        }
    }
    let frame = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-A: \r\n\r\n".len();
    for (bytes, fits) in [(16_384, true), (16_385, false), (100_000, false)] {
        let long = "a".repeat(bytes - frame);
        let peer = Peer::answering(format!(
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-A: {long}\r\n\r\n"
        ))
        .await;
        if fits {
            assert_eq!(answered(&client, post(peer.url())).await.status, 200);
        } else {
            assert_eq!(
                refused(&client, post(peer.url())).await,
                SendError::Unusable(text::ANSWER_HEAD_TOO_LARGE)
            );
        }
    }
}
