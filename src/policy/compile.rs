//! From files to a [`PolicySet`]: every file is read by its own strict reader, then roles and documents are joined. One
//! function serves `stint check`, `stint serve` and the tests, so that what was checked is what is served.

use std::collections::{BTreeMap, BTreeSet};

use aws_lc_rs::digest::{Context, SHA256};

use super::break_glass::{BreakGlass, BreakGlassFile, Drill, EmergencyRole, Listed};
use super::directory::{MOST_BYTES, MOST_FILES};
use super::operator::Operator;
use super::problem::{Fault, quoted};
use super::role_file::RoleFile;
use super::rule::Rule;
use super::set::Role;
use super::toml_section::{Placed, read_file};
use super::warnings::confusable_groups;
use super::{Bucket, Document, Operators, PolicyFiles, PolicyHash, PolicySet, Problem, RoleName};
use crate::token::{Group, IssuerName};

/// What the hash begins with, so that it can never equal a hash made for another purpose.
const HASH_DOMAIN: &[u8] = b"stint policy directory 1";

const BREAK_GLASS: &str = "break-glass.toml";

/// The name that stands for every role that matches.
const RESERVED: &str = "any";

pub(super) fn compile(files: &PolicyFiles, issuers: &[IssuerName]) -> Result<PolicySet, Vec<Problem>> {
    let mut compiling = Compiling { issuers, ..Compiling::default() };
    if files.0.len() > MOST_FILES {
        return Err(vec![Problem::of_file(".", format!("a policy directory has at most {MOST_FILES} files"))]);
    }
    for (path, content) in &files.0 {
        if content.len() > MOST_BYTES {
            compiling.problem(path, format!("is longer than {MOST_BYTES} bytes"));
        } else {
            compiling.file(path, content);
        }
    }
    let roles = compiling.join(files);
    if roles.is_empty() && compiling.problems.is_empty() {
        compiling.problem(".", "no role: put policy documents into documents/*.json".to_owned());
    }
    if !compiling.problems.is_empty() {
        compiling.problems.sort();
        return Err(compiling.problems);
    }
    let operators = compiling.operators.unwrap_or_else(Operators::nobody);
    let break_glass = compiling.break_glass.map(Box::new);
    let mut warnings = compiling.warnings;
    let groups = roles.values().flat_map(|role| &role.rules).flat_map(Rule::groups);
    warnings.extend(confusable_groups(groups.chain(operators.groups())));
    Ok(PolicySet { roles, operators, buckets: compiling.buckets, break_glass, warnings, hash: hash(files) })
}

/// What is known while the files are read one by one.
#[derive(Default)]
struct Compiling<'a> {
    issuers: &'a [IssuerName],
    /// By file name without its extension; `None` if the document has faults.
    documents: BTreeMap<String, Option<Document>>,
    role_files: BTreeMap<RoleName, (String, Option<RoleFile>)>,
    operators: Option<Operators>,
    buckets: Vec<Bucket>,
    break_glass_file: Option<BreakGlassFile>,
    break_glass: Option<BreakGlass>,
    warnings: Vec<String>,
    problems: Vec<Problem>,
}

