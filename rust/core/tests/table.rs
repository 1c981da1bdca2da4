//! The table against a naive model: sequences of changes, refused ones, old snapshots, concurrent readers.
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ocn_core::ocpi::{InterfaceRole, Module, Party, Role, Version};
use ocn_core::table::{Change, PlatformStatus, RulesMode, Table, TableError, TableHandle};
use proptest::prelude::*;
use serde_json::{Value, json};

fn apply(handle: &TableHandle, change: &Value) -> Result<(), TableError> {
    handle
        .apply(Change::parse(change.to_string().as_bytes())?)
        .map(|_| ())
}

fn refusal(handle: &TableHandle, change: &Value) -> String {
    let before = handle.load();
    let error = apply(handle, change).expect_err("a bad change");
    assert!(
        Arc::ptr_eq(&before, &handle.load()),
        "a refused change leaves the table as it was"
    );
    error.to_string()
}

fn address(number: u64) -> String {
    format!("0x{number:040x}")
}

fn digest(number: u64) -> [u8; 32] {
    let mut digest = [0; 32];
    digest[24..].copy_from_slice(&number.to_be_bytes());
    digest
}

fn change(number: u64, full: bool, registry: Value, platforms: Value, gone: Value) -> Value {
    json!({"number": number, "full": full, "registry": registry, "platforms": platforms,
        "gone_platforms": gone})
}

fn registry(block: u64, operators: Value, parties: Value) -> Value {
    json!({"block": block, "block_hash": null, "block_time": "2026-01-01T00:00:00Z",
        "operators": operators, "gone_operators": [], "parties": parties, "gone_parties": []})
}

fn registry_party(country_code: &str, party_id: &str, own: u64, operator: u64) -> Value {
    json!({"country_code": country_code, "party_id": party_id, "address": address(own),
        "operator": address(operator), "roles": ["CPO"], "modules": []})
}

fn platform(id: i64, parties: &[&str], tokens: &[u64]) -> Value {
    let parties: Vec<_> = parties
        .iter()
        .map(|party| json!({"country_code": "DE", "party_id": party, "role": "CPO"}))
        .collect();
    let tokens: Vec<_> = tokens
        .iter()
        .map(|token| json!({"digest": format!("{token:064x}"), "expires_at": null}))
        .collect();
    json!({"id": id, "status": "CONNECTED", "version": "2.2.1", "parties": parties, "tokens": tokens,
        "token_b": "token-b-of-ours", "token_encoding": "base64",
        "endpoints": [{"module": "locations", "role": "SENDER",
            "url": "https://Party.example:443/locations"}],
        "origins": ["https://files.party.example:8443"],
        "versions_url": "https://party.example/versions",
        "rules": {"signatures": false, "mode": "none", "entries": []},
        "sign_for_party": false, "exempt": []})
}

fn de(party_id: &str) -> Party {
    Party::new("DE", party_id).expect("an id of ours")
}

