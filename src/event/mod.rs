//! One line of Akamai's answer → one event line for Wazuh. Never fails, never drops a line, never looks at the clock.
//!
//! The order of work, and where it stands:
//!
//! 1. `json` scans the line; what is no JSON object becomes an event that carries it (`unparsed`). `line_hash` makes
//!    the line's id meanwhile, or while the objects are written.
//! 2. `members` finds each field by its name (`names`); the table in `fields` says how it is encoded.
//! 3. `rule_lists` decodes the triggered rules (`quads`), `meaning` and `classify` say what they mean.
//!    `burst` counts them, where that is wanted.
//! 4. `top_level` makes the fields that Wazuh looks for (srcip, url, action …).
//! 5. `objects` writes Akamai's own objects: what `members` found to need no change is copied, the rest is decoded by
//!    `write_field` (`percent`; `headers` finds the secrets) and written by `emit`.
//! 6. The `akamai` object ends the line; `limits` cuts the rare line that is too long for Wazuh.

mod blocks;
mod burst;
mod classify;
pub(crate) mod control;
mod emit;
mod fields;
mod header_lines;
mod headers;
mod json;
mod limits;
mod line_hash;
mod meaning;
mod members;
mod names;
mod objects;
mod pass;
mod percent;
mod quads;
mod rule_lists;
mod secrets;
mod text;
mod top_level;
mod unescape;
mod unparsed;

pub use self::burst::Bursts;
pub use self::line_hash::EventId;

use std::net::IpAddr;

use self::burst::Counted;
use self::classify::Category;
use self::emit::{Emit, EmitMemory, Key};
use self::fields::{Encoding, KnownField};
use self::json::{JsonError, Kind, Member, Tape, Text};
use self::line_hash::LineHash;
use self::meaning::Meaning;
use self::members::{Members, Resolved, TextMemory, TopLevel, is_plain};
use self::objects::{ObjectMemory, ObjectWriter};
use self::rule_lists::RuleLists;
use self::secrets::Secrets;
use self::top_level::{Calendar, UrlParts};

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

/// Turns lines into events. Holds memory that is used again from line to line and, where bursts are counted, the counters;
/// but for those the same line always gives the same event.
#[derive(Debug)]
pub struct EventDecoder {
    settings: EventSettings,
    tape: Tape,
    resolved: Resolved,
    lists: RuleLists,
    /// Where bursts are counted.
    pub bursts: Option<Bursts>,
    memory: Memory,
}

#[derive(Debug, Default)]
struct Memory {
    emit: EmitMemory,
    objects: ObjectMemory,
    text: TextMemory,
    client: TextMemory,
    action: Vec<u8>,
    calendar: Calendar,
    url: Vec<u8>,
    user_agent: Vec<u8>,
}

impl EventDecoder {
    /// A decoder for the events of one source.
    pub fn new(settings: EventSettings) -> Self {
        Self {
            settings,
            tape: Tape::default(),
            resolved: Resolved::default(),
            lists: RuleLists::default(),
            bursts: None,
            memory: Memory::default(),
        }
    }

    /// Appends the event of `line` (without its line end) to `out`: exactly one JSON object and a line end, within the
    /// limits, whatever the bytes. Returns the line's id.
    pub fn decode_into(&mut self, line: &[u8], out: &mut Vec<u8>) -> EventId {
        let scanned = self.tape.scan(line, ());
        self.decode(line, scanned, LineHash::of(line), out)
    }

    /// The same, unless `is_known` says of the line's id that the event has come before: then nothing is written and
    /// nothing counted.
    pub fn decode_new_into(
        &mut self,
        line: &[u8],
        is_known: impl FnOnce(&EventId) -> bool,
        out: &mut Vec<u8>,
    ) -> Option<EventId> {
        let mut hash = LineHash::of(line);
        let scanned = self.tape.scan(line, &mut hash);
        if is_known(&hash.id()) {
            return None;
        }
        Some(self.decode(line, scanned, hash, out))
    }

