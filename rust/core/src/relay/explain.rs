//! `explain`: the same stages, run dry: where a message would go, and why.
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::Walk;
use super::dialect;
use super::error::{Audience, Refusal};
use super::home::Home;
use super::node::Node;
use super::parse::{Address, Door, Envelope, Method};
use super::peer::PROTOCOL;
use super::permit;
use super::ports::{Departure, Ports};
use super::record::{Record, Stage};
use super::route;
use super::seal;
use crate::ocpi::{IdError, Module, Party};
use crate::table::Speech;

/// A message that somebody wonders about.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Query {
    /// Country code and party id of the sender.
    pub from: [String; 2],
    pub to: [String; 2],
    pub module: String,
    /// `SENDER` or `RECEIVER`.
    pub role: String,
    /// HTTP method; only the path of the answer depends on it.
    #[serde(default)]
    pub method: Option<String>,
    /// What follows the module in the path.
    #[serde(default)]
    pub path: String,
}

/// What would become of it.
#[derive(Debug, Clone, Serialize)]
pub struct Explanation {
    pub steps: Vec<Step>,
    /// Whether the message would be sent, as far as can be said without it.
    pub relayed: bool,
    pub http_status: Option<u16>,
    pub ocpi_status: Option<u16>,
    pub record: Record,
}

/// What one stage would say.
#[derive(Debug, Clone, Serialize)]
pub struct Step {
    pub stage: Stage,
    pub passes: bool,
    pub says: String,
}

/// Runs `authenticate` (without a token), `route`, `permit`, and says what `verify`, `seal` and
/// `reserve` would want. Sends nothing and counts nothing.
///
/// # Errors
/// The query's ids or role are not valid.
pub fn explain<P: Ports>(query: &Query, node: &Node, ports: &P) -> Result<Explanation, IdError> {
    let departure = Departure::default();
    let mut walk = Walk::new(node, ports, &departure);
    let from = Party::new(&query.from[0], &query.from[1])?;
    let to = Party::new(&query.to[0], &query.to[1])?;
    let envelope = envelope(query, to)?;
    walk.record.from = Some(from);
    walk.record.to = Some(to);
    walk.record.module = Some(envelope.module.as_str().to_owned());
    walk.record.role = Some(envelope.role);
    let mut steps = Vec::new();
    let verdict = run(&mut walk, &envelope, from, to, &mut steps);
    let (http_status, ocpi_status) = match &verdict {
        Ok(()) => (None, None),
        Err((stage, refusal)) => {
            steps.push(Step {
                stage: *stage,
                passes: false,
                says: refusal.text.to_string(),
            });
            let audience = match walk.record.door {
                Some("node") => Audience::Node,
                _ => Audience::Party(None),
            };
            let (http, status) = (refusal.kind.http(audience), refusal.kind.status(audience));
            (Some(http), Some(status.0))
        }
    };
    Ok(Explanation {
        steps,
        relayed: verdict.is_ok(),
        http_status,
        ocpi_status,
        record: walk.record,
    })
}

fn envelope(query: &Query, to: Party) -> Result<Envelope, IdError> {
    let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
    let method = match query.method.as_deref() {
        Some("POST") => Method::Post,
        Some("PUT") => Method::Put,
        Some("PATCH") => Method::Patch,
        Some("DELETE") => Method::Delete,
        _ => Method::Get,
    };
    let suffix = query.path.trim_start_matches('/');
    Ok(Envelope {
        door: Door::Party,
        method,
        version: None,
        module: Module::from_id(&query.module),
        role: query.role.parse()?,
        suffix: if suffix.is_empty() {
            Bytes::new()
        } else {
            bytes(&format!("/{suffix}"))
        },
        query: Bytes::new(),
        authorization: None,
        request_id: None,
        correlation_id: None,
        from: None,
        to: Some(Address {
            country_code: bytes(to.country_code()),
            party_id: bytes(to.party_id()),
            party: to,
        }),
        signature: None,
        content_type: None,
        content_length: None,
        extra: Vec::new(),
    })
}

