//! PostgreSQL killed by SIGKILL, all of it, while the service is under load, and started again: whoever asks meanwhile is
//! told to come back, and the service heals by itself.

use stint::demo::database::{Durability, PrivatePostgres, PrivateSettings};
use tokio::sync::watch;

use super::server::power_cut;
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
