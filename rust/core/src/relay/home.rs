//! Where a party lives: on a platform connected here, or behind another node.
use std::sync::Arc;

use super::ports::Owner;
use super::seal::lies_on;
use crate::table::{Live, Operator, Platform};

/// The way on which a party is reached and on which its messages come.
#[derive(Debug, Clone)]
pub(super) enum Home {
    Platform(Arc<Platform>),
    /// The node of this operator, which has a usable domain.
    Node(Arc<Operator>),
}

impl Home {
    /// Counters and breaker of the other side.
    pub(super) fn live(&self) -> &Arc<Live> {
        match self {
            Self::Platform(platform) => &platform.live,
            Self::Node(operator) => &operator.live,
        }
    }

    pub(super) fn platform(&self) -> Option<&Arc<Platform>> {
        match self {
            Self::Platform(platform) => Some(platform),
            Self::Node(_) => None,
        }
    }

    pub(super) fn operator(&self) -> Option<&Arc<Operator>> {
        match self {
            Self::Platform(_) => None,
            Self::Node(operator) => Some(operator),
        }
    }

    /// Whose connections lead there.
    pub(super) fn owner(&self) -> Owner {
        match self {
            Self::Platform(platform) => Owner::Platform(platform.id),
            Self::Node(operator) => Owner::Node(operator.address),
        }
    }

    /// Whether the party's rules demand signatures. What a party elsewhere demands is its node's business.
    pub(super) fn demands_signatures(&self) -> bool {
        self.platform()
            .is_some_and(|platform| platform.rules.signatures)
    }

    /// Whether this node signs for the party: never for those of others.
    pub(super) fn signs_for_party(&self) -> bool {
        self.platform()
            .is_some_and(|platform| platform.sign_for_party)
    }

    /// Leaves that the party's signatures need not cover.
    pub(super) fn exempt(&self) -> Vec<&str> {
        self.platform()
            .map(|platform| platform.exempt.iter().map(String::as_str).collect())
            .unwrap_or_default()
    }

    /// What is kept of a URL that the party gave out: the URL itself, if it lies on an origin of its
    /// platform; of another node's URL only the path below its door, so that the node can move and can
    /// never make us call anything else (`safety.md` A84, A93, I07).
    pub(super) fn keep(&self, url: &str) -> Option<String> {
        match self {
            Self::Platform(platform) => lies_on(url, platform).then(|| url.to_owned()),
            Self::Node(operator) => url
                .strip_prefix(operator.base()?)?
                .strip_prefix(NODE_DOOR)
                .filter(|path| is_below_the_door(path))
                .map(str::to_owned),
        }
    }

    /// The URL to call for what [`Home::keep`] kept, judged with where the party lives now: a platform that
    /// left or moved takes its origins with it.
    pub(super) fn url(&self, kept: String) -> Option<String> {
        match self {
            Self::Platform(platform) => Some(kept).filter(|url| lies_on(url, platform)),
            Self::Node(operator) => is_below_the_door(&kept)
                .then(|| Some(format!("{}{NODE_DOOR}{kept}", operator.base()?)))
                .flatten(),
        }
    }
}

/// Where nodes take messages from nodes.
pub(super) const NODE_DOOR: &str = "/ocn/relay/";

/// A path of the node door, with nothing in it that two readers could resolve differently.
pub(super) fn is_below_the_door(path: &str) -> bool {
    let module = ["sender/", "receiver/", "custom/"]
        .iter()
        .any(|start| path.starts_with(start));
    let plain = path
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'\\' | b'#' | b'"' | b'<' | b'>'));
    let (path, _) = path.split_once('?').unwrap_or((path, ""));
    module
        && plain
        && !path
            .split('/')
            .any(|segment| matches!(segment, "" | "." | "..") || segment.contains('%'))
}

#[cfg(test)]
mod tests {
    use super::is_below_the_door;

    #[test]
    fn test_a93_only_paths_below_the_door_are_kept() {
        for good in [
            "sender/locations/page/AAAA",
            "custom/sender/nltnm-x/page/A_-a",
            "receiver/cdrs/0123456789abcdef",
            "sender/commands/START_SESSION/00?x=https://a/b",
        ] {
            assert!(is_below_the_door(good), "{good}");
        }
        for bad in [
            "",
            "https://evil.example/x",
            "//evil.example/x",
            "sender",
            "sender/../../admin",
            "sender//x",
            "sender/./x",
            "sender/%2e%2e/x",
            "sender/a b",
            "sender/a\r\nb",
            "sender/a#b",
            "sender/a\\b",
            "registry/node-info",
        ] {
            assert!(!is_below_the_door(bad), "{bad}");
        }
    }
}
