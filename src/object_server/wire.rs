//! The wire form of STS: a form out, XML in. The XML is read leniently, because no two servers agree on its order,
//! namespace or prefixes, and within bounds, because a server that lies must cost neither memory nor time.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use quick_xml::Reader;
use quick_xml::events::{BytesRef, Event};
use secrecy::SecretString;
use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, PrimitiveDateTime, UtcOffset};
use zeroize::Zeroizing;

use super::{AccessKeyId, TemporaryCredentials};

/// Everything but RFC 3986's unreserved characters. A space becomes `%20`: Ceph leaves a `+` as a plus.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Deeper than any answer of any server.
const DEPTH: usize = 8;
/// MinIO's tokens reach about 4 KB, those of others 3.5 KB.
const LONGEST_TOKEN: usize = 16 * 1024;
const LONGEST_SECRET: usize = 256;

/// The form, in the order given.
pub(super) fn form(fields: &[(&str, &str)]) -> String {
    let escape = |text| utf8_percent_encode(text, ESCAPED);
    let fields: Vec<String> = fields.iter().map(|(k, v)| format!("{}={}", escape(k), escape(v))).collect();
    fields.join("&")
}

/// Reads the four children of `Credentials` by local name, in any order; nothing else in an answer is dependable.
pub(super) fn credentials(xml: &[u8]) -> Result<TemporaryCredentials, &'static str> {
    let mut fields = Fields::default();
    leaves(xml, |parent, name, text| {
        if parent != "Credentials" {
            return Ok(());
        }
        let Some(field) = fields.named(name) else { return Ok(()) };
        match field.replace(text) {
            None => Ok(()),
            // Two answers in one: which one a reader takes must not depend on the reader.
            Some(_) => Err("a part of the credentials occurs twice"),
        }
    })?;
    fields.into_credentials()
}

/// The error code of an `<ErrorResponse><Error>` or of a bare `<Error>`; `None` if there is none that is clean.
pub(super) fn error_code(xml: &[u8]) -> Option<String> {
    let mut code = None;
    // What was read before a fault counts: an error answer that is cut off still says what it is.
    let _ = leaves(xml, |parent, name, text| {
        if parent == "Error" && name == "Code" && code.is_none() {
            code = clean_code(&text);
        }
        Ok(())
    });
    code
}

/// An error code fit for rows and logs: 1 to 64 ASCII letters and digits.
pub(super) fn clean_code(text: &str) -> Option<String> {
    let text = text.trim();
    let clean = (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric());
    clean.then(|| text.to_owned())
}

#[derive(Default)]
struct Fields {
    access_key_id: Option<Zeroizing<String>>,
    secret_access_key: Option<Zeroizing<String>>,
    session_token: Option<Zeroizing<String>>,
    expiration: Option<Zeroizing<String>>,
}

impl Fields {
    fn named(&mut self, name: &str) -> Option<&mut Option<Zeroizing<String>>> {
        match name {
            "AccessKeyId" => Some(&mut self.access_key_id),
            "SecretAccessKey" => Some(&mut self.secret_access_key),
            "SessionToken" => Some(&mut self.session_token),
            "Expiration" => Some(&mut self.expiration),
            _ => None,
        }
    }

    fn into_credentials(self) -> Result<TemporaryCredentials, &'static str> {
        let access_key_id = self.access_key_id.ok_or("no access key id")?;
        let expiration = self.expiration.ok_or("no expiration")?;
        Ok(TemporaryCredentials {
            access_key_id: AccessKeyId::parse(access_key_id.trim()).ok_or("an unusable access key id")?,
            secret_access_key: secret(self.secret_access_key, LONGEST_SECRET).ok_or("no usable secret access key")?,
            session_token: secret(self.session_token, LONGEST_TOKEN).ok_or("no usable session token")?,
            expiration: instant(expiration.trim()).ok_or("an unreadable expiration")?,
        })
    }
}

/// An instant as a server writes it, in UTC: SeaweedFS answers in its local offset. That offset may carry it past the last instant there is, where any arithmetic
/// would end the process: then it is that last one.
pub(super) fn instant(text: &str) -> Option<OffsetDateTime> {
    let instant = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    Some(instant.checked_to_offset(UtcOffset::UTC).unwrap_or(PrimitiveDateTime::MAX.assume_utc()))
}

