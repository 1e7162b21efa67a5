//! The parameters of an AWS query request, from the query string and a form body together: three transports, one rule.
//! Every parameter has one value or the request is refused.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::fault::Invalid;
use crate::audit::Origin;
use crate::exchange::ExchangeRequest;
use crate::policy::RequestedRole;
use crate::token::Unverified;

const VERSION: &str = "2011-06-15";
/// No client sends more than eight.
const MOST: usize = 32;
/// What the action knows. `TokenRevokeType` is `MinIO`'s: accepted and not passed on, for the lease id takes its place.
const KNOWN: [&str; 8] = [
    "Action",
    "Version",
    "RoleArn",
    "RoleSessionName",
    "WebIdentityToken",
    "DurationSeconds",
    "Policy",
    "TokenRevokeType",
];

/// What a presigned request adds to `Action` and `Version`.
const PRESIGNED: [&str; 7] = [
    "X-Amz-Algorithm",
    "X-Amz-Credential",
    "X-Amz-Date",
    "X-Amz-Expires",
    "X-Amz-SignedHeaders",
    "X-Amz-Security-Token",
    "X-Amz-Signature",
];
/// AWS's own bounds, in characters.
const LONGEST_ARN: usize = 2048;
const TOKEN: std::ops::RangeInclusive<usize> = 4..=20_000;
const LONGEST_POLICY: usize = 2048;

/// What an AWS query request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    AssumeRoleWithWebIdentity,
    GetCallerIdentity,
}

/// One value per name. Its `Debug` shows names only: the token is among the values.
pub(super) struct Parameters(BTreeMap<String, String>);

impl Parameters {
    /// Reads both places a client may put parameters into.
    pub(super) fn parse(query: &str, body: &[u8]) -> Result<Self, Invalid> {
        let mut parameters = BTreeMap::new();
        let pairs = form_urlencoded::parse(query.as_bytes()).chain(form_urlencoded::parse(body));
        for (name, value) in pairs {
            // The decoder writes U+FFFD for what is no UTF-8: two different byte strings must not become one value.
            if name.contains('\u{fffd}') || value.contains('\u{fffd}') {
                return Err(Invalid::NotUtf8);
            }
            if parameters.insert(name.into_owned(), value.into_owned()).is_some() {
                return Err(Invalid::DuplicateParameter);
            }
            if parameters.len() > MOST {
                return Err(Invalid::TooManyParameters);
            }
        }
        Ok(Self(parameters))
    }

    /// The action, of the one version there is. A parameter that is not the action's is refused.
    pub(super) fn action(&self) -> Result<Action, Invalid> {
        let action = match self.get("Action").ok_or(Invalid::MissingAction)? {
            "AssumeRoleWithWebIdentity" => Action::AssumeRoleWithWebIdentity,
            "GetCallerIdentity" => Action::GetCallerIdentity,
            _ => return Err(Invalid::UnknownAction),
        };
        if self.get("Version") != Some(VERSION) {
            return Err(Invalid::UnknownAction);
        }
        match action {
            Action::AssumeRoleWithWebIdentity => self.refuse_unknown()?,
            Action::GetCallerIdentity => {
                let known = |name: &str| name == "Action" || name == "Version" || PRESIGNED.contains(&name);
                self.names().all(known).then_some(()).ok_or(Invalid::UnknownParameter)?;
            }
        }
        Ok(action)
    }

    /// The request they make.
    pub(super) fn into_request(self, origin: Origin) -> Result<ExchangeRequest, Invalid> {
        if self.action()? != Action::AssumeRoleWithWebIdentity {
            return Err(Invalid::UnknownAction);
        }
        let token = self.get("WebIdentityToken").ok_or(Invalid::MissingWebIdentityToken)?.trim_ascii();
        if !TOKEN.contains(&token.chars().count()) {
            return Err(Invalid::WebIdentityToken);
        }
        let sized = |name, most, refusal| match self.get(name) {
            Some(value) if value.is_empty() || value.chars().count() > most => Err(refusal),
            value => Ok(value),
        };
        let role = sized("RoleArn", LONGEST_ARN, Invalid::RoleArn)?;
        Ok(ExchangeRequest {
            token: Unverified::new(token),
            role: role.map_or(RequestedRole::Any, RequestedRole::parse),
            duration: self.get("DurationSeconds").map(duration).transpose()?,
            session_policy: sized("Policy", LONGEST_POLICY, Invalid::Policy)?.map(str::to_owned),
            session_name: self.get("RoleSessionName").map(session_name).transpose()?,
            fresh: false,
            origin,
        })
    }

    /// The value of a parameter.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The names sent.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    fn refuse_unknown(&self) -> Result<(), Invalid> {
        self.names().try_for_each(|name| match name {
            name if KNOWN.contains(&name) => Ok(()),
            "ProviderId" => Err(Invalid::ProviderId),
            name if name.starts_with("PolicyArns") => Err(Invalid::PolicyArns),
            _ => Err(Invalid::UnknownParameter),
        })
    }
}

