//! Why a message of another node is not believed, or cannot be signed.

/// The sentences are our own and repeat nothing of the message (`safety.md` I22): they may be shown to anybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    #[error("no session key can be agreed on")]
    Agreement,
    #[error("the signature covers other components than it must")]
    Components,
    #[error("the body does not match its Content-Digest")]
    Digest,
    #[error("Content-Digest must be one sha-256 digest")]
    DigestForm,
    #[error("the signature has expired")]
    Expired,
    #[error("the signature was created in the future")]
    Future,
    #[error("Signature-Input is malformed")]
    Input,
    #[error("{0} is missing")]
    Missing(&'static str),
    #[error("{0} is repeated")]
    Repeated(&'static str),
    #[error("the session is not known, or has ended")]
    Session,
    #[error("Signature is malformed")]
    Signature,
    #[error("the signature was not made by the key that it names")]
    Signer,
    #[error("{0} is not printable ASCII")]
    Text(&'static str),
    #[error("the signature is valid for too long")]
    Window,
}

impl WireError {
    /// Whether the message could not be read at all, rather than being read and not believed (`safety.md` A152).
    pub fn is_malformed(self) -> bool {
        match self {
            Self::DigestForm
            | Self::Input
            | Self::Repeated(_)
            | Self::Signature
            | Self::Text(_) => true,
            Self::Agreement
            | Self::Components
            | Self::Digest
            | Self::Expired
            | Self::Future
            | Self::Missing(_)
            | Self::Session
            | Self::Signer
            | Self::Window => false,
        }
    }
}
