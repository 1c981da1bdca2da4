//! URLs that lead back into a platform: sealed page links, and the random ids of stored ones.
//!
//! A page link carries its own truth, encrypted (XChaCha20-Poly1305, random 192-bit nonce) and bound
//! to both parties, module, interface role and expiry: no row, works behind any load balancer
//! (`design.md` section 4, `safety.md` I18, A81-A83).
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::ports::Random;
use super::ring::KeyRing;
use crate::ocpi::{InterfaceRole, Module, Party};

/// Seals and opens page links.
pub(super) struct PageLinks {
    ring: Arc<KeyRing>,
}

/// For whom and where a page link is good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Binding<'a> {
    /// Who may follow it.
    pub(super) caller: Party,
    /// Whose page it is.
    pub(super) owner: Party,
    pub(super) module: &'a Module,
    pub(super) role: InterfaceRole,
}

impl Binding<'_> {
    fn to_bytes(&self) -> Vec<u8> {
        [
            self.caller.key(),
            self.owner.key(),
            self.role.as_str().as_bytes(),
            b"/",
            self.module.as_str().as_bytes(),
        ]
        .concat()
    }
}

impl PageLinks {
    pub(super) fn new(ring: Arc<KeyRing>) -> Self {
        Self { ring }
    }

    /// The text of a link to `url` that ends at `expires_at` (Unix milliseconds). `None` without a key.
    pub(super) fn seal(
        &self,
        url: &str,
        binding: &Binding<'_>,
        expires_at: i64,
        random: &impl Random,
    ) -> Option<String> {
        let plain = [&expires_at.to_be_bytes()[..], url.as_bytes()].concat();
        let sealed = self.ring.seal(&plain, &binding.to_bytes(), random)?;
        Some(URL_SAFE_NO_PAD.encode(sealed))
    }

    /// The URL of a link, if it was sealed here for exactly that binding and has not expired.
    /// Everything else is one and the same `None`.
    pub(super) fn open(&self, text: &[u8], binding: &Binding<'_>, now: i64) -> Option<String> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let plain = self.ring.open(&bytes, &binding.to_bytes())?;
        let (expires_at, url) = plain.split_first_chunk::<8>()?;
        (now < i64::from_be_bytes(*expires_at))
            .then(|| String::from_utf8(url.to_vec()).ok())
            .flatten()
    }
}

/// 128 random bits as 32 hex digits: the id of a stored link.
pub(super) fn random_id(random: &impl Random) -> String {
    let mut bytes = [0; 16];
    random.fill(&mut bytes);
    format!("{:032x}", u128::from_be_bytes(bytes))
}

