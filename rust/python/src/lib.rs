//! `ocn_fast._native`: a list of names. Every class and function lives in the file named after it.
mod convert;
mod crossing;
mod errors;
mod eth;
mod journal;
mod log;
mod node;
mod notary;
mod ports;
mod queue;
mod runtime;

use pyo3::prelude::*;

#[pymodule]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_function(wrap_pyfunction!(eth::address_of, module)?)?;
    module.add_function(wrap_pyfunction!(eth::checksum_address, module)?)?;
    module.add_function(wrap_pyfunction!(eth::keccak256, module)?)?;
    module.add_function(wrap_pyfunction!(eth::new_key, module)?)?;
    module.add_function(wrap_pyfunction!(eth::personal_recover, module)?)?;
    module.add_function(wrap_pyfunction!(eth::personal_sign, module)?)?;
    module.add_class::<crossing::Gate>()?;
    module.add_class::<crossing::ReplyMessages>()?;
    module.add_class::<node::Node>()?;
    module.add_class::<notary::Notary>()?;
    module.add_class::<notary::NotaryValues>()?;
    module.add_function(wrap_pyfunction!(notary::attach_signature, module)?)?;
    module.add_function(wrap_pyfunction!(notary::detach_signature, module)?)?;
    Ok(())
}
