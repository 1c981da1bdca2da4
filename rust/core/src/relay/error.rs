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

macro_rules! kinds {
    ($($name:ident $label:literal $http:literal $status:ident $delivery:ident;)*) => {
        /// Kinds of refusal. The label is the metric's; one line is one row of the table
        /// `HTTP / OCPI / verdict` (`ocpi-hub.md` 2.9, `safety.md` section 0).
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
            pub fn http(self) -> u16 {
                match self { $(Self::$name => $http),* }
            }

            /// OCPI status of the answer.
            pub fn status(self) -> Status {
                match self { $(Self::$name => Status::$status),* }
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
    Malformed            "malformed"              400 INVALID_PARAMETERS No;
    BodyCutOff           "body_cut_off"           408 INVALID_PARAMETERS No;
    BodyTooLarge         "body_too_large"         413 INVALID_PARAMETERS No;
    TargetTooLong        "target_too_long"        414 INVALID_PARAMETERS No;
    ContentCoding        "content_coding"         415 INVALID_PARAMETERS No;
    NoSuchPath           "no_such_path"           404 CLIENT_ERROR No;
    NoSuchMethod         "no_such_method"         405 CLIENT_ERROR No;
    Unauthorized         "unauthorized"           401 INVALID_PARAMETERS No;
    ForeignSender        "foreign_sender"         403 INVALID_PARAMETERS No;
    SenderSuspended      "sender_suspended"       403 CLIENT_ERROR No;
    // where it should go
    UnknownReceiver      "unknown_receiver"       200 UNKNOWN_RECEIVER No;
    NotConnected         "not_connected"          200 CONNECTION_PROBLEM No;
    NotOffered           "not_offered"            200 HUB_ERROR No;
    RuleForbids          "rule_forbids"           200 CLIENT_ERROR No;
    ReceiverBusy         "receiver_busy"          200 CONNECTION_PROBLEM No;
    // what it says
    Signature            "signature"              200 INVALID_PARAMETERS No;
    BadParameter         "bad_parameter"          200 INVALID_PARAMETERS No;
    UnknownLink          "unknown_link"           404 UNKNOWN_LOCATION No;
    // what this node can bear
    TooManyRequests      "too_many_requests"      429 CLIENT_ERROR No;
    Overloaded           "overloaded"             503 SERVER_ERROR No;
    StoreUnavailable     "store_unavailable"      503 SERVER_ERROR No;
    Internal             "internal"               500 SERVER_ERROR No;
    InternalAfterSending "internal_after_sending" 500 SERVER_ERROR Maybe;
    // what the receiver did
    NoConnection         "no_connection"          200 CONNECTION_PROBLEM No;
    NoAnswer             "no_answer"              200 TIMEOUT Maybe;
    UnusableAnswer       "unusable_answer"        200 HUB_ERROR Yes;
    TokenRefused         "token_refused"          200 CONNECTION_PROBLEM No;
    AnswerSignature      "answer_signature"       200 SERVER_ERROR Yes;
    // the requester hung up in time
    Gone                 "gone"                   499 CLIENT_ERROR No;
}

impl Kind {
    /// OCPI status towards a party of that version: 4000 exists since 2.2.1 only.
    pub fn status_for(self, version: Option<Version>) -> Status {
        match (self.status(), version) {
            (Status::HUB_ERROR, Some(Version::V2_2)) => Status::SERVER_ERROR,
            (status, _) => status,
        }
    }

    /// The words that end the text of hub-made 3000 and 4000 (`safety.md` section 0).
    pub fn verdict_suffix(self) -> Option<&'static str> {
        matches!(self.status(), Status::SERVER_ERROR | Status::HUB_ERROR).then(|| {
            match self.delivery() {
                Delivery::No => " [not delivered]",
                Delivery::Maybe => " [may have been delivered]",
                Delivery::Yes => " [answered by the receiver]",
            }
        })
    }

    /// Seconds after which asking again makes sense.
    pub fn retry_after(self) -> Option<u32> {
        matches!(
            self,
            Self::TooManyRequests | Self::Overloaded | Self::StoreUnavailable
        )
        .then_some(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_agree_with_the_codes() {
        for kind in Kind::ALL {
            let never = matches!(
                kind.http(),
                401 | 403 | 404 | 405 | 408 | 413..=415 | 429 | 431 | 503
            ) || (2000..3000).contains(&kind.status().0)
                || matches!(
                    kind.status(),
                    Status::UNKNOWN_RECEIVER | Status::CONNECTION_PROBLEM
                );
            if never {
                assert_eq!(kind.delivery(), Delivery::No, "{}", kind.as_str());
            }
            if kind.status() == Status::TIMEOUT {
                assert_eq!(kind.delivery(), Delivery::Maybe, "{}", kind.as_str());
            }
        }
    }

    #[test]
    fn hub_error_is_server_error_towards_2_2() {
        assert_eq!(
            Kind::NotOffered.status_for(Some(Version::V2_2)),
            Status::SERVER_ERROR
        );
        assert_eq!(
            Kind::NotOffered.status_for(Some(Version::V2_2_1)),
            Status::HUB_ERROR
        );
    }
}
