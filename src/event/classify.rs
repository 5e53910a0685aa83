//! What an event means: verdict, category and attack group, from Akamai's actions, rule ids and tags. Never looks at
//! anything an attacker can choose.
//!
//! Akamai publishes no full list of tags. The tables hold what was seen in its samples, its Terraform provider and public
//! transforms; what they do not know is `other`, never dropped.

use memchr::memmem;

use super::rule_lists::TriggeredRule;

/// An enum of which each variant has a word in the event.
macro_rules! words {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub(super) enum $name {
            $($(#[$doc])* $variant,)*
        }

        impl $name {
            pub(super) fn word(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)*
                }
            }
        }
    };
}

words! {
    /// What Akamai did about the request: `akamai.verdict`.
    Verdict {
        /// It acted against the request: denied, slowed down, challenged, answered with something else.
        Mitigated = "mitigated",
        /// It flagged the request and let it through to the origin.
        Detected = "detected",
        /// It let the request through by an explicit exception.
        Allowed = "allowed",
        /// An action that is not in the table.
        Other = "other",
    }
}

words! {
    /// Which protection spoke: `akamai.category`. An event has the first of these that any of its rules belongs to.
    Category {
        Waf = "waf",
        Malware = "malware",
        Ato = "ato",
        Api = "api",
        Ai = "ai",
        Custom = "custom",
        Rate = "rate",
        SlowPost = "slowpost",
        Reputation = "reputation",
        IpGeo = "ipgeo",
        PenaltyBox = "penaltybox",
        Bot = "bot",
        Other = "other",
    }
}

words! {
    /// The kind of web attack, in the names of Akamai's attack groups: `akamai.attack_group`.
    AttackGroup {
        Sqli = "SQLI",
        Cmdi = "CMDI",
        Xss = "XSS",
        Lfi = "LFI",
        Rfi = "RFI",
        Phpi = "PHPI",
        Platform = "PLATFORM",
        Trojan = "TROJAN",
        Wat = "WAT",
        Protocol = "PROTOCOL",
        Policy = "POLICY",
        Outbound = "OUTBOUND",
    }
}

impl Verdict {
    /// The verdict of an action in lower case; none at all means that the event was only flagged, and so do `alert` and
    /// `monitor`: often a staged rollout, not "succeeded".
    pub(super) fn of(action: &[u8]) -> Self {
        match action {
            b"" | b"alert" | b"monitor" | b"none" => Self::Detected,
            b"allow" | b"ignore" | b"skip" => Self::Allowed,
            b"all_custom" => Self::Mitigated,
            _ if MITIGATING_STARTS.iter().any(|start| action.starts_with(start.as_bytes())) => Self::Mitigated,
            _ if MITIGATING_WORDS.iter().any(|word| memmem::find(action, word.as_bytes()).is_some()) => Self::Mitigated,
            _ => Self::Other,
        }
    }
}

/// How actions begin that are taken against a request. `conditional_action` acts under conditions that the customer has set;
/// that none held is `monitor` or `skip`.
const MITIGATING_STARTS: &[&str] = &[
    "abort",
    "block",
    "conditional_action",
    "delay",
    "denied",
    "drop",
    "reject",
    "serve alternate",
    "serve_alternate",
    "slow",
    "tarpit",
];

/// What stands in the others.
const MITIGATING_WORDS: &[&str] = &["captcha", "challenge", "deny"];

/// Category and attack group of one triggered rule, by its id where that says it, else by its tag.
pub(super) fn classify_rule(rule: TriggeredRule<'_>) -> Option<(Category, Option<AttackGroup>)> {
    if custom_rule_id(rule.id) && !AKAMAI_TAGS.iter().any(|start| starts_with(rule.tag, start)) {
        return Some((Category::Custom, None));
    }
    // Most ids are numbers, and none of the table is.
    let by_id = if rule.id.first().is_some_and(u8::is_ascii_digit) { None } else { find(RULE_IDS, rule.id) };
    let by_segment = || rule.tag.rsplit(|&byte| byte == b'/').find_map(|segment| find(TAG_SEGMENTS, segment));
    by_id
        .or_else(|| find(TAGS, rule.tag))
        .or_else(by_segment)
        .or_else(|| bot_rule_id(rule.id).then_some((Category::Bot, None)))
}

/// What the first row says that has a beginning of `text`.
fn find(table: &[Row], text: &[u8]) -> Option<(Category, Option<AttackGroup>)> {
    let fits = |(starts, ..): &&Row| starts.iter().any(|start| starts_with(text, start));
    table.iter().find(fits).map(|&(_, category, group)| (category, group))
}

/// A customer's own rule: its id begins with 6, its tag is free text. A rule with a tag of Akamai's own is taken for
/// Akamai's, whatever its id.
fn custom_rule_id(id: &[u8]) -> bool {
    id.len() >= 6 && id[0] == b'6' && id.iter().all(u8::is_ascii_digit)
}

