//! aws-sdk-rust: one client for as long as it runs. Writes an object and reads it back, until standard input closes. Its HTTP
//! client is the SDK's own, without TLS: everything here is on loopback.

use std::error::Error;
use std::pin::pin;
use std::time::Duration;

use aws_config::BehaviorVersion;
use aws_sdk_s3::Client;
use aws_sdk_s3::error::DisplayErrorContext;
use aws_smithy_http_client::Builder;
use tokio::io::{AsyncReadExt as _, stdin};

async fn put_and_get(client: &Client, bucket: &str, number: u32) -> Result<(), Box<dyn Error>> {
    let (key, body) = (format!("aws-sdk-rust/{}", number % 8), number.to_string());
    let put = client.put_object().bucket(bucket).key(&key).body(body.clone().into_bytes().into());
    put.send().await?;
    let found = client.get_object().bucket(bucket).key(&key).send().await?.body.collect().await?.into_bytes();
    if found == body.as_bytes() { Ok(()) } else { Err("another body".into()) }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let config = aws_config::defaults(BehaviorVersion::latest()).http_client(Builder::new().build_http()).load().await;
    let client = Client::from_conf(aws_sdk_s3::config::Builder::from(&config).force_path_style(true).build());
    let bucket = std::env::var("BUCKET")?;
    let (mut done, mut failed) = (0, 0);
    let mut nothing = Vec::new();
    let mut input = stdin();
    let mut told = pin!(input.read_to_end(&mut nothing));
    loop {
        match put_and_get(&client, &bucket, done + failed).await {
            Ok(()) => done += 1,
            Err(error) => {
                failed += 1;
                eprintln!("{:.300}", DisplayErrorContext(&*error).to_string());
            }
        }
        tokio::select! {
            _ = &mut told => break,
            () = tokio::time::sleep(Duration::from_millis(200)) => {}
        }
    }
    println!("{{\"version\":\"aws-sdk-s3 {}\",\"done\":{done},\"failed\":{failed}}}", aws_sdk_s3::meta::PKG_VERSION);
    Ok(())
}
