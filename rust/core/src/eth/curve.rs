//! The context of libsecp256k1 for secrets: one for each thread, blinded.
use std::cell::RefCell;

use secp256k1_signing::{Secp256k1, SignOnly};

/// How often a thread uses secrets under one blinding; a new one costs as much as a signature. The curve takes the
/// same steps whatever the secret is; blinding is the second defence, against what steps of one kind give away
/// (`docs/decisions/0004-blinding.md`).
const USES: u32 = 1_024;

struct Blinded {
    context: Secp256k1<SignOnly>,
    uses_left: u32,
}

thread_local! {
    static SIGNING: RefCell<Blinded> = RefCell::new(Blinded {
        context: Secp256k1::signing_only(),
        uses_left: 0,
    });
}

/// Lends the context of this thread to work with a secret: never one that is not blinded.
pub(super) fn with_secret<T>(work: impl FnOnce(&Secp256k1<SignOnly>) -> T) -> T {
    SIGNING.with_borrow_mut(|blinded| {
        if blinded.uses_left == 0 {
            let mut seed = [0; 32];
            getrandom::fill(&mut seed).expect("the system gives random bytes");
            blinded.context.seeded_randomize(&seed);
            blinded.uses_left = USES;
        }
        blinded.uses_left -= 1;
        work(&blinded.context)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blinding_lasts_for_so_many_uses_and_changes_no_signature() {
        let key = crate::eth::SigningKey::from_bytes(&[0x46; 32]).unwrap();
        let left = || SIGNING.with_borrow(|blinded| blinded.uses_left);
        let first = key.personal_sign(b"text");
        for _ in 0..left() {
            with_secret(|_| ());
        }
        assert_eq!(left(), 0);
        assert_eq!(key.personal_sign(b"text"), first);
        assert_eq!(left(), USES - 1);
    }
}
