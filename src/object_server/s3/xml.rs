//! XML as a small tree, within bounds: depth, number of elements, no document type. Names lose their namespace, because no
//! two servers agree on it.

use quick_xml::Reader;
use quick_xml::events::{BytesRef, Event};

/// Deeper than any configuration of a bucket.
const DEPTH: usize = 12;
/// A listing of 100 objects has some 1,500.
const MOST_ELEMENTS: usize = 20_000;

/// One element.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::object_server) struct Element {
    name: String,
    text: String,
    children: Vec<Element>,
}

impl Element {
    /// The local name.
    pub(in crate::object_server) fn name(&self) -> &str {
        &self.name
    }

    /// The text, without the space around it.
    pub(in crate::object_server) fn text(&self) -> &str {
        self.text.trim()
    }

    /// The elements inside.
    pub(in crate::object_server) fn children(&self) -> &[Self] {
        &self.children
    }

    /// The first element inside of this name.
    pub(in crate::object_server) fn child(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|child| child.name == name)
    }

    /// All elements inside of this name.
    pub(in crate::object_server) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Self> {
        self.children.iter().filter(move |child| child.name == name)
    }

    /// The text of the first element inside of this name.
    pub(in crate::object_server) fn text_of(&self, name: &str) -> Option<&str> {
        self.child(name).map(Self::text)
    }
}

/// Reads a whole document with one root.
pub(in crate::object_server) fn parse(xml: &[u8]) -> Result<Element, &'static str> {
    let xml = std::str::from_utf8(xml).map_err(|_| "not UTF-8")?;
    let mut reader = Reader::from_str(xml.strip_prefix('\u{feff}').unwrap_or(xml));
    let mut open: Vec<Element> = Vec::new();
    let mut root = None;
    let mut count = 0_usize;
    loop {
        match reader.read_event().map_err(|_| "not well-formed XML")? {
            Event::Start(start) => {
                begin(&open, root.is_some(), &mut count)?;
                open.push(Element { name: start.local_name().as_ref().to_owned(), ..Element::default() });
            }
            Event::Empty(start) => {
                begin(&open, root.is_some(), &mut count)?;
                close(
                    Element { name: start.local_name().as_ref().to_owned(), ..Element::default() },
                    &mut open,
                    &mut root,
                );
            }
            Event::End(_) => {
                let element = open.pop().ok_or("not well-formed XML")?;
                close(element, &mut open, &mut root);
            }
            Event::Text(part) => write(&mut open, &part),
            Event::CData(part) => write(&mut open, &part),
            Event::GeneralRef(reference) => {
                let mut utf8 = [0; 4];
                write(&mut open, character(&reference)?.encode_utf8(&mut utf8));
            }
            Event::DocType(_) => return Err("XML with a document type"),
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
            Event::Eof if !open.is_empty() => return Err("incomplete XML"),
            Event::Eof => return root.ok_or("no XML"),
        }
    }
}

fn begin(open: &[Element], has_root: bool, count: &mut usize) -> Result<(), &'static str> {
    *count += 1;
    match () {
        () if open.len() == DEPTH => Err("XML nested too deep"),
        () if *count > MOST_ELEMENTS => Err("XML with too many elements"),
        () if open.is_empty() && has_root => Err("XML with two roots"),
        () => Ok(()),
    }
}

fn close(element: Element, open: &mut [Element], root: &mut Option<Element>) {
    match open.last_mut() {
        Some(parent) => parent.children.push(element),
        None => *root = Some(element),
    }
}

/// Text outside of the root goes nowhere.
fn write(open: &mut [Element], text: &str) {
    if let Some(element) = open.last_mut() {
        element.text.push_str(text);
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

    const WHOLE: &str =
        "<?xml version=\"1.0\"?><a:List xmlns:a=\"x\"><a:Key> a&amp;b&#33; </a:Key><Key>c</Key><Empty/></a:List>";

    #[test]
    fn a_document_is_read_by_local_names() {
        let list = parse(WHOLE.as_bytes()).unwrap();
        assert_eq!(list.name(), "List");
        assert_eq!(list.all("Key").map(Element::text).collect::<Vec<_>>(), ["a&b!", "c"]);
        assert_eq!(list.text_of("Empty"), Some(""));
        assert!(list.child("Other").is_none());
    }

    #[test]
    fn a_document_that_is_cut_off_at_any_byte_is_refused() {
        for end in 0..WHOLE.len() {
            assert!(parse(&WHOLE.as_bytes()[..end]).is_err(), "{}", &WHOLE[..end]);
        }
    }

    #[test]
    fn what_no_honest_server_sends_is_refused() {
        let deep = format!("{}{}", "<a>".repeat(30_000), "</a>".repeat(30_000));
        assert_eq!(parse(deep.as_bytes()), Err("XML nested too deep"));
        let wide = format!("<a>{}</a>", "<b/>".repeat(MOST_ELEMENTS));
        assert_eq!(parse(wide.as_bytes()), Err("XML with too many elements"));
        assert_eq!(parse(b"<!DOCTYPE a [<!ENTITY b \"c\">]><a>&b;</a>"), Err("XML with a document type"));
        assert_eq!(parse(b"<a>&b;</a>"), Err("an unknown entity"));
        assert_eq!(parse(b"<a/><a/>"), Err("XML with two roots"));
        assert_eq!(parse(b"<a></b>"), Err("not well-formed XML"));
        assert_eq!(parse(b""), Err("no XML"));
    }
}
