//! One line of Akamai's answer → one event line for Wazuh. Never fails, never drops a line, never looks at the clock.
//!
//! The order of work, and where it stands:
//!
//! 1. `json` scans the line; what is no JSON object becomes an event that carries it (`unparsed`).
//! 2. `members` finds each field by its name; the table in `fields` says how it is encoded.
//! 3. `rule_lists` decodes the triggered rules, `meaning` and `classify` say what they mean. `burst` counts them, where that
//!    is wanted.
//! 4. `top_level` makes the fields that Wazuh looks for (srcip, url, action …).
//! 5. `objects` decodes Akamai's own objects (`percent`; `headers` finds the secrets); `pass` passes on what the table does not
//!    know; `emit` writes, `text` each string of it.
//! 6. The `akamai` object ends the line; `limits` cuts the rare line that is too long for Wazuh.
//!
//! What serves speed alone stands in `search`.
#![deny(clippy::disallowed_macros, clippy::disallowed_methods, clippy::disallowed_types)]

mod burst;
mod classify;
mod emit;
mod fields;
mod headers;
mod json;
mod limits;
mod meaning;
mod members;
mod objects;
mod pass;
mod percent;
mod rule_lists;
mod search;
mod secrets;
mod text;
mod top_level;
mod unparsed;

pub use self::burst::Bursts;
pub(crate) use self::text::encode_controls;

use std::net::IpAddr;

use sha2::{Digest, Sha256};

use self::burst::Counted;
use self::classify::Category;
use self::emit::{Emit, MemberKey};
use self::fields::{Encoding, KnownField};
use self::json::{JsonError, Member, Tape};
use self::meaning::Meaning;
use self::members::{Members, TopLevel};
use self::objects::ObjectWriter;
use self::rule_lists::RuleLists;
use self::secrets::Secrets;
use self::top_level::UrlParts;

/// Shortest limit of a line that still holds what rules need, in bytes.
pub const EVENT_LINE_BYTES_MIN: usize = 1_024;

/// Longest line that Wazuh takes whole under our location, in bytes: 65,535 less `1:command_akamai_siem:` (observed on
/// 4.14.9; one byte more and the event arrives without fields).
pub const EVENT_LINE_BYTES_MAX: usize = 65_513;

/// What a source's configuration says about its events.
#[derive(Clone, Debug)]
pub struct EventSettings {
    /// Name of the source, for `akamai.source`.
    pub source: String,
    /// Bytes of one event line without its line end, from [`EVENT_LINE_BYTES_MIN`] to [`EVENT_LINE_BYTES_MAX`].
    pub line_bytes_max: usize,
    /// Headers whose values are redacted, in lower case.
    pub redact_headers: Vec<String>,
}

/// What tells one line from another: the first 128 bits of SHA-256 over Akamai's line.
pub type EventId = [u8; 16];

/// The id of a line, as its event carries it.
pub fn event_id(line: &[u8]) -> EventId {
    let mut id = EventId::default();
    id.copy_from_slice(&Sha256::digest(line)[..size_of::<EventId>()]);
    id
}

/// Turns lines into events. But for the counters, where bursts are counted, the same line always gives the same event.
#[derive(Debug)]
pub struct EventDecoder {
    settings: EventSettings,
    /// Where bursts are counted.
    pub bursts: Option<Bursts>,
}

/// What every event line is, for rules and dashboards.
const TYPE: &str = "akamai_siem";

impl EventDecoder {
    /// A decoder for the events of one source.
    pub fn new(settings: EventSettings) -> Self {
        Self { settings, bursts: None }
    }

    /// Appends the event of `line` (without its line end) to `out`: exactly one JSON object and a line end, within the
    /// limits, whatever the bytes. Returns the line's id.
    pub fn decode_into(&mut self, line: &[u8], out: &mut Vec<u8>) -> EventId {
        let id = event_id(line);
        self.decode(line, &id, out);
        id
    }

    /// The same, unless `is_known` says of the line's id that the event has come before: then nothing is written and
    /// nothing counted.
    pub fn decode_new_into(
        &mut self,
        line: &[u8],
        is_known: impl FnOnce(&EventId) -> bool,
        out: &mut Vec<u8>,
    ) -> Option<EventId> {
        let id = event_id(line);
        if is_known(&id) {
            return None;
        }
        self.decode(line, &id, out);
        Some(id)
    }

    fn decode(&mut self, line: &[u8], id: &EventId, out: &mut Vec<u8>) {
        let start = out.len();
        match Tape::scan(line) {
            Ok(tape) => self.write_event(&tape, id, out),
            Err(error) => self.write_unparsed(line, id, &error, out),
        }
        if out.len() - start > self.settings.line_bytes_max {
            let fitted = limits::fit(&out[start..], self.settings.line_bytes_max);
            out.truncate(start);
            out.extend_from_slice(&fitted);
        }
        out.push(b'\n');
    }

