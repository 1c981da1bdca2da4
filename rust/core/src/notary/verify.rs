//! Is the signature true, and who signed: the last signatory, and those before it.
use super::message::{Message, Substitutes, arrange, rewritable};
use super::values::check_text;
use super::{Limits, Notary, NotaryError, Policy, REWRITABLE, Reason, Rewrite, Seal, Values};
use crate::eth::{Address, Signature, recover_personal};
use crate::json::{Reader, Scalar, Token};

/// The number form in which a message has its hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NumberFormSeen {
    /// Both forms give the same text.
    Any,
    Js,
    Jvm,
}

/// A true signature. Who may sign for whom is for the caller to judge, with the registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Who signed the message as it is.
    pub signatory: Address,
    /// All signatories, newest first, origin last.
    pub chain: Vec<Address>,
    /// Leaves that nobody signed; 0 except under [`Policy::Compatible`].
    pub uncovered: u32,
    /// Of the newest signature.
    pub number_form: NumberFormSeen,
}

impl Verdict {
    /// Who signed first.
    pub fn origin(&self) -> Address {
        self.chain.last().copied().unwrap_or(self.signatory)
    }
}

impl Notary {
    /// Checks every signature of the chain over `values`.
    ///
    /// `exempt` leaves need no signature, nor do `ocn_signature` and an unlisted
    /// `ocn_verification_status` in the body. Verifying twice gives the same answer.
    ///
    /// # Errors
    /// The first failing check of `ocn-notary.md` 10, with the first leaf that differs.
    pub fn verify(
        &self,
        values: &Values<'_>,
        policy: Policy,
        exempt: &[&str],
        limits: &Limits,
    ) -> Result<Verdict, NotaryError> {
        let mut seals = std::iter::once(&self.seal).chain(self.rewrites.iter().map(Rewrite::seal));
        if policy == Policy::Strict && !seals.all(|seal| seal.checksummed) {
            return Err(NotaryError::new(Reason::Format));
        }
        if self.fields.is_empty() {
            values.walk(limits, |_, value| Ok(check_text(&value)?))?;
            return Err(NotaryError::new(Reason::Empty));
        }
        let keep = !self.rewrites.is_empty();
        let arranged = arrange(&self.fields, values, policy, exempt, keep, limits)?;
        let mut message = arranged.message;
        let form = message
            .form_of(&self.seal.hash)
            .ok_or(NotaryError::new(Reason::Hash))?;
        refuse_inexact(&message, form, policy)?;
        let mut chain = Vec::with_capacity(1 + self.rewrites.len());
        chain.push(self.seal.check(policy, Reason::Signatory)?);

        let mut restored: Substitutes<'_> = [None; REWRITABLE.len()];
        for (number, rewrite) in self.rewrites.iter().rev().enumerate() {
            let signer = undo(rewrite, &mut message, &mut restored, policy);
            chain.push(signer.map_err(|error| error.in_rewrite(number))?);
        }
        Ok(Verdict {
            signatory: chain[0],
            chain,
            uncovered: arranged.uncovered,
            number_form: form,
        })
    }
}

/// Puts the stashed values back, on top of those restored before, and checks the signature over them.
fn undo<'n>(
    rewrite: &'n Rewrite,
    message: &mut Message<'_>,
    restored: &mut Substitutes<'n>,
    policy: Policy,
) -> Result<Address, NotaryError> {
    for (path, raw) in &rewrite.values {
        let place = rewritable(path)
            .filter(|_| message.marked(path).is_some())
            .ok_or_else(|| NotaryError::at(Reason::RewritePath, path))?;
        let value = stashed(raw).ok_or_else(|| NotaryError::at(Reason::RewriteValue, path))?;
        restored[place] = Some(value);
    }
    let form = message
        .form_restored(restored, &rewrite.seal.hash)
        .ok_or(NotaryError::new(Reason::RewriteHash))?;
    refuse_inexact(message, form, policy)?;
    rewrite.seal.check(policy, Reason::RewriteSignatory)
}

/// Digits that the signature does not cover could be changed unseen.
fn refuse_inexact(
    message: &Message<'_>,
    form: NumberFormSeen,
    policy: Policy,
) -> Result<(), NotaryError> {
    match message.inexact(form).filter(|_| policy == Policy::Strict) {
        Some(path) => Err(NotaryError::at(Reason::Number, path)),
        None => Ok(()),
    }
}

impl Seal {
    /// Recovers the signer and compares it with the signatory.
    fn check(&self, policy: Policy, mismatch: Reason) -> Result<Address, NotaryError> {
        let refused = |_| NotaryError::new(Reason::Signature);
        let signature = Signature::parse(&self.rsv).map_err(refused)?;
        if policy == Policy::Strict {
            signature.check_strict().map_err(refused)?;
        }
        let signer = recover_personal(self.hash.as_bytes(), &signature).map_err(refused)?;
        if signer == self.signatory {
            Ok(signer)
        } else {
            Err(NotaryError::new(mismatch))
        }
    }
}

/// A stashed value: a scalar that is neither null nor empty.
fn stashed(raw: &str) -> Option<Scalar<'_>> {
    let mut reader = Reader::new(raw.as_bytes(), &Limits::default().json()).ok()?;
    match reader.next().ok()? {
        Some(Token::Scalar(value)) if !value.is_empty() => {
            check_text(&value).ok()?;
            Some(value)
        }
        _ => None,
    }
}
