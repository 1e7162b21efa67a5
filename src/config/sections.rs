//! One function per table of `stint.toml`, one struct where a table becomes more than another room's own type.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use secrecy::{ExposeSecret, SecretString};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::parents::{ParentKey, ParentSettings, RoleParent};
use super::quotas::quotas;
use super::reconcile::{ReconcileSettings, reconcile};
use super::section::Section;
use crate::issuer::{IssuerSettings, KeyLocation};
use crate::lease::{LeaseRules, Quotas, RoleArn, SelfTesting};
use crate::telemetry::{LogFormat, TelemetrySettings};
use crate::token::{ClaimPath, IssuerName, IssuerRules, Profile};

/// `[http]`
#[derive(Debug)]
pub struct HttpSettings {
    /// Where to listen.
    pub listen: SocketAddr,
    /// The URL clients use, for documents that name it.
    pub public_url: Option<String>,
    /// Certificate and key, when the service itself ends TLS.
    pub tls: Option<TlsFiles>,
    /// Networks whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
}

/// `[http] tls`
#[derive(Debug)]
pub struct TlsFiles {
    /// PEM chain, leaf first.
    pub certificate: PathBuf,
    /// PEM private key.
    pub key: PathBuf,
}

/// One `[[issuer]]`: what the verifier demands, and where the keys are.
#[derive(Debug)]
pub struct IssuerBlock {
    /// For the token room.
    pub rules: IssuerRules,
    /// For the issuer adapter.
    pub settings: IssuerSettings,
}

/// `[object_server]`
#[derive(Debug)]
pub struct ObjectServerSettings {
    /// The dialect.
    pub kind: ObjectServerKind,
    /// The S3 endpoint.
    pub endpoint: String,
    /// Its region.
    pub region: String,
    /// The parent of every role that has none of its own; none only where there are others.
    pub parent: Option<ParentKey>,
    /// `[[object_server.parent]]`: the parents of some roles.
    pub role_parents: Vec<RoleParent>,
    /// `[[object_server.retired_parent]]`: they mint nothing more, and end the leases that they minted.
    pub retired_parents: Vec<ParentKey>,
    /// `[object_server.reconcile]`
    pub reconcile: ReconcileSettings,
}

impl ObjectServerSettings {
    /// Every key that is configured, the default parent's first.
    pub fn keys(&self) -> impl Iterator<Item = &ParentKey> {
        self.parent.iter().chain(self.role_parents.iter().map(|block| &block.key)).chain(&self.retired_parents)
    }

    /// Whether this access key is a parent's.
    #[must_use]
    pub fn is_parent(&self, access_key: &str) -> bool {
        self.keys().any(|key| key.access_key.expose_secret() == access_key)
    }
}

/// The dialects this version speaks, each with what only it needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ObjectServerKind {
    /// MinIO and its forks.
    Minio,
    /// RustFS.
    Rustfs,
    /// SeaweedFS, and the role to assume.
    Seaweedfs(RoleArn),
    /// Ceph's object gateway, and the role to assume.
    Ceph(RoleArn),
    /// AWS.
    Aws(AwsSettings),
    /// Garage, and where its admin API is.
    Garage {
        /// `http(s)://host[:port]` of the admin API.
        admin_endpoint: String,
    },
}

/// What only AWS needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AwsSettings {
    /// The role to assume.
    pub role_arn: RoleArn,
    /// The STS, if not the region's own.
    pub sts_endpoint: Option<String>,
    /// Whether the role lets sessions be tagged.
    pub session_tags: bool,
    /// Whether the role lets sessions name their source.
    pub source_identity: bool,
}

/// `[audit]`
#[derive(Debug)]
pub struct AuditSettings {
    /// How long a write may take.
    pub deadline: Duration,
    /// What access key fingerprints are keyed with, if not the default parent's secret key.
    pub fingerprint_key: Option<SecretString>,
    /// Holds the Ed25519 key that seals the log.
    pub signing_key_file: Option<PathBuf>,
}

const MINUTE: Duration = Duration::from_mins(1);