    fn write_event(&mut self, tape: &Tape<'_>, id: &EventId, out: &mut Vec<u8>) {
        let Self { settings, bursts } = self;
        let members = &Members::resolve(tape);
        let lists = &RuleLists::read(members);
        let meaning = Meaning::of(members, lists);
        let time_ms = top_level::unix_milliseconds(&members.text(KnownField::START));
        let client_ip = members.text(KnownField::CLIENT_IP);
        let address = top_level::source_ip(&client_ip);

        let mut emit = Emit::open_line(out, Secrets { headers: &settings.redact_headers });
        write_top_level(&mut emit, members, &meaning.action, time_ms, address.map(|(_, text)| text));
        let mut writer = ObjectWriter { members, lists, settings, user_agent: Vec::new() };
        let mut extra = Vec::new();
        for (what, member) in members.top() {
            match what {
                TopLevel::Object(object) => {
                    if members.object(object).is_some_and(|first| std::ptr::eq(first, member)) {
                        writer.write(&mut emit, object, member);
                    }
                }
                TopLevel::Format(name) if stands_at_the_top(name, member) => {}
                TopLevel::Format(_) | TopLevel::Reserved => extra.push(member),
                TopLevel::Unknown => emit.pass(MemberKey::Found(&member.key.text()), member.value, Encoding::Unknown),
            }
        }

        begin_akamai(&mut emit, settings, id);
        meaning.write(&mut emit);
        let host = members.text(KnownField::HOST).to_ascii_lowercase();
        // One without a time cannot be counted.
        if let (Some(bursts), Some(time_ms)) = (bursts, time_ms) {
            count_burst(bursts, &meaning, time_ms, address.map(|(address, _)| address), &host, &mut emit);
        }
        if !host.is_empty() {
            emit.own("host", &host);
        }
        if !writer.user_agent.is_empty() {
            emit.own("user_agent", &writer.user_agent);
        }
        if !extra.is_empty() {
            emit.open("extra");
            for member in extra {
                emit.pass(MemberKey::Found(&member.key.text()), member.value, Encoding::Unknown);
            }
            emit.close();
        }
        if tape.unrecorded > 0 {
            emit.note_cut(b"members beyond the first 4096");
        }
        emit.close_line();
    }

    /// Appends the event of a line of so many bytes that cannot be decoded without ending the program. None of it can be shown:
    /// whether a secret stands in it is not known.
    pub fn pass_over(&mut self, id: &EventId, bytes: usize, out: &mut Vec<u8>) {
        let why =
            format!("decoding this line of {bytes} bytes ended the collector twice; this is a bug, please report it");
        let mut emit = self.open_unknown(id, &why, out);
        emit.note_cut(b"raw");
        emit.close_line();
        out.push(b'\n');
    }

    fn write_unparsed(&self, line: &[u8], id: &EventId, error: &JsonError, out: &mut Vec<u8>) {
        let mut emit = self.open_unknown(id, &error.to_string(), out);
        match unparsed::redacted_line(line, emit.secrets) {
            Some(raw) => emit.text(MemberKey::Known("raw"), &raw, None),
            None => emit.note_cut(b"raw"),
        }
        emit.close_line();
    }

    /// The event of a line that is none of Akamai's, up to its raw copy.
    fn open_unknown<'o>(&'o self, id: &EventId, why: &str, out: &'o mut Vec<u8>) -> Emit<'o> {
        let mut emit = Emit::open_line(out, Secrets { headers: &self.settings.redact_headers });
        emit.own("type", TYPE);
        begin_akamai(&mut emit, &self.settings, id);
        emit.own("verdict", "unknown");
        emit.own("category", Category::Other.word());
        emit.own("parse_error", why);
        emit
    }
}

fn begin_akamai(emit: &mut Emit<'_>, settings: &EventSettings, id: &EventId) {
    emit.open("akamai");
    emit.own("source", &settings.source);
    emit.own("event_id", format!("{:032x}", u128::from_be_bytes(*id)));
}

/// The fields that Wazuh and its users look for, ahead of Akamai's own objects.
fn write_top_level(
    emit: &mut Emit<'_>,
    members: &Members<'_>,
    action: &[u8],
    time_ms: Option<i64>,
    address: Option<&str>,
) {
    emit.own("type", TYPE);
    for name in ["format", "version"] {
        if let Some(value) = members.format(name) {
            emit.own(name, value.text());
        }
    }
    if let Some(timestamp) = time_ms.and_then(top_level::timestamp) {
        emit.own("timestamp", timestamp);
    }
    let (url, url_is_cut) = top_level::url(&UrlParts {
        host: members.source_text(KnownField::HOST),
        port: members.source_text(KnownField::PORT),
        path: members.source_text(KnownField::PATH),
        query: members.source_text(KnownField::QUERY),
        tls: members.source_text(KnownField::TLS),
    });
    for (key, text) in [
        ("srcip", address.unwrap_or_default().as_bytes().into()),
        ("action", action.into()),
        ("status", members.text(KnownField::STATUS)),
        ("protocol", members.text(KnownField::PROTOCOL)),
        ("url", url.into()),
        ("id", members.text(KnownField::REQUEST_ID)),
        ("srcuser", members.text(KnownField::USERNAME)),
        ("dstuser", members.text(KnownField::ORIGIN_USER_ID)),
    ] {
        if !text.is_empty() {
            emit.own(key, text);
        }
        if key == "url" && url_is_cut {
            emit.note_cut(b"url");
        }
    }
}

/// Counts the event and marks it if it completes a burst.
fn count_burst(
    bursts: &mut Bursts,
    meaning: &Meaning,
    time_ms: i64,
    source: Option<IpAddr>,
    host: &[u8],
    emit: &mut Emit<'_>,
) {
    let Meaning { verdict, category, group, .. } = *meaning;
    let mut words = String::new();
    bursts.count(&Counted { time_ms, source, host, verdict, category, group }, &mut words);
    if !words.is_empty() {
        emit.own("burst", words);
    }
}

/// Whether nothing is lost when a member named type, format or version is not passed on: it stands at the top already.
fn stands_at_the_top(name: &str, member: &Member<'_>) -> bool {
    match name {
        "type" => member.value.is_null() || member.value.source == TYPE.as_bytes(),
        _ => member.value.is_plain() || member.value.is_null(),
    }
}
