//! The few calls of Garage's admin API (version 2) that leases are made of. Every answer is bounded in time and size and
//! believed only where it makes sense; nothing is sent twice once a byte of it may have arrived.

use std::fmt;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Client, Method, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::endpoint::Endpoint;
use super::sts_call::{ANSWER_LIMIT, Answer, UNREADABLE, broken, client, read, refusal, word};
use super::{AccessKeyId, ConfigError, ObjectServerError, wire};
use crate::lease::BucketGrant;

/// Rows asked for at once, and more than they take.
const PAGE: usize = 500;
const PAGE_LIMIT: usize = 1024 * 1024;
/// Pages read of one list: half a million keys. A list that goes on is a server that repeats itself.
const MOST_PAGES: usize = 1000;

/// The admin API as the holder of one token.
pub(super) struct GarageAdmin {
    http: Client,
    endpoint: Endpoint,
    token: SecretString,
}

/// A bucket of the list.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct BucketRow {
    id: String,
    global_aliases: Vec<String>,
}

/// A key of the list.
#[derive(Debug, Deserialize)]
pub(super) struct KeyRow {
    pub(super) id: String,
    pub(super) name: String,
    /// Nothing: it never ends.
    pub(super) expiration: Option<String>,
}

/// The answer to a key that was made. It holds the secret, so what is read out of it is borrowed.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct MadeKey<'a> {
    pub(super) secret_access_key: &'a str,
    /// Nothing: it never ends.
    pub(super) expiration: Option<&'a str>,
    pub(super) expired: bool,
    pub(super) permissions: KeyPermissions,
    pub(super) buckets: Vec<Value>,
}

/// What a key may do outside buckets.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct KeyPermissions {
    pub(super) create_bucket: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MadeKeyId<'a> {
    name: &'a str,
    access_key_id: &'a str,
}

#[derive(Deserialize)]
struct AdminRefusal {
    code: String,
}

/// A list whose pages go on behind the last row.
trait Row {
    fn id(&self) -> &str;
}

impl Row for BucketRow {
    fn id(&self) -> &str {
        &self.id
    }
}

impl Row for KeyRow {
    fn id(&self) -> &str {
        &self.id
    }
}

impl fmt::Debug for GarageAdmin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GarageAdmin").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

impl GarageAdmin {
    /// Checks the settings; connects to nothing.
    pub(super) fn new(endpoint: &str, token: &SecretString) -> Result<Self, ConfigError> {
        let token = SecretString::from(word("admin token", token.expose_secret().to_owned())?);
        Ok(Self { http: client()?, endpoint: Endpoint::parse(endpoint)?, token })
    }

    /// Whether a quorum of nodes is up: the one question that needs no token.
    pub(super) async fn health(&self) -> Result<(), ObjectServerError> {
        let request = self.http.get(self.endpoint.at("/health"));
        let response = request.send().await.map_err(broken)?;
        succeeded(read(response, ANSWER_LIMIT).await?).map(drop)
    }

    /// Whether the token is good, by reading one row.
    pub(super) async fn one_key(&self) -> Result<(), ObjectServerError> {
        self.page::<KeyRow>("/v2/ListKeys", &[("limit", "1")]).await.map(drop)
    }