/// Whether a text has the form of [`random_id`].
pub(super) fn is_id(text: &str) -> bool {
    text.len() == 32
        && text
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// The target of the first `rel="next"` of a `Link` header (RFC 8288; `rel` may be unquoted).
/// Linear; `None` if there is none or it cannot be read (`safety.md` A87).
pub(super) fn next_of(header: &str) -> Option<&str> {
    let mut rest = header;
    loop {
        let start = rest.find('<')?;
        let target_and_more = &rest[start + 1..];
        let end = target_and_more.find('>')?;
        let target = &target_and_more[..end];
        let params_and_more = &target_and_more[end + 1..];
        // A comma ends the value; the targets that we read contain none outside their brackets.
        let (params, more) = match params_and_more.find(",") {
            Some(comma) => (
                &params_and_more[..comma],
                Some(&params_and_more[comma + 1..]),
            ),
            None => (params_and_more, None),
        };
        let is_next = params.split(';').any(|param| {
            param.split_once('=').is_some_and(|(name, value)| {
                name.trim().eq_ignore_ascii_case("rel")
                    && value
                        .trim()
                        .trim_matches('"')
                        .split(' ')
                        .any(|rel| rel.eq_ignore_ascii_case("next"))
            })
        });
        if is_next {
            return Some(target);
        }
        rest = more?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Counting(std::sync::atomic::AtomicU8);
    impl Random for Counting {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.fill(self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
        }
    }

    fn links_of(keys: Vec<(u8, [u8; 32])>) -> PageLinks {
        PageLinks::new(Arc::new(KeyRing::new(keys)))
    }

    fn binding(module: &Module) -> Binding<'_> {
        let party = |id| Party::new("DE", id).expect("a party");
        Binding {
            caller: party("AAA"),
            owner: party("BBB"),
            module,
            role: InterfaceRole::Sender,
        }
    }

    #[test]
    fn test_a81_a_changed_link_does_not_open() {
        let links = links_of(vec![(1, [7; 32])]);
        let random = Counting(0.into());
        let text = links
            .seal("https://x/y?offset=1", &binding(&Module::Cdrs), 10, &random)
            .expect("a key");
        assert_eq!(
            links
                .open(text.as_bytes(), &binding(&Module::Cdrs), 9)
                .as_deref(),
            Some("https://x/y?offset=1")
        );
        for at in 0..text.len() {
            let mut bent = text.clone().into_bytes();
            bent[at] = if bent[at] == b'A' { b'B' } else { b'A' };
            assert_eq!(
                links.open(&bent, &binding(&Module::Cdrs), 9),
                None,
                "byte {at}"
            );
            assert_eq!(
                links.open(&text.as_bytes()[..at], &binding(&Module::Cdrs), 9),
                None
            );
        }
        let other_node = links_of(vec![(1, [8; 32])]);
        assert_eq!(
            other_node.open(text.as_bytes(), &binding(&Module::Cdrs), 9),
            None
        );
    }

    #[test]
    fn test_a82_a_link_is_bound_to_pair_module_and_role() {
        let links = links_of(vec![(1, [7; 32])]);
        let text = links
            .seal("u", &binding(&Module::Cdrs), 10, &Counting(0.into()))
            .expect("a key");
        let right = binding(&Module::Cdrs);
        let swapped = Binding {
            caller: right.owner,
            owner: right.caller,
            ..right.clone()
        };
        let other_role = Binding {
            role: InterfaceRole::Receiver,
            ..right.clone()
        };
        for wrong in [swapped, other_role, binding(&Module::Tokens)] {
            assert_eq!(links.open(text.as_bytes(), &wrong, 9), None);
        }
    }

    #[test]
    fn test_a83_a_link_expires_and_old_keys_still_open() {
        let links = links_of(vec![(1, [7; 32])]);
        let text = links
            .seal("u", &binding(&Module::Cdrs), 10, &Counting(0.into()))
            .expect("a key");
        assert_eq!(
            links.open(text.as_bytes(), &binding(&Module::Cdrs), 10),
            None
        );
        let rotated = links_of(vec![(2, [9; 32]), (1, [7; 32])]);
        assert!(
            rotated
                .open(text.as_bytes(), &binding(&Module::Cdrs), 9)
                .is_some()
        );
    }

    #[test]
    fn test_a87_the_next_relation_is_found() {
        for (header, next) in [
            ("<https://a/b?x=1>; rel=\"next\"", Some("https://a/b?x=1")),
            ("<https://a/b>;rel=next", Some("https://a/b")),
            (
                "<https://a/p>; rel=\"prev\", <https://a/n,m>; title=\"x\"; rel=\"last next\"",
                Some("https://a/n,m"),
            ),
            ("<https://a/b>; rel=\"prev\"", None),
            ("https://a/b; rel=next", None),
            ("<https://a/b; rel=next", None),
            ("", None),
        ] {
            assert_eq!(next_of(header), next, "{header}");
        }
        let many = "<https://a>; rel=\"x\", ".repeat(1_000) + "<https://b>; rel=next";
        assert_eq!(next_of(&many), Some("https://b"));
    }
}
