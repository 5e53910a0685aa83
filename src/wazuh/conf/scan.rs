//! The grammar of `ossec.conf` as Wazuh's own reader (`os_xml.c`) takes it: text → elements and comments with their spans.
//! Never changes the text, never judges what an element means.
//!
//! It is not XML: there may be several roots and text around them, `\<` is a literal `<`, a comment begins with `<!` and ends
//! with `-->` or `!>`, entities are not decoded, and a declaration (`<?xml`) is an error. A backslash does not protect a
//! comment. (Tried with the real reader of 4.14.9.)

use std::ops::Range;

/// Elements inside one another; Wazuh's reader stops at 1,024.
const DEPTH_MAX: usize = 1_024;

/// An element; all of it as ranges of the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Element {
    pub name: Range<usize>,
    /// Names, and values without quotes.
    pub attributes: Vec<(Range<usize>, Range<usize>)>,
    /// From its `<` to behind its last `>`.
    pub span: Range<usize>,
    /// What stands between its tags; empty for `<name/>`.
    pub content: Range<usize>,
    /// Where its parent stands in the list; none for a root.
    pub parent: Option<usize>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Comment {
    /// From its `<!` to behind its last `>`.
    pub span: Range<usize>,
    /// Which element it stands in; none outside all of them.
    pub parent: Option<usize>,
}

/// What a text holds, in order of their beginnings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Document<'a> {
    pub text: &'a [u8],
    pub elements: Vec<Element>,
    pub comments: Vec<Comment>,
}

/// Why Wazuh's reader would not take a text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct ScanError {
    /// From 1.
    pub line: usize,
    pub reason: String,
}

impl<'a> Document<'a> {
    /// The children of an element with this name, in order. Looks at what stands inside that element only.
    pub fn children<'s>(
        &'s self,
        parent: Option<usize>,
        name: &'s str,
    ) -> impl DoubleEndedIterator<Item = (usize, &'s Element)> {
        let (first, end) = match parent {
            None => (0, self.elements.len()),
            Some(index) => {
                let (first, behind) = (index + 1, self.elements[index].span.end);
                (first, first + self.elements[first..].partition_point(|element| element.span.start < behind))
            }
        };
        let elements = (first..end).zip(&self.elements[first..end]);
        elements.filter(move |(_, element)| element.parent == parent && self.at(&element.name) == name.as_bytes())
    }

    /// The sections of this name of every `<ossec_config>`.
    pub fn sections<'s>(&'s self, name: &'s str) -> impl Iterator<Item = (usize, &'s Element)> {
        self.children(None, "ossec_config").flat_map(move |(root, _)| self.children(Some(root), name))
    }

    /// The content of the last child of this name, which is the one that counts.
    pub fn value(&self, parent: usize, name: &str) -> Option<&'a [u8]> {
        self.children(Some(parent), name).next_back().map(|(_, element)| self.at(&element.content))
    }

    pub fn attribute(&self, element: &Element, name: &str) -> Option<&'a [u8]> {
        let found = element.attributes.iter().find(|(key, _)| self.at(key) == name.as_bytes());
        found.map(|(_, value)| self.at(value))
    }

    pub fn at(&self, range: &Range<usize>) -> &'a [u8] {
        &self.text[range.clone()]
    }

    /// The line of a place, from 1.
    pub fn line(&self, at: usize) -> usize {
        line(self.text, at)
    }
}

fn line(text: &[u8], at: usize) -> usize {
    1 + text[..at].iter().filter(|byte| **byte == b'\n').count()
}

