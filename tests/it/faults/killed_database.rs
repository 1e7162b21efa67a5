//! PostgreSQL killed by SIGKILL, all of it or one session, or standing still, while the service is under load: whoever asks
//! meanwhile is told to come back, and the service heals by itself.

use stint::demo::database::{Durability, PrivatePostgres, PrivateSettings};
use tokio::sync::watch;

use super::server::{Frozen, power_cut, processes, sessions, signal};
use crate::harness::binary::Running;
use crate::harness::database::server_directory;
use crate::harness::faulted::{Load, Stage};

/// The service has ended in good order after all that, without a restart, and everything is in its one stream.
async fn ended_whole(stage: &Stage, mut service: Running) {
    service.signal("TERM");
    assert_eq!(service.ended().await, Some(0));
    let log = stage.audited().await;
    assert_eq!(log.streams().len(), 1, "the service was never started again");
    assert_eq!(log.all().last().unwrap().kind, "stream.closed");
}

#[tokio::test]
async fn a_session_that_is_killed_restarts_the_server_and_costs_no_row() {
    let directory = server_directory();
    let server = PrivatePostgres::start(directory.path()).await.unwrap();
    let stage = Stage::on(server.url().clone()).await;
    let (service, address) = stage.serve().await;
    let (_at, asked) = watch::channel(address);
    let load = Load::start(&stage.clients, 8, &asked);
    for _ in 0..3 {
        stage.clients.served(20).await;
        let sessions = sessions(directory.path());
        assert!(!sessions.is_empty(), "the service has sessions");
        // The server cannot know what that session has done to what they share: it ends all of them, and recovers.
        signal(&sessions[0], "KILL");
        stage.clients.served(20).await;
        stage.witness().await;
    }
    load.end().await;
    ended_whole(&stage, service).await;
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_server_that_stands_still_refuses_at_the_deadline_and_what_it_does_late_is_told_apart() {
    let directory = server_directory();
    let server = PrivatePostgres::start(directory.path()).await.unwrap();
    let stage = Stage::on(server.url().clone()).await.deadline("500ms");
    let (service, address) = stage.serve().await;
    let (_at, asked) = watch::channel(address);
    let load = Load::start(&stage.clients, 8, &asked);
    for _ in 0..3 {
        stage.clients.served(20).await;
        let frozen = Frozen::server(directory.path());
        stage.clients.turned_away().await;
        drop(frozen);
        stage.clients.served(20).await;
        stage.witness().await;
    }
    load.end().await;
    ended_whole(&stage, service).await;
    server.stop().await.unwrap();
}

#[tokio::test]
async fn killed_and_started_again_under_load_the_log_has_every_row_that_it_acknowledged() {
    let directory = server_directory();
    let mut settings = PrivateSettings { durability: Durability::Full, port: None };
    let mut server = PrivatePostgres::start_with(directory.path(), settings).await.unwrap();
    settings.port = Some(server.port());
    let stage = Stage::on(server.url().clone()).await;
    let (service, address) = stage.serve().await;
    let (_at, asked) = watch::channel(address);
    let load = Load::start(&stage.clients, 8, &asked);
    for _ in 0..3 {
        stage.clients.served(20).await;
        assert!(processes(directory.path()).len() > 4, "a server that runs has more processes than one");
        power_cut(directory.path(), server).await;
        stage.clients.turned_away().await;
        server = PrivatePostgres::start_with(directory.path(), settings).await.unwrap();
        stage.clients.served(20).await;
        stage.witness().await;
    }
    load.end().await;
    ended_whole(&stage, service).await;
    server.stop().await.unwrap();
}
