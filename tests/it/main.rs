#![cfg(test)]
mod config;