/// Reads a text; an error is the first thing that Wazuh's reader would stumble over.
pub fn scan(text: &[u8]) -> Result<Document<'_>, ScanError> {
    let mut document = Document { text, ..Document::default() };
    let mut open: Vec<usize> = Vec::new();
    let mut at = 0;
    while let Some(found) = memchr::memchr(b'<', &text[at..]) {
        let start = at + found;
        match text.get(start + 1) {
            Some(b'!') => {
                let end = comment_end(text, start).ok_or_else(|| error(text, start, "this comment is not closed"))?;
                document.comments.push(Comment { span: start..end, parent: open.last().copied() });
                at = end;
            }
            // An odd number of backslashes protects the sign, an even one only itself.
            _ if text[..start].iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1 => at = start + 1,
            Some(b'?') => return Err(error(text, start, "a declaration (<?…) is not understood by Wazuh")),
            Some(b'/') => {
                let (name, end) = closing_tag(text, start)?;
                let Some(index) = open.pop() else {
                    return Err(error(text, start, &format!("</{}> closes nothing", shown(&text[name]))));
                };
                let element = &mut document.elements[index];
                if text[element.name.clone()] != text[name.clone()] {
                    let reason = format!(
                        "</{}> stands where <{}> is open",
                        shown(&text[name]),
                        shown(&text[element.name.clone()])
                    );
                    return Err(error(text, start, &reason));
                }
                element.content.end = start;
                element.span.end = end;
                at = end;
            }
            _ => {
                let (mut element, is_empty) = opening_tag(text, start)?;
                element.parent = open.last().copied();
                at = element.span.end;
                document.elements.push(element);
                if !is_empty {
                    open.push(document.elements.len() - 1);
                }
                if open.len() > DEPTH_MAX {
                    return Err(error(text, start, "too many elements inside one another"));
                }
            }
        }
    }
    match open.last() {
        None => Ok(document),
        Some(&index) => {
            let element = &document.elements[index];
            Err(error(text, element.span.start, &format!("<{}> is not closed", shown(&text[element.name.clone()]))))
        }
    }
}

/// Behind the `-->` or `!>` that ends the comment at `start`.
fn comment_end(text: &[u8], start: usize) -> Option<usize> {
    let mut at = start + 2;
    loop {
        at += memchr::memchr(b'>', &text[at..])?;
        let inside = &text[start + 2..at];
        if inside.ends_with(b"--") || inside.ends_with(b"!") {
            return Some(at + 1);
        }
        at += 1;
    }
}

fn closing_tag(text: &[u8], start: usize) -> Result<(Range<usize>, usize), ScanError> {
    let end = memchr::memchr(b'>', &text[start..]).map(|at| start + at);
    let end = end.ok_or_else(|| error(text, start, "this tag is not closed"))?;
    let name = &text[start + 2..end];
    let length = name.trim_ascii_end().len();
    Ok((start + 2..start + 2 + length, end + 1))
}

/// An opening tag, and whether it closes itself.
fn opening_tag(text: &[u8], start: usize) -> Result<(Element, bool), ScanError> {
    let unfinished = || error(text, start, "this tag is not closed");
    let is_name = |byte: &u8| !byte.is_ascii_whitespace() && !b"<>/=\"'".contains(byte);
    let length = text[start + 1..].iter().take_while(|byte| is_name(byte)).count();
    if length == 0 {
        return Err(error(text, start, "a < that begins no element (write \\< for the sign itself)"));
    }
    let name = start + 1..start + 1 + length;
    let mut attributes = Vec::new();
    let mut at = name.end;
    loop {
        at += text[at..].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        match text.get(at) {
            None => return Err(unfinished()),
            Some(b'>') => {
                let content = at + 1..at + 1;
                return Ok((Element { name, attributes, span: start..at + 1, content, parent: None }, false));
            }
            Some(b'/') if is_closed(text, at).is_some() => {
                let end = is_closed(text, at).unwrap_or(at);
                return Ok((Element { name, attributes, span: start..end, content: end..end, parent: None }, true));
            }
            Some(_) => {
                let (attribute, end) = attribute(text, start, at)?;
                attributes.push(attribute);
                at = end;
            }
        }
    }
}

/// Behind the `>` that follows the slash at `at`, with blanks between them or not.
fn is_closed(text: &[u8], at: usize) -> Option<usize> {
    let blanks = text[at + 1..].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
    (text.get(at + 1 + blanks) == Some(&b'>')).then_some(at + 2 + blanks)
}

type Attribute = (Range<usize>, Range<usize>);

