//! `reserve`: what the receiver could call back is written down before it can be called.
use super::Walk;
use super::error::{Kind, Refusal};
use super::ports::{Journal as _, JournalError, Ports};
use super::record::Stage;
use super::seal::Sealed;

/// One insert for commands, charging profiles and CDR posts; nothing for everything else.
pub(super) async fn reserve<P: Ports>(
    walk: &mut Walk<'_, P>,
    sealed: &Sealed,
) -> Result<(), Refusal> {
    walk.enter(Stage::Reserve);
    let Some(link) = &sealed.reservation else {
        return Ok(());
    };
    walk.ports
        .journal()
        .reserve(link.clone())
        .await
        .map_err(refusal)
}

/// What a failed store means for a message that has not left yet.
pub(super) fn refusal(error: JournalError) -> Refusal {
    match error {
        JournalError::Unavailable => Refusal::new(
            Kind::StoreUnavailable,
            "the hub cannot write down the message's links now",
        ),
        JournalError::Taken => Refusal::new(Kind::Duplicate, "duplicate message"),
        JournalError::Full => Refusal::new(
            Kind::TooManyRequests,
            "this platform holds too many open links",
        ),
    }
}