#[test]
fn a_full_change_fills_both_halves() {
    let handle = TableHandle::new();
    let mut row = platform(7, &["CPO"], &[1, 2]);
    row["tokens"][1]["expires_at"] = json!(1_700_000_000_000_i64);
    row["endpoints"]
        .as_array_mut()
        .expect("a list")
        .push(json!({"module": "NLTNM-Tokens", "role": "RECEIVER", "url": "http://10.0.0.1:81/x"}));
    row["rules"] = json!({"signatures": true, "mode": "blacklist",
        "entries": [{"country_code": "de", "party_id": "msp", "modules": ["CDRs"]}]});
    let mut party = registry_party("de", "cpo", 2, 1);
    party["roles"] = json!(["CPO", "emsp", "SOMETHING_NEW"]);
    party["modules"] = json!(["locations"]);
    let operator = json!([{"address": address(1), "domain": "https://node.example"}]);
    let full = change(
        42,
        true,
        registry(12, operator, json!([party])),
        json!([row]),
        json!([]),
    );
    let applied = handle
        .apply(Change::parse(full.to_string().as_bytes()).expect("a change"))
        .expect("a good change");

    let table = handle.load();
    assert_eq!((applied.version, applied.counts), (42, table.counts()));
    assert_eq!((table.version(), table.block()), (42, Some(12)));
    assert_eq!(
        (table.block_hash(), table.block_time()),
        (None, Some("2026-01-01T00:00:00Z"))
    );
    let party = table.registered(de("Cpo")).expect("registered");
    assert_eq!(party.address.to_string().to_lowercase(), address(2));
    assert_eq!(&*party.modules, [Module::Locations]);
    let roles = [Role::Cpo, Role::Emsp, Role::Other, Role::Hub];
    assert_eq!(
        roles.map(|role| party.roles.contains(role)),
        [true, true, true, false]
    );
    let operator = table.operator(&party.operator).expect("an operator");
    assert_eq!(operator.domain, "https://node.example");

    let (by_token, token) = table.platform_by_token(&digest(2)).expect("a token");
    assert_eq!(
        (by_token.id, token.expires_at),
        (7, Some(1_700_000_000_000))
    );
    assert!(table.platform_by_token(&digest(3)).is_none());
    let by_party = table.local_party(de("cpo")).expect("connected");
    assert!(Arc::ptr_eq(by_token, by_party));
    assert_eq!(
        (by_party.status, by_party.version),
        (PlatformStatus::Connected, Version::V2_2_1)
    );
    assert_eq!(by_party.token_b.expose(), "token-b-of-ours");
    assert!(!format!("{table:?}").contains("token-b-of-ours"), "I05");
    assert_eq!(
        (by_party.rules.mode, by_party.rules.signatures),
        (RulesMode::Blacklist, true)
    );
    assert!(by_party.rules.judge(de("MSP"), &Module::Cdrs).is_err());

    let (sender, receiver) = (InterfaceRole::Sender, InterfaceRole::Receiver);
    let locations = Some("https://Party.example:443/locations");
    assert_eq!(
        by_party.endpoint(Version::V2_2_1, &Module::Locations, sender),
        locations
    );
    assert_eq!(
        by_party.endpoint(Version::V2_2, &Module::Locations, sender),
        locations
    );
    assert_eq!(
        by_party.endpoint(Version::V2_2, &Module::Locations, receiver),
        None
    );
    let custom = Module::from_id("nltnm-TOKENS");
    assert!(
        by_party
            .endpoint(Version::V2_2, &custom, receiver)
            .is_some()
    );
    assert_eq!(
        by_party.origins,
        [
            "https://party.example",
            "http://10.0.0.1:81",
            "https://files.party.example:8443"
        ]
    );
}

#[test]
fn counters_survive_the_snapshots_of_one_platform_only() {
    let handle = TableHandle::new();
    let put = |rows: Value, gone: Value, full| {
        apply(&handle, &change(1, full, Value::Null, rows, gone)).expect("a good change");
    };
    put(json!([platform(7, &["CPO"], &[1])]), json!([]), true);
    let live = Arc::clone(&handle.load().platform(7).expect("there").live);
    live.seen(99);
    for full in [false, true] {
        put(json!([platform(7, &["MSP"], &[2])]), json!([]), full);
        assert!(Arc::ptr_eq(
            &live,
            &handle.load().platform(7).expect("there").live
        ));
    }
    put(json!([]), json!([7]), false);
    assert!(handle.load().local_party(de("MSP")).is_none());
    put(json!([platform(7, &["MSP"], &[2])]), json!([]), false);
    assert_eq!(
        handle.load().platform(7).expect("there").live.last_seen(),
        None
    );
}

type Edit = fn(&mut Value);

const BAD_ROWS: [(Edit, &str); 11] = [
    (
        |row| row["tokens"][0]["digest"] = json!("00"),
        "platform 2: a token digest must be 64 hex digits",
    ),
    (
        |row| row["tokens"][0]["digest"] = json!("+".repeat(64)),
        "platform 2: a token digest must be 64 hex digits",
    ),
    (
        |row| row["tokens"][0]["digest"] = json!(format!("{:064x}", 1)),
        "platform 2: a token digest already belongs to platform 1",
    ),
    (
        |row| row["parties"][0]["party_id"] = json!("cpo"),
        "platform 2: party DE/CPO already belongs to platform 1",
    ),
    (
        |row| row["parties"][0]["party_id"] = json!("CPOX"),
        "platform 2: party id must be three ASCII letters or digits",
    ),
    (
        |row| row["endpoints"][0]["url"] = json!("ftp://x"),
        "platform 2: the SENDER endpoint of locations is not an http(s) URL that may be called",
    ),
    (
        |row| row["endpoints"][0]["role"] = json!("BOTH"),
        "platform 2: unknown interface role: expected SENDER or RECEIVER",
    ),
    (
        |row| row["versions_url"] = json!("https://u@x/"),
        "platform 2: its versions URL is not an http(s) URL that may be called",
    ),
    (
        |row| row["origins"] = json!(["party.example"]),
        "platform 2: a further origin is not an http(s) URL that may be called",
    ),
    (
        |row| row["version"] = json!("2.1.1"),
        "platform 2: unknown version: expected 2.2 or 2.2.1",
    ),
    (
        |row| {
            row["rules"]["entries"] = json!([
                {"country_code": "DE", "party_id": "ABC", "modules": []},
                {"country_code": "de", "party_id": "abc", "modules": []}]);
        },
        "platform 2: party DE/ABC has more than one entry in the rules",
    ),
];

