//! Real servers: Keycloak, PostgreSQL, MinIO, SeaweedFS, Ceph, Garage and boto3, with the real `stint` binary between them. `tests/run live` installs
//! the servers, names them in the environment and runs this; a server that is not named fails its tests, aloud.
#![cfg(test)]

mod artifact_store;
mod aws_emulator;
mod bootstrap;
mod boto3;
mod break_glass;
mod ceph;
mod clients;
#[path = "../it/harness/clock.rs"]
mod clock;
mod conformance;
mod dialect;
mod doors;
mod exchange;
mod faults;
mod garage;
mod harness;
mod login;
mod minio;
#[expect(clippy::duplicate_mod, reason = "every fact of MinIO is asked of two of its versions")]
#[path = "minio.rs"]
mod minio_last;
mod narrowing;
mod object_server_faults;
mod parent;
mod parents;
mod reconcile;
mod record;
mod reuse;
mod revocation;
mod rustfs;
mod seaweedfs;
mod self_test;
mod servers;
#[path = "../it/harness/signed.rs"]
mod signed;
#[expect(dead_code, reason = "its ways to fail are for the tests of delivery")]
#[path = "../it/harness/webhook.rs"]
mod webhook;
