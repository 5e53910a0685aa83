//! Writes Akamai's own objects, each member decoded as the table in `fields` says. Never adds a member but `<key>Raw`.

use super::EventSettings;
use super::emit::{Emit, Key};
use super::fields::{Encoding, Object};
use super::headers::{HEADERS_LEFT, Headers, REDACTED, RedactedText};
use super::line_hash::LineHash;
use super::members::{Field, Members, is_plain};
use super::rule_lists::{RuleLists, custom_text};
use super::unparsed::redacted_raw;
use crate::siem::blocks::{Percent, holds};
use crate::siem::json::{Kind, Member, Value};
use crate::siem::percent::{Left, PercentDecoder};

/// Memory that is used again from event to event.
#[derive(Debug, Default)]
pub(super) struct ObjectMemory {
    headers: Headers,
    key: Vec<u8>,
    unescaped: Vec<u8>,
    decoder: PercentDecoder,
    redacted: RedactedText,
}

/// Writes the objects of one event.
pub(super) struct ObjectWriter<'a, 'l> {
    pub(super) members: Members<'a>,
    pub(super) lists: &'a RuleLists,
    pub(super) settings: &'a EventSettings,
    pub(super) memory: &'a mut ObjectMemory,
    /// Receives the value of the request's `User-Agent`.
    pub(super) user_agent: &'a mut Vec<u8>,
    /// Goes on between the members.
    pub(super) hash: &'a mut LineHash<'l>,
}

impl ObjectWriter<'_, '_> {
    /// Writes the object that `member` is.
    pub(super) fn write(&mut self, emit: &mut Emit<'_>, object: Object, member: &Member) {
        emit.open(object.name());
        if member.value.kind() == Kind::Object {
            let (fields, children) = self.members.of(member);
            let mut at = 0;
            while at < fields.len() {
                self.hash.step();
                let copied = self.copy_run(emit, &fields[at..], &children[at..]);
                if copied == 0 {
                    self.write_member(emit, &fields[at], &children[at]);
                }
                at += copied.max(1);
            }
        } else {
            self.write_misplaced(emit, object, member.value);
        }
        emit.close();
    }

    /// Writes the members that `children` begins with and that stand in the event as they stand in the line; returns how
    /// many they are. Most members are such, side by side: copying them together is far quicker than one by one.
    fn copy_run(&self, emit: &mut Emit<'_>, fields: &[Field], children: &[Member]) -> usize {
        let follows = |at: usize| at == 0 || children[at].follows(&children[at - 1]);
        let count = (0..fields.len()).take_while(|&at| fields[at].as_it_came && follows(at)).count();
        let copied = count > 0 && emit.run(Member::source_of(&children[..count], self.members.line.bytes), count);
        if copied { count } else { 0 }
    }

    fn write_member(&mut self, emit: &mut Emit<'_>, field: &Field, child: &Member) {
        if field.skipped {
            return;
        }
        let mut key_memory = std::mem::take(&mut self.memory.key);
        let key = match field.name {
            Some(name) => Key::Field(name),
            None => Key::Found(self.members.line.text(child.key, &mut key_memory)),
        };
        if emit.has_room(key.bytes()) {
            self.write_field(emit, key, child.value, field.encoding);
        }
        self.memory.key = key_memory;
    }

    /// Decodes a value as the table says. For most members that changes nothing, and they do not come here:
    /// `members::needs_no_change` must know of every encoding by which it might.
    fn write_field(&mut self, emit: &mut Emit<'_>, key: Key<'_>, value: Value, encoding: Encoding) {
        let line = self.members.line;
        match encoding {
            Encoding::Plain => emit.text(key, line.text(value, &mut self.memory.unescaped), None),
            Encoding::Percent | Encoding::PercentAsSent => self.write_percent(emit, key, value, encoding),
            Encoding::Headers => self.write_headers(emit, key, value),
            Encoding::RuleList(list) => {
                if emit.list(key, self.lists.texts(list)).lossy {
                    emit.raw(key.bytes(), line.text(value, &mut self.memory.unescaped).bytes);
                }
            }
            Encoding::UnknownBase64 => self.write_custom(emit, key, value),
            Encoding::Unknown | Encoding::UnknownPercent => emit.pass(line, key, value, encoding),
        }
    }

    fn write_percent(&mut self, emit: &mut Emit<'_>, key: Key<'_>, value: Value, encoding: Encoding) {
        let original = self.members.line.text(value, &mut self.memory.unescaped);
        if !holds::<Percent>(original.bytes) {
            emit.text(key, original, None);
            return;
        }
        let decoded = self.memory.decoder.decode(original, Left::CONTROLS);
        emit.text(key, decoded, Some(original.bytes));
        if encoding == Encoding::PercentAsSent && decoded.bytes != original.bytes {
            emit.raw(key.bytes(), original.bytes);
        }
    }

    fn write_headers(&mut self, emit: &mut Emit<'_>, key: Key<'_>, value: Value) {
        if !is_plain(value) {
            self.write_opaque(emit, key, value);
            return;
        }
        let ObjectMemory { headers, unescaped, decoder, redacted, .. } = &mut *self.memory;
        let original = self.members.line.text(value, unescaped);
        let decoded = decoder.decode(original, HEADERS_LEFT);
        headers.read(decoded, &self.settings.redact_headers);
        if let Some(agent) = headers.user_agent.clone().filter(|_| key.bytes() == b"requestHeaders") {
            self.user_agent.clear();
            self.user_agent.extend_from_slice(if headers.hides_user_agent() {
                REDACTED
            } else {
                &decoded.bytes[agent]
            });
        }
        let text = if headers.secrets.is_empty() { decoded } else { headers.redacted(decoded, redacted) };
        emit.lines(key, text, |encoded| headers.redact_encoded_into(original.bytes, encoded));
    }

    fn write_custom(&mut self, emit: &mut Emit<'_>, key: Key<'_>, value: Value) {
        let text = match value.kind() {
            Kind::Text | Kind::EscapedText => {
                custom_text(self.members.line.text(value, &mut self.memory.unescaped).bytes)
            }
            _ => None,
        };
        match text {
            Some(text) => emit.text(key, text.as_slice().into(), None),
            None => emit.pass(self.members.line, key, value, Encoding::Unknown),
        }
    }

    /// A value where an object is due. It stays an object: a text here and an object there would lose alerts in the index.
    fn write_misplaced(&mut self, emit: &mut Emit<'_>, object: Object, value: Value) {
        match object {
            Object::Custom => self.write_custom(emit, Key::Known("value"), value),
            Object::HttpMessage => self.write_opaque(emit, Key::Known("value"), value),
            _ => emit.pass(self.members.line, Key::Known("value"), value, Encoding::Unknown),
        }
    }

    /// A value of a kind that does not belong here and may hold headers: its source as text, redacted or left out.
    fn write_opaque(&mut self, emit: &mut Emit<'_>, key: Key<'_>, value: Value) {
        match redacted_raw(value.source(self.members.line.bytes), &self.settings.redact_headers) {
            Some(raw) => emit.text(key, raw.as_slice().into(), None),
            None => emit.note_cut(key.bytes()),
        }
    }
}
