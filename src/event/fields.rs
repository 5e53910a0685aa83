//! How each field of an Akamai event is encoded: the one table to look at. Never decodes anything itself.
//!
//! Sources: Akamai's techdocs page "configuration-rule" (rule lists), the OpenAPI description of the SIEM API of 2025 and
//! its sample events (the rest). Names are matched in any case, so that a field cannot come twice in two spellings.

use super::names::{Name, Slots};

/// How a member's value is encoded. `objects::write_field` decodes it; `members::needs_no_change` knows what is the same
/// decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    /// Plain text.
    Plain,
    /// Percent-encoded once.
    Percent,
    /// Percent-encoded as the client sent it; where decoding changes it, the original stays beside it as `<key>Raw`.
    PercentAsSent,
    /// `Name: value` lines, percent-encoded as one text; some values are redacted.
    Headers,
    /// One value a triggered rule: base64 each, joined by `;`, percent-encoded as a whole.
    RuleList(RuleList),
    /// A field we do not know, in an object whose strings are plain.
    Unknown,
    /// A field we do not know, in an object whose strings are percent-encoded.
    UnknownPercent,
    /// A field we do not know, in an object whose strings are base64.
    UnknownBase64,
}

/// The lists of `attackData` that run in parallel, one item a triggered rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(super) enum RuleList {
    Rules,
    Versions,
    Messages,
    Tags,
    Data,
    Selectors,
    Actions,
}

/// How many [`RuleList`]s there are.
pub(super) const RULE_LISTS: usize = 7;

/// The top-level objects of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(super) enum Object {
    AttackData,
    HttpMessage,
    Geo,
    BotData,
    ClientData,
    UserRiskData,
    Identity,
    Custom,
}

/// How many [`Object`]s there are.
pub(super) const OBJECTS: usize = 8;

struct ObjectFields {
    name: &'static str,
    object: Object,
    fields: &'static [(Name, Encoding)],
    /// What members are that the table does not name.
    others: Encoding,
}

use Encoding::{Headers, Percent, PercentAsSent, Plain, Unknown, UnknownBase64, UnknownPercent};

static TABLE: [ObjectFields; OBJECTS] = [
    ObjectFields {
        name: "attackData",
        object: Object::AttackData,
        fields: &[
            (Name::new("configId"), Plain),
            (Name::new("policyId"), Plain),
            (Name::new("clientIP"), Plain),
            (Name::new("rules"), Encoding::RuleList(RuleList::Rules)),
            (Name::new("ruleVersions"), Encoding::RuleList(RuleList::Versions)),
            (Name::new("ruleMessages"), Encoding::RuleList(RuleList::Messages)),
            (Name::new("ruleTags"), Encoding::RuleList(RuleList::Tags)),
            (Name::new("ruleData"), Encoding::RuleList(RuleList::Data)),
            (Name::new("ruleSelectors"), Encoding::RuleList(RuleList::Selectors)),
            (Name::new("ruleActions"), Encoding::RuleList(RuleList::Actions)),
            (Name::new("appliedAction"), Plain),
            (Name::new("apiId"), Plain),
            (Name::new("apiKey"), Plain),
            // Its `;` separate no list.
            (Name::new("clientReputation"), Plain),
            (Name::new("slowPostAction"), Plain),
            (Name::new("slowPostRate"), Plain),
        ],
        others: Unknown,
    },
    ObjectFields {
        name: "httpMessage",
        object: Object::HttpMessage,
        fields: &[
            (Name::new("requestId"), Percent),
            (Name::new("start"), Percent),
            (Name::new("protocol"), Percent),
            (Name::new("method"), Percent),
            (Name::new("host"), Percent),
            (Name::new("port"), Percent),
            (Name::new("path"), PercentAsSent),
            (Name::new("query"), PercentAsSent),
            (Name::new("requestHeaders"), Headers),
            (Name::new("responseHeaders"), Headers),
            (Name::new("status"), Percent),
            (Name::new("bytes"), Percent),
            (Name::new("tls"), Percent),
        ],
        others: UnknownPercent,
    },
    ObjectFields {
        name: "geo",
        object: Object::Geo,
        fields: &[
            (Name::new("continent"), Plain),
            (Name::new("country"), Plain),
            (Name::new("regionCode"), Plain),
            (Name::new("city"), Plain),
            (Name::new("asn"), Plain),
        ],
        others: Unknown,
    },
    ObjectFields {
        name: "botData",
        object: Object::BotData,
        fields: &[(Name::new("botScore"), Plain), (Name::new("responseSegment"), Plain)],
        others: Unknown,
    },
    ObjectFields {
        name: "clientData",
        object: Object::ClientData,
        fields: &[
            (Name::new("telemetryType"), Plain),
            (Name::new("appBundleId"), Plain),
            (Name::new("appVersion"), Plain),
            (Name::new("sdkVersion"), Plain),
        ],
        others: Unknown,
    },
    ObjectFields {
        name: "userRiskData",
        object: Object::UserRiskData,
        fields: &[
            (Name::new("status"), Plain),
            (Name::new("score"), Plain),
            (Name::new("risk"), Plain),
            (Name::new("trust"), Plain),
            (Name::new("general"), Plain),
            (Name::new("allow"), Plain),
            (Name::new("uuid"), Plain),
            (Name::new("originUserId"), Plain),
            (Name::new("username"), Plain),
            (Name::new("emailDomain"), Plain),
        ],
        others: Unknown,
    },
    ObjectFields {
        name: "identity",
        object: Object::Identity,
        fields: &[
            (Name::new("ja4"), Plain),
            (Name::new("tlsFingerprintV2"), Plain),
            (Name::new("tlsFingerprintV3"), Plain),
        ],
        others: Unknown,
    },
    ObjectFields { name: "custom", object: Object::Custom, fields: &[], others: UnknownBase64 },
];

