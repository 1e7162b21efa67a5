//! How the streams of the year follow each other: three instances, each of which restarts at every month's beginning; the
//! first to open names how the month before ended, the others name the one that opened before them.

use std::sync::mpsc::SyncSender;

use stint::audit::{SigningKey, StreamHead, StreamId};
use time::{Date, Month, OffsetDateTime};

use super::copy::Sheet;
use super::stream::Life;
use super::world::{Landmark, World};

const YEAR: i32 = 2025;
const MONTHS: u8 = 12;
pub(super) const INSTANCES: u8 = 3;
/// Bytes of rows that travel at a time.
const SHEET: usize = 1 << 20;
/// One stream in so many ends without a word, as a killed process does.
const CRASHES: u64 = 13;

/// What the year is made of, in the order in which it must be written: a month's streams, then its sheets.
pub(super) enum Piece {
    /// A month begins: room is needed for these.
    Month(Vec<StreamId>),
    Events(Sheet),
    /// Every seal of the month: it ends.
    Seals(Sheet),
}

/// Makes the year and sends it away piece by piece; what is remembered for the questions comes back.
pub(super) fn live(world: &World, key: &SigningKey, seed: u64, rows: u64, away: &SyncSender<Piece>) -> Vec<Landmark> {
    let mut landmarks = Vec::new();
    let mut heads: Vec<StreamHead> = Vec::new();
    let streams = u64::from(MONTHS) * u64::from(INSTANCES);
    for month in 1..=MONTHS {
        let (begins, ends) = (first_of(month), first_of(month + 1));
        let mut lives: Vec<Life<'_>> = Vec::new();
        for instance in 0..INSTANCES {
            let n = u64::from(month - 1) * u64::from(INSTANCES) + u64::from(instance);
            // Whatever does not divide falls to the first streams.
            let share = rows / streams + u64::from(n < rows % streams);
            let named = lives.last().map_or_else(|| std::mem::take(&mut heads), |before| vec![before.head()]);
            let opens = begins + time::Duration::seconds(30 * i64::from(instance) + 1);
            let between = (opens, ends - time::Duration::minutes(1));
            lives.push(Life::open(world, key, seed.wrapping_add(1 + n), between, share.max(4), named));
        }
        if away.send(Piece::Month(lives.iter().map(Life::stream).collect())).is_err() {
            return landmarks;
        }
        let mut seals = Sheet::default();
        for (instance, mut life) in (0_u64..).zip(lives) {
            loop {
                let more = life.go_on(SHEET);
                let crashed = (u64::from(month) * u64::from(INSTANCES) + instance).is_multiple_of(CRASHES);
                if !more && !crashed {
                    life.close("month");
                }
                if away.send(Piece::Events(std::mem::take(&mut life.events))).is_err() {
                    return landmarks;
                }
                if !more {
                    break;
                }
            }
            seals.bytes.append(&mut life.seals.bytes);
            seals.rows += life.seals.rows;
            heads.push(life.head());
            landmarks.append(&mut life.landmarks);
        }
        if away.send(Piece::Seals(seals)).is_err() {
            return landmarks;
        }
    }
    landmarks
}

fn first_of(month: u8) -> OffsetDateTime {
    let (year, month) = if month > MONTHS { (YEAR + 1, 1) } else { (YEAR, month) };
    let date = Date::from_calendar_date(year, Month::try_from(month).expect("a month"), 1).expect("a date");
    date.midnight().assume_utc()
}
