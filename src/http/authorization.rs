//! The token in the `Authorization` header (RFC 6750 section 2.1): exactly one header, one scheme, one space. A second
//! header, or a second word, is refused: a proxy in front might have looked at the other one.

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;

use super::fault::Fault;
use crate::token::Unverified;

/// `Bearer <token>`.
pub(super) fn bearer(headers: &HeaderMap) -> Result<Unverified, Fault> {
    let value = only_value(headers)?;
    match value.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => one_word(token),
        Some(_) | None => Err(Fault::MalformedAuthorization),
    }
}

/// The token bare, as the SDKs' container credentials send it, or `Bearer <token>`.
pub(super) fn bare_or_bearer(headers: &HeaderMap) -> Result<Unverified, Fault> {
    let value = only_value(headers)?;
    if value.contains(' ') { bearer(headers) } else { one_word(value) }
}

fn only_value(headers: &HeaderMap) -> Result<&str, Fault> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next().ok_or(Fault::MissingToken)?;
    if values.next().is_some() {
        return Err(Fault::MalformedAuthorization);
    }
    value.to_str().map_err(|_| Fault::MalformedAuthorization)
}

fn one_word(token: &str) -> Result<Unverified, Fault> {
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Fault::MalformedAuthorization);
    }
    Ok(Unverified::new(token))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn headers(values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn a_bearer_token_is_read_whatever_the_case_of_the_scheme() {
        for scheme in ["Bearer", "bearer", "BEARER"] {
            let token = bearer(&headers(&[&format!("{scheme} a.b.c")])).unwrap();
            assert_eq!(token.digest(), Unverified::new("a.b.c").digest());
        }
    }

    #[test]
    fn a_bare_token_is_read_only_where_sdks_send_one() {
        assert!(matches!(bearer(&headers(&["a.b.c"])), Err(Fault::MalformedAuthorization)));
        let token = bare_or_bearer(&headers(&["a.b.c"])).unwrap();
        assert_eq!(token.digest(), Unverified::new("a.b.c").digest());
        let token = bare_or_bearer(&headers(&["Bearer a.b.c"])).unwrap();
        assert_eq!(token.digest(), Unverified::new("a.b.c").digest());
    }

    #[test]
    fn anything_but_one_header_one_scheme_one_space_is_refused() {
        for values in [
            &["Bearer a.b.c", "Bearer a.b.c"][..],
            &["Bearer  a.b.c"],
            &["Bearer a.b.c "],
            &["Bearer a.b.c d.e.f"],
            &["Bearer\ta.b.c"],
            &["Bearer "],
            &["Basic a.b.c"],
            &[""],
        ] {
            assert!(matches!(bearer(&headers(values)), Err(Fault::MalformedAuthorization)), "{values:?}");
            assert!(matches!(bare_or_bearer(&headers(values)), Err(Fault::MalformedAuthorization)), "{values:?}");
        }
    }

    #[test]
    fn no_header_at_all_is_a_missing_token() {
        assert!(matches!(bearer(&headers(&[])), Err(Fault::MissingToken)));
        assert!(matches!(bare_or_bearer(&headers(&[])), Err(Fault::MissingToken)));
    }
}