const BAD_FORMS: [Edit; 5] = [
    |row| row["status"] = json!("GONE"),
    |row| row["rules"]["mode"] = json!("both"),
    |row| row["surprise"] = json!(1),
    |row| row["parties"][0]["surprise"] = json!(1),
    |row| {
        row.as_object_mut().expect("a row").remove("exempt");
    },
];

/// Platform 1 with DE/CPO and token 1, change 9.
fn one_platform() -> TableHandle {
    let handle = TableHandle::new();
    let half = registry(5, json!([]), json!([registry_party("DE", "CPO", 2, 1)]));
    let rows = json!([platform(1, &["CPO"], &[1])]);
    apply(&handle, &change(9, true, half, rows, json!([]))).expect("a good change");
    handle
}

#[test]
fn a_bad_platform_is_refused_by_name_and_leaves_the_table_as_it_was() {
    let handle = one_platform();
    let with = |edit: Edit| {
        let mut row = platform(2, &["MSP"], &[2]);
        edit(&mut row);
        refusal(
            &handle,
            &change(10, false, Value::Null, json!([row]), json!([])),
        )
    };
    for (edit, text) in BAD_ROWS {
        assert_eq!(with(edit), text);
    }
    for edit in BAD_FORMS {
        let text = with(edit);
        assert!(
            text.starts_with("the change is not JSON of the expected form: "),
            "{text}"
        );
    }
}

#[test]
fn a_contradictory_change_is_refused_by_name() {
    let handle = one_platform();
    let local = |rows: Value, gone: Value| change(10, false, Value::Null, rows, gone);
    let twice = json!([platform(2, &["MSP"], &[2]), platform(2, &["MSP"], &[2])]);
    let text = refusal(&handle, &local(twice, json!([])));
    assert_eq!(text, "platform 2 is named more than once");
    let text = refusal(
        &handle,
        &local(json!([platform(1, &["CPO"], &[1])]), json!([1])),
    );
    assert_eq!(text, "platform 1 is named more than once");
    let two = json!([platform(2, &["MSP"], &[2]), platform(3, &["MSP"], &[3])]);
    let text = refusal(&handle, &local(two, json!([])));
    assert_eq!(
        text,
        "platform 3: party DE/MSP already belongs to platform 2"
    );

    let half = |country: &str, operator: &str| {
        let mut party = registry_party(country, "MSP", 2, 1);
        party["operator"] = json!(operator);
        change(
            10,
            false,
            registry(6, json!([]), json!([party])),
            json!([]),
            json!([]),
        )
    };
    let text = refusal(&handle, &half("DE", "0x12"));
    assert_eq!(
        text,
        "registry: a party's operator must be an address of 20 bytes in hex"
    );
    let text = refusal(&handle, &half("DEU", &address(1)));
    assert_eq!(
        text,
        "registry: country code must be two ASCII letters or digits"
    );

    let older = |full| change(8, full, Value::Null, json!([]), json!([]));
    let text = refusal(&handle, &older(false));
    assert_eq!(text, "change 8 is older than the table, which is at 9");
    apply(&handle, &older(true)).expect("the whole of a restored store");
    assert_eq!((handle.load().version(), handle.load().block()), (8, None));
}

#[test]
fn a_party_may_move_within_one_change_in_any_order() {
    let handle = TableHandle::new();
    let rows = json!([platform(1, &["AAA"], &[1]), platform(2, &["BBB"], &[2])]);
    apply(&handle, &change(1, true, Value::Null, rows, json!([]))).expect("first");
    let swapped = json!([platform(1, &["BBB"], &[2]), platform(2, &["AAA"], &[1])]);
    apply(&handle, &change(2, false, Value::Null, swapped, json!([]))).expect("swapped");
    let table = handle.load();
    let home = |id| table.local_party(de(id)).map(|platform| platform.id);
    assert_eq!((home("AAA"), home("BBB")), (Some(2), Some(1)));
    let by_token = table
        .platform_by_token(&digest(1))
        .map(|(platform, _)| platform.id);
    assert_eq!(by_token, Some(2));
}

