//! Integration tests: the service from outside, against doubles.
#![cfg(test)]

mod architecture;
mod audit_doors;
mod bootstrap;
mod by_hand;
mod commands;
mod compatibility;
mod config;
mod conformance;
mod demo;
mod demo_object_server;
mod doors;
mod evidence;
mod exchange;
mod faults;
mod freezes;
mod harness;
mod issuer;
mod listing;
mod object_server;
mod parents;
mod parents_served;
mod plans;
mod policies;
mod postgres;
mod questions;
mod reconciler;
mod retention;
mod revocation;
mod roles;
mod secrecy;
mod self_test;
mod tally;
mod token;
mod verify;