fn attribute(text: &[u8], tag: usize, start: usize) -> Result<(Attribute, usize), ScanError> {
    let wrong = || error(text, tag, "an attribute of this tag is not of the form name=\"value\"");
    let is_name = |byte: &&u8| !byte.is_ascii_whitespace() && !b"<>/=\"'".contains(byte);
    let name = start..start + text[start..].iter().take_while(is_name).count();
    let blanks = |at: usize| at + text[at..].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
    let equals = blanks(name.end);
    if name.is_empty() || text.get(equals) != Some(&b'=') {
        return Err(wrong());
    }
    let quote_at = blanks(equals + 1);
    let quote = *text.get(quote_at).filter(|byte| matches!(byte, b'"' | b'\'')).ok_or_else(wrong)?;
    let length = memchr::memchr(quote, &text[quote_at + 1..]).ok_or_else(wrong)?;
    let value = quote_at + 1..quote_at + 1 + length;
    let end = value.end + 1;
    Ok(((name, value), end))
}

fn error(text: &[u8], at: usize, reason: &str) -> ScanError {
    ScanError { line: line(text, at), reason: reason.to_owned() }
}

/// A name for a message: short and printable.
fn shown(name: &[u8]) -> String {
    String::from_utf8_lossy(name).chars().filter(|c| !c.is_control()).take(40).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        scan(text.as_bytes()).unwrap().elements.iter().map(|element| text[element.name.clone()].to_owned()).collect()
    }

    #[test]
    fn what_wazuh_takes_is_taken() {
        assert_eq!(names("<a><b x=\"1\" y='2'>t</b></a>\nloose text & more\n<a/>\r\n"), ["a", "b", "a"]);
        assert_eq!(names("\u{feff}<a>x \\<b> y && z &lt;</a>"), ["a"]);
        assert_eq!(names("<a><!-- <b> -- <c> --></a><!- old !><d></d >"), ["a", "d"]);
        assert_eq!(names("<a>\\<!-- <b> --></a>"), ["a"]);
        assert_eq!(names("<a><!></a><!-- x --></a>"), ["a"]);
        assert_eq!(names("<!-->--><a/>"), ["a"]);
        assert_eq!(names("<a>C:\\\\x\\\\</a><b/ ><c/>"), ["a", "b", "c"]);
        assert_eq!(names(""), Vec::<String>::new());
    }

    #[test]
    fn spans_and_values_are_those_of_the_text() {
        let text = "<r>\n <w name=\"command\"><tag>one</tag><tag>two</tag></w>\n</r>";
        let document = scan(text.as_bytes()).unwrap();
        let (root, _) = document.children(None, "r").next().unwrap();
        let (wodle, element) = document.children(Some(root), "w").next().unwrap();
        assert_eq!(&text[element.span.clone()], "<w name=\"command\"><tag>one</tag><tag>two</tag></w>");
        let (name, value) = element.attributes[0].clone();
        assert_eq!((&text[name], &text[value]), ("name", "command"));
        assert_eq!(document.value(wodle, "tag"), Some(&b"two"[..]));
    }

    #[test]
    fn what_wazuh_refuses_is_refused_with_its_line() {
        for (text, line, reason) in [
            ("<a>\n<!-- x", 2, "this comment is not closed"),
            ("<a>\n<b></a>", 2, "</a> stands where <b> is open"),
            ("<a>\n<b>", 2, "<b> is not closed"),
            ("</a>", 1, "</a> closes nothing"),
            ("<?xml version=\"1.0\"?>", 1, "a declaration"),
            ("<a x=1></a>", 1, "an attribute of this tag"),
            ("<a x=\"1></a>", 1, "an attribute of this tag"),
            ("<a", 1, "this tag is not closed"),
            ("<a>1 < 2</a>", 1, "a < that begins no element"),
            ("<![CDATA[x]]>", 1, "this comment is not closed"),
        ] {
            let error = scan(text.as_bytes()).unwrap_err();
            assert!(error.line == line && error.reason.starts_with(reason), "{text}: {error}");
        }
        let deep = "<a>".repeat(2_000);
        assert!(scan(deep.as_bytes()).unwrap_err().reason.contains("inside one another"));
    }
}
