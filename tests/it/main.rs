//! Integration tests: one binary, the crate seen from outside.
#![cfg(test)]

mod harness;
mod issuer;
mod token;
