//! IAM policy documents: parsed once into a form in which every value is an array and nothing unknown is left.

use serde_json::{Map, Value, json};

use super::action::{self, Service};
use super::claims::ClaimUnusable;
use super::json::Node;
use super::problem::{Fault, line_and_column, quoted};
use super::statement::{self, Effect, Statement};

/// The one version of the policy language. Older text has no variables, and servers differ about a missing version.
const VERSION: &str = "2012-10-17";
/// Longest text of a document, in bytes.
pub(super) const LONGEST: usize = 64 * 1024;
/// Most statements of a document.
pub(super) const MOST_STATEMENTS: usize = 64;

/// A parsed policy document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Never empty.
    statements: Vec<Statement>,
}

impl Document {
    /// Parses a plain IAM policy document, refusing everything that is not understood: one message per fault, each
    /// `line:column: what is wrong and what to write instead`. At most 64 KiB are read.
    pub fn parse(json: &[u8]) -> Result<Self, Vec<String>> {
        Self::read(json).map_err(|faults| {
            let shown = |fault: Fault| {
                let (line, column) = line_and_column(json, fault.offset);
                format!("{line}:{column}: {}", fault.message)
            };
            faults.into_iter().map(shown).collect()
        })
    }

    /// The document as JSON in the one form all servers read alike: `Version`, then statements whose `Action`,
    /// `Resource` and condition values are arrays.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let statements: Vec<Value> = self.statements.iter().map(Statement::to_json).collect();
        json!({ "Version": VERSION, "Statement": statements })
    }

    /// True if some statement allows an `admin:` action: the server's Deny block for such a document must spare the
    /// rest of `admin:*`.
    #[must_use]
    pub fn allows_admin(&self) -> bool {
        self.statements.iter().any(|statement| {
            statement.effect == Effect::Allow && statement.actions.iter().any(|a| action::service(a) == Service::Admin)
        })
    }

    /// Parses a document and keeps where each fault is.
    pub(super) fn read(json: &[u8]) -> Result<Self, Vec<Fault>> {
        if json.len() > LONGEST {
            return Err(vec![Fault::new(0, format!("a document has at most {LONGEST} bytes"))]);
        }
        let text = std::str::from_utf8(json).map_err(|error| vec![Fault::new(error.valid_up_to(), "not UTF-8")])?;
        let root = Node::root(text).map_err(|fault| vec![fault])?;
        let mut faults = Vec::new();
        let statements = read_root(&root, &mut faults);
        if faults.is_empty() { Ok(Self { statements }) } else { Err(faults) }
    }

    /// A document of these statements, exact duplicates dropped. `None` if there is none.
    pub(super) fn of(statements: impl IntoIterator<Item = Statement>) -> Option<Self> {
        let mut kept: Vec<Statement> = Vec::new();
        for statement in statements {
            if !kept.contains(&statement) {
                kept.push(statement);
            }
        }
        (!kept.is_empty()).then_some(Self { statements: kept })
    }

    /// The statements.
    pub(super) fn statements(&self) -> &[Statement] {
        &self.statements
    }

    /// True if a claim is still to be filled in.
    pub(super) fn has_variables(&self) -> bool {
        self.statements.iter().any(Statement::has_variables)
    }

    /// The document with claims filled in.
    pub(super) fn fill(&self, claims: &Map<String, Value>) -> Result<Self, ClaimUnusable> {
        let statements: Result<_, _> = self.statements.iter().map(|statement| statement.fill(claims)).collect();
        Ok(Self { statements: statements? })
    }
}