/// The plain version: what the table must answer.
#[derive(Debug, Clone, Default, PartialEq)]
struct Model {
    registered: BTreeMap<usize, (u64, u64)>,
    operators: BTreeMap<u64, String>,
    platforms: BTreeMap<i64, (BTreeSet<usize>, BTreeSet<u64>)>,
}

const PARTIES: [&str; 8] = ["AAA", "AAB", "AAC", "BBA", "BBB", "B0B", "BOB", "ZZZ"];

impl Model {
    /// What the model would see through the table's own questions.
    fn read(table: &Table) -> Self {
        let mut seen = Self::default();
        let number = |text: String| u64::from_str_radix(&text[34..], 16).expect("hex");
        for (index, id) in PARTIES.iter().enumerate() {
            if let Some(party) = table.registered(de(id)) {
                let pair = (
                    number(party.address.to_string()),
                    number(party.operator.to_string()),
                );
                seen.registered.insert(index, pair);
            }
            if let Some(platform) = table.local_party(de(id)) {
                seen.platforms
                    .entry(platform.id)
                    .or_default()
                    .0
                    .insert(index);
            }
        }
        for operator in 0..4 {
            let address = address(operator).parse().expect("an address");
            if let Some(entry) = table.operator(&address) {
                seen.operators.insert(operator, entry.domain.clone());
            }
        }
        for token in 0..12 {
            if let Some((platform, _)) = table.platform_by_token(&digest(token)) {
                seen.platforms
                    .entry(platform.id)
                    .or_default()
                    .1
                    .insert(token);
            }
        }
        for id in 0..5 {
            if table.platform(id).is_some() {
                seen.platforms.entry(id).or_default();
            }
        }
        seen
    }

    /// Does what the change says, or says that it cannot be.
    fn follow(&self, step: &Step) -> Option<Self> {
        let mut next = if step.full {
            Self::default()
        } else {
            self.clone()
        };
        for party in &step.gone_parties {
            next.registered.remove(party);
        }
        next.registered.extend(&step.registered);
        next.operators.extend(step.operators.clone());
        let mut named = BTreeSet::new();
        for id in step
            .gone
            .iter()
            .chain(step.platforms.iter().map(|(id, ..)| id))
        {
            if !named.insert(id) {
                return None;
            }
            next.platforms.remove(id);
        }
        for (id, parties, tokens) in &step.platforms {
            let taken = next.platforms.values().any(|(theirs, digests)| {
                !theirs.is_disjoint(parties) || !digests.is_disjoint(tokens)
            });
            if taken {
                return None;
            }
            next.platforms
                .insert(*id, (parties.clone(), tokens.clone()));
        }
        Some(next)
    }
}

#[derive(Debug, Clone)]
struct Step {
    full: bool,
    registered: BTreeMap<usize, (u64, u64)>,
    gone_parties: BTreeSet<usize>,
    operators: BTreeMap<u64, String>,
    platforms: Vec<(i64, BTreeSet<usize>, BTreeSet<u64>)>,
    gone: Vec<i64>,
}

/// The id of a party, in a case of its own: it must not matter.
fn spelled(party: usize) -> String {
    if party.is_multiple_of(2) {
        PARTIES[party].to_lowercase()
    } else {
        PARTIES[party].to_owned()
    }
}

impl Step {
    fn to_json(&self, number: u64) -> Value {
        let rows: Vec<_> = self
            .platforms
            .iter()
            .map(|(id, parties, tokens)| {
                let ids: Vec<_> = parties.iter().copied().map(spelled).collect();
                let ids: Vec<_> = ids.iter().map(String::as_str).collect();
                platform(*id, &ids, &tokens.iter().copied().collect::<Vec<_>>())
            })
            .collect();
        let operators = self.operators.iter();
        let operators =
            operators.map(|(own, domain)| json!({"address": address(*own), "domain": domain}));
        let parties = self.registered.iter();
        let parties =
            parties.map(|(party, (own, node))| registry_party("de", &spelled(*party), *own, *node));
        let mut half = registry(number, operators.collect(), parties.collect());
        half["gone_parties"] = self
            .gone_parties
            .iter()
            .map(|party| json!(["DE", spelled(*party)]))
            .collect();
        change(number, self.full, half, json!(rows), json!(self.gone))
    }
}

