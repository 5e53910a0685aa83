//! Headers that come as JSON instead of one text: as a list of lines, of pairs, of objects with a name and a value, or as an
//! object with the names as keys. Makes the text of them that Akamai sends otherwise. Never shows the value of a secret one.

use super::headers::REDACTED;
use super::secrets::Secrets;
use crate::event::json::{Kind, Line, Value, each_item, each_member};

/// Bytes of the text; a line of Wazuh's cannot hold as much.
const HEADERS_BYTES_MAX: usize = 128 << 10;

/// Appends the headers of `value`, a line each.
pub(super) fn header_lines_into(line: Line<'_>, value: Value, secrets: Secrets<'_>, out: &mut Vec<u8>) {
    let mut lines = HeaderLines { line, secrets, out };
    match value.kind() {
        Kind::Array => each_item(line.bytes, value, |item| lines.item(item)),
        Kind::Object => lines.object(value),
        _ => {}
    }
}

struct HeaderLines<'a, 'o> {
    line: Line<'a>,
    secrets: Secrets<'a>,
    out: &'o mut Vec<u8>,
}

impl HeaderLines<'_, '_> {
    /// Returns false once there is no room for more.
    fn item(&mut self, item: Value) -> bool {
        match item.kind() {
            Kind::Null => {}
            Kind::Object => self.object(item),
            Kind::Array => self.pair(item),
            Kind::Text | Kind::EscapedText | Kind::Scalar => self.add(&self.text(item)),
        }
        self.out.len() < HEADERS_BYTES_MAX
    }

    /// One header, or an object with their names as keys.
    fn object(&mut self, object: Value) {
        let (mut name, mut has_name) = (Vec::new(), false);
        each_member(self.line.bytes, object, |key, value| {
            has_name = [&b"name"[..], b"key", b"header"].iter().any(|word| self.text(key).eq_ignore_ascii_case(word));
            if has_name {
                name = self.text(value);
            }
            !has_name
        });
        each_member(self.line.bytes, object, |key, value| {
            if !has_name {
                self.header(&self.text(key), value);
            } else if self.text(key).eq_ignore_ascii_case(b"value") {
                self.header(&name, value);
            }
            self.out.len() < HEADERS_BYTES_MAX
        });
    }

    fn pair(&mut self, pair: Value) {
        let mut name = None;
        each_item(self.line.bytes, pair, |item| {
            match &name {
                None => name = Some(self.text(item)),
                Some(name) => self.header(name, item),
            }
            self.out.len() < HEADERS_BYTES_MAX
        });
    }

    fn header(&mut self, name: &[u8], value: Value) {
        let value = if self.secrets.named(name) { REDACTED.to_vec() } else { self.text(value) };
        self.add(&[name, b": ", &value].concat());
    }

    /// The text of a value; of one that has members, what may be shown of its source.
    fn text(&self, value: Value) -> Vec<u8> {
        let mut text = Vec::new();
        let text = self.line.text(value, &mut text).bytes;
        match value.kind() {
            Kind::Object | Kind::Array => {
                self.secrets.redacted(text).map_or(REDACTED.to_vec(), |text| text.into_owned())
            }
            _ => text.to_vec(),
        }
    }

    /// One line: what it holds ends none.
    fn add(&mut self, text: &[u8]) {
        let line_end = |byte: u8| if matches!(byte, b'\r' | b'\n') { b' ' } else { byte };
        self.out.extend(text.iter().take(HEADERS_BYTES_MAX).map(|&byte| line_end(byte)));
        self.out.push(b'\n');
    }
}
