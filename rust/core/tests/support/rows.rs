//! Rows of changes in bulk, for tests and benches of the table at size.
use ocn_core::table::Change;

/// The n-th party id: country and party from five digits of base 36.
pub(crate) fn ids(mut number: usize) -> (String, String) {
    let mut text = String::new();
    for _ in 0..5 {
        text.push(char::from(
            b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"[number % 36],
        ));
        number /= 36;
    }
    (text[..2].to_owned(), text[2..].to_owned())
}

/// A registered party under one of a thousand operators.
pub(crate) fn party_row(number: usize, address: usize) -> String {
    let (country, party) = ids(number);
    let operator = number % 1_000;
    format!(
        r#"{{"country_code":"{country}","party_id":"{party}","address":"0x{address:040x}",
            "operator":"0x{operator:040x}","roles":["CPO"],"modules":[]}}"#
    )
}

/// A platform with the party of its number.
pub(crate) fn platform_row(id: usize, token: usize) -> String {
    let (country, party) = ids(id);
    format!(
        r#"{{"id":{id},"status":"CONNECTED","version":"2.2.1",
            "parties":[{{"country_code":"{country}","party_id":"{party}","role":"CPO"}}],
            "tokens":[{{"digest":"{token:064x}","expires_at":null}}],
            "token_b":"b","token_encoding":"plain","endpoints":[],"origins":[],"versions_url":"https://x.example",
            "rules":{{"signatures":false,"mode":"none","entries":[]}},"sign_for_party":false,"exempt":[]}}"#
    )
}

/// Rows 0 to `count`, with commas.
pub(crate) fn many(count: usize, row: impl Fn(usize) -> String) -> String {
    (0..count).map(row).collect::<Vec<_>>().join(",")
}

/// A change with these rows.
pub(crate) fn change(number: usize, full: bool, parties: &str, platforms: &str) -> Change {
    let json = format!(
        r#"{{"number":{number},"full":{full},"platforms":[{platforms}],"gone_platforms":[],
            "registry":{{"block":{number},"block_hash":null,"block_time":"2026-01-01T00:00:00Z","operators":[],
            "gone_operators":[],"parties":[{parties}],"gone_parties":[]}}}}"#
    );
    Change::parse(json.as_bytes()).expect("a change of ours")
}