fn read_root(root: &Node<'_>, faults: &mut Vec<Fault>) -> Vec<Statement> {
    let mut statements = Vec::new();
    let Some(members) = statement::object(root, "a document", faults) else { return statements };
    for (name, value) in &members {
        match name.as_str() {
            "Version" => match statement::text(value, "Version", faults) {
                Some(version) if version != VERSION => {
                    faults.push(value.fault(format!("Version must be \"{VERSION}\"")));
                }
                Some(_) | None => {}
            },
            "Statement" => {
                let nodes = statement::items(value, "Statement", faults);
                if nodes.len() > MOST_STATEMENTS {
                    faults.push(value.fault(format!("a document has at most {MOST_STATEMENTS} statements")));
                }
                statements = nodes.iter().filter_map(|node| Statement::read(node, faults)).collect();
            }
            "Id" => faults.push(value.fault("Id is refused: it belongs to bucket policies; remove it")),
            _ => faults.push(value.fault(format!("unknown member {}: remove it", quoted(name)))),
        }
    }
    for (wanted, cure) in [("Version", "\"Version\": \"2012-10-17\""), ("Statement", "\"Statement\": […]")] {
        if !members.iter().any(|(name, _)| name == wanted) {
            faults.push(root.fault(format!("a document needs {cure}")));
        }
    }
    statements
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = r#"{
  "Version": "2012-10-17",
  "Statement": [
    {
      "Sid": "Read",
      "Effect": "Allow",
      "Action": ["s3:GetObject", "s3:ListBucket"],
      "Resource": ["arn:aws:s3:::b", "arn:aws:s3:::b/${jwt:sub}/*"],
      "Condition": { "StringLike": { "s3:prefix": "a/*" }, "NumericLessThanEquals": { "s3:max-keys": 100 } }
    }
  ]
}"#;

    /// The first fault after one replacement in the whole document.
    fn fault(from: &str, to: &str) -> String {
        assert!(WHOLE.contains(from), "{from}");
        Document::parse(WHOLE.replacen(from, to, 1).as_bytes()).unwrap_err().remove(0)
    }

    #[test]
    fn the_whole_document_is_accepted_and_normalised() {
        let document = Document::parse(WHOLE.as_bytes()).unwrap();
        let expected = json!({
            "Version": "2012-10-17",
            "Statement": [{
                "Effect": "Allow",
                "Action": ["s3:GetObject", "s3:ListBucket"],
                "Resource": ["arn:aws:s3:::b", "arn:aws:s3:::b/${jwt:sub}/*"],
                "Condition": { "StringLike": { "s3:prefix": ["a/*"] }, "NumericLessThanEquals": { "s3:max-keys": ["100"] } }
            }]
        });
        assert_eq!(document.to_json(), expected);
        assert_eq!(Document::parse(document.to_json().to_string().as_bytes()), Ok(document));
    }

    #[test]
    fn a_single_statement_and_single_values_stand_for_arrays_of_one() {
        let single = br#"{"Version":"2012-10-17","Statement":{"Effect":"Deny","Action":"s3:GetObject","Resource":"arn:aws:s3:::b/*"}}"#;
        let array = br#"{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":["s3:GetObject"],"Resource":["arn:aws:s3:::b/*"]}]}"#;
        assert_eq!(Document::parse(single), Document::parse(array));
        assert!(Document::parse(single).is_ok());
    }

    #[test]
    fn a_version_that_is_missing_or_another_is_refused() {
        assert!(fault(r#""Version": "2012-10-17","#, "").contains("Version"));
        assert!(fault("2012-10-17", "2008-10-17").starts_with("2:14: Version must be"));
    }

    #[test]
    fn unknown_members_are_refused_where_they_stand() {
        assert!(fault(r#""Sid": "Read""#, r#""sid": "Read""#).starts_with("5:14: unknown member"));
        assert!(fault(r#""Version""#, r#""Id": "x", "Version""#).contains("Id is refused"));
        assert!(fault(r#""Sid": "Read""#, r#""Principal": "*""#).contains("roles/*.toml"));
        assert!(fault(r#""Action""#, r#""NotAction""#).contains("NotAction"));
        assert!(fault(r#""Resource""#, r#""NotResource""#).contains("NotResource"));
    }

    #[test]
    fn a_member_given_twice_is_refused() {
        assert!(fault(r#""Sid": "Read""#, r#""Effect": "Deny""#).contains("appears twice"));
        assert!(fault(r#""s3:prefix": "a/*""#, r#""s3:prefix": "a/*", "S3:PREFIX": "b""#).contains("appears twice"));
    }

    #[test]
    fn a_missing_or_empty_part_is_refused() {
        assert!(fault(r#""Effect": "Allow","#, "").contains("Effect"));
        assert!(fault(r#"["s3:GetObject", "s3:ListBucket"]"#, "[]").contains("must not be empty"));
        assert!(fault(r#""StringLike": { "s3:prefix": "a/*" }"#, r#""StringLike": {}"#).contains("needs a key"));
        assert!(fault(r#""s3:prefix": "a/*""#, r#""s3:prefix": []"#).contains("must not be empty"));
        assert!(Document::parse(br#"{"Version":"2012-10-17","Statement":[]}"#).is_err());
    }

    #[test]
    fn conditions_are_closed() {
        assert!(fault("StringLike", "ArnLike").contains("unknown condition operator"));
        assert!(fault("s3:prefix", "aws:username").contains("unknown condition key"));
        assert!(fault("100", "[1, 2]").contains("takes one value"));
        assert!(fault("100", "\"many\"").contains("a whole number"));
        assert!(fault("100", "\"${jwt:n}\"").contains("a whole number"));
        assert!(fault("a/*", "${aws:username}").contains("only variable"));
    }

    #[test]
    fn services_are_not_mixed_and_admin_needs_no_resource() {
        assert!(fault("s3:ListBucket", "admin:ServerInfo").contains("two statements"));
        let admin = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":["admin:*"]}]}"#;
        let document = Document::parse(admin.as_bytes()).unwrap();
        assert_eq!(document.to_json().to_string(), serde_json::from_str::<Value>(admin).unwrap().to_string());
        assert!(!document.allows_admin());
        let restricted = admin.replace("]}]", r#"],"Resource":"arn:aws:s3:::b"}]"#);
        assert!(Document::parse(restricted.as_bytes()).unwrap_err()[0].contains("does not restrict"));
        let s3 = admin.replace("admin:*", "s3:GetObject");
        assert!(Document::parse(s3.as_bytes()).unwrap_err()[0].contains("Resource"));
    }

    #[test]
    fn every_fault_is_named_at_once() {
        let text = WHOLE.replace("Allow", "Perhaps").replace("s3:ListBucket", "*").replace("s3:prefix", "x");
        assert_eq!(Document::parse(text.as_bytes()).unwrap_err().len(), 3);
    }

    #[test]
    fn size_is_bounded() {
        assert!(Document::parse(&vec![b' '; LONGEST + 1]).unwrap_err()[0].contains("bytes"));
        let statement = r#"{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::b"}"#;
        let many = |n: usize| format!(r#"{{"Version":"2012-10-17","Statement":[{}]}}"#, vec![statement; n].join(","));
        assert!(Document::parse(many(MOST_STATEMENTS).as_bytes()).is_ok());
        assert!(Document::parse(many(MOST_STATEMENTS + 1).as_bytes()).is_err());
    }
}
