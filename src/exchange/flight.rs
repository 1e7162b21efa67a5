//! Mints under way, by holder: of equal requests that come together one is minted for, and the others wait for how it ends. The
//! mint belongs to none of their callers.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use super::Refusal;
use crate::lease::Holder;

/// How a mint ended: there is a lease on the shelf, or nobody of them gets one.
pub(super) type Landing = Result<(), Refusal>;

type UnderWay = Arc<Mutex<HashMap<Arc<Holder>, watch::Receiver<Option<Landing>>>>>;

/// Those of this process. Each is an exchange under way, so the doors bound their number.
#[derive(Debug, Default)]
pub(super) struct Flights(UnderWay);

/// Who does what.
pub(super) enum Turn {
    /// This one mints.
    Mint(Flight),
    /// Another one does: wait for it.
    Wait(Waiting),
}

/// The right, and the duty, to mint for all equal requests. However it ends, nobody waits for it any more once it is dropped.
pub(super) struct Flight {
    under_way: UnderWay,
    holder: Arc<Holder>,
    tell: watch::Sender<Option<Landing>>,
}

/// A place in the queue of a mint under way.
pub(super) struct Waiting(watch::Receiver<Option<Landing>>);

impl Flights {
    /// The mint under way for this holder, or the right to begin one.
    pub(super) fn join(&self, holder: &Holder) -> Turn {
        let mut under_way = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(landing) = under_way.get(holder) {
            return Turn::Wait(Waiting(landing.clone()));
        }
        let (tell, landing) = watch::channel(None);
        let holder = Arc::new(holder.clone());
        under_way.insert(Arc::clone(&holder), landing);
        Turn::Mint(Flight { under_way: Arc::clone(&self.0), holder, tell })
    }
}

impl Flight {
    /// Tells everybody who waits.
    pub(super) fn land(self, landing: Landing) {
        self.tell.send_replace(Some(landing));
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.holder);
    }
}

impl Waiting {
    /// How it ended. None: it broke off, and nobody knows.
    pub(super) async fn landing(mut self) -> Option<Landing> {
        self.0.wait_for(Option::is_some).await.ok().and_then(|landing| landing.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::AuditError;

    fn mint(flights: &Flights, holder: &Holder) -> Flight {
        match flights.join(holder) {
            Turn::Mint(flight) => flight,
            Turn::Wait(_) => panic!("another one mints for {holder:?}"),
        }
    }

    fn wait(flights: &Flights, holder: &Holder) -> Waiting {
        match flights.join(holder) {
            Turn::Mint(_) => panic!("nobody mints for {holder:?}"),
            Turn::Wait(waiting) => waiting,
        }
    }

    #[tokio::test]
    async fn equal_holders_wait_for_one_and_others_do_not() {
        let flights = Flights::default();
        let flight = mint(&flights, &Holder::for_tests("ada", "p"));
        let _other = mint(&flights, &Holder::for_tests("bob", "p"));
        let waiting = [0; 3].map(|_| wait(&flights, &Holder::for_tests("ada", "p")));
        flight.land(Err(Refusal::Audit(AuditError::Overloaded)));
        for waiting in waiting {
            assert_eq!(waiting.landing().await.unwrap().unwrap_err().code(), "log_overloaded");
        }
        let _next = mint(&flights, &Holder::for_tests("ada", "p"));
    }

    #[tokio::test]
    async fn whoever_comes_as_it_ends_is_told_too_and_one_that_breaks_off_keeps_nobody_waiting() {
        let (flights, ada) = (Flights::default(), Holder::for_tests("ada", "p"));
        let flight = mint(&flights, &ada);
        let late = wait(&flights, &ada);
        flight.land(Ok(()));
        assert!(matches!(late.landing().await, Some(Ok(()))));

        let flight = mint(&flights, &ada);
        let waiting = wait(&flights, &ada);
        drop(flight);
        assert!(waiting.landing().await.is_none());
        assert!(flights.0.lock().unwrap().is_empty());
    }
}