/// Visible ASCII only: it will be sent in headers, and a line break in it would split one.
fn secret(text: Option<Zeroizing<String>>, longest: usize) -> Option<SecretString> {
    let text = text?;
    let text = text.trim();
    let clean = (1..=longest).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
    clean.then(|| SecretString::from(text))
}

/// Walks a whole document and hands over every element that holds only text, with its parent's local name.
fn leaves(
    xml: &[u8],
    mut leaf: impl FnMut(&str, &str, Zeroizing<String>) -> Result<(), &'static str>,
) -> Result<(), &'static str> {
    let xml = std::str::from_utf8(xml).map_err(|_| "not UTF-8")?;
    let mut reader = Reader::from_str(xml.strip_prefix('\u{feff}').unwrap_or(xml));
    let mut path: Vec<String> = Vec::with_capacity(DEPTH);
    let mut text = Zeroizing::new(String::with_capacity(xml.len().min(LONGEST_TOKEN)));
    let mut is_leaf = false;
    let mut roots = 0_usize;
    loop {
        match reader.read_event().map_err(|_| "not well-formed XML")? {
            Event::Start(start) => {
                if path.len() == DEPTH {
                    return Err("XML nested too deep");
                }
                roots += usize::from(path.is_empty());
                path.push(start.local_name().as_ref().to_owned());
                text.clear();
                is_leaf = true;
            }
            Event::Empty(_) => {
                roots += usize::from(path.is_empty());
                is_leaf = false;
            }
            Event::End(_) => {
                let name = path.pop().ok_or("not well-formed XML")?;
                if is_leaf && let Some(parent) = path.last() {
                    leaf(parent, &name, Zeroizing::new(text.as_str().to_owned()))?;
                }
                is_leaf = false;
            }
            Event::Text(part) => text.push_str(&part),
            Event::CData(part) => text.push_str(&part),
            Event::GeneralRef(reference) => text.push(character(&reference)?),
            // An entity declared here could stand for anything, or for a billion of them.
            Event::DocType(_) => return Err("XML with a document type"),
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
            Event::Eof if path.is_empty() && roots == 1 => return Ok(()),
            Event::Eof => return Err("incomplete XML"),
        }
    }
}