fn step() -> impl Strategy<Value = Step> {
    use prop::collection::{btree_map, btree_set, vec};
    (
        prop::bool::weighted(0.1),
        btree_map(0..PARTIES.len(), (0_u64..99, 0_u64..4), 0..4),
        btree_set(0..PARTIES.len(), 0..3),
        btree_map(0_u64..4, "https://[a-z]{3}", 0..2),
        vec(
            (
                0_i64..5,
                btree_set(0..PARTIES.len(), 0..3),
                btree_set(0_u64..12, 0..3),
            ),
            0..3,
        ),
        vec(0_i64..5, 0..2),
    )
        .prop_map(
            |(full, registered, gone_parties, operators, platforms, gone)| Step {
                full,
                registered,
                gone_parties,
                operators,
                platforms,
                gone,
            },
        )
}

proptest! {
    /// The table equals the model after every change, refuses what the model refuses, and never touches a
    /// snapshot that was handed out. The model has one home per party (I13), so the table has.
    #[test]
    fn equals_a_naive_model(steps in prop::collection::vec(step(), 1..24)) {
        let (handle, mut model, mut kept) = (TableHandle::new(), Model::default(), Vec::new());
        for (number, step) in (1..).zip(steps) {
            let outcome = apply(&handle, &step.to_json(number));
            match model.follow(&step) {
                Some(next) => { prop_assert!(outcome.is_ok(), "{outcome:?}"); model = next; }
                None => prop_assert!(outcome.is_err()),
            }
            kept.push((handle.load(), model.clone()));
        }
        for (table, model) in kept {
            prop_assert_eq!(Model::read(&table), model);
        }
    }

    #[test]
    fn test_a70_prop_party_case_blind(
        country in "[A-Za-z0-9]{2}", party in "[A-Za-z0-9]{3}", flips in any::<u8>()
    ) {
        let flip = |text: &str, from: usize| -> String {
            text.chars().enumerate().map(|(at, letter)| {
                if flips >> (at + from) & 1 == 0 { letter }
                else if letter.is_ascii_lowercase() { letter.to_ascii_uppercase() }
                else { letter.to_ascii_lowercase() }
            }).collect()
        };
        let handle = TableHandle::new();
        let half = registry(1, json!([]), json!([registry_party(&country, &party, 1, 2)]));
        apply(&handle, &change(1, true, half, json!([]), json!([]))).expect("good");
        let other = Party::new(&flip(&country, 0), &flip(&party, 2)).expect("the same alphabet");
        prop_assert!(handle.load().registered(other).is_some());
    }
}

/// I16: while a writer moves a party between blocks, tokens and platforms, each snapshot agrees with itself.
#[test]
fn readers_see_whole_snapshots_while_a_writer_writes() {
    const CHANGES: u64 = 2_000;
    let handle = TableHandle::new();
    let written = |number: u64| {
        let domain = format!("https://block-{number}.example");
        let operator = json!([{"address": address(1), "domain": domain}]);
        let party = json!([registry_party("DE", "CPO", number, 1)]);
        let id = |number: u64| i64::try_from(number % 3).expect("small");
        let row = json!([platform(id(number), &["CPO"], &[number])]);
        let gone = json!([id(number + 2)]);
        change(number, false, registry(number, operator, party), row, gone)
    };
    apply(&handle, &written(1)).expect("first");
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let mut newest = 0;
                while !done.load(Ordering::Acquire) {
                    let table = handle.load();
                    let number = table.version();
                    assert!(number >= newest, "never back to an older snapshot");
                    newest = number;
                    assert_eq!(table.block(), Some(number));
                    let party = table.registered(de("CPO")).expect("always there");
                    assert_eq!(party.address.to_string().to_lowercase(), address(number));
                    let operator = table.operator(&party.operator).expect("always there");
                    assert_eq!(operator.domain, format!("https://block-{number}.example"));
                    let home = table.local_party(de("CPO")).expect("always there");
                    let by_token = table
                        .platform_by_token(&digest(number))
                        .expect("its token")
                        .0;
                    assert!(Arc::ptr_eq(home, by_token));
                    assert_eq!(table.counts().platforms, 1);
                }
            });
        }
        for number in 2..=CHANGES {
            apply(&handle, &written(number)).expect("good");
        }
        done.store(true, Ordering::Release);
    });
}
