//! A request as AWS Signature Version 4 sees it: in the `Authorization` header, or presigned in the query string. What is
//! not covered by the signature is not believed, so a request with an unsigned `x-amz-` header is refused.

use std::fmt::Write as _;
use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use aws_sigv4::sign::v4::{calculate_signature, generate_signing_key};
use http::header::{AUTHORIZATION, HOST};
use http::request::Parts;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::{ExposeSecret, SecretString};
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use time::{OffsetDateTime, PrimitiveDateTime};

use super::CallerRefusal;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// How far a signer's clock may be off, and how long a signature in a header lives: AWS's own bound. A request that was
/// overheard is worth nothing afterwards.
const SKEW: Duration = Duration::from_mins(15);
/// The longest life of a presigned URL, seven days.
const LONGEST: u64 = 604_800;
/// `X-Amz-Date`.
const FORMAT: &[BorrowedFormatItem<'_>] = format_description!("[year][month][day]T[hour][minute][second]Z");
/// What stands as it is in a canonical query string (RFC 3986 section 2.3).
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A signed request. Its signature is unchecked until [`super::Callers::identify`] has looked at it.
#[derive(Debug)]
pub struct SignedRequest {
    access_key_id: SecretString,
    session_token: SecretString,
    signature: String,
    signed_at: OffsetDateTime,
    date: String,
    region: String,
    /// How long a presigned one lives.
    expires: Option<Duration>,
    /// The SHA-256 of the canonical request, hex.
    canonical: String,
}

/// Where the parts of a signature stand.
struct Claimed<'a> {
    credential: &'a str,
    signed_headers: &'a str,
    signature: &'a str,
    date: &'a str,
    session_token: &'a str,
    expires: Option<&'a str>,
}

impl SignedRequest {
    /// Reads the signature of a request to the STS door and what it covers.
    pub fn parse(parts: &Parts, body: &[u8]) -> Result<Self, CallerRefusal> {
        let query: Vec<(String, String)> =
            form_urlencoded::parse(parts.uri.query().unwrap_or("").as_bytes()).into_owned().collect();
        let presigned = query.iter().any(|(name, _)| name == "X-Amz-Signature" || name == "X-Amz-Algorithm");
        let mut authorizations = parts.headers.get_all(AUTHORIZATION).iter();
        let claimed = match (authorizations.next(), authorizations.next(), presigned) {
            (None, _, false) => return Err(CallerRefusal::Unsigned),
            (None, _, true) => in_query(&query)?,
            (Some(value), None, false) => in_header(value.to_str().map_err(|_| CallerRefusal::Malformed)?, parts)?,
            // Signed twice: whoever is in front might have looked at the other one.
            (Some(_), Some(_), _) | (Some(_), None, true) => return Err(CallerRefusal::Malformed),
        };
        let mut scope = claimed.credential.rsplitn(5, '/');
        let [Some("aws4_request"), Some("sts"), Some(region), Some(date), Some(key)] =
            [scope.next(), scope.next(), scope.next(), scope.next(), scope.next()]
        else {
            return Err(CallerRefusal::Malformed);
        };
        let at = PrimitiveDateTime::parse(claimed.date, FORMAT).map_err(|_| CallerRefusal::Malformed)?;
        if claimed.date.get(..8) != Some(date) {
            return Err(CallerRefusal::Malformed);
        }
        let headers = covered(parts, claimed.signed_headers)?;
        let canonical = format!(
            "{}\n{}\n{}\n{headers}\n{}\n{}",
            parts.method,
            parts.uri.path(),
            canonical_query(&query),
            claimed.signed_headers,
            sha256(body),
        );
        Ok(Self {
            access_key_id: key.into(),
            session_token: claimed.session_token.into(),
            signature: claimed.signature.to_owned(),
            signed_at: at.assume_utc(),
            date: claimed.date.to_owned(),
            region: region.to_owned(),
            expires: claimed.expires.map(lifetime).transpose()?,
            canonical: sha256(canonical.as_bytes()),
        })
    }