type Stopped = (Stage, Refusal);

fn run<P: Ports>(
    walk: &mut Walk<'_, P>,
    envelope: &Envelope,
    from: Party,
    to: Party,
    steps: &mut Vec<Step>,
) -> Result<(), Stopped> {
    let mut passes = |stage, says: String| {
        steps.push(Step {
            stage,
            passes: true,
            says,
        })
    };
    let (sender, says) = sender(walk, from);
    passes(Stage::Authenticate, says);
    let from_node = walk.record.door == Some("node");
    let target = route::find(walk, to, from_node).map_err(|refusal| (Stage::Route, refusal))?;
    passes(Stage::Route, destination(walk, to, &target.home));
    let endpoint = permit::allowed(walk, envelope, from, &target)
        .map_err(|refusal| (Stage::Permit, refusal))?;
    let says = match (&target.home, walk.record.rule) {
        (Home::Platform(_), rule) => {
            let rule = rule.unwrap_or("none");
            format!("connected; the receiver's rules ({rule}) allow it")
        }
        (Home::Node(_), _) => "the receiver's node applies the receiver's rules".to_owned(),
    };
    passes(Stage::Permit, says);
    let required = walk.node.settings.signatures.required || target.home.demands_signatures();
    let signers = match walk.table.registered(from) {
        Some(party) => format!(
            "by {} (party) or {} (operator)",
            party.address, party.operator
        ),
        None => "by nobody: the sender is not in the registry".to_owned(),
    };
    let signing = if required {
        "a signature is required"
    } else {
        "a signature is not required"
    };
    let for_party = match sender {
        Some(home) if home.signs_for_party() => "; the node signs if there is none",
        _ => "",
    };
    passes(
        Stage::Verify,
        format!(
            "{signing}, {signers}, policy {}{for_party}",
            walk.node.settings.signatures.policy.as_str()
        ),
    );
    passes(
        Stage::Seal,
        seal::describe(envelope, endpoint.as_deref()).into_owned(),
    );
    Ok(())
}

/// Who would have to bring a message of that party, and in what words.
fn sender<P: Ports>(walk: &mut Walk<'_, P>, from: Party) -> (Option<Home>, String) {
    if let Some(platform) = walk.table.local_party(from).cloned() {
        walk.record.sender_platform = Some(platform.id);
        let says = format!("{from} is a party of platform {}", platform.id);
        return (Some(Home::Platform(platform)), says);
    }
    let operator = walk
        .table
        .registered(from)
        .filter(|party| party.operator != walk.node.key.address())
        .and_then(|party| walk.table.operator(&party.operator))
        .filter(|operator| operator.base().is_some())
        .cloned();
    match operator {
        Some(operator) => {
            walk.record.door = Some("node");
            walk.record.operator = Some(operator.address.to_string());
            let says = format!(
                "{from} is a party of the node {}, which has to sign the message",
                operator.address
            );
            (Some(Home::Node(operator)), says)
        }
        None => (
            None,
            format!("{from} has no platform here: its token would be refused"),
        ),
    }
}

/// Where the receiver is reached; of another node what is known without asking it.
fn destination<P: Ports>(walk: &Walk<'_, P>, to: Party, home: &Home) -> String {
    let operator = match home {
        Home::Platform(platform) => {
            return format!("{to} is a party of platform {} on this node", platform.id);
        }
        Home::Node(operator) => operator,
    };
    let speaks = match dialect::remembered(walk, operator) {
        Some(Speech::Relay3) => format!("speaks {PROTOCOL}"),
        Some(Speech::Foreign) => "speaks no protocol of ours".to_owned(),
        Some(Speech::Stranger(address)) => {
            format!(
                "is not what answers there: that is {}",
                dialect::whose(address)
            )
        }
        Some(Speech::Silent(_)) | None => {
            "has not said lately what it speaks, and would be asked first".to_owned()
        }
    };
    format!(
        "{to} is a party of the node {} at {}, which {speaks}",
        operator.address,
        operator.base().unwrap_or_default()
    )
}
