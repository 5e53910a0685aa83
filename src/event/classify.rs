//! What an event means: verdict, category and attack group, from Akamai's actions, rule ids and tags. Never looks at
//! anything an attacker can choose.
//!
//! Akamai publishes no full list of tags. The tables hold what was seen in its samples, its Terraform provider and public
//! transforms; what they do not know is `other`, never dropped.

use super::rule_lists::TriggeredRule;

/// What Akamai did about the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It acted against the request: denied, slowed down, challenged, answered with something else.
    Mitigated,
    /// It flagged the request and let it through to the origin.
    Detected,
    /// It let the request through by an explicit exception.
    Allowed,
    /// An action that is not in the table.
    Other,
}

/// Which protection spoke. An event has the first of these that any of its rules belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Category {
    Waf,
    Malware,
    Ato,
    Api,
    Ai,
    Custom,
    Rate,
    SlowPost,
    Reputation,
    IpGeo,
    PenaltyBox,
    Bot,
    Other,
}

/// The kind of web attack, in the names of Akamai's attack groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AttackGroup {
    Sqli,
    Cmdi,
    Xss,
    Lfi,
    Rfi,
    Phpi,
    Platform,
    Trojan,
    Wat,
    Protocol,
    Policy,
    Outbound,
}

impl Verdict {
    /// The verdict of an action in lower case; none at all means that the event was only flagged.
    pub(super) fn of(action: &[u8]) -> Self {
        if action.is_empty() {
            return Self::Detected;
        }
        ACTIONS.iter().find(|(matches, _)| matches.fits(action)).map_or(Self::Other, |&(_, verdict)| verdict)
    }

    /// Its word in `akamai.verdict`.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Mitigated => "mitigated",
            Self::Detected => "detected",
            Self::Allowed => "allowed",
            Self::Other => "other",
        }
    }
}

impl Category {
    /// Its word in `akamai.category`.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Waf => "waf",
            Self::Malware => "malware",
            Self::Ato => "ato",
            Self::Api => "api",
            Self::Ai => "ai",
            Self::Custom => "custom",
            Self::Rate => "rate",
            Self::SlowPost => "slowpost",
            Self::Reputation => "reputation",
            Self::IpGeo => "ipgeo",
            Self::PenaltyBox => "penaltybox",
            Self::Bot => "bot",
            Self::Other => "other",
        }
    }
}

impl AttackGroup {
    /// Its word in `akamai.attack_group`.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Sqli => "SQLI",
            Self::Cmdi => "CMDI",
            Self::Xss => "XSS",
            Self::Lfi => "LFI",
            Self::Rfi => "RFI",
            Self::Phpi => "PHPI",
            Self::Platform => "PLATFORM",
            Self::Trojan => "TROJAN",
            Self::Wat => "WAT",
            Self::Protocol => "PROTOCOL",
            Self::Policy => "POLICY",
            Self::Outbound => "OUTBOUND",
        }
    }
}

/// Category and attack group of one triggered rule, by its id where that says it, else by its tag.
pub(super) fn classify_rule(rule: TriggeredRule<'_>) -> Option<(Category, Option<AttackGroup>)> {
    if custom_rule_id(rule.id) && !AKAMAI_TAGS.iter().any(|start| starts_with(rule.tag, start)) {
        return Some((Category::Custom, None));
    }
    // Most ids are numbers, and none of the table is.
    let table = if rule.id.first().is_some_and(u8::is_ascii_digit) { &[] } else { RULE_IDS };
    let by_id =
        table.iter().find(|(start, ..)| starts_with(rule.id, start)).map(|&(_, category, group)| (category, group));
    by_id.or_else(|| classify_tag(rule.tag)).or_else(|| bot_rule_id(rule.id).then_some((Category::Bot, None)))
}