    pub(super) fn access_key_id(&self) -> &str {
        self.access_key_id.expose_secret()
    }

    pub(super) fn session_token(&self) -> &str {
        self.session_token.expose_secret()
    }

    /// Signed within a quarter of an hour of now, or presigned and not over.
    pub(super) fn is_in_time(&self, now: OffsetDateTime) -> bool {
        self.signed_at <= now + SKEW && now <= self.signed_at + self.expires.unwrap_or(SKEW)
    }

    pub(super) fn is_signed_with(&self, secret: &SecretString) -> bool {
        let scope = format!("{}/{}/sts/aws4_request", self.date.get(..8).unwrap_or(""), self.region);
        let text = format!("{ALGORITHM}\n{}\n{scope}\n{}", self.date, self.canonical);
        let key = generate_signing_key(secret.expose_secret(), self.signed_at.into(), &self.region, "sts");
        let expected = calculate_signature(key, text.as_bytes());
        verify_slices_are_equal(expected.as_bytes(), self.signature.as_bytes()).is_ok()
    }
}

fn in_header<'a>(value: &'a str, parts: &'a Parts) -> Result<Claimed<'a>, CallerRefusal> {
    let fields =
        value.strip_prefix(ALGORITHM).and_then(|rest| rest.strip_prefix(' ')).ok_or(CallerRefusal::Malformed)?;
    let mut fields = fields.split(',').map(str::trim);
    let mut next = |name: &str| {
        let value = fields.next().and_then(|field| field.strip_prefix(name));
        value.and_then(|value| value.strip_prefix('=')).ok_or(CallerRefusal::Malformed)
    };
    let (credential, signed_headers, signature) = (next("Credential")?, next("SignedHeaders")?, next("Signature")?);
    if fields.next().is_some() {
        return Err(CallerRefusal::Malformed);
    }
    let date = header(parts, "x-amz-date")?.ok_or(CallerRefusal::Malformed)?;
    let session_token = header(parts, "x-amz-security-token")?.unwrap_or("");
    Ok(Claimed { credential, signed_headers, signature, date, session_token, expires: None })
}

fn in_query(query: &[(String, String)]) -> Result<Claimed<'_>, CallerRefusal> {
    let value = |name: &str| query.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str());
    let must = |name: &str| value(name).ok_or(CallerRefusal::Malformed);
    if must("X-Amz-Algorithm")? != ALGORITHM {
        return Err(CallerRefusal::Malformed);
    }
    Ok(Claimed {
        credential: must("X-Amz-Credential")?,
        signed_headers: must("X-Amz-SignedHeaders")?,
        signature: must("X-Amz-Signature")?,
        date: must("X-Amz-Date")?,
        session_token: value("X-Amz-Security-Token").unwrap_or(""),
        expires: Some(must("X-Amz-Expires")?),
    })
}

/// The one value of a header.
fn header<'a>(parts: &'a Parts, name: &str) -> Result<Option<&'a str>, CallerRefusal> {
    let mut values = parts.headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(|_| CallerRefusal::Malformed),
        (Some(_), Some(_)) => Err(CallerRefusal::Malformed),
    }
}

fn lifetime(seconds: &str) -> Result<Duration, CallerRefusal> {
    let seconds = seconds.parse().ok().filter(|seconds| (1..=LONGEST).contains(seconds));
    seconds.map(Duration::from_secs).ok_or(CallerRefusal::Malformed)
}