    /// The ids of these buckets, each with what is granted on it. Asked anew for every lease: a bucket that was made again
    /// under its name, or a name that was given to another bucket, is another bucket.
    pub(super) async fn locate<'g>(
        &self,
        grants: &'g [BucketGrant],
    ) -> Result<Vec<(String, &'g BucketGrant)>, ObjectServerError> {
        let mut located: Vec<(String, &BucketGrant)> = Vec::new();
        if grants.is_empty() {
            return Ok(located);
        }
        let buckets: Vec<BucketRow> = self.list("/v2/ListBuckets", |_: &BucketRow| true).await?;
        for grant in grants {
            let mut named = buckets.iter().filter(|row| row.global_aliases.contains(&grant.bucket));
            let id = match (named.next(), named.next()) {
                (Some(row), None) => row.id.clone(),
                (None, _) => {
                    return Err(ObjectServerError::Refused { status: 404, code: "NoSuchBucket".to_owned() });
                }
                (Some(_), Some(_)) => return Err(ObjectServerError::Nonsense { what: "two buckets of one name" }),
            };
            // One bucket under two names: what is granted under the one would count under the other.
            if located.iter().any(|(other, _)| *other == id) {
                return Err(ObjectServerError::Refused { status: 409, code: "BucketNamedTwice".to_owned() });
            }
            located.push((id, grant));
        }
        Ok(located)
    }

    /// Makes a key without any right that ends at `expiration`, whole seconds. Without an expiration it would never end.
    pub(super) async fn create_key(&self, name: &str, expiration: OffsetDateTime) -> Result<Answer, ObjectServerError> {
        let expiration = expiration.format(&Rfc3339).map_err(|_| ObjectServerError::Unsendable)?;
        let body = json!({"name": name, "expiration": expiration, "deny": {"createBucket": true}});
        let answer = self.call(Method::POST, "/v2/CreateKey", Some(&body), ANSWER_LIMIT).await?;
        // Garage says 503 of a quorum that was lost half-way: some nodes may have the key.
        if answer.status == StatusCode::SERVICE_UNAVAILABLE {
            return Err(ObjectServerError::Refused {
                status: 503,
                code: clean_code_of(&answer).unwrap_or_else(|| UNREADABLE.to_owned()),
            });
        }
        succeeded(answer)
    }

    /// Gives a key its rights on one bucket. The answer names every key of the bucket and grows with them, so only its status
    /// is read.
    pub(super) async fn allow(
        &self,
        bucket: &str,
        key: &AccessKeyId,
        grant: &BucketGrant,
    ) -> Result<(), ObjectServerError> {
        let permissions = json!({"read": grant.read, "write": grant.write, "owner": false});
        let body = json!({"bucketId": bucket, "accessKeyId": key.expose(), "permissions": permissions});
        let response = self.send(Method::POST, "/v2/AllowBucketKey", Some(&body)).await?;
        match response.status() {
            StatusCode::OK => Ok(()),
            _ => succeeded(read(response, ANSWER_LIMIT).await?).map(drop),
        }
    }

    /// Deletes a key; one that is gone is deleted.
    pub(super) async fn delete_key(&self, id: &str) -> Result<(), ObjectServerError> {
        let path = format!("/v2/DeleteKey?{}", wire::form(&[("id", id)]));
        match succeeded(self.call(Method::POST, &path, None, ANSWER_LIMIT).await?) {
            Ok(_) => Ok(()),
            Err(ObjectServerError::Refused { code, .. }) if code == "NoSuchAccessKey" => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The keys that are wanted, of all there are.
    pub(super) async fn keys(&self, wanted: impl Fn(&KeyRow) -> bool) -> Result<Vec<KeyRow>, ObjectServerError> {
        self.list("/v2/ListKeys", wanted).await
    }

    /// The rows of a list that are wanted, page by page.
    async fn list<R: Row + DeserializeOwned>(
        &self,
        path: &str,
        wanted: impl Fn(&R) -> bool,
    ) -> Result<Vec<R>, ObjectServerError> {
        let (mut found, mut last) = (Vec::new(), None::<String>);
        for _ in 0..MOST_PAGES {
            let limit = PAGE.to_string();
            let mut query = vec![("limit", limit.as_str())];
            query.extend(last.as_deref().map(|last| ("offset", last)));
            let page: Vec<R> = self.page(path, &query).await?;
            let (full, end) = (page.len() >= PAGE, page.last().map(|row| row.id().to_owned()));
            let seen = last.take();
            // A page begins with the row that the one before ended with.
            found.extend(page.into_iter().filter(|row| seen.as_deref() != Some(row.id()) && wanted(row)));
            match end {
                Some(end) if full && seen.as_ref() != Some(&end) => last = Some(end),
                _ => return Ok(found),
            }
        }
        Err(ObjectServerError::Nonsense { what: "a list without an end" })
    }

    async fn page<R: DeserializeOwned>(&self, path: &str, query: &[(&str, &str)]) -> Result<Vec<R>, ObjectServerError> {
        let path = format!("{path}?{}", wire::form(query));
        let answer = succeeded(self.call(Method::GET, &path, None, PAGE_LIMIT).await?)?;
        serde_json::from_slice(&answer.body).map_err(|_| ObjectServerError::Nonsense { what: "no list" })
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        limit: usize,
    ) -> Result<Answer, ObjectServerError> {
        read(self.send(method, path, body).await?, limit).await
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<reqwest::Response, ObjectServerError> {
        let bearer = format!("Bearer {}", self.token.expose_secret());
        let mut bearer = HeaderValue::from_str(&bearer).map_err(|_| ObjectServerError::Unsendable)?;
        bearer.set_sensitive(true);
        let attempt = || {
            let request = self.http.request(method.clone(), self.endpoint.at(path));
            let request = request.header(AUTHORIZATION, bearer.clone());
            match body {
                Some(body) => request.header(CONTENT_TYPE, "application/json").body(body.to_string()).send(),
                None => request.send(),
            }
        };
        // Once more only if there was no connection: then no byte arrived.
        let response = match attempt().await {
            Err(error) if error.is_connect() => attempt().await,
            response => response,
        };
        response.map_err(broken)
    }
}

/// The id in an answer about a key that was made under this name, whatever else is wrong with it.
pub(super) fn made_key_id(answer: &Answer, name: &str) -> Option<AccessKeyId> {
    let made: MadeKeyId<'_> = serde_json::from_slice(&answer.body).ok()?;
    if made.name == name { AccessKeyId::parse(made.access_key_id) } else { None }
}

/// Bounds some of the work.
pub(super) async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, ObjectServerError>>,
) -> Result<T, ObjectServerError> {
    tokio::time::timeout(limit, work).await.unwrap_or(Err(ObjectServerError::Interrupted(None)))
}

fn succeeded(answer: Answer) -> Result<Answer, ObjectServerError> {
    if answer.status == StatusCode::OK {
        return Ok(answer);
    }
    Err(refusal(answer.status, clean_code_of(&answer)))
}

fn clean_code_of(answer: &Answer) -> Option<String> {
    let refused: AdminRefusal = serde_json::from_slice(&answer.body).ok()?;
    wire::clean_code(&refused.code)
}
