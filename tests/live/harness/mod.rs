//! What the live tests stand on: each test has an installation of its own (PostgreSQL, MinIO, `stint`), so that counts of
//! what was minted or recorded are exact, and all share one Keycloak, which takes a quarter of a minute to start.

mod agent;
mod answer;
mod artifact_store;
mod aws_emulator;
mod ceph;
mod client;
mod commands;
mod compatibility;
mod database;
mod environment;
mod garage;
mod installation;
mod issuer;
mod keycloak;
mod load;
mod minio;
mod patience;
mod python;
mod rustfs;
mod s3_log;
mod seaweedfs;
mod server;
mod stint;

pub(crate) use agent::Agent;
pub(crate) use answer::{Answer, Keys};
pub(crate) use artifact_store::{ArtifactStore, Place};
pub(crate) use aws_emulator::AwsEmulator;
pub(crate) use ceph::Ceph;
pub(crate) use client::{Client, Said, Working};
pub(crate) use commands::{Ended, Site};
pub(crate) use compatibility::{keep_client, keep_row};
pub(crate) use database::Database;
pub(crate) use environment::{named_by, repository, told};
pub(crate) use garage::{Garage, SCOPE};
pub(crate) use installation::{Installation, Setup};
pub(crate) use issuer::Issuer;
pub(crate) use keycloak::Keycloak;
pub(crate) use load::{Load, Told};
pub(crate) use minio::{Minio, PARENT};
pub(crate) use patience::{free_port, free_ports, now, until};
pub(crate) use python::Boto3;
pub(crate) use rustfs::Rustfs;
pub(crate) use s3_log::S3Log;
pub(crate) use seaweedfs::Seaweedfs;
pub(crate) use stint::Stint;