/// The canonical headers. The host must be among them, or a signature for another service would do here; and so must every
/// `x-amz-` header there is.
fn covered(parts: &Parts, signed: &str) -> Result<String, CallerRefusal> {
    let names: Vec<&str> = signed.split(';').collect();
    let in_order = names.is_sorted_by(|a, b| a < b);
    let all = parts.headers.keys().filter(|name| name.as_str().starts_with("x-amz-"));
    if !in_order || !names.contains(&HOST.as_str()) || !all.into_iter().all(|name| names.contains(&name.as_str())) {
        return Err(CallerRefusal::Malformed);
    }
    let mut canonical = String::new();
    for name in names {
        let values: Result<Vec<&str>, _> = parts.headers.get_all(name).iter().map(http::HeaderValue::to_str).collect();
        let values = values.ok().filter(|values| !values.is_empty()).ok_or(CallerRefusal::Malformed)?;
        let values: Vec<String> = values.into_iter().map(one_space).collect();
        // Writing into a string cannot fail.
        let _ = writeln!(canonical, "{name}:{}", values.join(","));
    }
    Ok(canonical)
}

fn one_space(value: &str) -> String {
    value.split_ascii_whitespace().collect::<Vec<_>>().join(" ")
}

fn canonical_query(query: &[(String, String)]) -> String {
    let encode = |text: &str| utf8_percent_encode(text, ENCODED).to_string();
    let covered = query.iter().filter(|(name, _)| name != "X-Amz-Signature");
    let mut pairs: Vec<_> = covered.map(|(name, value)| (encode(name), encode(value))).collect();
    pairs.sort();
    pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

fn sha256(bytes: &[u8]) -> String {
    hex::encode(digest(&SHA256, bytes))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use aws_credential_types::Credentials;
    use aws_sigv4::http_request::{SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign};
    use aws_sigv4::sign::v4::SigningParams;
    use http::{Method, Request};
    use proptest::prelude::*;
    use time::macros::datetime;

    pub(in crate::desk::caller) const TOKEN: &str = "session/token+with=signs";
    const QUERY: &str = "Action=GetCallerIdentity&Version=2011-06-15";

    /// A request to be signed as AWS's own code signs it.
    #[derive(Debug, Clone)]
    pub(in crate::desk::caller) struct Signing {
        method: Method,
        key: String,
        secret: String,
        token: String,
        at: OffsetDateTime,
        region: String,
        presigned: Option<u64>,
    }

    impl Signing {
        pub(in crate::desk::caller) fn by(key: &str, secret: &str, at: OffsetDateTime) -> Self {
            let [key, secret, token, region] = [key, secret, TOKEN, "us-east-1"].map(str::to_owned);
            Self { method: Method::POST, key, secret, token, at, region, presigned: None }
        }

        pub(in crate::desk::caller) fn by_get(self) -> Self {
            Self { method: Method::GET, ..self }
        }

        pub(in crate::desk::caller) fn presigned(self, seconds: u64) -> Self {
            Self { method: Method::GET, presigned: Some(seconds), ..self }
        }

        pub(in crate::desk::caller) fn in_region(self, region: &str) -> Self {
            Self { region: region.to_owned(), ..self }
        }

        pub(in crate::desk::caller) fn with_token(self, token: &str) -> Self {
            Self { token: token.to_owned(), ..self }
        }

        fn body(&self) -> &'static str {
            if self.method == Method::POST { QUERY } else { "" }
        }

        /// The request as it arrives.
        pub(in crate::desk::caller) fn parts(&self) -> Parts {
            let token = (!self.token.is_empty()).then(|| self.token.clone());
            let identity = Credentials::new(&self.key, &self.secret, token, None, "test").into();
            let mut settings = SigningSettings::default();
            if let Some(seconds) = self.presigned {
                settings.signature_location = SignatureLocation::QueryParams;
                settings.expires_in = Some(Duration::from_secs(seconds));
            }
            let params = SigningParams::builder()
                .identity(&identity)
                .region(&self.region)
                .name("sts")
                .time(self.at.into())
                .settings(settings)
                .build()
                .unwrap();
            let query = if self.method == Method::POST { String::new() } else { format!("?{QUERY}") };
            let url = format!("https://stint.example/{query}");
            let body = SignableBody::Bytes(self.body().as_bytes());
            let headers = [("content-type", "application/x-www-form-urlencoded;  charset=utf-8")];
            let headers: &[(&'static str, &'static str)] = if self.method == Method::POST { &headers } else { &[] };
            let signable =
                SignableRequest::new(self.method.as_str(), &url, headers.iter().map(|(n, v)| (*n, *v)), body).unwrap();
            let (instructions, _) = sign(signable, &params.into()).unwrap().into_parts();
            let mut request = Request::builder().method(&self.method).uri(&url).body(()).unwrap();
            instructions.apply_to_request_http1x(&mut request);
            let (mut parts, ()) = request.into_parts();
            for (name, value) in headers {
                parts.headers.insert(*name, value.parse().unwrap());
            }
            parts.headers.insert(HOST, "stint.example".parse().unwrap());
            parts.uri = parts.uri.path_and_query().unwrap().as_str().parse().unwrap();
            parts
        }

        pub(in crate::desk::caller) fn request(&self) -> Result<SignedRequest, CallerRefusal> {
            SignedRequest::parse(&self.parts(), self.body().as_bytes())
        }
    }

    fn whole() -> Signing {
        Signing::by("ASIAKNOWN", "secret", datetime!(2026-11-22 10:00:00 UTC))
    }

    fn is_signed(parts: &Parts, body: &str) -> bool {
        SignedRequest::parse(parts, body.as_bytes()).unwrap().is_signed_with(&"secret".into())
    }

    #[test]
    fn what_is_changed_after_signing_is_not_signed() {
        let parts = whole().parts();
        assert!(is_signed(&parts, QUERY));
        assert!(!is_signed(&parts, &format!("{QUERY}&")));
        let changed = |change: fn(&mut Parts)| {
            let mut parts = whole().parts();
            change(&mut parts);
            is_signed(&parts, QUERY)
        };
        assert!(changed(|parts| drop(parts.headers.insert("accept", "*/*".parse().unwrap()))));
        assert!(!changed(|parts| drop(parts.headers.insert(HOST, "other.example".parse().unwrap()))));
        assert!(!changed(|parts| drop(parts.headers.insert("content-type", "text/plain".parse().unwrap()))));
        assert!(!changed(|parts| parts.method = Method::PUT));
        assert!(!changed(|parts| parts.uri = "/?a=b".parse().unwrap()));

        let parts = whole().presigned(60).parts();
        assert!(is_signed(&parts, ""));
        let mut longer = parts.clone();
        longer.uri = parts.uri.to_string().replace("X-Amz-Expires=60", "X-Amz-Expires=600").parse().unwrap();
        assert!(!is_signed(&longer, ""));
        // The order of a query string is nobody's.
        let (path, query) = parts.uri.path_and_query().unwrap().as_str().split_once('?').unwrap();
        let mut pairs: Vec<&str> = query.split('&').collect();
        pairs.reverse();
        let mut reversed = parts.clone();
        reversed.uri = format!("{path}?{}", pairs.join("&")).parse().unwrap();
        assert!(is_signed(&reversed, ""));
    }

    fn refused(change: impl Fn(&mut Parts)) -> CallerRefusal {
        let mut parts = whole().parts();
        change(&mut parts);
        SignedRequest::parse(&parts, QUERY.as_bytes()).unwrap_err()
    }

    #[test]
    fn a_request_without_a_signature_is_told_apart_from_a_malformed_one() {
        assert_eq!(refused(|parts| drop(parts.headers.remove(AUTHORIZATION))), CallerRefusal::Unsigned);
        assert_eq!(refused(|parts| drop(parts.headers.remove("x-amz-date"))), CallerRefusal::Malformed);
        assert_eq!(refused(|parts| drop(parts.headers.remove(HOST))), CallerRefusal::Malformed);
    }

    #[test]
    fn what_the_signature_does_not_cover_is_refused() {
        assert_eq!(refused(|p| drop(p.headers.insert("x-amz-target", "x".parse().unwrap()))), CallerRefusal::Malformed);
        assert_eq!(
            refused(|p| assert!(p.headers.append("x-amz-date", "x".parse().unwrap()))),
            CallerRefusal::Malformed
        );
        assert_eq!(refused(|p| p.uri = "/?X-Amz-Signature=0".parse().unwrap()), CallerRefusal::Malformed);
    }

    #[test]
    fn a_malformed_authorization_is_refused() {
        let good = whole().parts().headers[AUTHORIZATION].to_str().unwrap().to_owned();
        for (from, to) in [
            ("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256"),
            ("AWS4-HMAC-SHA256 ", "Bearer "),
            ("/sts/", "/s3/"),
            ("aws4_request", "aws5_request"),
            ("/20261122/", "/20261123/"),
            ("/us-east-1/", "/"),
            ("host;", ""),
            ("content-type;host", "host;content-type"),
            ("content-type;", ""),
            ("SignedHeaders=", "SignedHeaders=x-missing;"),
            ("Signature=", "Sig="),
            ("Signature=", "Signature=a, Signature="),
        ] {
            let broken = good.replacen(from, to, 1);
            assert_ne!(broken, good, "{from}");
            let mut parts = whole().parts();
            parts.headers.insert(AUTHORIZATION, broken.parse().unwrap());
            // A header less that is signed changes what is signed; all else cannot be read.
            match SignedRequest::parse(&parts, QUERY.as_bytes()) {
                Ok(request) => assert!(from == "content-type;" && !request.is_signed_with(&"secret".into())),
                Err(refusal) => assert_eq!(refusal, CallerRefusal::Malformed, "{broken}"),
            }
        }
        let twice = refused(|parts| assert!(parts.headers.append(AUTHORIZATION, "Bearer x".parse().unwrap())));
        assert_eq!(twice, CallerRefusal::Malformed);
    }

    #[test]
    fn a_malformed_presigned_url_is_refused() {
        let good = whole().presigned(60).parts();
        for (from, to) in [
            ("X-Amz-Expires=60", "X-Amz-Expires=0"),
            ("X-Amz-Expires=60", "X-Amz-Expires=604801"),
            ("X-Amz-Expires=60", "X-Amz-Expires=-1"),
            ("X-Amz-Expires=60", "X-Amz-Expire=60"),
            ("X-Amz-Algorithm=AWS4-HMAC-SHA256", "X-Amz-Algorithm=AWS4"),
            ("X-Amz-SignedHeaders=host", "X-Amz-SignedHeaders=accept"),
            ("X-Amz-Date=2026", "X-Amz-Date=x026"),
            ("X-Amz-Date=20261122T", "X-Amz-Date=20261122"),
        ] {
            let mut parts = good.clone();
            let uri = good.uri.to_string();
            assert!(uri.contains(from), "{uri}");
            parts.uri = uri.replace(from, to).parse().unwrap();
            assert_eq!(SignedRequest::parse(&parts, b"").unwrap_err(), CallerRefusal::Malformed, "{to}");
        }
    }

    #[test]
    fn neither_the_key_nor_the_token_is_in_the_debug_form() {
        let debug = format!("{:?}", whole().request().unwrap());
        assert!(!debug.contains("ASIAKNOWN") && !debug.contains(TOKEN), "{debug}");
    }

    proptest! {
        #[test]
        fn no_header_and_no_query_makes_it_panic(value in "[ -~]{0,120}", date in "[ -~]{0,20}", query in "[!-~&&[^#]]{0,80}") {
            let mut parts = whole().parts();
            let dressed = format!("AWS4-HMAC-SHA256 Credential={value}, SignedHeaders=host, Signature={date}");
            for authorization in [&value, &dressed] {
                parts.headers.insert(AUTHORIZATION, authorization.parse().unwrap());
                parts.headers.insert("x-amz-date", date.parse().unwrap());
                let _ = SignedRequest::parse(&parts, b"");
            }
            if let Ok(uri) = format!("/?{query}&X-Amz-Signature={query}").parse() {
                parts.headers.remove(AUTHORIZATION);
                parts.uri = uri;
                let _ = SignedRequest::parse(&parts, b"");
            }
        }
    }
}
