//! The one integration binary.
#![cfg(test)]
mod harness;
mod postgres;
