//! Writes Akamai's own objects, each member decoded as the table in `fields` says. Never adds a member but `<key>Raw`.

use super::EventSettings;
use super::emit::{Emit, Key};
use super::fields::{Encoding, Object, RuleList};
use super::header_lines::header_lines_into;
use super::headers::{HEADERS_LEFT, Headers, REDACTED, RedactedText};
use super::line_hash::LineHash;
use super::members::{Field, Members, is_plain};
use super::rule_lists::{RuleLists, custom_text};
use crate::event::blocks::{Percent, holds};
use crate::event::json::{Kind, Member, Text, Value};
use crate::event::percent::{Left, PercentDecoder};

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
            Encoding::RuleList(list) => self.write_rule_list(emit, key, value, list),
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

    fn write_rule_list(&mut self, emit: &mut Emit<'_>, key: Key<'_>, value: Value, list: RuleList) {
        let secrets = emit.secrets;
        let mut selectors = self.lists.items(RuleList::Selectors);
        let selectors_cut = !secrets.is_empty() && self.lists.is_cut(RuleList::Selectors);
        let mut redacts = false;
        let items = self.lists.texts(list).map(|item| {
            // Of one whose selector was cut off nobody knows.
            let of = |selector: Option<&[u8]>| selector.map_or(selectors_cut, |name| secrets.selected_by(name));
            let is_secret = list == RuleList::Data && of(selectors.next());
            redacts |= is_secret;
            if is_secret && !item.bytes.is_empty() { Text::plain(REDACTED) } else { item }
        });
        let written = emit.list(key, items);
        if self.lists.is_cut(list) {
            emit.note_cut(key.bytes());
        }
        if written.lossy && !redacts {
            emit.raw(key.bytes(), self.members.line.text(value, &mut self.memory.unescaped).bytes);
        }
    }

    fn write_headers(&mut self, emit: &mut Emit<'_>, key: Key<'_>, value: Value) {
        let ObjectMemory { headers, unescaped, decoder, redacted, .. } = &mut *self.memory;
        let mut lines = Vec::new();
        let original = if is_plain(value) {
            self.members.line.text(value, unescaped)
        } else {
            header_lines_into(self.members.line, value, emit.secrets, &mut lines);
            lines.as_slice().into()
        };
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
        if self.members.line.is_cut(value) {
            emit.note_cut(key.bytes());
        }
    }

    fn write_custom(&mut self, emit: &mut Emit<'_>, key: Key<'_>, value: Value) {
        let line = self.members.line;
        let decoded = match value.kind() {
            Kind::Text | Kind::EscapedText if !emit.secrets.named(key.bytes()) => {
                custom_text(line.text(value, &mut self.memory.unescaped).bytes)
            }
            _ => None,
        };
        let Some(decoded) = decoded else {
            emit.pass(line, key, value, Encoding::Unknown);
            return;
        };
        match emit.secrets.redacted(&decoded) {
            Some(text) => {
                emit.text(key, (&*text).into(), None);
                if *text == decoded {
                    emit.raw(key.bytes(), line.text(value, &mut self.memory.unescaped).bytes);
                }
            }
            None => emit.note_cut(key.bytes()),
        }
    }

    /// A value where an object is due. It stays an object: a text here and an object there would lose alerts in the index.
    fn write_misplaced(&mut self, emit: &mut Emit<'_>, object: Object, value: Value) {
        match object {
            Object::Custom => self.write_custom(emit, Key::Known("value"), value),
            _ => emit.pass(self.members.line, Key::Known("value"), value, Encoding::Unknown),
        }
    }
}
