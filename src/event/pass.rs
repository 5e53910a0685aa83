//! Passes on members that the table does not know, so that Wazuh can index them: scalars become strings, nulls are left out,
//! what is nested too deep becomes text. Never passes on a value whose name, or whose neighbour, says that it is a secret.

use std::borrow::Cow;

use super::emit::{DEPTH_MAX, Emit, ITEMS_MAX, MemberKey};
use super::fields::Encoding;
use super::headers::REDACTED;
use super::json::{JsonKind, JsonValue};
use super::percent::{Left, decode};
use super::text::{Place, write_text};

impl Emit<'_> {
    /// Passes a value of the line through as a member, its strings decoded as `encoding` says.
    pub(super) fn pass(&mut self, key: MemberKey<'_>, value: JsonValue<'_>, encoding: Encoding) {
        if value.is_null() || !self.has_room(key.bytes()) {
            return;
        }
        if self.secrets.named(key.bytes()) {
            self.text(key, REDACTED, None);
        } else if value.has_members() && self.depth() < DEPTH_MAX {
            if self.key(key) {
                self.nested(key.bytes(), value, encoding);
            }
        } else if let Some(text) = self.secrets.redacted(&value.text()) {
            let original = if is_encoded(value, encoding) { Some(&*text) } else { None };
            self.text(key, &shown(&text, value, encoding), original);
        } else {
            self.note_cut(key.bytes());
        }
    }

    /// An object or array whose name is already written.
    fn nested(&mut self, key: &[u8], value: JsonValue<'_>, encoding: Encoding) {
        self.enter(key);
        if value.kind == JsonKind::Object {
            self.members(value, encoding);
        } else {
            self.fields += 1;
            self.items(value, encoding);
        }
        self.leave();
    }

    fn members(&mut self, object: JsonValue<'_>, encoding: Encoding) {
        self.out.push(b'{');
        // One such as {"name":"Cookie","value":"..."}.
        let names_a_secret = object.members().any(|(_, value)| self.names_a_secret(value));
        for (key, value) in object.members() {
            let name = key.text();
            let key = MemberKey::Found(&name);
            if !names_a_secret || value.is_null() || self.names_a_secret(value) {
                self.pass(key, value, encoding);
            } else if self.has_room(key.bytes()) {
                self.text(key, REDACTED, None);
            }
            if self.is_full() {
                break;
            }
        }
        self.out.push(b'}');
    }

    /// The items of an array; whatever they hold, Wazuh counts the array as one field.
    fn items(&mut self, array: JsonValue<'_>, encoding: Encoding) {
        let fields = self.fields;
        self.out.push(b'[');
        // The item before is one such as in ["Cookie","..."].
        let mut is_secret = false;
        for (index, item) in array.items().filter(|item| !item.is_null()).enumerate() {
            if index == ITEMS_MAX || self.is_full() {
                self.note_cut(b"[]");
                break;
            }
            if index > 0 {
                self.out.push(b',');
            }
            let is_name = self.names_a_secret(item);
            if is_secret && !is_name {
                write_text(self.out, REDACTED, Place::Item);
            } else if item.has_members() && self.depth() < DEPTH_MAX {
                self.nested(b"", item, encoding);
            } else {
                let text = item.text();
                let text = self.secrets.redacted(&text).unwrap_or(REDACTED.into());
                if write_text(self.out, &shown(&text, item, encoding), Place::Item).cut {
                    self.note_cut(b"[]");
                }
            }
            is_secret = is_name;
            self.fields = fields;
        }
        self.out.push(b']');
    }

    fn names_a_secret(&self, value: JsonValue<'_>) -> bool {
        value.is_text() && !self.secrets.is_empty() && self.secrets.named(&value.text())
    }
}

fn shown<'t>(text: &'t [u8], value: JsonValue<'_>, encoding: Encoding) -> Cow<'t, [u8]> {
    if is_encoded(value, encoding) { decode(text, Left::Controls) } else { text.into() }
}

fn is_encoded(value: JsonValue<'_>, encoding: Encoding) -> bool {
    encoding == Encoding::UnknownPercent && value.is_text()
}
