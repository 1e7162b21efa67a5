//! The integration tests.
#![cfg(test)]

mod policies;