pub(super) fn http(root: &mut Section<'_>, warnings: &mut Vec<String>) -> Option<HttpSettings> {
    let mut section = root.section("http");
    let listen = section.has("listen");
    let parsed =
        section.parsed("listen", "must be an address and a port, as in 127.0.0.1:8080", |text| text.parse().ok());
    let listen = if listen { parsed } else { Some(SocketAddr::from(([127, 0, 0, 1], 8080))) };
    let public_url = section.parsed("public_url", "must be an http:// or https:// URL without a query", http_url);
    let trusted_proxies = section.list("trusted_proxies").unwrap_or_default();
    let trusted_proxies: Vec<IpNet> = trusted_proxies.iter().filter_map(|text| network(&mut section, text)).collect();
    let tls = tls(&mut section);
    section.finish();
    let listen = listen?;
    if tls.is_none() && !listen.ip().is_loopback() {
        warnings.push(format!(
            "http.listen is {listen} without http.tls: tokens and credentials cross the network in the clear unless a \
             proxy in front ends TLS"
        ));
    }
    Some(HttpSettings { listen, public_url, tls, trusted_proxies })
}

fn tls(http: &mut Section<'_>) -> Option<TlsFiles> {
    let mut section = http.section("tls");
    let wanted = !section.is_empty();
    let certificate = section.path("certificate");
    let key = section.path("key");
    let files = wanted.then(|| {
        let certificate = section.required("certificate", certificate);
        let key = section.required("key", key);
        Some(TlsFiles { certificate: certificate?, key: key? })
    });
    section.finish();
    files.flatten()
}

fn network(section: &mut Section<'_>, text: &str) -> Option<IpNet> {
    let network = text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
    network.or_else(|| section.reject("trusted_proxies", None, "must be addresses or networks, as in 10.0.0.0/8"))
}

pub(super) fn postgres(root: &mut Section<'_>) -> Option<SecretString> {
    let mut section = root.section("postgres");
    let url = section.secret("url");
    let url = section.required("url", url);
    section.finish();
    url
}

pub(super) fn issuers(root: &mut Section<'_>) -> Option<Vec<IssuerBlock>> {
    let given = root.has("issuer");
    let mut names: Vec<IssuerName> = Vec::new();
    let blocks = root.sections("issuer", |section| {
        let block = issuer(section)?;
        if names.contains(&block.rules.name) {
            return section.reject("name", None, "another issuer block has this name");
        }
        names.push(block.rules.name.clone());
        Some(block)
    });
    if !given {
        return root.reject("issuer", None, "at least one [[issuer]] is required: without one every token is refused");
    }
    Some(blocks)
}

/// What rows name as the issuer where there is none: the operating system's user at the command line, the custodians.
const RESERVED: [&str; 2] = ["os", "break-glass"];
const ISSUER_NAME: &str = "must be 1 to 64 characters of A-Z a-z 0-9 . _ -, and neither os nor break-glass";

