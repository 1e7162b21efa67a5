//! Tells a terminal how far a long reading has come. A pipe, a file and `--json` are told nothing.

use std::io::{IsTerminal, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::audit::{Progress, Tally};
use crate::clock::{Clock, SystemClock};

/// How often the line changes.
const STEP: Duration = Duration::from_millis(500);

/// What to hand to the reader.
pub(super) fn on_stderr(quiet: bool) -> Progress {
    if quiet || !std::io::stderr().is_terminal() {
        return Arc::new(|_| {});
    }
    let clock = SystemClock::start();
    let told = Mutex::new(Duration::ZERO);
    Arc::new(move |Tally { seals, rows }| {
        let now = clock.elapsed();
        let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
        if now.saturating_sub(*told) < STEP {
            return;
        }
        *told = now;
        let rate = u128::from(rows).saturating_mul(1000) / now.as_millis().max(1);
        let _ = write!(std::io::stderr(), "\r{rows} rows, {seals} seals, {rate} rows/s   ");
    })
}

/// Leaves the line of the terminal.
pub(super) fn end(quiet: bool) {
    if !quiet && std::io::stderr().is_terminal() {
        let _ = writeln!(std::io::stderr());
    }
}
