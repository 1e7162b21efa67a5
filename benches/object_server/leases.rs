//! What leases that are out cost the service in memory: each of a subject of its own, minted by a double that answers at once with
//! credentials as long as MinIO's for the same session policy.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair};
use axum::http::Method;
use axum::response::IntoResponse;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::load_average;
use crate::load::exchange::Exchange;
use crate::load::ground::Ground;
use crate::load::service::Service;
use crate::load::{Request, client, load, ms, setting};

/// Clients at once.
const CLIENTS: usize = 32;
/// A MinIO session token for the session policy of `egress-write`, in characters: a JWT signed with HS512 whose payload holds the
/// policy, coded twice. The policy that stint sends is some 700 characters long.
const TOKEN: usize = 1_500;
const ISSUER: &str = "https://bench.example/";

/// Has so many leases out.
pub(crate) async fn measure() {
    let leases = usize::try_from(setting("STINT_BENCH_LEASES", 100_000)).unwrap();
    println!("{leases} leases that are out, each of a subject of its own\nload averages before: {}", load_average());
    let (ground, key) = (Ground::start().await, Arc::new(RsaKeyPair::generate(KeySize::Rsa2048).unwrap()));
    let endpoint = double().await;
    let jwks = ground.directory().join("bench.jwks.json");
    std::fs::write(&jwks, jwk(&key)).unwrap();
    let section = format!(
        "kind = \"minio\"\nendpoint = \"{endpoint}\"\naccess_key = \"parent\"\nsecret_key = \"parent-secret\"\n\
         reconcile = {{ every = \"off\" }}"
    );
    let more = format!(
        "[lease]\nself_test = \"off\"\n[[issuer]]\nname = \"bench\"\nissuer = \"{ISSUER}\"\naudiences = [\"stint\"]\n\
         profile = \"authentik\"\nkeys = {{ jwks_file = \"{}\" }}\n",
        jwks.display()
    );
    let service = Service::start_with(&ground, &section, &more).await;
    Exchange::new(service.url(), &ground.token).send(&client(1)).await;
    println!("session policy: {} characters; session token: {TOKEN}", ground.session_policy().await.len());
    let (begun, idle) = (Instant::now(), service.resident_mb());
    let (next, http) = (Arc::new(AtomicUsize::new(0)), client(CLIENTS));
    let workers: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (next, http, key, url) = (Arc::clone(&next), http.clone(), Arc::clone(&key), service.url().to_owned());
            tokio::spawn(async move {
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= leases {
                        return;
                    }
                    Exchange::new(&url, &token(&key, n)).send(&http).await;
                }
            })
        })
        .collect();
    for worker in workers {
        worker.await.unwrap();
    }
    let full = service.resident_mb();
    println!(
        "minted in {:.0} s; resident memory {idle:.1} MB before, {full:.1} MB with all of them: {:.0} bytes a lease",
        begun.elapsed().as_secs_f64(),
        (full - idle) * 1024.0 * 1024.0 / leases as f64
    );
    let again = Arc::new(Exchange::new(service.url(), &token(&key, leases / 2)));
    let length = Duration::from_secs(setting("STINT_BENCH_SECONDS", 5));
    let figures = load(16, length, again).await;
    println!(
        "one of them handed out again by 16 clients: {:.0}/s, p50 {}, p99 {}; resident memory {:.1} MB\nload averages \
         after: {}",
        figures.rate,
        ms(figures.p50),
        ms(figures.p99),
        service.resident_mb(),
        load_average(),
    );
    drop(service);
    ground.end().await;
}

/// An STS that says yes, with a key of its own each time.
async fn double() -> String {
    let minted = Arc::new(AtomicUsize::new(0));
    let answer = move |method: Method| {
        let minted = Arc::clone(&minted);
        async move {
            if method != Method::POST {
                return String::new().into_response();
            }
            let n = minted.fetch_add(1, Ordering::Relaxed);
            let end = (OffsetDateTime::now_utc() + Duration::from_mins(45)).replace_nanosecond(0).unwrap();
            format!(
                "<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleResult><Credentials>\
                 <AccessKeyId>BENCH{n:015}</AccessKeyId><SecretAccessKey>{:0>40}</SecretAccessKey>\
                 <SessionToken>{n:0>TOKEN$}</SessionToken><Expiration>{}</Expiration></Credentials></AssumeRoleResult>\
                 </AssumeRoleResponse>",
                "secret",
                end.format(&Rfc3339).unwrap()
            )
            .into_response()
        }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(axum::serve(listener, axum::Router::new().fallback(answer)).into_future());
    endpoint
}

fn jwk(key: &RsaKeyPair) -> String {
    let public = key.public_key();
    let coded = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    json!({"keys": [{
        "kty": "RSA", "use": "sig", "alg": "RS256", "kid": "bench",
        "n": coded(public.modulus().big_endian_without_leading_zero()),
        "e": coded(public.exponent().big_endian_without_leading_zero()),
    }]})
    .to_string()
}

fn token(key: &RsaKeyPair, n: usize) -> String {
    let now = OffsetDateTime::now_utc().unix_timestamp();
    let claims = json!({
        "iss": ISSUER, "aud": "stint", "azp": "stint", "iat": now, "exp": now + 3000, "uid": n.to_string(),
        "sub": format!("system:serviceaccount:workloads:worker-{n:06}"), "groups": ["egress-write"],
    });
    let part = |json: &serde_json::Value| URL_SAFE_NO_PAD.encode(json.to_string());
    let signed = format!("{}.{}", part(&json!({"alg": "RS256", "kid": "bench", "typ": "JWT"})), part(&claims));
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature).unwrap();
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}