fn issuer(section: &mut Section<'_>) -> Option<IssuerBlock> {
    let name =
        section.parsed("name", ISSUER_NAME, |text| IssuerName::parse(text).filter(|_| !RESERVED.contains(&text)));
    let name = section.required("name", name);
    let issuer = section.parsed("issuer", "must be the issuer exactly as in the token's iss", |text| {
        (!text.is_empty() && text.len() <= 1024 && text != "local-identity").then(|| text.to_owned())
    });
    let issuer = section.required("issuer", issuer);
    let audiences = section.list("audiences").filter(|list| !list.is_empty() && !list.iter().any(String::is_empty));
    let audiences = section.required("audiences", audiences);
    let profile = section.parsed(
        "profile",
        "must be authentik, keycloak, rfc9068, iam-profile, kubernetes, github or gitlab",
        Profile::parse,
    );
    let profile = section.required("profile", profile);
    if profile == Some(Profile::Keycloak) && audiences.as_ref().is_some_and(|list| list.iter().any(|a| a == "account"))
    {
        section.reject::<()>(
            "audiences",
            None,
            "`account` is in almost every token of a Keycloak realm: add an audience mapper and name its audience",
        );
    }
    let groups_given = section.has("groups_claim");
    let groups =
        section.parsed("groups_claim", "must be a claim path, as in groups or realm_access.roles", ClaimPath::parse);
    let groups_claim = if groups_given { groups } else { ClaimPath::parse("groups") };
    let keys = key_location(section);
    let not_before = section.parsed("not_before", "must be an RFC 3339 time, as in 2026-11-21T00:00:00Z", |text| {
        OffsetDateTime::parse(text, &Rfc3339).ok()
    });
    let lifetime_given = section.has("max_token_lifetime");
    let lifetime = section.duration("max_token_lifetime", "must be 1m to 24h, as in 2h", |duration| {
        (MINUTE..=MINUTE * 60 * 24).contains(&duration)
    });
    let max_token_lifetime = if lifetime_given { lifetime } else { Some(MINUTE * 60 * 24) };
    let clients = section.list("clients").unwrap_or_default();
    let (name, issuer) = (name?, issuer?);
    let settings = IssuerSettings { name: name.clone(), issuer: issuer.clone(), keys: keys? };
    let rules = IssuerRules {
        name,
        issuer,
        audiences: audiences?,
        profile: profile?,
        groups_claim: groups_claim?,
        not_before,
        max_token_lifetime: max_token_lifetime?,
        clients,
    };
    Some(IssuerBlock { rules, settings })
}

fn key_location(issuer: &mut Section<'_>) -> Option<KeyLocation> {
    let given = issuer.has("keys");
    let mut section = issuer.section("keys");
    let discovery = section.boolean("discovery");
    let jwks_uri = section.parsed("jwks_uri", "must be an https:// URL (http:// on loopback only)", http_url);
    let jwks_file = section.path("jwks_file");
    section.finish();
    let mut chosen = Vec::new();
    chosen.extend((discovery == Some(true)).then_some(KeyLocation::Discovery));
    chosen.extend(jwks_uri.map(KeyLocation::JwksUri));
    chosen.extend(jwks_file.map(KeyLocation::JwksFile));
    match (chosen.pop(), chosen.is_empty()) {
        (Some(location), true) => Some(location),
        (None, _) if !given => Some(KeyLocation::Discovery),
        _ => {
            issuer.reject("keys", None, "give exactly one of { discovery = true }, { jwks_uri = … }, { jwks_file = … }")
        }
    }
}

pub(super) fn object_server(root: &mut Section<'_>, warnings: &mut Vec<String>) -> Option<ObjectServerSettings> {
    let (settings, administrator) = object_server_with(root, warnings, super::bootstrap::skip)?;
    if administrator.is_some_and(|access_key| settings.is_parent(&access_key)) {
        return root.reject(
            "object_server.bootstrap.access_key",
            None,
            "is a parent's own: use an administrator's key",
        );
    }
    Some(settings)
}