impl Compiling<'_> {
    fn file(&mut self, path: &str, content: &[u8]) {
        let (folder, name) = path.split_once('/').unwrap_or(("", path));
        match (folder, name, name.rsplit_once('.')) {
            ("documents", _, Some((stem, "json"))) if !stem.is_empty() && !stem.contains('/') => {
                let document = Document::read(content);
                let document = self.keep(path, content, document);
                self.warn_of_addresses(path, document.as_ref());
                self.documents.insert(stem.to_owned(), document);
            }
            ("roles", _, Some((stem, "toml"))) if !stem.contains('/') => self.role_file(path, stem, content),
            ("", "operators.toml", _) => {
                let issuers = self.issuers;
                let read = read_file(content, |top, faults| Operators::read(top, path, issuers, faults));
                self.operators = self.keep(path, content, read);
            }
            ("", "buckets.toml", _) => {
                let read = read_file(content, Bucket::read_all);
                self.buckets = self.keep(path, content, read).unwrap_or_default();
            }
            ("", BREAK_GLASS, _) => {
                let issuers = self.issuers;
                // Read to the end, for the same reason as a role.
                let mut faults = Vec::new();
                let read = read_file(content, |top, _| BreakGlassFile::read(top, issuers, &mut faults));
                self.break_glass_file = self.keep(path, content, read);
                self.problems.extend(faults.into_iter().map(|fault| fault.in_file(path, content)));
            }
            _ => self.problem(
                path,
                "unknown file: a policy directory has documents/<name>.json, roles/<role>.toml, operators.toml, \
                 buckets.toml and break-glass.toml"
                    .to_owned(),
            ),
        }
    }

    fn role_file(&mut self, path: &str, stem: &str, content: &[u8]) {
        let Some(name) = RoleName::parse(stem) else {
            return self.problem(path, "a role's name has 1 to 64 characters of A-Za-z0-9+=,.@_-".to_owned());
        };
        if name.as_str() == RESERVED {
            return self.problem(path, reserved());
        }
        let issuers = self.issuers;
        // Read to the end even when a part is at fault, so that its documents are looked up in the same round.
        let mut faults = Vec::new();
        let read = read_file(content, |top, _| RoleFile::read(top, path, issuers, &mut faults));
        let read = self.keep(path, content, read);
        self.problems.extend(faults.into_iter().map(|fault| fault.in_file(path, content)));
        self.role_files.insert(name, (path.to_owned(), read));
    }

    /// Joins role files with documents, and makes a role of every document that has none.
    fn join(&mut self, files: &PolicyFiles) -> BTreeMap<RoleName, Role> {
        let mut roles = BTreeMap::new();
        let mut referenced = BTreeSet::new();
        for (name, (path, file)) in std::mem::take(&mut self.role_files) {
            let document = file.as_ref().and_then(|file| {
                referenced.extend(file.documents.iter().map(|document| document.text.clone()));
                self.combined(&path, &file.documents, files.0.get(&path).map_or(&[], Vec::as_slice))
            });
            let role = document.zip(file).map(|(document, file)| Role { document, ttl: file.ttl, rules: file.rules });
            roles.insert(name, role);
        }
        let text = files.0.get(BREAK_GLASS).map_or(&[][..], Vec::as_slice);
        let emergency = self.break_glass_file.take().map(|file| {
            let listed = file.listed().flat_map(|listed| &listed.documents);
            referenced.extend(listed.map(|document| document.text.clone()));
            (file.listed().map(|listed| self.emergency_role(listed, text)).collect::<Vec<_>>(), file)
        });
        let role_files: BTreeSet<RoleName> = roles.keys().cloned().collect();
        for (stem, document) in std::mem::take(&mut self.documents) {
            if referenced.contains(&stem) {
                continue;
            }
            match RoleName::parse(&stem) {
                // A role file of its name took the document's place, on purpose or by mistake.
                Some(name) if role_files.contains(&name) => {
                    self.warnings.push(format!("documents/{stem}.json: in no role: roles/{stem}.toml lists others"));
                }
                Some(_) | None => self.by_convention(&stem, document, &mut roles),
            }
        }
        if let Some((emergency, file)) = emergency {
            for listed in file.listed().filter(|listed| roles.contains_key(&listed.role)) {
                // A token would get by its groups what takes the quorum, or the log could not say which of the two it was.
                let message = format!("the role {} exists already: name the emergency's otherwise", listed.role);
                self.problems.push(listed.name.fault(message).in_file(BREAK_GLASS, text));
            }
            self.break_glass = assembled(file, emergency);
        }
        roles.into_iter().filter_map(|(name, role)| role.map(|role| (name, role))).collect()
    }

    /// A role of `break-glass.toml` with its documents.
    fn emergency_role(&mut self, listed: &Listed, text: &[u8]) -> Option<EmergencyRole> {
        if listed.role.as_str() == RESERVED {
            self.problems.push(listed.name.fault(reserved()).in_file(BREAK_GLASS, text));
        }
        let document = self.combined(BREAK_GLASS, &listed.documents, text)?;
        if document.fill(&serde_json::Map::new()).is_err() {
            let message = "its documents hold ${jwt:…}, and in an emergency there is no token to fill it in from";
            self.problems.push(listed.name.fault(message).in_file(BREAK_GLASS, text));
        }
        Some(EmergencyRole::new(listed.role.clone(), document, listed.length))
    }

    /// The documents of a role as one.
    fn combined(&mut self, path: &str, documents: &[Placed], text: &[u8]) -> Option<Document> {
        let mut statements = Vec::new();
        let mut sound = true;
        for listed in documents {
            match self.documents.get(&listed.text) {
                Some(Some(document)) => statements.extend_from_slice(document.statements()),
                // Its own faults are named already.
                Some(None) => sound = false,
                None => {
                    sound = false;
                    let message = format!("there is no documents/{}.json", listed.text.escape_debug());
                    self.problems.push(listed.fault(message).in_file(path, text));
                }
            }
        }
        if !sound {
            return None;
        }
        Document::of(statements)
    }

    /// A document without a role file is a role for the group of exactly its name, as `MinIO` has it with
    /// `claim_name=groups`.
    fn by_convention(&mut self, stem: &str, document: Option<Document>, roles: &mut BTreeMap<RoleName, Option<Role>>) {
        let path = format!("documents/{stem}.json");
        let Some(name) = RoleName::of_document(stem).filter(|_| Group::parse(stem).is_some()) else {
            return self.problem(&path, "its name makes no role (1 to 64 characters): write a roles/*.toml".to_owned());
        };
        if name.as_str() == RESERVED {
            return self.problem(&path, reserved());
        }
        if roles.contains_key(&name) {
            self.problem(&path, format!("it makes the role {name}, which exists already: rename one of the two"));
            return;
        }
        let rule = Rule::of_group(path, stem);
        roles.insert(name, document.map(|document| Role { document, ttl: None, rules: vec![rule] }));
    }

    /// `MinIO` takes the address from `X-Forwarded-For`, whoever sends it.
    fn warn_of_addresses(&mut self, path: &str, document: Option<&Document>) {
        let conditions =
            document.into_iter().flat_map(Document::statements).flat_map(|statement| &statement.conditions);
        if conditions.into_iter().any(|condition| matches!(condition.operator, Operator::Ip(_))) {
            self.warnings
                .push(format!("{path}: MinIO believes X-Forwarded-For from anyone: an address is no safeguard"));
        }
    }

    fn keep<T>(&mut self, path: &str, content: &[u8], read: Result<T, Vec<Fault>>) -> Option<T> {
        read.map_err(|faults| self.problems.extend(faults.into_iter().map(|fault| fault.in_file(path, content)))).ok()
    }

    fn problem(&mut self, path: &str, message: String) {
        self.problems.push(Problem::of_file(path, message));
    }
}

