//! The notary for `ocn_fast.notary`: owned values in, typed objects out, every refusal a `NotaryError`.
use std::borrow::Cow;

use ocn_core::json;
use ocn_core::notary::{
    self, Container, Limits, NumberForm, NumberFormSeen, Part, Policy, Reason, Verdict,
};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::eth::signing_key;

pyo3::import_exception!(ocn_fast.errors, NotaryError);

type Pairs = Vec<(String, String)>;
/// text_bytes, notary_bytes, fields, rewrites, rewrite_paths, depth, number_chars.
type LimitsTuple = (usize, usize, usize, usize, usize, usize, usize);

/// A message to sign or to verify.
#[pyclass(frozen, module = "ocn_fast._native")]
pub(crate) struct NotaryValues {
    content: Content,
}

enum Content {
    Document(Vec<u8>),
    Parts {
        headers: Option<Pairs>,
        params: Option<Pairs>,
        body: Option<Body>,
    },
}

enum Body {
    Json(Vec<u8>),
    Text(String),
}

#[pymethods]
impl NotaryValues {
    /// Headers and parameters as pairs of text, the body as JSON bytes or as one string.
    #[new]
    #[pyo3(signature = (headers, params, body, text))]
    fn new(
        headers: Option<Pairs>,
        params: Option<Pairs>,
        body: Option<Vec<u8>>,
        text: Option<String>,
    ) -> Self {
        let body = text.map(Body::Text).or(body.map(Body::Json));
        Self {
            content: Content::Parts {
                headers,
                params,
                body,
            },
        }
    }

    /// From a values object: `{"headers": …, "params": …, "body": …}` as JSON.
    #[staticmethod]
    fn from_document(document: Vec<u8>) -> Self {
        Self {
            content: Content::Document(document),
        }
    }
}

impl NotaryValues {
    /// Lends the values; nothing is copied but the pairs of pointers.
    fn with<T>(
        &self,
        limits: &Limits,
        use_values: impl FnOnce(&notary::Values<'_>) -> Result<T, notary::NotaryError>,
    ) -> Result<T, notary::NotaryError> {
        match &self.content {
            Content::Document(document) => notary::Values::from_document(document, limits)
                .and_then(|values| use_values(&values)),
            Content::Parts {
                headers,
                params,
                body,
            } => {
                let (headers, params) = (lend(headers), lend(params));
                use_values(&notary::Values {
                    headers: headers.as_deref().map_or(Part::Absent, Part::Pairs),
                    params: params.as_deref().map_or(Part::Absent, Part::Pairs),
                    body: match body {
                        None => Part::Absent,
                        Some(Body::Json(body)) => Part::Json(body),
                        Some(Body::Text(text)) => Part::Text(text),
                    },
                })
            }
        }
    }
}

fn lend(pairs: &Option<Pairs>) -> Option<Vec<(&str, &str)>> {
    pairs.as_ref().map(|pairs| {
        pairs
            .iter()
            .map(|(name, value)| (&**name, &**value))
            .collect()
    })
}

/// A notary object.
#[pyclass(frozen, module = "ocn_fast._native")]
pub(crate) struct Notary {
    inner: notary::Notary,
}

#[pymethods]
impl Notary {
    /// Signs a message; `form` is `js` or `jvm`.
    #[staticmethod]
    fn sign(values: &NotaryValues, key: &[u8], form: &str, limits: LimitsTuple) -> PyResult<Self> {
        let (key, limits) = (signing_key(key)?, limits_of(limits));
        let form = match form {
            "js" => NumberForm::Js,
            "jvm" => NumberForm::Jvm,
            _ => return Err(PyValueError::new_err("number form: expected js or jvm")),
        };
        let inner = values
            .with(&limits, |values| {
                notary::Notary::sign(values, &key, form, &limits)
            })
            .map_err(refused)?;
        Ok(Self { inner })
    }

    /// Reads the wire form. With `values` the message itself bounds how much is inflated.
    #[staticmethod]
    fn open(
        text: Cow<'_, [u8]>,
        values: Option<&NotaryValues>,
        limits: LimitsTuple,
    ) -> PyResult<Self> {
        let limits = limits_of(limits);
        let inner = match values {
            None => notary::Notary::open(&text, &limits),
            Some(values) => values.with(&limits, |values| {
                notary::Notary::open_for(&text, values, &limits)
            }),
        };
        Ok(Self {
            inner: inner.map_err(refused)?,
        })
    }

    /// The wire form; `container` is `brotli` or `gzip`.
    fn pack(&self, container: &str) -> PyResult<String> {
        match container {
            "brotli" => Ok(self.inner.pack(Container::Brotli)),
            "gzip" => Ok(self.inner.pack(Container::Gzip)),
            _ => Err(PyValueError::new_err("container: expected brotli or gzip")),
        }
    }

