//! How each field of an Akamai event is encoded: the one table to look at. Never decodes anything itself.
//!
//! Sources: Akamai's techdocs page "configuration-rule" (rule lists), the OpenAPI description of the SIEM API of 2025 and
//! its sample events (the rest). Names are matched in any case, so that a field cannot come twice in two spellings.

/// How a member's value is encoded. `objects::write_field` decodes it.
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
    fields: &'static [(&'static str, Encoding)],
    /// What members are that the table does not name.
    others: Encoding,
}

use Encoding::{Headers, Percent, PercentAsSent, Plain, Unknown, UnknownBase64, UnknownPercent};

static TABLE: [ObjectFields; OBJECTS] = [
    ObjectFields {
        name: "attackData",
        object: Object::AttackData,
        fields: &[
            ("configId", Plain),
            ("policyId", Plain),
            ("clientIP", Plain),
            ("rules", Encoding::RuleList(RuleList::Rules)),
            ("ruleVersions", Encoding::RuleList(RuleList::Versions)),
            ("ruleMessages", Encoding::RuleList(RuleList::Messages)),
            ("ruleTags", Encoding::RuleList(RuleList::Tags)),
            ("ruleData", Encoding::RuleList(RuleList::Data)),
            ("ruleSelectors", Encoding::RuleList(RuleList::Selectors)),
            ("ruleActions", Encoding::RuleList(RuleList::Actions)),
            ("appliedAction", Plain),
            ("apiId", Plain),
            ("apiKey", Plain),
            // Its `;` separate no list.
            ("clientReputation", Plain),
            ("slowPostAction", Plain),
            ("slowPostRate", Plain),
        ],
        others: Unknown,
    },
    ObjectFields {
        name: "httpMessage",
        object: Object::HttpMessage,
        fields: &[
            ("requestId", Percent),
            ("start", Percent),
            ("protocol", Percent),
            ("method", Percent),
            ("host", Percent),
            ("port", Percent),
            ("path", PercentAsSent),
            ("query", PercentAsSent),
            ("requestHeaders", Headers),
            ("responseHeaders", Headers),
            ("status", Percent),
            ("bytes", Percent),
            ("tls", Percent),
        ],
        others: UnknownPercent,
    },
    ObjectFields {
        name: "geo",
        object: Object::Geo,
        fields: &[("continent", Plain), ("country", Plain), ("regionCode", Plain), ("city", Plain), ("asn", Plain)],
        others: Unknown,
    },
    ObjectFields {
        name: "botData",
        object: Object::BotData,
        fields: &[("botScore", Plain), ("responseSegment", Plain)],
        others: Unknown,
    },
    ObjectFields {
        name: "clientData",
        object: Object::ClientData,
        fields: &[("telemetryType", Plain), ("appBundleId", Plain), ("appVersion", Plain), ("sdkVersion", Plain)],
        others: Unknown,
    },
    ObjectFields {
        name: "userRiskData",
        object: Object::UserRiskData,
        fields: &[
            ("status", Plain),
            ("score", Plain),
            ("risk", Plain),
            ("trust", Plain),
            ("general", Plain),
            ("allow", Plain),
            ("uuid", Plain),
            ("originUserId", Plain),
            ("username", Plain),
            ("emailDomain", Plain),
        ],
        others: Unknown,
    },
    ObjectFields {
        name: "identity",
        object: Object::Identity,
        fields: &[("ja4", Plain), ("tlsFingerprintV2", Plain), ("tlsFingerprintV3", Plain)],
        others: Unknown,
    },
    ObjectFields { name: "custom", object: Object::Custom, fields: &[], others: UnknownBase64 },
];

/// A field of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct KnownField {
    /// The object it is a member of.
    pub(super) object: Object,
    /// Its place among the fields of that object.
    pub(super) index: usize,
}

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
        while !same(fields[index].0.as_bytes(), name.as_bytes()) {
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

    /// What a member of this name is, in any case: where it stands in the table and how Akamai spells it,
    /// where the table has it; and how its value is encoded. Members mostly come in the order of the table: `likely` is the
    /// first place that is looked at.
    pub(super) fn field(self, name: &[u8], likely: usize) -> (Option<(usize, &'static str)>, Encoding) {
        let ObjectFields { fields, others, .. } = TABLE[self as usize];
        let is_likely = fields.get(likely).is_some_and(|(known, _)| name == known.as_bytes());
        let search = || fields.iter().position(|(known, _)| name.eq_ignore_ascii_case(known.as_bytes()));
        match if is_likely { Some(likely) } else { search() } {
            Some(index) => (Some((index, fields[index].0)), fields[index].1),
            None => (None, others),
        }
    }
}

/// Whether an unknown top-level member of this name must not stay at the top level, where Wazuh would take it for
/// something else. Such members move to `akamai.extra`.
pub(super) fn reserved_at_top_level(name: &[u8]) -> bool {
    // Wazuh splits a name at its dots, so that `akamai.verdict` would be our verdict.
    let first = name.split(|&byte| byte == b'.').next().unwrap_or_default();
    let mut reserved = RESERVED.iter().flat_map(|names| names.split(' '));
    Object::named(first).is_some() || reserved.any(|name| first.eq_ignore_ascii_case(name.as_bytes()))
}

const RESERVED: [&str; 4] = [
    // Our own.
    "type format version timestamp srcip action status protocol url id srcuser dstuser akamai",
    // Static fields of Wazuh's decoder (4.14.9).
    "dstip srcport dstport data extra_data systemname system_name user",
    // Names by which stock rules of 4.14.9 recognise other products.
    "integration event_type subtype activity_id category_uid WAFAction vulnerability vuls threat scan_id cis \
     azure_tag @source bro_engine mysql_audit_log method path params correlation_id message severity \
     query_string complexity depth duration win",
    // Names that Wazuh's index template maps to one fixed type: a value of another type loses the alert.
    "file command title uid audit azureSignInStatus oscap office365 github ms-graph netinfo os port hardware \
     program process sca virustotal aws docker gcp osquery parameters YARA",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_stands_in_the_order_of_the_enum() {
        for (index, entry) in TABLE.iter().enumerate() {
            assert_eq!(entry.object as usize, index, "{}", entry.name);
            assert!(entry.fields.len() <= 32, "`members` has one bit for each: {}", entry.name);
        }
    }

    #[test]
    fn every_name_of_the_table_is_found() {
        for entry in &TABLE {
            for (place, (name, encoding)) in entry.fields.iter().enumerate() {
                assert_eq!(entry.object.field(name.as_bytes(), place), (Some((place, *name)), *encoding), "{name}");
                for spelled in [(*name).to_owned(), name.to_ascii_uppercase()] {
                    let found = entry.object.field(spelled.as_bytes(), place + 1);
                    assert_eq!(found, (Some((place, *name)), *encoding), "{spelled}");
                }
                assert_eq!(entry.object.field(format!("{name}x").as_bytes(), place), (None, entry.others));
            }
        }
    }

    #[test]
    fn names_are_found_in_any_case() {
        assert_eq!(Object::named(b"ATTACKdata"), Some(Object::AttackData));
        for spelled in ["requestheaders", "requestHeaders"] {
            assert_eq!(Object::HttpMessage.field(spelled.as_bytes(), 0), (Some((8, "requestHeaders")), Headers));
        }
        assert_eq!(Object::HttpMessage.field(b"ja4", 0), (None, UnknownPercent));
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
