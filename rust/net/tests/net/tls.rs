//! TLS: every kind of bad certificate is refused by name, nothing turns the checks off.
use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ocn_core::relay::ports::SendError;
use ocn_net::{Client, ClientError, Fetch, NetSettings, text};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd,
};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use crate::peer::{OK, Peer, Talk, answered, hasty, local, post, refused};

fn unique() -> usize {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    NUMBER.fetch_add(1, Ordering::Relaxed)
}

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        // Two of one name would differ by their keys alone, which is another kind of error.
        params
            .distinguished_name
            .push(DnType::CommonName, format!("authority {}", unique()));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Settings that trust this authority.
    fn trusted(&self) -> (NetSettings, CaFile) {
        let file = CaFile::new(&self.0.pem());
        let mut settings = local();
        settings.outbound.ca_file = Some(file.0.clone());
        (settings, file)
    }

    fn server(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> ServerConfig {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        change(&mut params);
        let certificate = params.signed_by(&key, &self.0).unwrap();
        let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
        ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
            )
            .unwrap()
    }
}

/// A file that goes away with the test.
struct CaFile(std::path::PathBuf);

impl CaFile {
    fn new(pem: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("ocn-net-{}-{}.pem", std::process::id(), unique()));
        std::fs::File::create(&path)
            .unwrap()
            .write_all(pem.as_bytes())
            .unwrap();
        Self(path)
    }
}

impl Drop for CaFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A peer that speaks TLS; it journals nothing.
async fn secure_peer(config: ServerConfig) -> Peer {
    let acceptor = TlsAcceptor::from(Arc::new(config));
    Peer::start(move |talk, _| {
        let acceptor = acceptor.clone();
        async move {
            let Talk { stream, .. } = talk;
            if let Ok(stream) = acceptor.accept(stream).await {
                serve(Talk::new(stream, Arc::new(Mutex::new(vec![Vec::new()])), 0)).await;
            }
        }
    })
    .await
}

async fn serve(mut talk: Talk<tokio_rustls::server::TlsStream<TcpStream>>) {
    while talk.request().await.is_some() {
        talk.write(OK).await;
    }
}

async fn assert_refused(config: ServerConfig, settings: &NetSettings, reason: &'static str) {
    let peer = secure_peer(config).await;
    let url = format!("https://{}/", peer.address);
    let client = Client::new(settings, Arc::default()).unwrap();
    assert_eq!(
        refused(&client, post(url)).await,
        SendError::NotSent(reason)
    );
}

#[tokio::test]
async fn a_trusted_peer_is_called_and_its_connection_kept() {
    let authority = Authority::new();
    let (settings, _file) = authority.trusted();
    let peer = secure_peer(authority.server("127.0.0.1", |_| {})).await;
    let client = Client::new(&settings, Arc::default()).unwrap();
    for _ in 0..3 {
        assert_eq!(
            answered(&client, post(format!("https://{}/", peer.address)))
                .await
                .body,
            "{}"
        );
    }
    assert_eq!(client.stats().dialled, 1);
}

#[tokio::test]
async fn test_f41_bad_certificates_are_not_sent_and_named() {
    let authority = Authority::new();
    let (settings, _file) = authority.trusted();
    let expired = authority.server("127.0.0.1", |params| {
        params.not_before = date_time_ymd(2001, 1, 1);
        params.not_after = date_time_ymd(2002, 1, 1);
    });
    assert_refused(expired, &settings, text::TLS_EXPIRED).await;
    let early = authority.server("127.0.0.1", |params| {
        params.not_before = date_time_ymd(2999, 1, 1)
    });
    assert_refused(early, &settings, text::TLS_NOT_YET_VALID).await;
    assert_refused(
        authority.server("other.example", |_| {}),
        &settings,
        text::TLS_WRONG_NAME,
    )
    .await;
    let stranger = Authority::new();
    assert_refused(
        stranger.server("127.0.0.1", |_| {}),
        &settings,
        text::TLS_UNKNOWN_ISSUER,
    )
    .await;
    assert_refused(
        authority.server("127.0.0.1", |_| {}),
        &local(),
        text::TLS_UNKNOWN_ISSUER,
    )
    .await;
}

