//! Every way in which the hub refuses a message, and the one table that turns it into an answer.
use std::borrow::Cow;

use serde::Serialize;

use super::message::Stale;
use super::record::Delivery;
use crate::ocpi::{Status, Version};

/// A refusal: its kind decides statuses and verdict, its text says what happened.
/// Texts come from our own list plus checked ids, never from the input (`safety.md` I22).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Refusal {
    pub kind: Kind,
    pub text: Cow<'static, str>,
    pub stale: Option<Stale>,
}

impl Refusal {
    /// A refusal of that kind.
    pub fn new(kind: Kind, text: impl Into<Cow<'static, str>>) -> Self {
        Self {
            kind,
            text: text.into(),
            stale: None,
        }
    }

    /// The same, where a newer table could say otherwise.
    pub fn stale(self, stale: Stale) -> Self {
        Self {
            stale: Some(stale),
            ..self
        }
    }
}

/// How the texts of hub-made 3000 and 4000 end, in the order of [`Delivery`].
pub(super) const VERDICTS: [&str; 3] = [
    " [not delivered]",
    " [may have been delivered]",
    " [answered by the receiver]",
];

/// Who reads an answer of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// A party that speaks this version, if it is known.
    Party(Option<Version>),
    Node,
}

macro_rules! kinds {
    ($($name:ident $label:literal $http:literal $status:ident $delivery:ident
       | $node_http:literal $node_status:ident;)*) => {
        /// Kinds of refusal. The label is the metric's; one line is one row of the table
        /// `HTTP / OCPI / verdict | HTTP / OCPI towards a node` (`ocpi-hub.md` 2.9, `safety.md`
        /// section 0, `ocn-relay.md` 7).
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Kind { $($name),* }

        impl Kind {
            /// Every kind, in order.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The metric label and log value.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $label),* }
            }

            /// HTTP status of the answer.
            pub fn http(self, audience: Audience) -> u16 {
                match audience {
                    Audience::Party(_) => match self { $(Self::$name => $http),* },
                    Audience::Node => match self { $(Self::$name => $node_http),* },
                }
            }

            /// OCPI status of the answer. Towards a party of 2.2 there is no 4000: it came with 2.2.1.
            pub fn status(self, audience: Audience) -> Status {
                match audience {
                    Audience::Party(version) => match (match self { $(Self::$name => Status::$status),* }, version) {
                        (Status::HUB_ERROR, Some(Version::V2_2)) => Status::SERVER_ERROR,
                        (status, _) => status,
                    },
                    Audience::Node => match self { $(Self::$name => Status::$node_status),* },
                }
            }

            /// What may have become of the message.
            pub fn delivery(self) -> Delivery {
                match self { $(Self::$name => Delivery::$delivery),* }
            }
        }
    };
}