/// The five entities of XML itself and character references; no others exist without a document type.
fn character(reference: &BytesRef<'_>) -> Result<char, &'static str> {
    match reference.as_ref() {
        "amp" => Ok('&'),
        "lt" => Ok('<'),
        "gt" => Ok('>'),
        "quot" => Ok('"'),
        "apos" => Ok('\''),
        _ => reference.resolve_char_ref().ok().flatten().ok_or("an unknown entity"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use secrecy::ExposeSecret;
    use time::macros::datetime;

    const WHOLE: &str = "<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleResult>\
        <Credentials><AccessKeyId>AK</AccessKeyId><SecretAccessKey>SK</SecretAccessKey><SessionToken>ST</SessionToken>\
        <Expiration>2030-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>";

    fn with(from: &str, to: &str) -> Result<TemporaryCredentials, &'static str> {
        assert!(WHOLE.contains(from));
        credentials(WHOLE.replace(from, to).as_bytes())
    }

    #[test]
    fn a_space_becomes_percent_20_and_a_plus_stays_one() {
        assert_eq!(form(&[("Policy", "{a b+c&d}"), ("é", "~-._")]), "Policy=%7Ba%20b%2Bc%26d%7D&%C3%A9=~-._");
    }

    proptest! {
        #[test]
        fn a_form_is_read_back_as_it_was_written(value in "\\PC*") {
            let text = form(&[("Policy", value.as_str())]);
            prop_assert!(!text.contains('+') && !text.contains(' '));
            let read: Vec<_> = form_urlencoded::parse(text.as_bytes()).into_owned().collect();
            prop_assert_eq!(read, vec![("Policy".to_owned(), value)]);
        }

        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            prop_assert!(credentials(&bytes).is_err());
            let _ = error_code(&bytes);
        }

        #[test]
        fn an_answer_cut_anywhere_is_refused(cut in 0..WHOLE.len()) {
            prop_assert!(credentials(&WHOLE.as_bytes()[..cut]).is_err());
        }
    }

    #[test]
    fn every_dialect_of_success_is_read() {
        for xml in [
            WHOLE.to_owned(),
            format!("\u{feff}<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{WHOLE}\n"),
            // Ceph: no namespace, another order, an unknown sibling.
            "<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>AK</AccessKeyId><Expiration>\
             2030-01-01T00:00:00Z</Expiration><SecretAccessKey>SK</SecretAccessKey><Other><AccessKeyId>no</AccessKeyId>\
             </Other><SessionToken>ST</SessionToken></Credentials><AccessKeyId>outside</AccessKeyId></AssumeRoleResult>\
             </AssumeRoleResponse>"
                .to_owned(),
            WHOLE.replace("</", "</s:").replace('<', "<s:").replace("<s:/s:", "</s:").replace("xmlns=", "xmlns:s="),
            WHOLE.replace("<SessionToken>ST", "<SessionToken>\n  <![CDATA[S]]>&#84;\n"),
        ] {
            let read = credentials(xml.as_bytes()).unwrap_or_else(|what| panic!("{what}: {xml}"));
            assert_eq!(read.access_key_id.expose(), "AK");
            assert_eq!(read.secret_access_key.expose_secret(), "SK");
            assert_eq!(read.session_token.expose_secret(), "ST");
            assert_eq!(read.expiration, datetime!(2030-01-01 00:00 UTC));
        }
    }

    #[test]
    fn offsets_and_nanoseconds_are_read() {
        let end = |text: &str| with("2030-01-01T00:00:00Z", text).unwrap().expiration;
        assert_eq!(end("2029-12-31T19:00:00-05:00"), datetime!(2030-01-01 00:00 UTC));
        assert_eq!(end("2030-01-01T00:00:00.123456789Z"), datetime!(2030-01-01 00:00:00.123456789 UTC));
    }

    #[test]
    fn an_answer_with_one_part_missing_or_spoilt_is_refused() {
        for (from, to) in [
            ("<AccessKeyId>AK</AccessKeyId>", ""),
            ("<AccessKeyId>AK</AccessKeyId>", "<AccessKeyId/>"),
            ("<SecretAccessKey>SK</SecretAccessKey>", ""),
            ("<SessionToken>ST</SessionToken>", "<SessionToken></SessionToken>"),
            ("<Expiration>2030-01-01T00:00:00Z</Expiration>", ""),
            ("2030-01-01T00:00:00Z", "1893456000"),
            ("2030-01-01T00:00:00Z", "2030-01-01"),
            ("ST", "S T"),
            ("ST", "S&#10;T"),
            ("ST", "S<b>x</b>T"),
            ("ST", "&secret;"),
            ("<AccessKeyId>AK</AccessKeyId>", "<AccessKeyId>AK</AccessKeyId><AccessKeyId>BK</AccessKeyId>"),
            ("</AssumeRoleResponse>", "</AssumeRoleResponse><more/>"),
            ("<Credentials>", "<Credential>"),
        ] {
            assert!(with(from, to).is_err(), "{from} → {to}");
        }
    }

    #[test]
    fn a_document_type_is_refused_before_its_entities_are() {
        let bomb = format!("<!DOCTYPE x [<!ENTITY a \"aaaa\"><!ENTITY b \"&a;&a;\">]>{WHOLE}");
        assert_eq!(credentials(bomb.as_bytes()).unwrap_err(), "XML with a document type");
    }

    #[test]
    fn depth_and_lengths_are_bounded() {
        let deep = format!("{}{}", "<a>".repeat(30_000), "</a>".repeat(30_000));
        assert_eq!(credentials(deep.as_bytes()).unwrap_err(), "XML nested too deep");
        assert!(with("ST", &"T".repeat(LONGEST_TOKEN)).is_ok());
        assert!(with("ST", &"T".repeat(LONGEST_TOKEN + 1)).is_err());
        assert!(with("SK", &"K".repeat(LONGEST_SECRET + 1)).is_err());
    }

    #[test]
    fn the_error_code_is_found_in_both_forms_and_nowhere_else() {
        let code = |xml: &str| error_code(xml.as_bytes());
        let sts = "<ErrorResponse xmlns=\"x\"><Error><Type></Type><Code>AccessDenied</Code></Error></ErrorResponse>";
        assert_eq!(code(sts).as_deref(), Some("AccessDenied"));
        assert_eq!(code("<Error><Code>NoSuchEntity</Code><Message/></Error>").as_deref(), Some("NoSuchEntity"));
        assert_eq!(code("<html><Code>AccessDenied</Code></html>"), None);
        assert_eq!(code("<Error><Code>evil\ncode</Code></Error>"), None);
        assert_eq!(code(&format!("<Error><Code>{}</Code></Error>", "x".repeat(65))), None);
        assert_eq!(code(""), None);
    }
}
