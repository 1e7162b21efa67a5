//! Integration tests: the service from outside, against doubles.
#![cfg(test)]

mod architecture;
mod config;
mod demo_object_server;
mod harness;
mod object_server;