kinds! {
    // what the requester sent
    Malformed            "malformed"              400 INVALID_PARAMETERS No    | 400 INVALID_PARAMETERS;
    BodyCutOff           "body_cut_off"           408 INVALID_PARAMETERS No    | 408 INVALID_PARAMETERS;
    BodyTooLarge         "body_too_large"         413 INVALID_PARAMETERS No    | 413 INVALID_PARAMETERS;
    TargetTooLong        "target_too_long"        414 INVALID_PARAMETERS No    | 414 INVALID_PARAMETERS;
    HeadTooLarge         "head_too_large"         431 INVALID_PARAMETERS No    | 431 INVALID_PARAMETERS;
    ContentCoding        "content_coding"         415 INVALID_PARAMETERS No    | 415 INVALID_PARAMETERS;
    NoSuchPath           "no_such_path"           404 CLIENT_ERROR No          | 404 CLIENT_ERROR;
    NoSuchMethod         "no_such_method"         405 CLIENT_ERROR No          | 405 CLIENT_ERROR;
    Unauthorized         "unauthorized"           401 INVALID_PARAMETERS No    | 401 INVALID_PARAMETERS;
    NodeSignature        "node_signature"         401 INVALID_PARAMETERS No    | 401 INVALID_PARAMETERS;
    SessionLost          "session_lost"           401 INVALID_PARAMETERS No    | 401 INVALID_PARAMETERS;
    ForeignSender        "foreign_sender"         403 INVALID_PARAMETERS No    | 403 INVALID_PARAMETERS;
    SenderSuspended      "sender_suspended"       403 CLIENT_ERROR No          | 403 CLIENT_ERROR;
    // where it should go
    UnknownReceiver      "unknown_receiver"       200 UNKNOWN_RECEIVER No      | 404 UNKNOWN_RECEIVER;
    NotConnected         "not_connected"          200 CONNECTION_PROBLEM No    | 502 CONNECTION_PROBLEM;
    NotOffered           "not_offered"            200 HUB_ERROR No             | 404 HUB_ERROR;
    RuleForbids          "rule_forbids"           200 CLIENT_ERROR No          | 403 CLIENT_ERROR;
    ReceiverBusy         "receiver_busy"          200 CONNECTION_PROBLEM No    | 503 CONNECTION_PROBLEM;
    // what it says
    Signature            "signature"              200 INVALID_PARAMETERS No    | 400 INVALID_PARAMETERS;
    BadParameter         "bad_parameter"          200 INVALID_PARAMETERS No    | 400 INVALID_PARAMETERS;
    NoTime               "no_time"                200 CONNECTION_PROBLEM No    | 504 CONNECTION_PROBLEM;
    Duplicate            "duplicate"              200 INVALID_PARAMETERS No    | 400 INVALID_PARAMETERS;
    UnknownLink          "unknown_link"           404 UNKNOWN_LOCATION No      | 404 UNKNOWN_LOCATION;
    // what this node can bear
    TooManyRequests      "too_many_requests"      429 CLIENT_ERROR No          | 503 CONNECTION_PROBLEM;
    Overloaded           "overloaded"             503 SERVER_ERROR No          | 503 CONNECTION_PROBLEM;
    StoreUnavailable     "store_unavailable"      503 SERVER_ERROR No          | 503 SERVER_ERROR;
    Internal             "internal"               500 SERVER_ERROR No          | 500 SERVER_ERROR;
    InternalAfterSending "internal_after_sending" 500 SERVER_ERROR Maybe       | 500 SERVER_ERROR;
    // what the receiver did
    NoConnection         "no_connection"          200 CONNECTION_PROBLEM No    | 502 CONNECTION_PROBLEM;
    NoAnswer             "no_answer"              200 TIMEOUT Maybe            | 504 TIMEOUT;
    UnusableAnswer       "unusable_answer"        200 HUB_ERROR Yes            | 502 HUB_ERROR;
    TokenRefused         "token_refused"          200 CONNECTION_PROBLEM No    | 502 CONNECTION_PROBLEM;
    AnswerSignature      "answer_signature"       200 SERVER_ERROR Yes         | 502 SERVER_ERROR;
    // what the receiver's node did; messages of nodes never get that far
    NoDialect            "no_dialect"             200 HUB_ERROR No             | 502 HUB_ERROR;
    NodeStranger         "node_stranger"          200 CONNECTION_PROBLEM No    | 502 CONNECTION_PROBLEM;
    NodeRefused          "node_refused"           200 CONNECTION_PROBLEM No    | 502 CONNECTION_PROBLEM;
    // the requester hung up in time
    Gone                 "gone"                   499 CLIENT_ERROR No          | 499 CLIENT_ERROR;
}

impl Kind {
    /// The words that end the text of hub-made 3000 and 4000 (`safety.md` section 0).
    pub fn verdict_suffix(self) -> Option<&'static str> {
        matches!(
            self.status(Audience::Party(None)),
            Status::SERVER_ERROR | Status::HUB_ERROR
        )
        .then(|| VERDICTS[self.delivery() as usize])
    }

    /// Seconds after which asking again makes sense.
    pub fn retry_after(self, audience: Audience) -> Option<u32> {
        matches!(self.http(audience), 429 | 503).then_some(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_agree_with_the_codes() {
        for (kind, audience) in Kind::ALL
            .iter()
            .flat_map(|kind| [Audience::Party(None), Audience::Node].map(|to| (kind, to)))
        {
            let never = matches!(
                kind.http(audience),
                401 | 403 | 404 | 405 | 408 | 413..=415 | 429 | 431 | 503
            ) || (2000..3000).contains(&kind.status(audience).0)
                || matches!(
                    kind.status(audience),
                    Status::UNKNOWN_RECEIVER | Status::CONNECTION_PROBLEM
                );
            if never {
                assert_eq!(kind.delivery(), Delivery::No, "{}", kind.as_str());
            }
            if kind.status(audience) == Status::TIMEOUT {
                assert_eq!(kind.delivery(), Delivery::Maybe, "{}", kind.as_str());
            }
        }
    }

    #[test]
    fn a_node_is_never_refused_with_200() {
        for kind in Kind::ALL {
            assert!(kind.http(Audience::Node) >= 400, "{}", kind.as_str());
        }
    }

    #[test]
    fn hub_error_is_server_error_towards_2_2() {
        let towards = |version| Kind::NotOffered.status(Audience::Party(Some(version)));
        assert_eq!(towards(Version::V2_2), Status::SERVER_ERROR);
        assert_eq!(towards(Version::V2_2_1), Status::HUB_ERROR);
    }
}