/// Bot Manager's own rules: 39xxxxx (reference: TrafficPeak's transform of the same data).
fn bot_rule_id(id: &[u8]) -> bool {
    id.len() >= 4 && id.starts_with(b"39") && id.iter().all(u8::is_ascii_digit)
}

/// `-` and `_` are the same, and so are upper and lower case.
fn starts_with(text: &[u8], start: &str) -> bool {
    text.len() >= start.len()
        && text.iter().zip(start.bytes()).all(|(&byte, expected)| {
            let byte = if byte == b'-' { b'_' } else { byte.to_ascii_uppercase() };
            byte == expected
        })
}

use AttackGroup::{Cmdi, Lfi, Outbound, Phpi, Platform, Policy, Protocol, Rfi, Sqli, Trojan, Wat, Xss};
use Category::{Ai, Api, Ato, Bot, Custom, IpGeo, Malware, PenaltyBox, Rate, Reputation, SlowPost, Waf};

/// How the tags of Akamai's own rules begin.
const AKAMAI_TAGS: &[&str] = &["AKAMAI/", "ASE/", "OWASP_CRS/"];

/// How a rule's id or tag begins, and what that says.
type Row = (&'static [&'static str], Category, Option<AttackGroup>);

/// Rule ids that are words, by how they begin; numbers say nothing.
const RULE_IDS: &[Row] = &[
    (&["USER_RISK"], Ato, None),
    (&["BOT_"], Bot, None),
    // Rate controls: burst and average threshold. Both carry the tag IPBLOCK of the IP/Geo firewall.
    (&["IPBLOCK_BURST", "IPBLOCK_SUMMARY"], Rate, None),
    (&["IPBLOCK", "GEOBLOCK"], IpGeo, None),
    (&["SLOW_POST", "SLOWPOST"], SlowPost, None),
    (&["PENALTYBOX"], PenaltyBox, None),
    (&["SQL_INJECTION"], Waf, Some(Sqli)),
    (&["CMD_INJECTION"], Waf, Some(Cmdi)),
    (&["XSS_"], Waf, Some(Xss)),
    (&["LFI_"], Waf, Some(Lfi)),
    (&["RFI_"], Waf, Some(Rfi)),
    (&["PHP_INJECTION"], Waf, Some(Phpi)),
    (&["TROJAN_"], Waf, Some(Trojan)),
    (&["INVALID_HTTP"], Waf, Some(Protocol)),
    (&["OUTBOUND_"], Waf, Some(Outbound)),
];

/// Tags of the protections that are no web attack, by how they begin.
const TAGS: &[Row] = &[
    (&["AKAMAI/BOT"], Bot, None),
    (&["AKAMAI/CUSTOM"], Custom, None),
    (&["AKAMAI/WAF/PENALTYBOX", "PENALTYBOX", "PENALTY_BOX"], PenaltyBox, None),
    (&["IPBLOCK_BURST", "IPBLOCK_SUMMARY"], Rate, None),
    (&["IPBLOCK"], IpGeo, None),
    (&["REPUTATION"], Reputation, None),
];

