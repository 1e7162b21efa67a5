//! Integration tests: the service from outside, against doubles.
#![cfg(test)]

mod harness;
mod object_server;
