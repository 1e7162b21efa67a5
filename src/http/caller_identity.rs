//! `GetCallerIdentity` at the STS door: whose lease the key is that signed the request, as the AWS CLI and boto3 ask it.
//! No exchange and no row: a key says nothing here that its holder does not know.

use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use uuid::Uuid;

use super::Shared;
use super::fault::Fault;
use super::sts::{ACCOUNT, Xml, assumed_role_arn, assumed_role_id};
use crate::desk::{CallerIdentity, SignedRequest};

/// Answers a request whose action was read.
pub(super) fn answer(shared: &Shared, parts: &Parts, body: &[u8], request_id: Uuid) -> Result<Response, Fault> {
    let request = SignedRequest::parse(parts, body)?;
    let identity = shared.doors.callers.identify(&request)?;
    Ok((StatusCode::OK, [(CONTENT_TYPE, "text/xml")], render(&identity, request_id)).into_response())
}

fn render(identity: &CallerIdentity, request_id: Uuid) -> Vec<u8> {
    let CallerIdentity { role, session_name } = identity;
    let mut xml = Xml::new();
    xml.open_root("GetCallerIdentityResponse");
    xml.open("GetCallerIdentityResult");
    xml.leaf("Arn", &assumed_role_arn(role, session_name));
    xml.leaf("UserId", &assumed_role_id(role, session_name));
    xml.leaf("Account", ACCOUNT);
    xml.close("GetCallerIdentityResult");
    xml.open("ResponseMetadata");
    xml.leaf("RequestId", &request_id.to_string());
    xml.close("ResponseMetadata");
    xml.close("GetCallerIdentityResponse");
    xml.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_is_what_sdks_read() {
        let identity = CallerIdentity { role: "studio".to_owned(), session_name: "ada-01935a00".to_owned() };
        let xml = String::from_utf8(render(&identity, Uuid::nil())).unwrap();
        let expected = "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\
            <GetCallerIdentityResult>\
            <Arn>arn:aws:sts::000000000000:assumed-role/studio/ada-01935a00</Arn>\
            <UserId>AROADA0DAABA4B156961:ada-01935a00</UserId>\
            <Account>000000000000</Account>\
            </GetCallerIdentityResult>\
            <ResponseMetadata><RequestId>00000000-0000-0000-0000-000000000000</RequestId></ResponseMetadata>\
            </GetCallerIdentityResponse>";
        assert_eq!(xml, expected);
    }
}
