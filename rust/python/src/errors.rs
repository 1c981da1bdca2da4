//! The one translation of our errors into Python's. The classes are written in `ocn_fast/errors.py`.
use ocn_core::relay::ports::SendError;
use pyo3::exceptions::PyRuntimeError;
use pyo3::import_exception;
use pyo3::prelude::*;

use crate::runtime::RuntimeError;

import_exception!(ocn_fast.errors, ConfigError);
import_exception!(ocn_fast.errors, OutboundError);

impl From<RuntimeError> for PyErr {
    fn from(error: RuntimeError) -> Self {
        PyRuntimeError::new_err(match error {
            RuntimeError::Closed => "the node is closed",
            RuntimeError::Forked => "the node was opened in another process",
        })
    }
}

/// `OutboundError(kind, text)`; `kind` says what may have become of the request.
pub(crate) fn outbound(error: &SendError) -> PyErr {
    let kind = match error {
        SendError::NotSent(_) | SendError::Cancelled => "not_sent",
        SendError::MaybeSent(_) => "maybe_sent",
        SendError::Unusable(_) => "unusable",
    };
    OutboundError::new_err((kind, error.to_string()))
}
