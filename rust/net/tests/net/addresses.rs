//! Which addresses are called, by literal, by name, and by names that change.
use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ocn_core::relay::ports::{Outgoing, SendError};
use ocn_net::{
    Cidr, Client, NetSettings, OutboundSettings, Resolve, Resolving, UrlError, check_url,
    is_global, text,
};

use crate::peer::{OK, Peer, answered, local, post, refused};

/// URLs that must never be called with default settings plus plain http, and why not.
const FORBIDDEN: &[(&str, UrlError)] = &[
    ("http://127.0.0.1/", UrlError::Address),
    ("http://127.0.0.1:8080/x", UrlError::Address),
    ("http://127.1/", UrlError::Address),
    ("http://127.0.1/", UrlError::Address),
    ("http://0/", UrlError::Address),
    ("http://0.0.0.0/", UrlError::Address),
    ("http://2130706433/", UrlError::Address),
    ("http://0x7f.1/", UrlError::Address),
    ("http://0x7f000001/", UrlError::Address),
    ("http://0X7F.0.0.1/", UrlError::Address),
    ("http://017700000001/", UrlError::Address),
    ("http://0177.0.0.1/", UrlError::Address),
    ("http://127.0.0.1./", UrlError::Address),
    ("HTTP://127.0.0.1/", UrlError::Address),
    ("https://127.255.255.255/", UrlError::Address),
    ("http://10.0.0.1/", UrlError::Address),
    ("http://10.255.255.255/", UrlError::Address),
    ("http://172.16.0.1/", UrlError::Address),
    ("http://172.31.255.255/", UrlError::Address),
    ("http://192.168.1.1/", UrlError::Address),
    ("http://169.254.169.254/latest/meta-data", UrlError::Address),
    ("http://2852039166/", UrlError::Address),
    ("http://0xa9fea9fe/", UrlError::Address),
    ("http://169.254.0.1/", UrlError::Address),
    ("http://168.63.129.16/", UrlError::Address),
    ("http://100.64.0.1/", UrlError::Address),
    ("http://100.100.100.200/", UrlError::Address),
    ("http://100.127.255.255/", UrlError::Address),
    ("http://192.0.0.192/", UrlError::Address),
    ("http://192.0.2.1/", UrlError::Address),
    ("http://192.88.99.1/", UrlError::Address),
    ("http://198.18.0.1/", UrlError::Address),
    ("http://198.19.255.255/", UrlError::Address),
    ("http://198.51.100.1/", UrlError::Address),
    ("http://203.0.113.1/", UrlError::Address),
    ("http://224.0.0.1/", UrlError::Address),
    ("http://239.255.255.255/", UrlError::Address),
    ("http://240.0.0.1/", UrlError::Address),
    ("http://255.255.255.255/", UrlError::Address),
    ("http://[::]/", UrlError::Address),
    ("http://[::1]/", UrlError::Address),
    ("http://[0:0:0:0:0:0:0:1]/", UrlError::Address),
    ("http://[::ffff:10.0.0.1]/", UrlError::Address),
    ("http://[::ffff:127.0.0.1]/", UrlError::Address),
    ("http://[::ffff:7f00:1]/", UrlError::Address),
    ("http://[::ffff:8.8.8.8]/", UrlError::Address),
    ("http://[::127.0.0.1]/", UrlError::Address),
    ("http://[::7f00:1]/", UrlError::Address),
    ("http://[64:ff9b::10.0.0.1]/", UrlError::Address),
    ("http://[64:ff9b::7f00:1]/", UrlError::Address),
    ("http://[64:ff9b:1::1]/", UrlError::Address),
    ("http://[100::1]/", UrlError::Address),
    ("http://[2001::1]/", UrlError::Address),
    ("http://[2001:0:7f00:1::]/", UrlError::Address),
    ("http://[2001:2::1]/", UrlError::Address),
    ("http://[2001:10::1]/", UrlError::Address),
    ("http://[2001:db8::1]/", UrlError::Address),
    ("http://[2002:7f00:1::]/", UrlError::Address),
    ("http://[2002:a00:1::1]/", UrlError::Address),
    ("http://[3fff::1]/", UrlError::Address),
    ("http://[5f00::1]/", UrlError::Address),
    ("http://[fc00::1]/", UrlError::Address),
    ("http://[fd00::1]/", UrlError::Address),
    ("http://[fd00:ec2::254]/", UrlError::Address),
    ("http://[fe80::1]/", UrlError::Address),
    ("http://[fec0::1]/", UrlError::Address),
    ("http://[ff02::1]/", UrlError::Address),
    ("file:///etc/passwd", UrlError::Scheme),
    ("ftp://example.com/", UrlError::Scheme),
    ("gopher://example.com/", UrlError::Scheme),
    ("ws://example.com/", UrlError::Scheme),
    ("javascript:alert(1)", UrlError::Malformed),
    ("data:text/plain,x", UrlError::Malformed),
    ("", UrlError::Malformed),
    ("/relative", UrlError::Malformed),
    ("relative", UrlError::Malformed),
    ("//example.com/", UrlError::Malformed),
    ("http:/example.com/", UrlError::Malformed),
    ("http:example.com", UrlError::Malformed),
    ("http:///example.com/", UrlError::Malformed),
    ("http://", UrlError::Malformed),
    ("http:///", UrlError::Malformed),
    ("http://user@example.com/", UrlError::Malformed),
    ("http://user:password@example.com/", UrlError::Malformed),
    ("http://@example.com/", UrlError::Malformed),
    ("http://example.com@127.0.0.1/", UrlError::Malformed),
    ("http://example.com#@127.0.0.1/", UrlError::Malformed),
    ("http://example.com/#fragment", UrlError::Malformed),
    ("http://example.com/#", UrlError::Malformed),
    ("http://example.com\\@127.0.0.1/", UrlError::Malformed),
    ("http:\\\\127.0.0.1\\", UrlError::Malformed),
    ("http://example.com/a\\b", UrlError::Malformed),
    ("http://exa\tmple.com/", UrlError::Malformed),
    ("http://example.com/a\tb", UrlError::Malformed),
    ("http://example.com/a\r\nX-Injected: 1", UrlError::Malformed),
    ("http://example.com/a b", UrlError::Malformed),
    (" http://example.com/", UrlError::Malformed),
    ("http://example.com/ ", UrlError::Malformed),
    ("http://example.com/\u{0}", UrlError::Malformed),
    ("http://example.com/\u{7f}", UrlError::Malformed),
    ("http://127。0。0。1/", UrlError::Malformed),
    ("http://①②⑦.0.0.1/", UrlError::Malformed),
    ("http://%31%32%37.0.0.1/", UrlError::Malformed),
    ("http://127.0.0.1%2f@example.com/", UrlError::Malformed),
    ("http://example.com:0/", UrlError::Malformed),
    ("http://example.com:/", UrlError::Malformed),
    ("http://example.com:65536/", UrlError::Malformed),
    ("http://example.com:-1/", UrlError::Malformed),
    ("http://example.com:80:80/", UrlError::Malformed),
    ("http://[::1/", UrlError::Malformed),
    ("http://[fe80::1%25eth0]/", UrlError::Malformed),
    ("http://256.0.0.1/", UrlError::Malformed),
    ("http://1.2.3.4.5/", UrlError::Malformed),
    ("http://0x100000000/", UrlError::Malformed),
    ("http://exam<ple.com/", UrlError::Malformed),
];