#[tokio::test]
async fn test_f41_tls_1_1_is_not_spoken() {
    // A server hello of TLS 1.1, as an old server answers.
    let mut hello = vec![
        0x16, 0x03, 0x02, 0x00, 0x2a, 0x02, 0x00, 0x00, 0x26, 0x03, 0x02,
    ];
    hello.extend_from_slice(&[7; 32]);
    hello.extend_from_slice(&[0x00, 0xc0, 0x13, 0x00]);
    let old = Peer::start(move |mut talk, _| {
        let hello = hello.clone();
        async move {
            talk.read().await;
            talk.write(&hello).await;
            talk.until_closed().await;
        }
    })
    .await;
    let verdict = refused(
        &Client::new(&local(), Arc::default()).unwrap(),
        post(format!("https://{}/", old.address)),
    )
    .await;
    assert_eq!(verdict, SendError::NotSent(text::TLS_NO_COMMON_VERSION));
    assert_eq!(old.count("marker"), 0);
}

#[tokio::test]
async fn test_f41_a_peer_that_stalls_in_the_handshake_is_left_after_connect_ms() {
    let peer = Peer::start(|mut talk, _| async move { talk.until_closed().await }).await;
    let mut settings = local();
    settings.relay.connect_ms = 200;
    let client = Client::new(&settings, Arc::default()).unwrap();
    let verdict = refused(&client, post(format!("https://{}/", peer.address))).await;
    assert_eq!(verdict, SendError::NotSent(text::NO_CONNECTION_IN_TIME));
}

#[tokio::test]
async fn test_f41_a_peer_without_tls_is_not_sent() {
    let peer = Peer::answering(OK).await;
    let plain = Peer::start(|mut talk, _| async move {
        talk.read().await;
        talk.write(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    })
    .await;
    let client = Client::new(&local(), Arc::default()).unwrap();
    let verdict = refused(&client, post(format!("https://{}/", plain.address))).await;
    assert_eq!(verdict, SendError::NotSent(text::TLS_FAILED));
    assert_eq!(answered(&client, post(peer.url())).await.status, 200);
}

#[tokio::test]
async fn test_f31_plain_http_to_a_tls_port_is_unusable() {
    let authority = Authority::new();
    let peer = secure_peer(authority.server("127.0.0.1", |_| {})).await;
    let client = Client::new(&local(), Arc::default()).unwrap();
    assert_eq!(
        refused(&client, post(peer.url())).await,
        SendError::Unusable(text::NOT_HTTP)
    );
}

#[tokio::test]
async fn a_ca_file_that_holds_no_certificate_stops_the_start() {
    for content in ["", "no certificate\n"] {
        let file = CaFile::new(content);
        let mut settings = local();
        settings.outbound.ca_file = Some(file.0.clone());
        assert!(matches!(
            Client::new(&settings, Arc::default()),
            Err(ClientError::Tls(_))
        ));
    }
    let mut settings = local();
    settings.outbound.ca_file = Some("/nowhere/ca.pem".into());
    assert!(matches!(
        Client::new(&settings, Arc::default()),
        Err(ClientError::Tls(_))
    ));
}

fn fetch(url: &str) -> Fetch<'_> {
    Fetch {
        method: "GET",
        url,
        headers: &[],
        body: b"",
        deadline: Duration::from_millis(400),
        max_bytes: 1_024,
    }
}

#[tokio::test]
async fn a_fetch_keeps_no_connection() {
    let peer = Peer::answering(OK).await;
    let client = Client::new(&local(), Arc::default()).unwrap();
    let headers = [("authorization".to_owned(), "Token QUJD".to_owned())];
    for _ in 0..2 {
        let answer = client
            .fetch(Fetch {
                headers: &headers,
                ..fetch(&peer.url())
            })
            .await
            .unwrap();
        assert_eq!(
            (answer.status, answer.body.as_ref()),
            (200, b"{}".as_slice())
        );
    }
    assert_eq!(peer.journal().len(), 2);
    assert_eq!(peer.count("Authorization: Token QUJD\r\n"), 2);
    assert_eq!((client.stats().used, client.stats().idle), (0, 0));
}

#[tokio::test]
async fn test_a61_a_fetch_stops_at_its_deadline_and_its_limit() {
    let client = Client::new(&local(), Arc::default()).unwrap();
    let slow = Peer::start(|mut talk, _| async move { talk.until_closed().await }).await;
    assert_eq!(
        client.fetch(fetch(&slow.url())).await.unwrap_err(),
        SendError::MaybeSent(text::NO_ANSWER_IN_TIME)
    );
    let large = Peer::answering("HTTP/1.1 200 OK\r\nContent-Length: 1025\r\n\r\n").await;
    assert_eq!(
        client.fetch(fetch(&large.url())).await.unwrap_err(),
        SendError::Unusable(text::ANSWER_TOO_LARGE)
    );
    assert_eq!(
        refused(&client, hasty(slow.url())).await,
        SendError::MaybeSent(text::NO_ANSWER_IN_TIME)
    );
}