    /// Checks all signatures: signatories (newest first), uncovered leaves, number form.
    fn verify(
        &self,
        values: &NotaryValues,
        policy: &str,
        exempt: Vec<String>,
        limits: LimitsTuple,
    ) -> PyResult<(Vec<String>, u32, &'static str)> {
        let policy = match policy {
            "strict" => Policy::Strict,
            "covered" => Policy::Covered,
            "compatible" => Policy::Compatible,
            _ => {
                return Err(PyValueError::new_err(
                    "policy: expected strict, covered or compatible",
                ));
            }
        };
        let limits = limits_of(limits);
        let exempt: Vec<&str> = exempt.iter().map(String::as_str).collect();
        let Verdict {
            chain,
            uncovered,
            number_form,
            ..
        } = values
            .with(&limits, |values| {
                self.inner.verify(values, policy, &exempt, &limits)
            })
            .map_err(refused)?;
        let form = match number_form {
            NumberFormSeen::Any => "any",
            NumberFormSeen::Js => "js",
            NumberFormSeen::Jvm => "jvm",
        };
        Ok((
            chain.iter().map(ToString::to_string).collect(),
            uncovered,
            form,
        ))
    }

    /// Stashes this signature with the values that change, and signs the new ones.
    fn resign(
        &self,
        before: &NotaryValues,
        after: &NotaryValues,
        changed: Vec<String>,
        key: &[u8],
        limits: LimitsTuple,
    ) -> PyResult<Self> {
        let (key, limits) = (signing_key(key)?, limits_of(limits));
        let changed: Vec<&str> = changed.iter().map(String::as_str).collect();
        let inner = before.with(&limits, |before| {
            after.with(&limits, |after| {
                self.inner.resign(before, after, &changed, &key, &limits)
            })
        });
        Ok(Self {
            inner: inner.map_err(refused)?,
        })
    }

    /// The notary object as JSON text.
    fn to_json(&self) -> String {
        self.inner.to_json()
    }

    #[getter]
    fn fields(&self) -> Vec<&str> {
        self.inner.fields().iter().collect()
    }

    #[getter]
    fn hash(&self) -> &str {
        self.inner.hash()
    }

    #[getter]
    fn rsv(&self) -> &str {
        self.inner.rsv()
    }

    #[getter]
    fn signatory(&self) -> String {
        self.inner.signatory().to_string()
    }

    #[getter]
    fn container(&self) -> &'static str {
        match self.inner.container() {
            Container::Brotli => "brotli",
            Container::Gzip => "gzip",
        }
    }

    /// Oldest first: paths with previous values as JSON text, hash, rsv, signatory.
    #[getter]
    #[allow(clippy::type_complexity)] // a tuple for `ocn_fast.notary` to name
    fn rewrites(&self) -> Vec<(Vec<(&str, &str)>, &str, &str, String)> {
        let rewrites = self.inner.rewrites().iter();
        rewrites
            .map(|rewrite| {
                let seal = rewrite.seal();
                (
                    rewrite.values().collect(),
                    seal.hash(),
                    seal.rsv(),
                    seal.signatory().to_string(),
                )
            })
            .collect()
    }
}

/// `body` with `ocn_signature` as its last member.
#[pyfunction]
pub(crate) fn attach_signature<'py>(
    py: Python<'py>,
    body: &[u8],
    signature: &str,
) -> PyResult<Bound<'py, PyBytes>> {
    let (value, limits) = (json::quote(signature), json::Limits::default());
    let with = json::insert_member(body, "ocn_signature", value.as_bytes(), &limits)
        .map_err(|error| refused(error.into()))?;
    Ok(PyBytes::new(py, &with))
}

/// `body` without `ocn_signature`, and the raw JSON of that member if there was one.
#[pyfunction]
pub(crate) fn detach_signature<'py>(
    py: Python<'py>,
    body: &[u8],
) -> PyResult<(Bound<'py, PyBytes>, Option<String>)> {
    let limits = json::Limits::default();
    let removed = json::remove_member(body, "ocn_signature", &limits)
        .map_err(|error| refused(error.into()))?;
    let Some(removed) = removed else {
        return Ok((PyBytes::new(py, body), None));
    };
    let signature = json::string(removed.value).map_err(|_| {
        refused(notary::NotaryError {
            reason: Reason::Format,
            path: None,
            rewrite: None,
        })
    })?;
    Ok((
        PyBytes::new(py, &removed.rest),
        Some(signature.into_owned()),
    ))
}

fn limits_of(limits: LimitsTuple) -> Limits {
    let (text_bytes, notary_bytes, fields, rewrites, rewrite_paths, depth, number_chars) = limits;
    Limits {
        text_bytes,
        notary_bytes,
        fields,
        rewrites,
        rewrite_paths,
        depth,
        number_chars,
    }
}

#[cold]
fn refused(error: notary::NotaryError) -> PyErr {
    NotaryError::new_err((
        error.to_string(),
        error.reason.as_str(),
        error.path,
        error.rewrite,
    ))
}
