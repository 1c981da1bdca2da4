//! Every conversion between Python's values and ours. No decision is taken here.
//!
//! Allocation policy: the head of a request is copied once, into one buffer that all its parts are slices
//! of; a body is borrowed from the Python object that holds it (`docs/decisions/0002-crossing.md`).
use std::net::IpAddr;
use std::ops::Range;

use bytes::Bytes;
use ocn_core::relay::message::{Head, Reply, Stale};
use pyo3::exceptions::PyKeyError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyString, PyTuple};

/// Reads the head of a request out of an ASGI scope, in place.
///
/// The path is the raw one: routing never sees what the server decoded (`safety.md` A15).
pub(crate) fn head(scope: &Bound<'_, PyDict>) -> PyResult<Head> {
    let py = scope.py();
    let mut parts = Parts(Vec::with_capacity(2_048));
    let method = parts.text(&required(scope, intern!(py, "method"))?)?;
    let path = parts.bytes(&required(scope, intern!(py, "raw_path"))?)?;
    let query = parts.bytes(&required(scope, intern!(py, "query_string"))?)?;
    let fields = required(scope, intern!(py, "headers"))?.cast_into::<PyList>()?;
    let mut headers = Vec::with_capacity(fields.len());
    for field in fields.iter() {
        let field = field.cast_into::<PyTuple>()?;
        headers.push((
            parts.bytes(&field.get_item(0)?)?,
            parts.bytes(&field.get_item(1)?)?,
        ));
    }
    let peer = match scope.get_item(intern!(py, "client"))? {
        Some(client) if !client.is_none() => client
            .get_item(0)?
            .cast::<PyString>()?
            .to_cow()?
            .parse::<IpAddr>()
            .ok(),
        _ => None,
    };
    let whole = Bytes::from(parts.0);
    Ok(Head {
        method: whole.slice(method),
        path: whole.slice(path),
        query: whole.slice(query),
        headers: headers
            .into_iter()
            .map(|(name, value)| (whole.slice(name), whole.slice(value)))
            .collect(),
        peer,
    })
}

fn required<'py>(
    scope: &Bound<'py, PyDict>,
    key: &Bound<'py, PyString>,
) -> PyResult<Bound<'py, PyAny>> {
    scope
        .get_item(key)?
        .ok_or_else(|| PyKeyError::new_err(key.clone().unbind()))
}

/// Parts of a head, one after the other.
struct Parts(Vec<u8>);

impl Parts {
    fn bytes(&mut self, value: &Bound<'_, PyAny>) -> PyResult<Range<usize>> {
        Ok(self.push(value.cast::<PyBytes>()?.as_bytes()))
    }

    fn text(&mut self, value: &Bound<'_, PyAny>) -> PyResult<Range<usize>> {
        Ok(self.push(value.cast::<PyString>()?.to_cow()?.as_bytes()))
    }

    fn push(&mut self, part: &[u8]) -> Range<usize> {
        let start = self.0.len();
        self.0.extend_from_slice(part);
        start..self.0.len()
    }
}

/// How many bytes of body a head announces: `Some(0)` for none, `None` where the length is not known.
pub(crate) fn announced(head: &Head) -> Option<u64> {
    let value = |name: &[u8]| {
        head.headers
            .iter()
            .find(|(known, _)| &known[..] == name)
            .map(|(_, value)| &value[..])
    };
    if value(b"transfer-encoding").is_some() {
        return None;
    }
    match value(b"content-length") {
        Some(digits) => std::str::from_utf8(digits).ok()?.parse().ok(),
        None => Some(0),
    }
}

/// The two messages for ASGI's `send`: `http.response.start` and `http.response.body`.
pub(crate) fn send_messages(py: Python<'_>, reply: &Reply) -> PyResult<(Py<PyDict>, Py<PyDict>)> {
    let headers = PyList::empty(py);
    for (name, value) in &reply.headers {
        headers.append((PyBytes::new(py, name.as_bytes()), PyBytes::new(py, value)))?;
    }
    let start = PyDict::new(py);
    start.set_item(intern!(py, "type"), intern!(py, "http.response.start"))?;
    start.set_item(intern!(py, "status"), reply.status)?;
    start.set_item(intern!(py, "headers"), headers)?;
    let body = PyDict::new(py);
    body.set_item(intern!(py, "type"), intern!(py, "http.response.body"))?;
    body.set_item(intern!(py, "body"), PyBytes::new(py, &reply.body))?;
    Ok((start.unbind(), body.unbind()))
}

/// What a newer table could change, in the words of `_native.pyi`.
pub(crate) fn stale(stale: Stale) -> &'static str {
    match stale {
        Stale::Token => "token",
        Stale::Sender => "sender",
        Stale::Receiver => "receiver",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_headers(headers: &[(&'static str, &'static str)]) -> Head {
        Head {
            method: Bytes::from_static(b"PUT"),
            path: Bytes::new(),
            query: Bytes::new(),
            headers: headers
                .iter()
                .map(|(name, value)| ((*name).into(), (*value).into()))
                .collect(),
            peer: None,
        }
    }

    #[test]
    fn a_body_is_announced_unknown_or_absent() {
        assert_eq!(announced(&with_headers(&[])), Some(0));
        assert_eq!(
            announced(&with_headers(&[("content-length", "17")])),
            Some(17)
        );
        assert_eq!(
            announced(&with_headers(&[("transfer-encoding", "chunked")])),
            None
        );
    }
}
