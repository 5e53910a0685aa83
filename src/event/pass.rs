//! Passes on members that the table does not know, so that Wazuh can index them: scalars become strings, nulls are left out,
//! what is nested too deep becomes text. Never passes on a value whose name, or whose neighbour, says that it is a secret.

use super::emit::{DEPTH_MAX, Emit, ITEMS_MAX, Key};
use super::fields::Encoding;
use super::headers::REDACTED;
use crate::event::json::{Kind, Line, Value, each_item, each_member};
use crate::event::percent::Left;
use crate::event::text::{Place, write_text};

impl Emit<'_> {
    /// Passes a value of the line through as a member, its strings decoded as `encoding` says.
    pub(super) fn pass(&mut self, line: Line<'_>, key: Key<'_>, value: Value, encoding: Encoding) {
        if value.kind() == Kind::Null || !self.has_room(key.bytes()) {
            return;
        }
        if self.secrets.named(key.bytes()) {
            self.text(key, REDACTED.into(), None);
        } else if matches!(value.kind(), Kind::Object | Kind::Array) && self.open.len() < DEPTH_MAX {
            if self.key(key) {
                self.nested(line, key.bytes(), value, encoding);
            }
        } else {
            self.pass_text(line, key, value, encoding);
        }
    }

    fn pass_text(&mut self, line: Line<'_>, key: Key<'_>, value: Value, encoding: Encoding) {
        let mut unescaped = Vec::new();
        let Some(text) = self.secrets.redacted(line.text(value, &mut unescaped).bytes) else {
            self.note_cut(key.bytes());
            return;
        };
        if is_encoded(value, encoding) {
            let mut decoder = std::mem::take(self.decoder);
            self.text(key, decoder.decode((&*text).into(), Left::CONTROLS), Some(&text));
            *self.decoder = decoder;
        } else {
            self.text(key, (&*text).into(), None);
        }
    }

    /// An object or array whose name is already written.
    fn nested(&mut self, line: Line<'_>, key: &[u8], value: Value, encoding: Encoding) {
        self.enter(key);
        if value.kind() == Kind::Object {
            self.members(line, value, encoding);
        } else {
            self.fields += 1;
            self.items(line, value, encoding);
        }
        self.leave();
    }

    fn members(&mut self, line: Line<'_>, object: Value, encoding: Encoding) {
        self.out.push(b'{');
        // One such as {"name":"Cookie","value":"..."}.
        let mut names_a_secret = false;
        let mut text = Vec::new();
        if !self.secrets.is_empty() {
            each_member(line.bytes, object, |_, value| {
                names_a_secret |= is_text(value) && self.secrets.named(line.text(value, &mut text).bytes);
                !names_a_secret
            });
        }
        let mut name = Vec::new();
        each_member(line.bytes, object, |key, value| {
            let key = Key::Found(line.text(key, &mut name));
            let is_name = is_text(value) && self.secrets.named(line.text(value, &mut text).bytes);
            if !names_a_secret || is_name || value.kind() == Kind::Null {
                self.pass(line, key, value, encoding);
            } else if self.has_room(key.bytes()) {
                self.text(key, REDACTED.into(), None);
            }
            !self.is_full()
        });
        self.out.push(b'}');
    }

    /// The items of an array; whatever they hold, Wazuh counts the array as one field.
    fn items(&mut self, line: Line<'_>, array: Value, encoding: Encoding) {
        let fields = self.fields;
        self.out.push(b'[');
        let mut items = 0;
        let mut text = Vec::new();
        // One such as ["Cookie","..."].
        let mut is_secret = false;
        each_item(line.bytes, array, |item| {
            if items == ITEMS_MAX || self.is_full() {
                self.note_cut(b"[]");
                return false;
            }
            if item.kind() == Kind::Null {
                return true;
            }
            if items > 0 {
                self.out.push(b',');
            }
            items += 1;
            let is_name = is_text(item) && self.secrets.named(line.text(item, &mut text).bytes);
            if is_secret && !is_name {
                write_text(self.out, REDACTED.into(), Place::Item);
            } else if matches!(item.kind(), Kind::Object | Kind::Array) && self.open.len() < DEPTH_MAX {
                self.nested(line, b"", item, encoding);
            } else {
                self.item_text(line, item, encoding);
            }
            is_secret = is_name;
            self.fields = fields;
            true
        });
        self.out.push(b']');
    }

    fn item_text(&mut self, line: Line<'_>, item: Value, encoding: Encoding) {
        let mut unescaped = Vec::new();
        let text = self.secrets.redacted(line.text(item, &mut unescaped).bytes);
        let text = text.as_deref().unwrap_or(REDACTED).into();
        let text = if is_encoded(item, encoding) { self.decoder.decode(text, Left::CONTROLS) } else { text };
        let written = write_text(self.out, text, Place::Item);
        if written.cut {
            self.note_cut(b"[]");
        }
    }
}

fn is_text(value: Value) -> bool {
    matches!(value.kind(), Kind::Text | Kind::EscapedText)
}

fn is_encoded(value: Value, encoding: Encoding) -> bool {
    encoding == Encoding::UnknownPercent && is_text(value)
}
