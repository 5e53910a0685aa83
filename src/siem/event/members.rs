//! The members of one event, each found and resolved once: which field it is and how it is encoded. Never writes.

use super::fields::{Encoding, OBJECTS, Object, RuleList, reserved_at_top_level};
use super::rule_lists::RuleLists;
use crate::siem::json::{Kind, Line, Member, Tape, Text, Value, each_item};
use crate::siem::text::percent_decode_into;

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
    pub(super) name: Option<&'static str>,
    pub(super) encoding: Encoding,
    /// Null, or a known field that the object had before: it is not passed on.
    pub(super) skipped: bool,
}

/// What the members are, in the order of the tape. Kept from event to event for its memory.
#[derive(Debug, Default)]
pub(super) struct Resolved {
    top: Vec<TopLevel>,
    inner: Vec<Field>,
    name: Vec<u8>,
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
        let mut objects = [None; OBJECTS];
        for member in &tape.top {
            let what = top_level(line.text(member.key, &mut resolved.name).bytes);
            resolved.top.push(what);
            let (mut seen, mut expected) = (0_u32, 0);
            for child in &tape.inner[tape.children(member)] {
                let (known, encoding) = match what {
                    TopLevel::Object(object) => object.field(line.text(child.key, &mut resolved.name).bytes, expected),
                    _ => (None, Encoding::Unknown),
                };
                let bit = known.map_or(0, |(index, _)| 1 << index);
                expected = known.map_or(expected, |(index, _)| index + 1);
                let skipped = child.value.kind == Kind::Null || seen & bit != 0;
                if !skipped {
                    seen |= bit;
                }
                resolved.inner.push(Field { name: known.map(|(_, name)| name), encoding, skipped });
            }
            if let TopLevel::Object(object) = what
                && member.value.kind != Kind::Null
            {
                objects[object as usize].get_or_insert(member);
            }
        }
        Self { line, tape, resolved, objects }
    }

    /// The members of the line, in order.
    pub(super) fn top(&self) -> impl Iterator<Item = (TopLevel, &'a Member)> {
        self.resolved.top.iter().copied().zip(&self.tape.top)
    }

    /// The members of an object, in order.
    pub(super) fn of(&self, member: &Member) -> impl Iterator<Item = (Field, &'a Member)> {
        let children = self.tape.children(member);
        self.resolved.inner[children.clone()].iter().copied().zip(&self.tape.inner[children])
    }

    /// The first member of this name that is not null.
    pub(super) fn object(&self, object: Object) -> Option<&'a Member> {
        self.objects[object as usize]
    }

    /// Whether the event has this object and it is one.
    pub(super) fn has(&self, object: Object) -> bool {
        self.object(object).is_some_and(|member| member.value.kind == Kind::Object)
    }

    /// The first value of a top-level name that says what the line is.
    pub(super) fn format(&self, name: &'static str) -> Option<Value> {
        self.top()
            .find(|(what, member)| *what == TopLevel::Format(name) && is_plain(member.value))
            .map(|(_, member)| member.value)
    }

    /// The text of a field as Akamai sent it; empty where the event lacks it.
    pub(super) fn source_text<'t>(&self, object: Object, name: &str, scratch: &'t mut Vec<u8>) -> Text<'t>
    where
        'a: 't,
    {
        let value = self
            .object(object)
            .and_then(|member| self.of(member).find(|(field, _)| field.name == Some(name) && !field.skipped));
        match value {
            Some((_, child)) if is_plain(child.value) => self.line.text(child.value, scratch),
            _ => "".into(),
        }
    }

    /// The same, decoded as its object says.
    pub(super) fn text<'t>(&self, object: Object, name: &str, memory: &'t mut [Vec<u8>; 2]) -> Text<'t>
    where
        'a: 't,
    {
        let [unescaped, decoded] = memory;
        let source = self.source_text(object, name, unescaped);
        if object != Object::HttpMessage || memchr::memchr(b'%', source.bytes).is_none() {
            return source;
        }
        decoded.clear();
        percent_decode_into(source.bytes, decoded);
        decoded.as_slice().into()
    }

    /// Decodes the rule lists of `attackData`.
    pub(super) fn read_rule_lists(&self, lists: &mut RuleLists, scratch: &mut Vec<u8>) {
        lists.clear();
        let Some(attack_data) = self.object(Object::AttackData) else { return };
        for (field, child) in self.of(attack_data) {
            if let Encoding::RuleList(list) = field.encoding
                && !field.skipped
            {
                self.read_rule_list(lists, list, child.value, scratch);
            }
        }
    }

    fn read_rule_list(&self, lists: &mut RuleLists, list: RuleList, value: Value, scratch: &mut Vec<u8>) {
        match value.kind {
            Kind::Null => {}
            Kind::Text | Kind::EscapedText => lists.read(list, self.line.text(value, scratch).bytes),
            // Not seen so far: a list that comes as one has nothing to decode.
            Kind::Array => {
                lists.begin(list);
                each_item(self.line.bytes, value, |item| {
                    lists.push(list, self.line.text(item, scratch).bytes);
                    true
                });
            }
            Kind::Scalar | Kind::Object => {
                lists.begin(list);
                lists.push(list, value.source(self.line.bytes));
            }
        }
    }
}

/// A text, number, true or false.
pub(super) fn is_plain(value: Value) -> bool {
    matches!(value.kind, Kind::Text | Kind::EscapedText | Kind::Scalar)
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
