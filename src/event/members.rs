//! The members of one event, each found and resolved once: which field it is and how it is encoded. Never writes.

use super::fields::{Encoding, FIELDS_MAX, Found, KnownField, OBJECTS, Object, RuleList, reserved_at_top_level};
use super::line_hash::LineHash;
use super::names::Name;
use super::rule_lists::RuleLists;
use crate::event::blocks::{Percent, holds};
use crate::event::json::{Kind, Line, MEMBERS_MAX, Member, Tape, Text, Value, each_item};
use crate::event::percent::{Left, PercentDecoder};
use crate::event::text::{TEXT_BYTES_MAX, is_taken_by_stock_decoder};

/// What a top-level member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TopLevel {
    /// One of Akamai's objects, or a second one of the same name.
    Object(Object),
    /// `type`, `format` or `version`, which say what the line is.
    Format(&'static str),
    /// A name that Wazuh would take for something else.
    Reserved,
    /// A name we do not know.
    Unknown,
}

/// A field of one of Akamai's objects.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field {
    /// Its name as Akamai spells it, where the table has it.
    pub(super) name: Option<&'static Name>,
    pub(super) encoding: Encoding,
    /// Null, or a known field that the object had before: it is not passed on.
    pub(super) skipped: bool,
    /// It needs no change: it can be written, name and value, exactly as it stands in the line.
    pub(super) as_it_came: bool,
}

/// What the members are, in the order of the tape. Kept from event to event for its memory.
#[derive(Debug, Default)]
pub(super) struct Resolved {
    top: Vec<TopLevel>,
    inner: Vec<Field>,
    /// For each field of the table, 1 + where its member stands on the tape; 0 where the event lacks it.
    known: [[u16; FIELDS_MAX]; OBJECTS],
    name: Vec<u8>,
}

/// Memory for the text of a field, used again.
#[derive(Debug, Default)]
pub(super) struct TextMemory {
    pub(super) unescaped: Vec<u8>,
    decoder: PercentDecoder,
}

/// The members of one event.
#[derive(Clone, Copy)]
pub(super) struct Members<'a> {
    pub(super) line: Line<'a>,
    tape: &'a Tape,
    resolved: &'a Resolved,
    objects: [Option<&'a Member>; OBJECTS],
}

impl<'a> Members<'a> {
    /// Resolves the names of a line that has been scanned.
    pub(super) fn resolve(line: &'a [u8], tape: &'a Tape, resolved: &'a mut Resolved) -> Self {
        let line = Line { bytes: line, printable: tape.printable };
        resolved.top.clear();
        resolved.inner.clear();
        resolved.known = Default::default();
        let mut objects = [None; OBJECTS];
        for member in &tape.top {
            let what = top_level(line.text(member.key, &mut resolved.name).bytes);
            resolved.top.push(what);
            let mut known = [0; FIELDS_MAX];
            for at in tape.children(member) {
                let child = &tape.inner[at];
                let Found { field, encoding, exact } = match what {
                    TopLevel::Object(object) => object.field(line.text(child.key, &mut resolved.name).bytes),
                    _ => Found { field: None, encoding: Encoding::Unknown, exact: false },
                };
                let mut skipped = child.value.kind() == Kind::Null;
                if let Some((place, _)) = field {
                    skipped |= known[place] != 0;
                    if !skipped {
                        known[place] = slot(at);
                    }
                }
                let as_it_came = exact && !skipped && line.printable && needs_no_change(line.bytes, child, encoding);
                resolved.inner.push(Field { name: field.map(|(_, name)| name), encoding, skipped, as_it_came });
            }
            if let TopLevel::Object(object) = what
                && member.value.kind() != Kind::Null
                && objects[object as usize].is_none()
            {
                objects[object as usize] = Some(member);
                resolved.known[object as usize] = known;
            }
        }
        Self { line, tape, resolved, objects }
    }

    /// The members of the line, in order.
    pub(super) fn top(&self) -> impl Iterator<Item = (TopLevel, &'a Member)> {
        self.resolved.top.iter().copied().zip(&self.tape.top)
    }

    /// The members of an object, in order: what they are and where they stand.
    pub(super) fn of(&self, member: &Member) -> (&'a [Field], &'a [Member]) {
        let children = self.tape.children(member);
        (&self.resolved.inner[children.clone()], &self.tape.inner[children])
    }

