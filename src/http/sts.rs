//! The AWS STS query door: `AssumeRoleWithWebIdentity` (and `GetCallerIdentity`) as unmodified SDKs send it, by form, by query string with an
//! empty body, or by GET. The answer is the XML that every parser tried accepts, in this order of elements.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use axum::Extension;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use quick_xml::Writer;
use quick_xml::events::{BytesEnd, BytesStart, BytesText, Event};
use uuid::Uuid;

use super::answer::Answer;
use super::arrival::Arrival;
use super::fault::Fault;
use super::parameters::{Action, Parameters};
use super::{Shared, body, caller_identity};
use crate::audit::Door;

/// The account of every ARN: there is none, and botocore wants twelve digits.
pub(super) const ACCOUNT: &str = "000000000000";
/// The namespace of STS answers; minio-go's error parser needs exactly this one.
pub(super) const NAMESPACE: &str = "https://sts.amazonaws.com/doc/2011-06-15/";

/// AWS STS query.
#[utoipa::path(
    post,
    path = "/",
    tag = "doors",
    operation_id = "assume_role_with_web_identity",
    description = "Action=AssumeRoleWithWebIdentity, version 2011-06-15; or GetCallerIdentity, signed with a leased key. The parameters stand in a form body, or all of them \
                   in the query string of a POST without body or of a GET. Errors are STS error XML on every status.",
    request_body(content = StsForm, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 200, description = "AssumeRoleWithWebIdentityResponse, or GetCallerIdentityResponse", content_type = "text/xml", body = String),
        (status = "4XX", description = "ErrorResponse", content_type = "text/xml", body = String),
        (status = "5XX", description = "ErrorResponse", content_type = "text/xml", body = String),
    )
)]
pub(super) async fn answer(
    State(shared): State<Arc<Shared>>,
    Extension(arrival): Extension<Arrival>,
    request: Request,
) -> Result<Response, Fault> {
    let (parts, body) = request.into_parts();
    if body::media_type(&parts.headers).contains("json") {
        return Err(Fault::UnsupportedMediaType);
    }
    let body = body::read(&parts.headers, body).await?;
    let parameters = Parameters::parse(parts.uri.query().unwrap_or(""), &body)?;
    match parameters.action()? {
        Action::AssumeRoleWithWebIdentity => {}
        Action::GetCallerIdentity => return caller_identity::answer(&shared, &parts, &body, arrival.request_id),
    }
    let lease = shared.exchange(parameters.into_request(arrival.at(Door::Sts))?).await?;
    let xml = render(&Answer::from(&lease), arrival.request_id);
    Ok((StatusCode::OK, [(CONTENT_TYPE, "text/xml")], xml).into_response())
}

/// The parameters of `AssumeRoleWithWebIdentity`.
#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "describes the form in the API document; parameters.rs reads it")]
#[schema(rename_all = "PascalCase")]
pub(super) struct StsForm {
    /// `AssumeRoleWithWebIdentity`.
    action: String,
    /// `2011-06-15`.
    version: String,
    /// A role's name, bare or as the last part of an ARN; missing: `any`.
    role_arn: Option<String>,
    /// 2 to 64 characters of `A-Za-z0-9_+=,.@-`; recorded, never relied on.
    role_session_name: Option<String>,
    /// The OIDC token.
    web_identity_token: String,
    /// At least 900; more than the role allows is shortened.
    duration_seconds: Option<i32>,
    /// An IAM policy that narrows the lease.
    policy: Option<String>,
}

/// The answer's XML.
fn render(answer: &Answer<'_>, request_id: Uuid) -> Vec<u8> {
    let mut xml = Xml::new();
    xml.open_root("AssumeRoleWithWebIdentityResponse");
    xml.open("AssumeRoleWithWebIdentityResult");
    xml.leaf("SubjectFromWebIdentityToken", answer.subject);
    xml.leaf("Audience", answer.audience);
    xml.open("AssumedRoleUser");
    xml.leaf("Arn", &assumed_role_arn(answer.role, answer.session_name));
    xml.leaf("AssumedRoleId", &assumed_role_id(answer.role, answer.session_name));
    xml.close("AssumedRoleUser");
    xml.open("Credentials");
    xml.leaf("AccessKeyId", answer.access_key_id);
    xml.leaf("SecretAccessKey", answer.secret_access_key);
    xml.leaf("SessionToken", answer.session_token);
    xml.leaf("Expiration", &answer.expiration());
    xml.close("Credentials");
    xml.leaf("Provider", answer.issuer_url);
    xml.close("AssumeRoleWithWebIdentityResult");
    // After the result, or the SDK for Rust fails.
    xml.open("ResponseMetadata");
    xml.leaf("RequestId", &request_id.to_string());
    xml.close("ResponseMetadata");
    xml.close("AssumeRoleWithWebIdentityResponse");
    xml.finish()
}