/// A tag's segments, by how they begin; the last segment that has one counts, and in it the first row that fits.
const TAG_SEGMENTS: &[Row] = &[
    (&["SQL"], Waf, Some(Sqli)),
    (&["CMD", "COMMAND", "OS_COMMAND", "SSI_"], Waf, Some(Cmdi)),
    (&["XSS", "CROSS_SITE_SCRIPTING"], Waf, Some(Xss)),
    (&["LFI", "FILE_INJECTION", "LOCAL_FILE", "DIR_TRAVERSAL", "PATH_TRAVERSAL"], Waf, Some(Lfi)),
    (&["RFI", "REMOTE_FILE"], Waf, Some(Rfi)),
    (&["PHP"], Waf, Some(Phpi)),
    (&["PLATFORM"], Waf, Some(Platform)),
    (&["TROJAN", "BACKDOOR", "WEBSHELL", "WEB_SHELL"], Waf, Some(Trojan)),
    (&["WAT", "TOOL", "LOIC", "AUTOMATION", "SECURITY_SCANNER", "BAD_ROBOT"], Waf, Some(Wat)),
    (&["PROTOCOL", "INVALID_HTTP"], Waf, Some(Protocol)),
    (&["OUTBOUND", "LEAKAGE"], Waf, Some(Outbound)),
    // The sum of all scores: the rules beside it say which attack it was.
    (&["INBOUND_ANOMALY"], Waf, None),
    (&["POLICY"], Waf, Some(Policy)),
    (&["WEB_ATTACK", "OWASP_CRS", "ASE"], Waf, None),
    (&["MALWARE"], Malware, None),
    (&["USER_RISK", "ACCOUNT_PROTECT", "APRPROTECTION"], Ato, None),
    (&["API"], Api, None),
    (&["AIFIREWALL", "AI_FIREWALL", "AIFW"], Ai, None),
    // BDE is the Behavioral DDoS Engine.
    (&["RATE", "DDOS", "BEHAVIORAL_DDOS", "BDE", "URLPROTECTION", "URL_PROTECTION"], Rate, None),
    (&["SLOWPOST", "SLOW_POST"], SlowPost, None),
    (&["CLIENTREP", "CLIENT_REP"], Reputation, None),
    (&["IPGEO", "IP_GEO", "GEO", "EDGESCAPE"], IpGeo, None),
    (&["BOT"], Bot, None),
    (&["CUSTOM"], Custom, None),
    (&["WAF"], Waf, None),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_have_a_verdict() {
        for (action, verdict) in [
            ("deny", Verdict::Mitigated),
            ("deny_custom_4711", Verdict::Mitigated),
            ("tarpit", Verdict::Mitigated),
            ("challenge_12", Verdict::Mitigated),
            ("serve_alternate_7", Verdict::Mitigated),
            ("serve alternate", Verdict::Mitigated),
            ("google_recaptcha", Verdict::Mitigated),
            ("captcha", Verdict::Mitigated),
            ("conditional_action_4711", Verdict::Mitigated),
            ("skip", Verdict::Allowed),
            ("alert", Verdict::Detected),
            ("monitor", Verdict::Detected),
            ("", Verdict::Detected),
            ("allow", Verdict::Allowed),
            ("ignore", Verdict::Allowed),
            ("x", Verdict::Other),
            ("alerting", Verdict::Other),
        ] {
            assert_eq!(Verdict::of(action.as_bytes()), verdict, "{action}");
        }
    }

    #[test]
    fn every_protection_has_a_category() {
        for (protection, category) in [
            ("ipgeo", IpGeo),
            ("rate", Rate),
            ("urlProtection", Rate),
            ("slowpost", SlowPost),
            ("customrules", Custom),
            ("waf", Waf),
            ("apirequestconstraints", Api),
            ("clientrep", Reputation),
            ("malwareprotection", Malware),
            ("botmanagement", Bot),
            ("aprProtection", Ato),
            ("aifirewallprotection", Ai),
            ("bde", Rate),
        ] {
            let rule = TriggeredRule { id: b"x", tag: protection.as_bytes(), action: b"" };
            assert_eq!(classify_rule(rule), Some((category, None)), "{protection}");
        }
    }

    #[test]
    fn rules_have_a_category_and_a_group() {
        for (id, tag, expected) in [
            ("3000100", "ASE/WEB_ATTACK/SQLI", Some((Waf, Some(Sqli)))),
            ("950002", "ASE/WEB_ATTACK/CMD_INJECTION", Some((Waf, Some(Cmdi)))),
            ("950002", "OWASP_CRS/WEB_ATTACK/FILE_INJECTION", Some((Waf, Some(Lfi)))),
            ("950006", "OWASP_CRS/WEB_ATTACK/COMMAND_INJECTION", Some((Waf, Some(Cmdi)))),
            ("CMD-INJECTION-ANOMALY", "", Some((Waf, Some(Cmdi)))),
            ("INBOUND-ANOMALY", "AKAMAI/POLICY/INBOUND_ANOMALY", Some((Waf, None))),
            ("970003", "ASE/OUTBOUND/LEAKAGE", Some((Waf, Some(Outbound)))),
            ("690001", "AKAMAI/WEB_ATTACK/LOIC1.1", Some((Waf, Some(Wat)))),
            ("990012", "AUTOMATION/MISC", Some((Waf, Some(Wat)))),
            ("60050123", "SQLI", Some((Custom, None))),
            ("3900001", "AKAMAI/BOT/UNKNOWN_BOT", Some((Bot, None))),
            ("3991001", "", Some((Bot, None))),
            ("BOT-6A1B", "", Some((Bot, None))),
            ("x", "AKAMAI/BOT_DETECT_v1", Some((Bot, None))),
            ("IPBLOCK-BURST4-54013", "IPBLOCK", Some((Rate, None))),
            ("IPBLOCK", "IPBLOCK", Some((IpGeo, None))),
            ("REP-1", "REPUTATION", Some((Reputation, None))),
            ("PB", "AKAMAI/WAF/PENALTYBOX", Some((PenaltyBox, None))),
            ("USER-RISK-1", "", Some((Ato, None))),
            ("x", "AKAMAI/EDGESCAPE_ANONYMOUS_PROXY_v1", Some((IpGeo, None))),
            ("x", "bde", Some((Rate, None))),
            ("x", "AKAMAI/WAF/BEHAVIORAL_DDOS", Some((Rate, None))),
            ("x", "y", None),
        ] {
            assert_eq!(
                classify_rule(TriggeredRule { id: id.as_bytes(), tag: tag.as_bytes(), action: b"" }),
                expected,
                "{id} {tag}"
            );
        }
    }
}