/// The same, with what `bootstrap` makes of the table inside.
pub(super) fn object_server_with<T>(
    root: &mut Section<'_>,
    warnings: &mut Vec<String>,
    bootstrap: impl FnOnce(&mut Section<'_>) -> T,
) -> Option<(ObjectServerSettings, T)> {
    let mut section = root.section("object_server");
    let kind = section.text("kind");
    let kind = section.required("kind", kind);
    let is_garage = kind.as_deref() == Some("garage");
    let kind = object_server_kind(&mut section, kind.as_deref());
    let endpoint = section.parsed("endpoint", ENDPOINT, endpoint_url);
    let endpoint = section.required("endpoint", endpoint);
    let region = section.text("region").unwrap_or_else(|| "us-east-1".to_owned());
    let has_roles =
        !matches!(kind, Some(ObjectServerKind::Minio | ObjectServerKind::Rustfs | ObjectServerKind::Garage { .. }));
    let token = section.secret("admin_token");
    let parents = if is_garage {
        ParentSettings::of_garage(&mut section, token)
    } else {
        ParentSettings::read(&mut section, has_roles)
    };
    let inside = bootstrap(&mut section);
    let reconcile = reconcile(&mut section);
    section.finish();
    if matches!(kind, Some(ObjectServerKind::Ceph(_))) {
        warnings.push(
            "object_server.kind is ceph: there a session may assume, without any session policy, every role that trusts \
             its parent; the trust policy of each such role must deny sessions, as docs/object-servers.md shows"
                .to_owned(),
        );
    }
    let ParentSettings { default, of_roles, retired } = parents?;
    if default.is_some() && !of_roles.is_empty() {
        warnings.push(
            "object_server has a default parent beside [[object_server.parent]]: a lease that combines roles of several \
             parents is the default one's, and is not cut by disabling another"
                .to_owned(),
        );
    }
    let settings = ObjectServerSettings {
        kind: kind?,
        endpoint: endpoint?,
        region,
        parent: default,
        role_parents: of_roles,
        retired_parents: retired,
        reconcile: reconcile?,
    };
    Some((settings, inside))
}

/// The dialect and its own keys; a key that means nothing to the dialect is refused rather than forgotten.
fn object_server_kind(section: &mut Section<'_>, kind: Option<&str>) -> Option<ObjectServerKind> {
    let own_of_aws = ["sts_endpoint", "session_tags", "source_identity"].into_iter().find(|key| section.has(key));
    let role_given = section.has("role_arn");
    let role_arn = section.parsed("role_arn", "must be arn:aws:iam::<account>:role/<name>", RoleArn::parse);
    let sts_endpoint = section.parsed("sts_endpoint", ENDPOINT, endpoint_url);
    let session_tags = section.boolean("session_tags").unwrap_or(false);
    let source_identity = section.boolean("source_identity").unwrap_or(false);
    let own_of_garage = ["admin_endpoint", "admin_token", "admin_token_file"]
        .into_iter()
        .filter(|key| section.has(key))
        .collect::<Vec<_>>();
    let admin_endpoint = section.parsed("admin_endpoint", ENDPOINT, endpoint_url);
    let kind = kind?;
    if kind != "garage" && !own_of_garage.is_empty() {
        for key in own_of_garage {
            section.reject::<()>(key, None, "has a meaning for garage only: remove it");
        }
    }
    if kind != "aws"
        && let Some(key) = own_of_aws
    {
        section.reject::<()>(key, None, "has a meaning for aws only: remove it");
    }
    match kind {
        "minio" | "rustfs" | "garage" if role_given => {
            section.reject("role_arn", None, &format!("has no meaning for {kind}, which has no roles: remove it"))
        }
        "minio" => Some(ObjectServerKind::Minio),
        "rustfs" => Some(ObjectServerKind::Rustfs),
        "seaweedfs" => section.required("role_arn", role_arn).map(ObjectServerKind::Seaweedfs),
        "ceph" => section.required("role_arn", role_arn).map(ObjectServerKind::Ceph),
        "aws" => {
            let role_arn = section.required("role_arn", role_arn)?;
            Some(ObjectServerKind::Aws(AwsSettings { role_arn, sts_endpoint, session_tags, source_identity }))
        }
        "garage" => section
            .required("admin_endpoint", admin_endpoint)
            .map(|admin_endpoint| ObjectServerKind::Garage { admin_endpoint }),
        _ => section.reject("kind", None, "must be minio, rustfs, seaweedfs, ceph, aws or garage"),
    }
}

const ENDPOINT: &str = "must be http:// or https://, host and port, nothing more";

fn endpoint_url(text: &str) -> Option<String> {
    let bare = |url: &String| url.split_once("://").is_some_and(|(_, host)| !host.trim_end_matches('/').contains('/'));
    http_url(text).filter(bare)
}

pub(super) fn lease(root: &mut Section<'_>, warnings: &mut Vec<String>) -> Option<(LeaseRules, Quotas)> {
    let mut section = root.section("lease");
    let given = ["ttl", "jitter", "grace"].map(|key| section.has(key));
    let [ttl_given, jitter_given, grace_given] = given;
    let ttl = section.duration("ttl", "must be 15m to 60m", |ttl| (MINUTE * 15..=MINUTE * 60).contains(&ttl));
    let jitter = section.number("jitter", "must be a number from 0 to 0.75", |jitter| (0.0..=0.75).contains(&jitter));
    // Some SDKs sign up to the very last advertised second, so there must be some grace; a lease of 15 minutes must
    // still leave something to advertise. A grace of nearly all of it shows within seconds how a client refreshes.
    let longest = Duration::from_secs(15 * 60 - 5);
    let grace =
        section.duration("grace", "must be 1s to 14m55s", |grace| (Duration::from_secs(1)..=longest).contains(&grace));
    let self_test_given = section.has("self_test");
    let self_test = section.parsed(
        "self_test",
        "must be \"first\", \"off\", or a share of all leases above 0 and at most 1, as in \"0.01\"",
        SelfTesting::parse,
    );
    if self_test == Some(SelfTesting::Off) {
        warnings.push(
            "lease.self_test is off: whether the object server holds leases to their policy is not tried before they are \
             handed out"
                .to_owned(),
        );
    }
    let reuse = section.boolean("reuse").unwrap_or(true);
    let quotas = quotas(&mut section, warnings);
    let cap_given = section.has("mints_per_second");
    let mints_per_second = section
        .integer("mints_per_second", "must be a whole number from 1 to 100000", |mints| (1..=100_000).contains(&mints))
        .and_then(NonZeroU32::new);
    section.finish();
    let rules = LeaseRules {
        ttl: if ttl_given { ttl? } else { MINUTE * 60 },
        jitter: if jitter_given { jitter? } else { 0.2 },
        grace: if grace_given { grace? } else { MINUTE * 5 },
        self_test: if self_test_given { self_test? } else { SelfTesting::First },
        reuse,
        mints_per_second: if cap_given { Some(mints_per_second?) } else { None },
    };
    Some((rules, quotas?))
}

pub(super) fn audit(root: &mut Section<'_>) -> Option<AuditSettings> {
    let mut section = root.section("audit");
    let given = section.has("deadline");
    let deadline = section.duration("deadline", "must be 100ms to 10s", |deadline| {
        (Duration::from_millis(100)..=Duration::from_secs(10)).contains(&deadline)
    });
    let fingerprint_key = section.secret("fingerprint_key");
    let signing_key_file = section.path("signing_key_file");
    section.finish();
    let deadline = if given { deadline? } else { Duration::from_secs(2) };
    Some(AuditSettings { deadline, fingerprint_key, signing_key_file })
}

pub(super) fn policies(root: &mut Section<'_>) -> Option<PathBuf> {
    let mut section = root.section("policies");
    let given = section.has("directory");
    let directory = section.path("directory");
    let directory = if given { directory } else { Some(section.resolve("policies")) };
    section.finish();
    directory
}

pub(super) fn telemetry(root: &mut Section<'_>) -> Option<TelemetrySettings> {
    let mut section = root.section("telemetry");
    let otlp_endpoint = section.parsed("otlp_endpoint", "must be an http:// or https:// URL", http_url);
    let log_given = section.has("log");
    let log = section.parsed("log", "must be a filter, as in info,stint=debug", |text| {
        text.parse::<tracing_subscriber::EnvFilter>().ok().map(|_| text.to_owned())
    });
    let format_given = section.has("log_format");
    let log_format = section.parsed("log_format", "must be json or text", |text| match text {
        "json" => Some(LogFormat::Json),
        "text" => Some(LogFormat::Text),
        _ => None,
    });
    section.finish();
    Some(TelemetrySettings {
        otlp_endpoint,
        log: if log_given { log? } else { "info".to_owned() },
        format: if format_given { log_format? } else { LogFormat::Json },
    })
}

/// An http(s) URL with a host and without user, query or fragment.
fn http_url(text: &str) -> Option<String> {
    let uri: ::http::Uri = text.parse().ok()?;
    let scheme = matches!(uri.scheme_str(), Some("http" | "https"));
    let host =
        uri.authority().is_some_and(|authority| !authority.as_str().contains('@') && !authority.host().is_empty());
    (scheme && host && uri.query().is_none() && !text.contains('#')).then(|| text.to_owned())
}