/// The SDK for Rust fails on an ARN with fewer than five colons; botocore takes the fifth part for an account id.
pub(super) fn assumed_role_arn(role: &str, session_name: &str) -> String {
    format!("arn:aws:sts::{ACCOUNT}:assumed-role/{role}/{session_name}")
}

/// `AssumedRoleId` of one answer, `UserId` of the other.
pub(super) fn assumed_role_id(role: &str, session_name: &str) -> String {
    format!("{}:{session_name}", role_id(role))
}

/// A stable id in AWS's shape: `AROA` and sixteen characters that depend on the role's name only.
fn role_id(role: &str) -> String {
    let digest = digest(&SHA256, role.as_bytes());
    digest.as_ref().iter().take(8).fold("AROA".to_owned(), |id, byte| format!("{id}{byte:02X}"))
}

/// Compact XML without a declaration, escaped by the writer.
pub(super) struct Xml(Writer<Vec<u8>>);

impl Xml {
    pub(super) fn new() -> Self {
        Self(Writer::new(Vec::new()))
    }

    /// The root element, in the STS namespace.
    pub(super) fn open_root(&mut self, name: &str) {
        let root = BytesStart::new(name).with_attributes([("xmlns", NAMESPACE)]);
        self.write(Event::Start(root));
    }

    pub(super) fn open(&mut self, name: &str) {
        self.write(Event::Start(BytesStart::new(name)));
    }

    pub(super) fn leaf(&mut self, name: &str, text: &str) {
        let text: String = text.chars().map(|c| if is_xml_character(c) { c } else { '\u{fffd}' }).collect();
        self.open(name);
        self.write(Event::Text(BytesText::new(&text)));
        self.close(name);
    }

    pub(super) fn close(&mut self, name: &str) {
        self.write(Event::End(BytesEnd::new(name)));
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.0.into_inner()
    }

    fn write(&mut self, event: Event<'_>) {
        // Writing into memory cannot fail.
        let _ = self.0.write_event(event);
    }
}

/// `Char` of XML 1.0 section 2.2: a subject may hold a character that no escape makes legal.
fn is_xml_character(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | '\u{20}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..='\u{10ffff}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::answer::tests::answer;

    #[test]
    fn the_answer_is_the_one_that_every_sdk_accepts() {
        let xml = String::from_utf8(render(&answer(), Uuid::nil())).unwrap();
        let expected = "<AssumeRoleWithWebIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\
            <AssumeRoleWithWebIdentityResult>\
            <SubjectFromWebIdentityToken>system:serviceaccount:ns:sa</SubjectFromWebIdentityToken>\
            <Audience>stint</Audience>\
            <AssumedRoleUser>\
            <Arn>arn:aws:sts::000000000000:assumed-role/studio/ada-01935a00000070008000000000000001</Arn>\
            <AssumedRoleId>AROADA0DAABA4B156961:ada-01935a00000070008000000000000001</AssumedRoleId>\
            </AssumedRoleUser>\
            <Credentials>\
            <AccessKeyId>AKIAPLANTED</AccessKeyId>\
            <SecretAccessKey>planted/secret+key=</SecretAccessKey>\
            <SessionToken>planted.session.token</SessionToken>\
            <Expiration>2026-11-21T23:00:00Z</Expiration>\
            </Credentials>\
            <Provider>https://auth.example/application/o/stint/</Provider>\
            </AssumeRoleWithWebIdentityResult>\
            <ResponseMetadata><RequestId>00000000-0000-0000-0000-000000000000</RequestId></ResponseMetadata>\
            </AssumeRoleWithWebIdentityResponse>";
        assert_eq!(xml, expected);
    }

    #[test]
    fn a_subject_cannot_break_out_of_its_element() {
        let hostile = Answer { subject: "</x>&\"<Expiration>\u{ffff}", ..answer() };
        let xml = String::from_utf8(render(&hostile, Uuid::nil())).unwrap();
        assert!(xml.contains(">&lt;/x&gt;&amp;&quot;&lt;Expiration&gt;\u{fffd}<"), "{xml}");
    }

    #[test]
    fn the_role_id_has_the_length_of_aws_role_ids() {
        assert_eq!(role_id("studio").len(), 20);
        assert_ne!(role_id("studio"), role_id("admin"));
    }
}