/// Where the fields of each object are found.
static SLOTS: [Slots; OBJECTS] = {
    let mut slots = [const { Slots::of::<Encoding>(&[]) }; OBJECTS];
    let mut object = 0;
    while object < OBJECTS {
        slots[object] = Slots::of(TABLE[object].fields);
        object += 1;
    }
    slots
};

/// A field of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct KnownField {
    /// The object it is a member of.
    pub(super) object: Object,
    /// Its place among the fields of that object, below [`FIELDS_MAX`].
    pub(super) index: usize,
}

/// Most fields that an object of the table has.
pub(super) const FIELDS_MAX: usize = 32;

impl KnownField {
    pub(super) const API_ID: Self = Self::of(Object::AttackData, "apiId");
    pub(super) const APPLIED_ACTION: Self = Self::of(Object::AttackData, "appliedAction");
    pub(super) const CLIENT_IP: Self = Self::of(Object::AttackData, "clientIP");
    pub(super) const SLOW_POST_ACTION: Self = Self::of(Object::AttackData, "slowPostAction");
    pub(super) const HOST: Self = Self::of(Object::HttpMessage, "host");
    pub(super) const PATH: Self = Self::of(Object::HttpMessage, "path");
    pub(super) const PORT: Self = Self::of(Object::HttpMessage, "port");
    pub(super) const PROTOCOL: Self = Self::of(Object::HttpMessage, "protocol");
    pub(super) const QUERY: Self = Self::of(Object::HttpMessage, "query");
    pub(super) const REQUEST_ID: Self = Self::of(Object::HttpMessage, "requestId");
    pub(super) const START: Self = Self::of(Object::HttpMessage, "start");
    pub(super) const STATUS: Self = Self::of(Object::HttpMessage, "status");
    pub(super) const TLS: Self = Self::of(Object::HttpMessage, "tls");
    pub(super) const ORIGIN_USER_ID: Self = Self::of(Object::UserRiskData, "originUserId");
    pub(super) const USERNAME: Self = Self::of(Object::UserRiskData, "username");

    /// Looked up when the program is compiled: a name that the table lacks does not compile.
    const fn of(object: Object, name: &str) -> Self {
        let fields = TABLE[object as usize].fields;
        let mut index = 0;
        while !same(fields[index].0.text.as_bytes(), name.as_bytes()) {
            index += 1;
        }
        Self { object, index }
    }
}

const fn same(one: &[u8], other: &[u8]) -> bool {
    let mut at = 0;
    while at < one.len() && at < other.len() && one[at] == other[at] {
        at += 1;
    }
    at == one.len() && at == other.len()
}

impl Object {
    /// The object of this top-level name.
    pub(super) fn named(name: &[u8]) -> Option<Self> {
        TABLE.iter().find(|entry| name.eq_ignore_ascii_case(entry.name.as_bytes())).map(|entry| entry.object)
    }

    /// Its name as Akamai spells it.
    pub(super) fn name(self) -> &'static str {
        TABLE[self as usize].name
    }

    /// What a member of this name is.
    #[inline(always)]
    pub(super) fn field(self, name: &[u8]) -> Found {
        let fields = TABLE[self as usize].fields;
        match SLOTS[self as usize].find(fields, name) {
            Some(place) => Found::known(fields, place, true),
            None => self.misspelled_field(name),
        }
    }

    /// The same for a name that the table has in other letters or not at all.
    #[cold]
    fn misspelled_field(self, name: &[u8]) -> Found {
        let ObjectFields { fields, others, .. } = TABLE[self as usize];
        let same = |(known, _): &(Name, Encoding)| name.eq_ignore_ascii_case(known.text.as_bytes());
        match fields.iter().position(same) {
            Some(place) => Found::known(fields, place, false),
            None => Found { field: None, encoding: others, exact: false },
        }
    }
}

