//! PostgreSQL killed by SIGKILL, all of it, while the service is under load, and started again: whoever asks meanwhile is
//! told to come back, and the service heals by itself.

use std::fs;
use std::path::Path;
use std::process::Command;

use stint::demo::database::{Durability, PrivatePostgres, PrivateSettings};
use tokio::sync::watch;

use crate::harness::binary::eventually;
use crate::harness::database::server_directory;
use crate::harness::faulted::{Load, Stage, Told};

#[tokio::test]
async fn killed_and_started_again_under_load_the_log_has_every_row_that_it_acknowledged() {
    let directory = server_directory();
    let mut settings = PrivateSettings { durability: Durability::Full, port: None };
    let mut server = PrivatePostgres::start_with(directory.path(), settings).await.unwrap();
    settings.port = Some(server.port());
    let stage = Stage::on(server.url().clone()).await;
    let (mut service, address) = stage.serve().await;
    let (_at, asked) = watch::channel(address);
    let load = Load::start(&stage.clients, 8, &asked);
    for _ in 0..3 {
        stage.clients.served(20).await;
        power_cut(directory.path(), server).await;
        stage.clients.turned_away().await;
        server = PrivatePostgres::start_with(directory.path(), settings).await.unwrap();
        stage.clients.served(20).await;
        stage.witness().await;
    }
    load.end().await;
    service.signal("TERM");
    assert_eq!(service.ended().await, Some(0));

    let log = stage.witness().await;
    assert_eq!(log.streams().len(), 1, "the service was never started again");
    assert_eq!(log.all().last().unwrap().kind, "stream.closed");
    let lone = log.lone_intents();
    assert!(stage.clients.told().iter().filter_map(Told::lease).all(|lease| !lone.contains(&lease)));
    server.stop().await.unwrap();
}

/// Kills the server and every process of it, and waits until nothing of it is left.
async fn power_cut(directory: &Path, server: PrivatePostgres) {
    let pid_file = fs::read_to_string(directory.join("data/postmaster.pid")).unwrap();
    let children = children_of(pid_file.lines().next().unwrap().trim());
    assert!(children.len() > 3, "a server has processes: {children:?}");
    server.kill().await.unwrap();
    for child in &children {
        // It may have ended with its parent.
        let _ = Command::new("kill").args(["-s", "KILL", "--", child]).output().unwrap();
    }
    eventually("nothing of the server is left", async || children.iter().all(|child| is_gone(child))).await;
}

fn children_of(parent: &str) -> Vec<String> {
    let processes = fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().file_name());
    let numbers = processes.filter_map(|name| name.into_string().ok()).filter(|name| name.parse::<u32>().is_ok());
    numbers.filter(|process| field(process, 1).as_deref() == Some(parent)).collect()
}

fn is_gone(process: &str) -> bool {
    field(process, 0).is_none_or(|state| state == "Z")
}

/// A field of `/proc/<pid>/stat`, counted from the state: the fields before it may hold spaces.
fn field(process: &str, place: usize) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.split(' ').nth(place).map(str::to_owned)
}