/// Counts and answers lookups as told.
#[derive(Default)]
struct Script {
    answers: Mutex<HashMap<String, Vec<io::Result<Vec<IpAddr>>>>>,
    asked: Mutex<Vec<String>>,
}

impl Script {
    /// The last answer is given again and again.
    fn of<'a>(name: &str, answers: impl IntoIterator<Item = &'a [&'a str]>) -> Arc<Self> {
        let script = Self::default();
        let answers = answers
            .into_iter()
            .map(|addresses| {
                Ok(addresses
                    .iter()
                    .map(|address| address.parse().unwrap())
                    .collect())
            })
            .collect();
        script
            .answers
            .lock()
            .unwrap()
            .insert(name.to_owned(), answers);
        Arc::new(script)
    }

    fn asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

impl Resolve for Script {
    fn resolve(&self, name: &str) -> Resolving {
        self.asked.lock().unwrap().push(name.to_owned());
        let mut answers = self.answers.lock().unwrap();
        let Some(answers) = answers.get_mut(name) else {
            return Box::pin(async { Err(io::ErrorKind::NotFound.into()) });
        };
        let answer = match answers.len() {
            1 => Ok(answers[0].as_ref().unwrap().clone()),
            _ => answers.remove(0),
        };
        Box::pin(async move { answer })
    }
}

/// Answers no lookup.
struct Silent;

impl Resolve for Silent {
    fn resolve(&self, _: &str) -> Resolving {
        Box::pin(std::future::pending())
    }
}

fn strict() -> NetSettings {
    let mut settings = NetSettings::default();
    settings.outbound.schemes = vec!["http".to_owned(), "https".to_owned()];
    settings
}

#[tokio::test]
async fn test_a56_no_spelling_of_a_private_address_is_called() {
    let settings = strict();
    let script = Arc::new(Script::default());
    let client = Client::with_resolver(&settings, Arc::default(), script.clone()).unwrap();
    assert!(FORBIDDEN.len() >= 100);
    for (url, reason) in FORBIDDEN {
        assert_eq!(check_url(url, &settings.outbound), Err(*reason), "{url}");
        let expected = match reason {
            UrlError::Address => text::ADDRESS_NOT_ALLOWED,
            UrlError::Malformed | UrlError::Scheme => text::URL_NOT_USABLE,
        };
        assert_eq!(
            refused(&client, post(*url)).await,
            SendError::NotSent(expected),
            "{url}"
        );
    }
    assert_eq!((script.asked(), client.stats().dialled), (0, 0));
}

#[test]
fn test_a56_what_may_be_called_passes() {
    let outbound = strict().outbound;
    for url in [
        "https://example.com",
        "https://example.com?x=1",
        "https://example.com:8443/ocpi/2.2.1/locations?offset=1&limit=2",
        "https://example.com/a@b:c%00",
        "https://xn--mnchen-3ya.example/",
        "http://8.8.8.8/",
        "http://[2606:4700::1111]:81/",
        "http://172.32.0.1/",
        "http://100.128.0.1/",
        "http://198.20.0.1/",
    ] {
        assert!(check_url(url, &outbound).is_ok(), "{url}");
    }
}

#[test]
fn test_a56_only_the_schemes_of_the_settings_pass() {
    let outbound = OutboundSettings::default();
    assert!(check_url("https://example.com/", &outbound).is_ok());
    assert_eq!(
        check_url("http://example.com/", &outbound),
        Err(UrlError::Scheme)
    );
}

#[test]
fn test_a56_private_networks_are_the_only_exception() {
    let outbound = OutboundSettings {
        private_networks: vec!["10.1.0.0/16".parse::<Cidr>().unwrap()],
        ..OutboundSettings::default()
    };
    assert!(check_url("https://10.1.0.1/", &outbound).is_ok());
    assert!(check_url("https://10.1.255.255/", &outbound).is_ok());
    for url in [
        "https://10.0.255.255/",
        "https://10.2.0.0/",
        "https://[::ffff:10.1.0.1]/",
        "https://127.0.0.1/",
    ] {
        assert_eq!(check_url(url, &outbound), Err(UrlError::Address), "{url}");
    }
}

#[tokio::test]
async fn test_a56_names_of_private_addresses_are_refused_at_connect() {
    for address in [
        "127.0.0.1",
        "10.0.0.1",
        "169.254.169.254",
        "fd00::1",
        "::ffff:127.0.0.1",
        "::1",
        "64:ff9b::a00:1",
    ] {
        let client = Client::with_resolver(
            &strict(),
            Arc::default(),
            Script::of("rebind.example", [[address].as_slice()]),
        )
        .unwrap();
        assert_eq!(
            refused(&client, post("http://rebind.example/")).await,
            SendError::NotSent(text::ADDRESS_NOT_ALLOWED)
        );
    }
    // The system's own resolver knows this name, and some know it with a dot.
    let client = Client::new(&strict(), Arc::default()).unwrap();
    for url in ["http://localhost/", "http://LOCALHOST/"] {
        assert_eq!(
            refused(&client, post(url)).await,
            SendError::NotSent(text::ADDRESS_NOT_ALLOWED)
        );
    }
    assert!(matches!(
        refused(&client, post("http://localhost./")).await,
        SendError::NotSent(text::ADDRESS_NOT_ALLOWED | text::NAME_NOT_FOUND)
    ));
}

#[tokio::test]
async fn test_a56_our_own_address_is_never_called() {
    let peer = Peer::answering(OK).await;
    let mut settings = local();
    settings.node.url = Some(format!("http://{}", peer.address));
    let client = Client::new(&settings, Arc::default()).unwrap();
    assert_eq!(
        refused(&client, post(peer.url())).await,
        SendError::NotSent(text::ADDRESS_NOT_ALLOWED)
    );
    assert_eq!(peer.journal().len(), 0);
}

#[test]
fn test_a56_every_closed_network_is_closed_at_both_ends() {
    for (first, last) in [
        ("0.0.0.0", "0.255.255.255"),
        ("10.0.0.0", "10.255.255.255"),
        ("100.64.0.0", "100.127.255.255"),
        ("127.0.0.0", "127.255.255.255"),
        ("169.254.0.0", "169.254.255.255"),
        ("172.16.0.0", "172.31.255.255"),
        ("192.168.0.0", "192.168.255.255"),
        ("198.18.0.0", "198.19.255.255"),
        ("224.0.0.0", "255.255.255.255"),
    ] {
        let (first, last): (IpAddr, IpAddr) = (first.parse().unwrap(), last.parse().unwrap());
        assert!(!is_global(first) && !is_global(last), "{first} {last}");
        for neighbour in [step(first, -1), step(last, 1)].into_iter().flatten() {
            assert!(is_global(neighbour), "{neighbour}");
        }
    }
}

fn step(address: IpAddr, by: i64) -> Option<IpAddr> {
    let IpAddr::V4(address) = address else {
        return None;
    };
    let number = u32::try_from(i64::from(u32::from(address)) + by).ok()?;
    Some(IpAddr::V4(number.into()))
}

#[tokio::test]
async fn test_a57_a_name_that_turns_private_is_refused_on_the_next_connection() {
    let peer = Peer::closing(OK).await;
    // In this world 127.0.0.1 is public and ::1 is private.
    let script = Script::of(
        "rebind.example",
        [["127.0.0.1"].as_slice(), ["::1"].as_slice()],
    );
    let client = Client::with_resolver(&local(), Arc::default(), script.clone()).unwrap();
    let url = format!("http://rebind.example:{}/", peer.address.port());
    assert_eq!(answered(&client, post(&url)).await.status, 200);
    assert_eq!(
        refused(&client, post(&url)).await,
        SendError::NotSent(text::ADDRESS_NOT_ALLOWED)
    );
    assert_eq!(script.asked(), 2);
    assert_eq!(peer.journal().len(), 1);
}

#[tokio::test]
async fn test_a57_one_private_address_spoils_the_answer() {
    let peer = Peer::answering(OK).await;
    let port = peer.address.port();
    let many: Vec<String> = (0..100)
        .map(|_| "127.0.0.1".to_owned())
        .chain(["10.0.0.1".to_owned()])
        .collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    for answer in [
        ["127.0.0.1", "10.0.0.1"].as_slice(),
        &["fd00::1", "127.0.0.1"],
        &many,
    ] {
        let client = Client::with_resolver(
            &local(),
            Arc::default(),
            Script::of("mixed.example", [answer]),
        )
        .unwrap();
        assert_eq!(
            refused(&client, post(format!("http://mixed.example:{port}/"))).await,
            SendError::NotSent(text::ADDRESS_NOT_ALLOWED)
        );
    }
    assert_eq!(peer.journal().len(), 0);
}

#[tokio::test]
async fn test_a57_a_kept_connection_keeps_its_address() {
    let peer = Peer::answering(OK).await;
    let script = Script::of(
        "rebind.example",
        [["127.0.0.1"].as_slice(), ["10.0.0.1"].as_slice()],
    );
    let client = Client::with_resolver(&local(), Arc::default(), script.clone()).unwrap();
    let url = format!("http://rebind.example:{}/", peer.address.port());
    for _ in 0..5 {
        assert_eq!(answered(&client, post(&url)).await.status, 200);
    }
    assert_eq!((script.asked(), peer.journal().len()), (1, 1));
    assert!(
        peer.text()
            .contains(&format!("Host: rebind.example:{}\r\n", peer.address.port()))
    );
}

#[tokio::test]
async fn test_f40_a_name_that_does_not_exist_is_not_sent() {
    let client =
        Client::with_resolver(&local(), Arc::default(), Arc::new(Script::default())).unwrap();
    assert_eq!(
        refused(&client, post("http://nowhere.example/")).await,
        SendError::NotSent(text::NAME_NOT_FOUND)
    );
    let empty = Client::with_resolver(
        &local(),
        Arc::default(),
        Script::of("empty.example", [[].as_slice()]),
    )
    .unwrap();
    assert_eq!(
        refused(&empty, post("http://empty.example/")).await,
        SendError::NotSent(text::NAME_NOT_FOUND)
    );
}

#[tokio::test]
async fn test_f40_a_silent_name_server_is_left_after_dns_timeout_ms() {
    let mut settings = local();
    settings.outbound.dns_timeout_ms = 200;
    let client = Client::with_resolver(&settings, Arc::default(), Arc::new(Silent)).unwrap();
    let start = Instant::now();
    assert_eq!(
        refused(&client, post("http://silent.example/")).await,
        SendError::NotSent(text::NAME_TIMEOUT)
    );
    assert!(
        start.elapsed() >= Duration::from_millis(200) && start.elapsed() < Duration::from_secs(2)
    );
}

#[tokio::test]
async fn test_f40_only_dns_addresses_many_are_tried() {
    let peer = Peer::answering(OK).await;
    let port = peer.address.port();
    let mut settings = local();
    settings.outbound.dns_addresses = 16;
    for (dead, reached) in [(15, true), (16, false), (999, false)] {
        // Nobody listens at these; only the last one is the peer.
        let addresses: Vec<String> = (0..dead)
            .map(|number| format!("127.1.{}.{}", number / 250, 1 + number % 250))
            .chain(["127.0.0.1".to_owned()])
            .collect();
        let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
        let client = Client::with_resolver(
            &settings,
            Arc::default(),
            Script::of("many.example", [addresses.as_slice()]),
        )
        .unwrap();
        let url = format!("http://many.example:{port}/");
        if reached {
            assert_eq!(answered(&client, post(url)).await.status, 200);
        } else {
            assert_eq!(
                refused(&client, post(url)).await,
                SendError::NotSent(text::CONNECTION_REFUSED)
            );
        }
    }
}

#[tokio::test]
async fn test_f40_a_dead_address_costs_one_head_start() {
    let peer = Peer::answering(OK).await;
    let silent = full_listener(peer.address.port()).await;
    let client = Client::with_resolver(
        &local(),
        Arc::default(),
        Script::of("slow.example", [[silent.address, "127.0.0.1"].as_slice()]),
    )
    .unwrap();
    let request = Outgoing {
        deadline: Duration::from_secs(3),
        ..post(format!("http://slow.example:{}/", peer.address.port()))
    };
    let start = Instant::now();
    assert_eq!(answered(&client, request).await.status, 200);
    assert!(
        start.elapsed() >= Duration::from_millis(300)
            && start.elapsed() < Duration::from_millis(1_200)
    );
}

/// Somebody at 127.0.0.2 who lets every connect hang.
struct Hanging {
    address: &'static str,
    _listener: tokio::net::TcpListener,
    _filling: Vec<tokio::net::TcpStream>,
}

async fn full_listener(port: u16) -> Hanging {
    let address = "127.0.0.2";
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket
        .bind(format!("{address}:{port}").parse().unwrap())
        .unwrap();
    let listener = socket.listen(1).unwrap();
    let mut filling = Vec::new();
    while let Ok(Ok(stream)) = tokio::time::timeout(
        Duration::from_millis(200),
        tokio::net::TcpStream::connect((address, port)),
    )
    .await
    {
        filling.push(stream);
    }
    Hanging {
        address,
        _listener: listener,
        _filling: filling,
    }
}