/// The first words of the table that a tag begins with, else those of its last segment that the table knows.
fn classify_tag(tag: &[u8]) -> Option<(Category, Option<AttackGroup>)> {
    let whole = TAGS.iter().find(|(start, _)| starts_with(tag, start)).map(|&(_, category)| (category, None));
    whole.or_else(|| {
        tag.rsplit(|&byte| byte == b'/').find_map(|segment| {
            TAG_SEGMENTS
                .iter()
                .find(|(start, ..)| starts_with(segment, start))
                .map(|&(_, category, group)| (category, group))
        })
    })
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

enum Action {
    Is(&'static str),
    Starts(&'static str),
    Holds(&'static str),
}

impl Action {
    fn fits(&self, action: &[u8]) -> bool {
        match self {
            Self::Is(word) => action == word.as_bytes(),
            Self::Starts(word) => action.starts_with(word.as_bytes()),
            Self::Holds(word) => action.windows(word.len()).any(|window| window == word.as_bytes()),
        }
    }
}

/// Actions, the first that fits counts. `alert` and `monitor` are often a staged rollout: flagged, not "succeeded".
const ACTIONS: &[(Action, Verdict)] = &[
    (Action::Is("alert"), Verdict::Detected),
    (Action::Is("monitor"), Verdict::Detected),
    (Action::Is("none"), Verdict::Detected),
    (Action::Is("allow"), Verdict::Allowed),
    (Action::Is("ignore"), Verdict::Allowed),
    (Action::Is("skip"), Verdict::Allowed),
    (Action::Holds("deny"), Verdict::Mitigated),
    (Action::Starts("denied"), Verdict::Mitigated),
    (Action::Is("all_custom"), Verdict::Mitigated),
    (Action::Starts("abort"), Verdict::Mitigated),
    (Action::Starts("tarpit"), Verdict::Mitigated),
    (Action::Starts("slow"), Verdict::Mitigated),
    (Action::Starts("delay"), Verdict::Mitigated),
    (Action::Holds("challenge"), Verdict::Mitigated),
    (Action::Holds("captcha"), Verdict::Mitigated),
    (Action::Starts("serve_alternate"), Verdict::Mitigated),
    (Action::Starts("serve alternate"), Verdict::Mitigated),
    // What acts under conditions that the customer has set; that none held is `monitor` or `skip`.
    (Action::Starts("conditional_action"), Verdict::Mitigated),
    (Action::Starts("drop"), Verdict::Mitigated),
    (Action::Starts("block"), Verdict::Mitigated),
    (Action::Starts("reject"), Verdict::Mitigated),
];

use AttackGroup::{Cmdi, Lfi, Outbound, Phpi, Platform, Policy, Protocol, Rfi, Sqli, Trojan, Wat, Xss};
use Category::{Ai, Api, Ato, Bot, Custom, IpGeo, Malware, PenaltyBox, Rate, Reputation, SlowPost, Waf};

/// How the tags of Akamai's own rules begin.
const AKAMAI_TAGS: &[&str] = &["AKAMAI/", "ASE/", "OWASP_CRS/"];

/// Rule ids that are words, by how they begin; numbers say nothing.
const RULE_IDS: &[(&str, Category, Option<AttackGroup>)] = &[
    ("USER_RISK", Ato, None),
    ("BOT_", Bot, None),
    // Rate controls: burst and average threshold. Both carry the tag IPBLOCK of the IP/Geo firewall.
    ("IPBLOCK_BURST", Rate, None),
    ("IPBLOCK_SUMMARY", Rate, None),
    ("IPBLOCK", IpGeo, None),
    ("GEOBLOCK", IpGeo, None),
    ("SLOW_POST", SlowPost, None),
    ("SLOWPOST", SlowPost, None),
    ("PENALTYBOX", PenaltyBox, None),
    ("SQL_INJECTION", Waf, Some(Sqli)),
    ("CMD_INJECTION", Waf, Some(Cmdi)),
    ("XSS_", Waf, Some(Xss)),
    ("LFI_", Waf, Some(Lfi)),
    ("RFI_", Waf, Some(Rfi)),
    ("PHP_INJECTION", Waf, Some(Phpi)),
    ("TROJAN_", Waf, Some(Trojan)),
    ("INVALID_HTTP", Waf, Some(Protocol)),
    ("OUTBOUND_", Waf, Some(Outbound)),
];

/// Tags of the protections that are no web attack, by how they begin.
const TAGS: &[(&str, Category)] = &[
    ("AKAMAI/BOT", Bot),
    ("AKAMAI/CUSTOM", Custom),
    ("AKAMAI/WAF/PENALTYBOX", PenaltyBox),
    ("PENALTYBOX", PenaltyBox),
    ("PENALTY_BOX", PenaltyBox),
    ("IPBLOCK_BURST", Rate),
    ("IPBLOCK_SUMMARY", Rate),
    ("IPBLOCK", IpGeo),
    ("REPUTATION", Reputation),
];

/// Words of a tag's segments, by how they begin; the last segment that has one counts, and in it the first row that fits.
const TAG_SEGMENTS: &[(&str, Category, Option<AttackGroup>)] = &[
    ("SQL", Waf, Some(Sqli)),
    ("CMD", Waf, Some(Cmdi)),
    ("COMMAND", Waf, Some(Cmdi)),
    ("OS_COMMAND", Waf, Some(Cmdi)),
    ("SSI_", Waf, Some(Cmdi)),
    ("XSS", Waf, Some(Xss)),
    ("CROSS_SITE_SCRIPTING", Waf, Some(Xss)),
    ("LFI", Waf, Some(Lfi)),
    ("FILE_INJECTION", Waf, Some(Lfi)),
    ("LOCAL_FILE", Waf, Some(Lfi)),
    ("DIR_TRAVERSAL", Waf, Some(Lfi)),
    ("PATH_TRAVERSAL", Waf, Some(Lfi)),
    ("RFI", Waf, Some(Rfi)),
    ("REMOTE_FILE", Waf, Some(Rfi)),
    ("PHP", Waf, Some(Phpi)),
    ("PLATFORM", Waf, Some(Platform)),
    ("TROJAN", Waf, Some(Trojan)),
    ("BACKDOOR", Waf, Some(Trojan)),
    ("WEBSHELL", Waf, Some(Trojan)),
    ("WEB_SHELL", Waf, Some(Trojan)),
    ("WAT", Waf, Some(Wat)),
    ("TOOL", Waf, Some(Wat)),
    ("LOIC", Waf, Some(Wat)),
    ("AUTOMATION", Waf, Some(Wat)),
    ("SECURITY_SCANNER", Waf, Some(Wat)),
    ("BAD_ROBOT", Waf, Some(Wat)),
    ("PROTOCOL", Waf, Some(Protocol)),
    ("INVALID_HTTP", Waf, Some(Protocol)),
    ("OUTBOUND", Waf, Some(Outbound)),
    ("LEAKAGE", Waf, Some(Outbound)),
    // The sum of all scores: the rules beside it say which attack it was.
    ("INBOUND_ANOMALY", Waf, None),
    ("POLICY", Waf, Some(Policy)),
    ("WEB_ATTACK", Waf, None),
    ("OWASP_CRS", Waf, None),
    ("ASE", Waf, None),
    ("MALWARE", Malware, None),
    ("USER_RISK", Ato, None),
    ("ACCOUNT_PROTECT", Ato, None),
    ("APRPROTECTION", Ato, None),
    ("API", Api, None),
    ("AIFIREWALL", Ai, None),
    ("AI_FIREWALL", Ai, None),
    ("AIFW", Ai, None),
    ("RATE", Rate, None),
    ("DDOS", Rate, None),
    // Behavioral DDoS Engine.
    ("BEHAVIORAL_DDOS", Rate, None),
    ("BDE", Rate, None),
    ("URLPROTECTION", Rate, None),
    ("URL_PROTECTION", Rate, None),
    ("SLOWPOST", SlowPost, None),
    ("SLOW_POST", SlowPost, None),
    ("CLIENTREP", Reputation, None),
    ("CLIENT_REP", Reputation, None),
    ("IPGEO", IpGeo, None),
    ("IP_GEO", IpGeo, None),
    ("GEO", IpGeo, None),
    ("EDGESCAPE", IpGeo, None),
    ("BOT", Bot, None),
    ("CUSTOM", Custom, None),
    ("WAF", Waf, None),
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
