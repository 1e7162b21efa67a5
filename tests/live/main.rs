//! Real servers: Keycloak, PostgreSQL, MinIO, SeaweedFS, Ceph and boto3, with the real `stint` binary between them. `tests/run live` installs
//! the servers, names them in the environment and runs this; a server that is not named fails its tests, aloud.
#![cfg(test)]

mod bootstrap;
mod boto3;
mod ceph;
mod conformance;
mod dialect;
mod doors;
mod exchange;
mod faults;
mod harness;
mod minio;
mod narrowing;
mod parent;
mod reconcile;
mod record;
mod seaweedfs;
mod servers;
#[path = "../it/harness/signed.rs"]
mod signed;