    /// The first member of this name that is not null.
    pub(super) fn object(&self, object: Object) -> Option<&'a Member> {
        self.objects[object as usize]
    }

    /// Whether the event has this object and it is one.
    pub(super) fn has(&self, object: Object) -> bool {
        self.object(object).is_some_and(|member| member.value.kind() == Kind::Object)
    }

    /// The first value of a top-level name that says what the line is.
    pub(super) fn format(&self, name: &'static str) -> Option<Value> {
        self.top()
            .find(|(what, member)| *what == TopLevel::Format(name) && is_plain(member.value))
            .map(|(_, member)| member.value)
    }

    /// The text of a field as Akamai sent it; empty where the event lacks it.
    pub(super) fn source_text<'t>(&self, field: KnownField, scratch: &'t mut Vec<u8>) -> Text<'t>
    where
        'a: 't,
    {
        let slot = usize::from(self.resolved.known[field.object as usize][field.index]);
        match slot.checked_sub(1).and_then(|at| self.tape.inner.get(at)) {
            Some(child) if is_plain(child.value) => self.line.text(child.value, scratch),
            _ => "".into(),
        }
    }

    /// The same, decoded as its object says.
    pub(super) fn text<'t>(&self, field: KnownField, memory: &'t mut TextMemory) -> Text<'t>
    where
        'a: 't,
    {
        let TextMemory { unescaped, decoder } = memory;
        let source = self.source_text(field, unescaped);
        if field.object != Object::HttpMessage || !holds::<Percent>(source.bytes) {
            return source;
        }
        decoder.decode(source, Left::CONTROLS)
    }

    /// Decodes the rule lists of `attackData`; `hash` goes on between them.
    pub(super) fn read_rule_lists(&self, lists: &mut RuleLists, scratch: &mut Vec<u8>, hash: &mut LineHash<'_>) {
        lists.clear();
        let Some(attack_data) = self.object(Object::AttackData) else { return };
        let (fields, children) = self.of(attack_data);
        for (field, child) in fields.iter().zip(children) {
            if let Encoding::RuleList(list) = field.encoding
                && !field.skipped
            {
                hash.step();
                self.read_rule_list(lists, list, child.value, scratch);
                if self.line.is_cut(child.value) {
                    lists.note_cut(list);
                }
            }
        }
    }

    fn read_rule_list(&self, lists: &mut RuleLists, list: RuleList, value: Value, scratch: &mut Vec<u8>) {
        match value.kind() {
            Kind::Null => {}
            Kind::Text | Kind::EscapedText => lists.read(list, self.line.text(value, scratch)),
            // Not seen so far: a list that comes as one has nothing to decode.
            Kind::Array => {
                lists.begin(list);
                each_item(self.line.bytes, value, |item| lists.push(list, self.line.text(item, scratch).bytes));
            }
            Kind::Scalar | Kind::Object => {
                lists.begin(list);
                lists.push(list, self.line.text(value, scratch).bytes);
            }
        }
    }
}

/// A text, number, true or false.
pub(super) fn is_plain(value: Value) -> bool {
    matches!(value.kind(), Kind::Text | Kind::EscapedText | Kind::Scalar)
}

/// Whether a member of a printable line, whose name needs no change, needs none at all: its value is a text without escapes,
/// and there are no blanks around the colon. Says the same as `objects` does, which decodes and writes the others.
fn needs_no_change(line: &[u8], member: &Member, encoding: Encoding) -> bool {
    let text = member.value.source(line);
    let same_decoded = match encoding {
        Encoding::Plain => true,
        Encoding::Percent | Encoding::PercentAsSent => !holds::<Percent>(text),
        _ => false,
    };
    let same_written = text.first() != Some(&b'[') && text.len() <= TEXT_BYTES_MAX && !is_taken_by_stock_decoder(text);
    same_decoded && same_written && member.is_tight()
}

/// 1 + the place of a member on the tape.
fn slot(at: usize) -> u16 {
    const { assert!(MEMBERS_MAX < u16::MAX as usize) }
    u16::try_from(at + 1).unwrap_or_default()
}

fn top_level(name: &[u8]) -> TopLevel {
    if let Some(object) = Object::named(name) {
        return TopLevel::Object(object);
    }
    let format = ["type", "format", "version"].into_iter().find(|known| name.eq_ignore_ascii_case(known.as_bytes()));
    match format {
        Some(known) => TopLevel::Format(known),
        None if reserved_at_top_level(name) => TopLevel::Reserved,
        None => TopLevel::Unknown,
    }
}
