//! `ocn_fast._native`: a list of names. Every class and function lives in the file named after it.
use pyo3::prelude::*;

#[pymodule]
fn _native(_module: &Bound<'_, PyModule>) -> PyResult<()> {
    Ok(())
}