/// The whole of `break-glass.toml`; nothing where a part has a fault, which is named already.
fn assembled(file: BreakGlassFile, roles: Vec<Option<EmergencyRole>>) -> Option<BreakGlass> {
    let mut roles = roles.into_iter().collect::<Option<Vec<_>>>()?;
    let (_, bucket) = file.drill?;
    // The drill's is listed last.
    let role = roles.pop()?;
    Some(BreakGlass {
        quorum: file.quorum?,
        declared_quorum: file.declared_quorum?,
        conditions: file.conditions,
        minimum_outage: file.minimum_outage?,
        review_within: file.review_within?,
        drill_every: file.drill_every?,
        alert_webhook: file.alert_webhook,
        custodians: file.custodians,
        roles,
        drill: Drill { role, bucket },
        emergency_tokens: file.emergency_tokens,
    })
}

fn reserved() -> String {
    format!("{} is reserved for \"every role that matches\": rename it", quoted(RESERVED))
}

/// SHA-256 over every file, name and content each preceded by its length: no two directories share an encoding.
pub(super) fn hash(files: &PolicyFiles) -> PolicyHash {
    let mut context = Context::new(&SHA256);
    context.update(HASH_DOMAIN);
    for part in files.0.iter().flat_map(|(name, content)| [name.as_bytes(), content]) {
        context.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        context.update(part);
    }
    let mut digest = [0; 32];
    digest.copy_from_slice(context.finish().as_ref());
    PolicyHash::new(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = r#"{"Version":"2012-10-17","Statement":{"Effect":"Deny","Action":"admin:*"}}"#;

    fn compiled(files: &[(String, Vec<u8>)]) -> Result<PolicySet, Vec<Problem>> {
        compile(&PolicyFiles(files.iter().cloned().collect()), &[])
    }

    fn documents(n: usize) -> Vec<(String, Vec<u8>)> {
        (0..n).map(|i| (format!("documents/{i}.json"), DOCUMENT.into())).collect()
    }

    #[test]
    fn the_number_and_size_of_files_are_bounded_whoever_reads_them() {
        assert!(compiled(&documents(MOST_FILES)).is_ok());
        assert!(compiled(&documents(MOST_FILES + 1)).unwrap_err()[0].message.contains("at most 256 files"));
        let padded = |n: usize| {
            let mut text = DOCUMENT.as_bytes().to_vec();
            text.resize(n, b' ');
            vec![("documents/a.json".to_owned(), text)]
        };
        assert!(compiled(&padded(MOST_BYTES)).is_ok());
        assert!(compiled(&padded(MOST_BYTES + 1)).unwrap_err()[0].message.contains("longer than"));
    }

    #[test]
    fn the_length_of_names_and_contents_is_part_of_the_hash() {
        let of = |files: &[(&str, &str)]| {
            let files = files.iter().map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec()));
            hash(&PolicyFiles(files.collect()))
        };
        assert_ne!(of(&[("ab", "c")]), of(&[("a", "bc")]));
        assert_ne!(of(&[("a", ""), ("b", "")]), of(&[("a", "b")]));
        assert_eq!(of(&[("b", ""), ("a", "")]), of(&[("a", ""), ("b", "")]));
    }

    #[test]
    fn a_document_name_that_makes_no_role_is_refused() {
        let named = |name: &str| compiled(&[(format!("documents/{name}.json"), DOCUMENT.into())]);
        assert!(named(&"x".repeat(64)).is_ok());
        assert!(named(&"x".repeat(65)).unwrap_err()[0].message.contains("makes no role"));
        assert!(named("a\u{7}b").unwrap_err()[0].message.contains("makes no role"));
        assert!(named("").unwrap_err()[0].message.contains("unknown file"));
        assert!(named("a/b").unwrap_err()[0].message.contains("unknown file"));
    }

    #[test]
    fn a_file_that_is_not_text_is_refused() {
        for name in ["documents/a.json", "roles/a.toml", "operators.toml", "buckets.toml", "break-glass.toml"] {
            let mut files = documents(1);
            files.push((name.to_owned(), vec![0xff, 0xfe]));
            assert!(compiled(&files).unwrap_err().iter().any(|problem| problem.message == "not UTF-8"), "{name}");
        }
    }

    #[test]
    fn deeply_nested_toml_ends_in_an_error() {
        let mut files = documents(1);
        let nested = format!("x = {}{}", "[".repeat(30_000), "]".repeat(30_000));
        files.push(("break-glass.toml".to_owned(), nested.into_bytes()));
        assert!(compiled(&files).is_err());
    }
}