/// What a member is by its name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    /// Where the table has the field: its place there (below [`FIELDS_MAX`]) and its name as Akamai spells it.
    pub(super) field: Option<(usize, &'static Name)>,
    /// How its value is encoded.
    pub(super) encoding: Encoding,
    /// The member's name is spelled as in the table.
    pub(super) exact: bool,
}

impl Found {
    #[inline(always)]
    fn known(fields: &'static [(Name, Encoding)], place: usize, exact: bool) -> Self {
        let (name, encoding) = &fields[place];
        Self { field: Some((place, name)), encoding: *encoding, exact }
    }
}

/// Whether an unknown top-level member of this name must not stay at the top level, where Wazuh would take it for
/// something else. Such members move to `akamai.extra`.
pub(super) fn reserved_at_top_level(name: &[u8]) -> bool {
    // Wazuh splits a name at its dots, so that `akamai.verdict` would be our verdict.
    let first = name.split(|&byte| byte == b'.').next().unwrap_or_default();
    Object::named(first).is_some() || RESERVED.iter().any(|reserved| first.eq_ignore_ascii_case(reserved.as_bytes()))
}

const RESERVED: &[&str] = &[
    // Our own.
    "type",
    "format",
    "version",
    "timestamp",
    "srcip",
    "action",
    "status",
    "protocol",
    "url",
    "id",
    "srcuser",
    "dstuser",
    "akamai",
    // Static fields of Wazuh's decoder (4.14.9).
    "dstip",
    "srcport",
    "dstport",
    "data",
    "extra_data",
    "systemname",
    "system_name",
    "user",
    // Names by which stock rules of 4.14.9 recognise other products.
    "integration",
    "event_type",
    "subtype",
    "activity_id",
    "category_uid",
    "WAFAction",
    "vulnerability",
    "vuls",
    "threat",
    "scan_id",
    "cis",
    "azure_tag",
    "@source",
    "bro_engine",
    "mysql_audit_log",
    "method",
    "path",
    "params",
    "correlation_id",
    "message",
    "severity",
    "query_string",
    "complexity",
    "depth",
    "duration",
    "win",
    // Names that Wazuh's index template maps to one fixed type: a value of another type loses the alert.
    "file",
    "command",
    "title",
    "uid",
    "audit",
    "azureSignInStatus",
    "oscap",
    "office365",
    "github",
    "ms-graph",
    "netinfo",
    "os",
    "port",
    "hardware",
    "program",
    "process",
    "sca",
    "virustotal",
    "aws",
    "docker",
    "gcp",
    "osquery",
    "parameters",
    "YARA",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_stands_in_the_order_of_the_enum() {
        for (index, entry) in TABLE.iter().enumerate() {
            assert_eq!(entry.object as usize, index, "{}", entry.name);
            assert!(entry.fields.len() <= FIELDS_MAX, "{}", entry.name);
        }
    }

    #[test]
    fn every_name_of_the_table_is_found() {
        for entry in &TABLE {
            for (place, (name, encoding)) in entry.fields.iter().enumerate() {
                for (spelled, exact) in [(name.text.to_owned(), true), (name.text.to_ascii_uppercase(), false)] {
                    let found = entry.object.field(spelled.as_bytes());
                    assert_eq!(found.field.map(|(place, name)| (place, name.text)), Some((place, name.text)));
                    assert_eq!((found.encoding, found.exact), (*encoding, exact), "{spelled}");
                }
                let other = entry.object.field(format!("{}x", name.text).as_bytes());
                assert!(other.field.is_none() && other.encoding == entry.others && !other.exact);
            }
        }
    }

    #[test]
    fn names_are_found_in_any_case() {
        assert_eq!(Object::named(b"ATTACKdata"), Some(Object::AttackData));
        for (spelled, exact) in [("requestheaders", false), ("requestHeaders", true)] {
            let Found { field, encoding, exact: as_spelled } = Object::HttpMessage.field(spelled.as_bytes());
            assert_eq!(field.map(|(place, name)| (place, name.text)), Some((8, "requestHeaders")));
            assert_eq!((encoding, as_spelled), (Headers, exact));
        }
        let Found { field, encoding, exact } = Object::HttpMessage.field(b"ja4");
        assert!(field.is_none() && encoding == UnknownPercent && !exact);
    }

    #[test]
    fn names_that_wazuh_would_take_are_reserved() {
        for name in ["akamai", "Akamai.verdict", "wafaction", "event_type", "win.system", "attackData.rules"] {
            assert!(reserved_at_top_level(name.as_bytes()), "{name}");
        }
        for name in ["newObject", "offset", "total", "types"] {
            assert!(!reserved_at_top_level(name.as_bytes()), "{name}");
        }
    }
}
