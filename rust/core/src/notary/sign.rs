//! Signing, and signing again after a node had to change something.
use super::message::{Message, Substitutes, arrange, rewritable};
use super::{
    Container, Fields, Limits, Notary, NotaryError, NumberForm, OCN_SIGNATURE, Policy, REWRITABLE,
    Reason, Rewrite, Seal, Values,
};
use crate::eth::{SigningKey, hex_encode};
use crate::json::{JsonError, Scalar, quote};

impl Notary {
    /// Signs a message as it is: all leaves but `$['body']['ocn_signature']`, in the order of the walk.
    ///
    /// Numbers are signed as they are written, exact or not; only the strict policy refuses the latter.
    ///
    /// # Errors
    /// [`Reason::Document`], [`Reason::Limits`].
    pub fn sign(
        values: &Values<'_>,
        key: &SigningKey,
        form: NumberForm,
        limits: &Limits,
    ) -> Result<Self, NotaryError> {
        let mut fields = Fields::default();
        let mut message = Message::new(false);
        values.walk(limits, |path, value| {
            if path != OCN_SIGNATURE {
                if fields.len() == limits.fields {
                    return Err(NotaryError::at(Reason::Limits, path));
                }
                fields.push(path);
                message.add(path, value)?;
            }
            Ok(())
        })?;
        let seal = Seal::make(&message, key, form);
        Ok(Self {
            fields,
            seal,
            rewrites: Vec::new(),
            container: Container::Brotli,
        })
    }

    /// Stashes the present signature together with the values that are about to change, and signs anew.
    ///
    /// `before` are the values that this notary signs; `after` the same with other values at the paths in
    /// `changed`. The order of the fields stays, so that the previous signatures can be restored. Proves
    /// that they can before it signs.
    ///
    /// # Errors
    /// [`Reason::RewritePath`] for a path that must not change or that is not signed;
    /// [`Reason::RewriteValue`] where a leaf got lost; [`Reason::RewriteHash`] if anything else changed or
    /// `before` is not what was signed; [`Reason::Limits`] for one rewrite too many.
    pub fn resign(
        &self,
        before: &Values<'_>,
        after: &Values<'_>,
        changed: &[&str],
        key: &SigningKey,
        limits: &Limits,
    ) -> Result<Self, NotaryError> {
        if self.rewrites.len() >= limits.rewrites || changed.len() > limits.rewrite_paths {
            return Err(NotaryError::new(Reason::Limits));
        }
        let arrange = |values| arrange(&self.fields, values, Policy::Compatible, &[], true, limits);
        let old = arrange(before)?.message;
        let mut new = arrange(after)?.message;
        let mut stash = Vec::with_capacity(changed.len());
        let mut substitutes: Substitutes<'_> = [None; REWRITABLE.len()];
        for &path in changed {
            let refused = |reason| NotaryError::at(reason, path);
            let place = rewritable(path).ok_or_else(|| refused(Reason::RewritePath))?;
            let value = old
                .marked(path)
                .ok_or_else(|| refused(Reason::RewritePath))?;
            new.marked(path)
                .ok_or_else(|| refused(Reason::RewriteValue))?;
            stash.push((path.to_owned(), literal(&value)?));
            substitutes[place] = Some(value);
        }
        new.form_restored(&substitutes, &self.seal.hash)
            .ok_or(NotaryError::new(Reason::RewriteHash))?;
        let mut rewrites = self.rewrites.clone();
        rewrites.push(Rewrite {
            values: stash,
            seal: self.seal.clone(),
        });
        Ok(Self {
            fields: self.fields.clone(),
            seal: Seal::make(&new, key, NumberForm::Js),
            rewrites,
            container: self.container,
        })
    }
}

impl Seal {
    fn make(message: &Message<'_>, key: &SigningKey, form: NumberForm) -> Self {
        let digest = message.digest(form);
        Self {
            hash: hex_encode(&digest),
            rsv: key.sign_notary_hash(&digest).to_rsv(),
            signatory: key.address(),
            checksummed: true,
        }
    }
}

/// A scalar as raw JSON.
fn literal(value: &Scalar<'_>) -> Result<String, JsonError> {
    Ok(match value {
        Scalar::Bool(value) => value.to_string(),
        Scalar::Null => "null".to_owned(),
        Scalar::Number(lexeme) => (*lexeme).to_owned(),
        Scalar::String(text) => quote(&text.decode()?),
    })
}