    fn decode(
        &mut self,
        line: &[u8],
        scanned: Result<(), JsonError>,
        mut hash: LineHash<'_>,
        out: &mut Vec<u8>,
    ) -> EventId {
        let start = out.len();
        match scanned {
            Ok(()) => self.write_event(line, &mut hash, out),
            Err(error) => self.write_unparsed(line, &hash.digits(), &error, out),
        }
        if out.len() - start > self.settings.line_bytes_max {
            let fitted = limits::fit(&out[start..], self.settings.line_bytes_max);
            out.truncate(start);
            out.extend_from_slice(&fitted);
        }
        out.push(b'\n');
        hash.id()
    }

    fn write_event(&mut self, line: &[u8], hash: &mut LineHash<'_>, out: &mut Vec<u8>) {
        let Self { settings, tape, resolved, lists, bursts, memory } = self;
        let Memory { emit, objects, text, client, action, calendar, url, user_agent } = memory;
        let members = Members::resolve(line, tape, resolved);
        members.read_rule_lists(lists, &mut text.unescaped, hash);
        let meaning = Meaning::of(&members, lists, action);
        user_agent.clear();

        let secrets = Secrets { headers: &settings.redact_headers };
        let mut emit = Emit::open_line(out, secrets, emit);
        let time_ms = top_level::unix_milliseconds(members.text(KnownField::START, text).bytes);
        let address = top_level::source_ip(members.text(KnownField::CLIENT_IP, client).bytes);
        write_top_level(&mut emit, &members, action, time_ms, address.map(|(_, text)| text), (calendar, url), text);
        let mut writer = ObjectWriter { members, lists, settings, memory: objects, user_agent, hash: &mut *hash };
        let mut extra = Vec::new();
        for (what, member) in members.top() {
            match what {
                TopLevel::Object(object) => {
                    if members.object(object).is_some_and(|first| std::ptr::eq(first, member)) {
                        writer.write(&mut emit, object, member);
                    }
                }
                TopLevel::Format(name) if stands_at_the_top(&members, name, member) => {}
                TopLevel::Format(_) | TopLevel::Reserved => extra.push(member),
                TopLevel::Unknown => {
                    let key = Key::Found(members.line.text(member.key, &mut text.unescaped));
                    emit.pass(members.line, key, member.value, Encoding::Unknown);
                }
            }
        }

        emit.open("akamai");
        emit.own("source", settings.source.as_str());
        emit.own("event_id", Text::plain(&hash.digits()));
        meaning.write(&mut emit);
        let host = members.text(KnownField::HOST, text).bytes.to_ascii_lowercase();
        // One without a time cannot be counted.
        if let (Some(bursts), Some(time_ms)) = (bursts, time_ms) {
            count_burst(bursts, &meaning, time_ms, address.map(|(address, _)| address), &host, &mut emit);
        }
        if !host.is_empty() {
            emit.own("host", host.as_slice());
        }
        if !user_agent.is_empty() {
            emit.own("user_agent", user_agent.as_slice());
        }
        if !extra.is_empty() {
            emit.open("extra");
            for member in extra {
                let key = Key::Found(members.line.text(member.key, &mut text.unescaped));
                emit.pass(members.line, key, member.value, Encoding::Unknown);
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
        let digits = format!("{:032x}", u128::from_be_bytes(*id));
        let why =
            format!("decoding this line of {bytes} bytes ended the collector twice; this is a bug, please report it");
        let secrets = Secrets { headers: &self.settings.redact_headers };
        let mut emit = Emit::open_line(out, secrets, &mut self.memory.emit);
        emit.own("type", TYPE);
        emit.open("akamai");
        emit.own("source", self.settings.source.as_str());
        emit.own("event_id", digits.as_str());
        emit.own("verdict", "unknown");
        emit.own("category", Category::Other.word());
        emit.own("parse_error", why.as_str());
        emit.note_cut(b"raw");
        emit.close_line();
        out.push(b'\n');
    }

    fn write_unparsed(&mut self, line: &[u8], event_id: &[u8], error: &JsonError, out: &mut Vec<u8>) {
        let secrets = Secrets { headers: &self.settings.redact_headers };
        let mut emit = Emit::open_line(out, secrets, &mut self.memory.emit);
        emit.own("type", TYPE);
        emit.open("akamai");
        emit.own("source", self.settings.source.as_str());
        emit.own("event_id", event_id);
        emit.own("verdict", "unknown");
        emit.own("category", Category::Other.word());
        emit.own("parse_error", error.to_string().as_str());
        match unparsed::redacted_line(line, secrets) {
            Some(raw) => emit.text(Key::Known("raw"), (&*raw).into(), None),
            None => emit.note_cut(b"raw"),
        }
        emit.close_line();
    }
}

/// The id of a line, as its event carries it.
pub fn event_id(line: &[u8]) -> EventId {
    LineHash::of(line).id()
}

/// What every event line is, for rules and dashboards.
const TYPE: &str = "akamai_siem";

/// The fields that Wazuh and its users look for, ahead of Akamai's own objects.
fn write_top_level(
    emit: &mut Emit<'_>,
    members: &Members<'_>,
    action: &[u8],
    time_ms: Option<i64>,
    address: Option<&str>,
    (calendar, url): (&mut Calendar, &mut Vec<u8>),
    memory: &mut TextMemory,
) {
    emit.own("type", Text::plain(TYPE));
    for name in ["format", "version"] {
        if let Some(value) = members.format(name) {
            emit.own(name, members.line.text(value, &mut memory.unescaped));
        }
    }
    if let Some(timestamp) = time_ms.and_then(|time_ms| calendar.timestamp(time_ms)) {
        emit.own("timestamp", timestamp);
    }
    if let Some(address) = address {
        emit.own("srcip", Text::plain(address));
    }
    if !action.is_empty() {
        emit.own("action", action);
    }
    let mut copy = |emit: &mut Emit<'_>, key, field| {
        let text = members.text(field, memory);
        if !text.bytes.is_empty() {
            emit.own(key, text);
        }
    };
    copy(emit, "status", KnownField::STATUS);
    copy(emit, "protocol", KnownField::PROTOCOL);
    if url_into(members, url) {
        emit.note_cut(b"url");
    }
    if !url.is_empty() {
        emit.own("url", url.as_slice());
    }
    copy(emit, "id", KnownField::REQUEST_ID);
    copy(emit, "srcuser", KnownField::USERNAME);
    copy(emit, "dstuser", KnownField::ORIGIN_USER_ID);
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
        emit.own("burst", words.as_str());
    }
}

fn url_into(members: &Members<'_>, url: &mut Vec<u8>) -> bool {
    let [mut host, mut port, mut path, mut query, mut tls] = [const { Vec::new() }; 5];
    url.clear();
    let parts = UrlParts {
        host: members.source_text(KnownField::HOST, &mut host).bytes,
        port: members.source_text(KnownField::PORT, &mut port).bytes,
        path: members.source_text(KnownField::PATH, &mut path).bytes,
        query: members.source_text(KnownField::QUERY, &mut query).bytes,
        tls: members.source_text(KnownField::TLS, &mut tls).bytes,
    };
    top_level::url_into(parts, url)
}

/// Whether nothing is lost when a member named type, format or version is not passed on: it stands at the top already.
fn stands_at_the_top(members: &Members<'_>, name: &str, member: &Member) -> bool {
    match name {
        "type" => member.value.kind() == Kind::Null || member.value.source(members.line.bytes) == TYPE.as_bytes(),
        _ => is_plain(member.value) || member.value.kind() == Kind::Null,
    }
}
