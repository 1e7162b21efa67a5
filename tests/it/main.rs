//! Integration tests: the service from outside, against doubles.
#![cfg(test)]

mod architecture;
mod bootstrap;
mod commands;
mod compatibility;
mod config;
mod conformance;
mod demo;
mod demo_object_server;
mod doors;
mod exchange;
mod harness;
mod issuer;
mod object_server;
mod policies;
mod postgres;
mod secrecy;
mod token;
