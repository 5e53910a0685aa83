//! Writes Akamai's own objects, each member decoded as the table in `fields` says. Never adds a member but `<key>Raw`.

use super::EventSettings;
use super::emit::{Emit, MemberKey};
use super::fields::{Encoding, Object, RuleList};
use super::headers::{Headers, REDACTED, header_lines, lines, redacted_encoded};
use super::json::{JsonKind, JsonValue, Member};
use super::members::Members;
use super::percent::{Left, decode};
use super::rule_lists::{RuleLists, custom_text};

/// Writes the objects of one event.
pub(super) struct ObjectWriter<'a> {
    pub(super) members: &'a Members<'a>,
    pub(super) lists: &'a RuleLists,
    pub(super) settings: &'a EventSettings,
    /// The value of the request's `User-Agent`, once its headers are written.
    pub(super) user_agent: Vec<u8>,
}

impl ObjectWriter<'_> {
    /// Writes the object that `member` is.
    pub(super) fn write(&mut self, emit: &mut Emit<'_>, object: Object, member: &Member<'_>) {
        emit.open(object.name());
        if member.value.kind != JsonKind::Object {
            // It stays an object: a text here and an object there would lose alerts in the index.
            let key = MemberKey::Known("value");
            match object {
                Object::Custom => write_custom(emit, key, member.value),
                _ => emit.pass(key, member.value, Encoding::Unknown),
            }
        }
        for field in self.members.of(member).iter().filter(|field| !field.skipped) {
            let found;
            let key = if let Some((_, name)) = field.known {
                MemberKey::Known(name)
            } else {
                found = field.key.text();
                MemberKey::Found(&found)
            };
            if emit.has_room(key.bytes()) {
                self.write_field(emit, key, field.value, field.encoding);
            }
        }
        emit.close();
    }

    /// Decodes a value as the table says.
    fn write_field(&mut self, emit: &mut Emit<'_>, key: MemberKey<'_>, value: JsonValue<'_>, encoding: Encoding) {
        match encoding {
            Encoding::Plain => emit.text(key, &value.text(), None),
            Encoding::Percent | Encoding::PercentAsSent => {
                let original = value.text();
                let decoded = decode(&*original, Left::Controls);
                emit.text(key, &decoded, Some(&original));
                if encoding == Encoding::PercentAsSent && decoded != original {
                    emit.raw(key.bytes(), &original);
                }
            }
            Encoding::Headers => self.write_headers(emit, key, value),
            Encoding::RuleList(list) => self.write_rule_list(emit, key, value, list),
            Encoding::UnknownBase64 => write_custom(emit, key, value),
            Encoding::Unknown | Encoding::UnknownPercent => emit.pass(key, value, encoding),
        }
    }

    fn write_rule_list(&self, emit: &mut Emit<'_>, key: MemberKey<'_>, value: JsonValue<'_>, list: RuleList) {
        let secrets = emit.secrets;
        let mut selectors = self.lists.selectors();
        let is_secret = |selector: &[u8]| secrets.selected_by(selector);
        let may_be_secret =
            !secrets.is_empty() && (self.lists.is_cut(RuleList::Selectors) || self.lists.selectors().any(is_secret));
        let mut redacts = false;
        let items = self.lists.items(list).map(|item| {
            // Of one whose selector is missing nobody knows.
            let is_secret = list == RuleList::Data && selectors.next().map_or(may_be_secret, is_secret);
            redacts |= is_secret;
            if is_secret && !item.is_empty() { REDACTED } else { item }
        });
        let written = emit.list(key, items);
        if self.lists.is_cut(list) {
            emit.note_cut(key.bytes());
        }
        if written.lossy && redacts {
            emit.note_cut(&[key.bytes(), b"Raw"].concat());
        } else if written.lossy {
            emit.raw(key.bytes(), &value.text());
        }
    }

    fn write_headers(&mut self, emit: &mut Emit<'_>, key: MemberKey<'_>, value: JsonValue<'_>) {
        let original = if value.is_plain() { value.text() } else { header_lines(value, emit.secrets).into() };
        let decoded = decode(&*original, Left::ControlsButLineEnds);
        let headers = Headers::read(&decoded, &self.settings.redact_headers);
        if key.bytes() == b"requestHeaders" {
            self.user_agent = headers.user_agent(&decoded).unwrap_or_default().to_vec();
        }
        let text = headers.redacted(decoded);
        if emit.list(key, lines(&text).map(|line| &text[line])).lossy {
            emit.raw(key.bytes(), &redacted_encoded(&original, &self.settings.redact_headers));
        }
        if value.is_cut() {
            emit.note_cut(key.bytes());
        }
    }
}

fn write_custom(emit: &mut Emit<'_>, key: MemberKey<'_>, value: JsonValue<'_>) {
    let text = value.text();
    let is_candidate = value.is_text() && !emit.secrets.named(key.bytes());
    let Some(decoded) = is_candidate.then(|| custom_text(&text)).flatten() else {
        emit.pass(key, value, Encoding::Unknown);
        return;
    };
    match emit.secrets.redacted(&decoded) {
        Some(shown) => {
            emit.text(key, &shown, None);
            if *shown == decoded {
                emit.raw(key.bytes(), &text);
            } else {
                emit.note_cut(&[key.bytes(), b"Raw"].concat());
            }
        }
        None => emit.note_cut(key.bytes()),
    }
}