impl fmt::Debug for Parameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// Reads an AWS query request as the STS door does, and says whether it makes an exchange. For fuzzing and checks.
#[must_use]
pub fn read(query: &str, body: &[u8], origin: Origin) -> Option<ExchangeRequest> {
    Parameters::parse(query, body).ok()?.into_request(origin).ok()
}

/// Digits only: no sign, no white space. Any length a row can hold is taken; what is too long for a lease is shortened.
pub(super) fn duration(text: &str) -> Result<Duration, Invalid> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Invalid::Duration);
    }
    text.parse().map_err(|_| Invalid::Duration).and_then(whole_seconds)
}

/// A length that fits a row.
pub(super) fn whole_seconds(seconds: u64) -> Result<Duration, Invalid> {
    i32::try_from(seconds).map_err(|_| Invalid::Duration).map(|_| Duration::from_secs(seconds))
}

/// `[\w+=,.@-]{2,64}`, AWS's own rule. SDKs check nothing, and the name goes into rows.
pub(super) fn session_name(name: &str) -> Result<String, Invalid> {
    let clean = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_+=,.@-".contains(&byte));
    if clean && (2..=64).contains(&name.len()) { Ok(name.to_owned()) } else { Err(Invalid::SessionName) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::Door;
    use crate::policy::RoleName;
    use proptest::prelude::*;
    use uuid::Uuid;

    const WHOLE: &str = "Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleArn=arn%3Aaws%3Aiam%3A%3A000000000000\
                         %3Arole%2Fstudio&RoleSessionName=botocore-session-1&WebIdentityToken=a.b.c%0A";

    fn origin() -> Origin {
        Origin { door: Door::Sts, address: None, request_id: Uuid::nil() }
    }

    fn request(query: &str, body: &str) -> Result<ExchangeRequest, Invalid> {
        Parameters::parse(query, body.as_bytes())?.into_request(origin())
    }

    fn studio() -> RequestedRole {
        RequestedRole::Named(RoleName::parse("studio").unwrap())
    }

    #[test]
    fn the_three_transports_make_the_same_request() {
        let (first, rest) = WHOLE.split_once('&').unwrap();
        for (query, body) in [("", WHOLE), (WHOLE, ""), (first, rest)] {
            let request = request(query, body).unwrap();
            assert_eq!(request.role, studio());
            assert_eq!(request.session_name.as_deref(), Some("botocore-session-1"));
            assert_eq!(request.token.digest(), Unverified::new("a.b.c").digest());
            assert_eq!((request.duration, request.session_policy), (None, None));
        }
    }

    #[test]
    fn a_request_without_a_role_asks_for_any() {
        let bare = "Action=AssumeRoleWithWebIdentity&Version=2011-06-15&WebIdentityToken=a.b.c";
        let request = request(bare, "").unwrap();
        assert_eq!(request.role, RequestedRole::Any);
        assert_eq!(request.session_name, None);
    }

    #[test]
    fn everything_optional_is_read() {
        let request = request(WHOLE, "DurationSeconds=3600&Policy=%7B%22a+b%22%3A1%7D&TokenRevokeType=x").unwrap();
        assert_eq!(request.duration, Some(Duration::from_hours(1)));
        assert_eq!(request.session_policy.as_deref(), Some(r#"{"a b":1}"#));
    }

    #[test]
    fn one_wrong_thing_is_one_refusal() {
        let swap = |from: &str, to: &str| request(&WHOLE.replace(from, to), "").unwrap_err();
        let add = |more: &str| request(WHOLE, more).unwrap_err();
        assert_eq!(swap("Action=AssumeRoleWithWebIdentity&", ""), Invalid::MissingAction);
        assert_eq!(swap("WithWebIdentity&", "&"), Invalid::UnknownAction);
        assert_eq!(swap("2011-06-15", "2011-06-16"), Invalid::UnknownAction);
        assert_eq!(swap("Version=2011-06-15&", ""), Invalid::UnknownAction);
        assert_eq!(swap("&WebIdentityToken=a.b.c%0A", ""), Invalid::MissingWebIdentityToken);
        assert_eq!(add("PolicyArns.member.1.arn=arn:aws:iam::aws:policy/ReadOnlyAccess"), Invalid::PolicyArns);
        assert_eq!(add("ProviderId=www.amazon.com"), Invalid::ProviderId);
        assert_eq!(add("policy=%7B%7D"), Invalid::UnknownParameter);
        assert_eq!(add("Policy=%ff"), Invalid::NotUtf8);
        for duration in ["", "-1", "+900", "900s", " 900", "9e2", "2147483648", "99999999999999999999999999"] {
            assert_eq!(add(&format!("DurationSeconds={}", duration.replace('+', "%2B"))), Invalid::Duration);
        }
        for name in ["a", "", "a%20b", "a/b", "%C3%BCn%C3%AF", "a%0Ab", &"a".repeat(65)] {
            assert_eq!(swap("botocore-session-1", name), Invalid::SessionName, "{name}");
        }
        for token in ["", "a.b", "%0Aa.b%0A", &"a".repeat(20_001)] {
            assert_eq!(swap("a.b.c%0A", token), Invalid::WebIdentityToken, "{}", token.len());
        }
        for arn in ["", &"a".repeat(2049)] {
            assert_eq!(swap("arn%3Aaws%3Aiam%3A%3A000000000000%3Arole%2Fstudio", arn), Invalid::RoleArn);
        }
        for policy in ["", &"a".repeat(2049)] {
            assert_eq!(add(&format!("Policy={policy}")), Invalid::Policy);
        }
        let many: Vec<String> = (0..40).map(|n| format!("p{n}=1")).collect();
        assert_eq!(add(&many.join("&")), Invalid::TooManyParameters);
    }

    #[test]
    fn what_is_as_long_as_at_aws_is_read() {
        let swap = |from: &str, to: &str| request(&WHOLE.replace(from, to), "").is_ok();
        assert!(swap("a.b.c%0A", "a.b."));
        assert!(swap("a.b.c%0A", &format!("{}%0A", "a".repeat(20_000))));
        assert!(swap("arn%3Aaws%3Aiam%3A%3A000000000000%3Arole%2Fstudio", "r"));
        assert!(swap("arn%3Aaws%3Aiam%3A%3A000000000000%3Arole%2Fstudio", &"a".repeat(2048)));
        assert!(request(WHOLE, &format!("Policy={}", "a".repeat(2048))).is_ok());
        // AWS ends at 43200; whatever is longer than the role allows is shortened here.
        assert!(request(WHOLE, "DurationSeconds=43201").is_ok());
    }

    #[test]
    fn each_action_has_parameters_of_its_own() {
        let action = |query: &str| Parameters::parse(query, b"").unwrap().action();
        let caller = "Action=GetCallerIdentity&Version=2011-06-15";
        assert_eq!(action(caller), Ok(Action::GetCallerIdentity));
        assert_eq!(action(&format!("{caller}&X-Amz-Signature=0")), Ok(Action::GetCallerIdentity));
        assert_eq!(action(&format!("{caller}&RoleArn=x")), Err(Invalid::UnknownParameter));
        assert_eq!(action(&format!("{WHOLE}&X-Amz-Signature=0")), Err(Invalid::UnknownParameter));
        assert_eq!(action("Action=GetCallerIdentity"), Err(Invalid::UnknownAction));
        assert_eq!(request(caller, "").unwrap_err(), Invalid::UnknownAction);
    }

    #[test]
    fn a_parameter_sent_twice_is_refused_wherever_it_stands() {
        let twice = format!("{WHOLE}&RoleArn=admin");
        assert_eq!(request(&twice, "").unwrap_err(), Invalid::DuplicateParameter);
        assert_eq!(request("", &twice).unwrap_err(), Invalid::DuplicateParameter);
        assert_eq!(request(WHOLE, "RoleArn=admin").unwrap_err(), Invalid::DuplicateParameter);
        assert_eq!(request(WHOLE, "Role%41rn=admin").unwrap_err(), Invalid::DuplicateParameter);
    }

    #[test]
    fn the_token_is_in_no_debug_form() {
        let parameters = Parameters::parse("WebIdentityToken=planted", b"").unwrap();
        assert_eq!(format!("{parameters:?}"), r#"{"WebIdentityToken"}"#);
        let request = request(&WHOLE.replace("a.b.c", "planted"), "").unwrap();
        assert!(!format!("{request:?}").contains("planted"));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_or_give_a_parameter_two_values(query in "[ -~]{0,200}", body: Vec<u8>) {
            let Ok(parameters) = Parameters::parse(&query, &body) else { return Ok(()) };
            let mut seen = Vec::new();
            for (name, value) in form_urlencoded::parse(query.as_bytes()).chain(form_urlencoded::parse(&body)) {
                prop_assert_eq!(parameters.get(&name), Some(value.as_ref()));
                prop_assert!(!seen.contains(&name), "{} twice", name);
                seen.push(name);
            }
            let _ = parameters.into_request(origin());
        }

        #[test]
        fn a_whole_request_with_any_bytes_added_never_changes_what_is_asked(more: Vec<u8>) {
            let body = [WHOLE.as_bytes(), b"&", &more].concat();
            if let Some(request) = read("", &body, origin()) {
                prop_assert_eq!(request.role, studio());
                prop_assert_eq!(request.token.digest(), Unverified::new("a.b.c").digest());
            }
        }
    }
}
