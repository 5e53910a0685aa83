//! The members of one event, each found and resolved once: which field it is and how it is encoded. Never writes.

use std::borrow::Cow;

use super::fields::{Encoding, KnownField, OBJECTS, Object, reserved_at_top_level};
use super::json::{JsonKind, JsonValue, Member, Tape};
use super::percent::{Left, decode};

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
pub(super) struct Field<'a> {
    pub(super) key: JsonValue<'a>,
    pub(super) value: JsonValue<'a>,
    /// Where the table has it, and its name as Akamai spells it.
    pub(super) known: Option<(usize, &'static str)>,
    pub(super) encoding: Encoding,
    /// Null, or a known field that the object had before: it is not passed on.
    pub(super) skipped: bool,
}

/// The members of one event, in the order of the line.
pub(super) struct Members<'a> {
    top: Vec<TopLevel>,
    fields: Vec<Field<'a>>,
    tape: &'a Tape<'a>,
    /// The first of each name that is not null.
    objects: [Option<&'a Member<'a>>; OBJECTS],
}

impl<'a> Members<'a> {
    /// Resolves the names of a line that has been scanned.
    pub(super) fn resolve(tape: &'a Tape<'a>) -> Self {
        let top = Vec::with_capacity(tape.top.len());
        let fields = Vec::with_capacity(tape.inner.len());
        let mut members = Self { top, fields, tape, objects: [None; OBJECTS] };
        for member in &tape.top {
            let what = top_level(&member.key.text());
            members.top.push(what);
            let object = if let TopLevel::Object(object) = what { Some(object) } else { None };
            // One bit for each field of the table.
            let mut seen = 0_u32;
            let mut likely = 0;
            for child in &tape.inner[member.children.clone()] {
                let (known, encoding) =
                    object.map_or((None, Encoding::Unknown), |object| object.field(&child.key.text(), likely));
                likely = known.map_or(likely, |(index, _)| index + 1);
                let bit = known.map_or(0, |(index, _)| 1 << index);
                let skipped = child.value.is_null() || seen & bit != 0;
                seen |= if skipped { 0 } else { bit };
                members.fields.push(Field { key: child.key, value: child.value, known, encoding, skipped });
            }
            if let Some(object) = object
                && !member.value.is_null()
            {
                members.objects[object as usize].get_or_insert(member);
            }
        }
        members
    }

    /// The members of the line.
    pub(super) fn top(&self) -> impl Iterator<Item = (TopLevel, &'a Member<'a>)> {
        self.top.iter().copied().zip(&self.tape.top)
    }

    /// The members of an object.
    pub(super) fn of(&self, member: &Member<'_>) -> &[Field<'a>] {
        &self.fields[member.children.clone()]
    }

    /// The first member of this name that is not null.
    pub(super) fn object(&self, object: Object) -> Option<&'a Member<'a>> {
        self.objects[object as usize]
    }

    /// Whether the event has this object and it is one.
    pub(super) fn has(&self, object: Object) -> bool {
        self.object(object).is_some_and(|member| member.value.kind == JsonKind::Object)
    }

    /// The first value of a top-level name that says what the line is.
    pub(super) fn format(&self, name: &'static str) -> Option<JsonValue<'a>> {
        let is_it =
            |(what, member): &(TopLevel, &Member<'_>)| *what == TopLevel::Format(name) && member.value.is_plain();
        self.top().find(is_it).map(|(_, member)| member.value)
    }

    /// The text of a field as Akamai sent it; empty where the event lacks it.
    pub(super) fn source_text(&self, field: KnownField) -> Cow<'a, [u8]> {
        let fields = self.object(field.object).map_or(&[][..], |member| self.of(member));
        let is_it = |other: &&Field<'_>| !other.skipped && other.known.is_some_and(|(index, _)| index == field.index);
        match fields.iter().find(is_it) {
            Some(field) if field.value.is_plain() => field.value.text(),
            _ => Cow::default(),
        }
    }

    /// The same, decoded as its object says.
    pub(super) fn text(&self, field: KnownField) -> Cow<'a, [u8]> {
        let source = self.source_text(field);
        if field.object == Object::HttpMessage { decode(source, Left::Controls) } else { source }
    }
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
