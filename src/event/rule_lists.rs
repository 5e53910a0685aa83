//! The parallel lists of `attackData`, one item a triggered rule: decoded and aligned. Never loses an item: what is not
//! base64 stays as it came, and a surplus stays at the end.

use std::borrow::Cow;
use std::ops::Range;

use base64::Engine;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use base64::prelude::BASE64_STANDARD;
use memchr::memchr_iter;

use super::emit::ITEMS_MAX;
use super::fields::{Encoding, Object, RULE_LISTS, RuleList};
use super::json::{JsonKind, TEXT_READ_BYTES_MAX};
use super::members::Members;
use super::percent::{Left, decode};
use super::text::control_length;

/// Standard alphabet; padding is optional and spare bits are ignored, since older samples of Akamai's lack the one and
/// carry the other.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// Items of a list that are kept, one more than are written: then the list is told to be cut.
const ITEMS_KEPT: usize = ITEMS_MAX + 1;

/// The lists of one event.
#[derive(Debug, Default)]
pub(super) struct RuleLists {
    /// All items, one behind the other.
    text: Vec<u8>,
    /// Where each item stands in `text`, one list behind the other.
    items: Vec<Range<usize>>,
    /// Where each list stands in `items`.
    lists: [Range<usize>; RULE_LISTS],
    /// Which lists are known to go on behind what was read of them.
    cut: [bool; RULE_LISTS],
}

/// What one triggered rule says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TriggeredRule<'a> {
    pub(super) id: &'a [u8],
    pub(super) tag: &'a [u8],
    pub(super) action: &'a [u8],
}

impl RuleLists {
    /// Decodes the rule lists of `attackData`.
    pub(super) fn read(members: &Members<'_>) -> Self {
        let mut lists = Self { text: Vec::with_capacity(1_024), items: Vec::with_capacity(64), ..Self::default() };
        let fields = members.object(Object::AttackData).map_or(&[][..], |attack_data| members.of(attack_data));
        for field in fields.iter().filter(|field| !field.skipped) {
            let Encoding::RuleList(list) = field.encoding else { continue };
            let first = lists.items.len();
            if field.value.is_text() {
                lists.read_list(field.value.text());
            } else if field.value.kind == JsonKind::Array {
                // Not seen so far: a list that comes as one has nothing to decode.
                field.value.items().take(ITEMS_KEPT).all(|item| lists.push(&item.text()));
            } else {
                lists.push(&field.value.text());
            }
            lists.lists[list as usize] = first..lists.items.len();
            lists.cut[list as usize] = field.value.is_cut();
        }
        lists
    }

    /// Reads an encoded list: percent-decoded once as a whole, split at `;`, each item base64-decoded (Akamai's techdocs,
    /// "configuration-rule"). An empty field has no items.
    fn read_list(&mut self, encoded: Cow<'_, [u8]>) {
        if encoded.is_empty() {
            return;
        }
        let decoded = decode(encoded, Left::Nothing);
        let mut at = 0;
        for end in memchr_iter(b';', &decoded).chain([decoded.len()]).take(ITEMS_KEPT) {
            let start = self.text.len();
            decode_item_into(&decoded[at..end], &mut self.text);
            self.items.push(start..self.text.len());
            at = end + 1;
        }
    }

    /// Appends an item that needs no decoding; returns false once there is no room for more.
    fn push(&mut self, item: &[u8]) -> bool {
        let start = self.text.len();
        self.text.extend_from_slice(item);
        self.items.push(start..self.text.len());
        self.text.len() < TEXT_READ_BYTES_MAX * RULE_LISTS
    }

    /// Whether the list may have had more than is kept.
    pub(super) fn is_cut(&self, list: RuleList) -> bool {
        self.cut[list as usize] || self.raw_items(list).len() >= ITEMS_KEPT
    }

    /// How many rules were triggered: the items of `rules`, without one empty item that a final `;` leaves (an id is
    /// never empty).
    fn rules(&self) -> usize {
        let items = self.raw_items(RuleList::Rules);
        items.len() - usize::from(items.last().is_some_and(Range::is_empty))
    }

    /// The items of a list, aligned with the rules: an empty item beyond them that a final `;` leaves is dropped, missing
    /// ones are empty, a surplus follows.
    pub(super) fn items(&self, list: RuleList) -> impl Iterator<Item = &[u8]> {
        let rules = self.rules();
        let items = self.raw_items(list);
        let ended_by_semicolon = items.len() == rules + 1 && items.last().is_some_and(Range::is_empty);
        let count = if ended_by_semicolon { rules } else { items.len().max(rules) };
        (0..count).map(move |index| self.item(list, index))
    }

    /// The selectors, without those that are missing.
    pub(super) fn selectors(&self) -> impl Iterator<Item = &[u8]> {
        self.items(RuleList::Selectors).take(self.raw_items(RuleList::Selectors).len())
    }

    /// The rules in the order of the event.
    pub(super) fn each_rule(&self) -> impl Iterator<Item = TriggeredRule<'_>> {
        (0..self.rules()).map(|index| TriggeredRule {
            id: self.item(RuleList::Rules, index),
            tag: self.item(RuleList::Tags, index),
            action: self.item(RuleList::Actions, index),
        })
    }

    fn raw_items(&self, list: RuleList) -> &[Range<usize>] {
        &self.items[self.lists[list as usize].clone()]
    }

    fn item(&self, list: RuleList, index: usize) -> &[u8] {
        self.raw_items(list).get(index).map_or(&[], |item| &self.text[item.clone()])
    }
}

/// Appends the bytes that `item` encodes, if need be once blanks are left out and the URL-safe alphabet is replaced (both
/// occur in mangled samples only), or `item` itself where it is no base64 even so.
pub(super) fn decode_item_into(item: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    if BASE64.decode_vec(item, out).is_ok() {
        return;
    }
    out.truncate(start);
    let tidy = |byte: u8| match byte {
        b'-' => b'+',
        b'_' => b'/',
        other => other,
    };
    let digits = item.iter().filter(|byte| !byte.is_ascii_whitespace());
    let tidy: Vec<u8> = digits.map(|&byte| tidy(byte)).collect();
    if BASE64.decode_vec(&tidy, out).is_err() {
        out.truncate(start);
        out.extend_from_slice(item);
    }
}

/// Characters of the shortest base64 that is decoded in `custom`: many a shorter word is base64 of something.
const CUSTOM_BYTES_MIN: usize = 8;

/// The text that a value of `custom` encodes, if it is base64 of a text: canonical, padded and printable. Customers may put
/// plain words there, and some of them look like base64; what does not decode to printable text is taken for one of those.
pub(super) fn custom_text(value: &[u8]) -> Option<Vec<u8>> {
    let digits = decode(value, Left::Nothing);
    if digits.len() < CUSTOM_BYTES_MIN {
        return None;
    }
    let decoded = BASE64_STANDARD.decode(&*digits).ok()?;
    let is_printable = |at: usize| control_length(&decoded[at..]) == 0 && decoded[at] != 0;
    let text = std::str::from_utf8(&decoded).ok()?;
    text.char_indices().all(|(at, _)| is_printable(at)).then_some(decoded)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::event::json::Tape;
    use proptest::prelude::*;

    fn read(rules: &str, data: &str) -> RuleLists {
        let line = serde_json::json!({"attackData": {"rules": rules, "ruleData": data}}).to_string();
        RuleLists::read(&Members::resolve(&Tape::scan(line.as_bytes()).unwrap()))
    }

    fn check(rules: &str, other: &str, expected: &[&str]) {
        let lists = read(rules, other);
        let items: Vec<_> = lists.items(RuleList::Data).map(String::from_utf8_lossy).collect();
        assert_eq!(items, expected, "{rules} / {other}");
    }

    #[test]
    fn each_item_is_decoded_on_its_own() {
        check("MQ%3d%3d%3bMg%3d%3d", "YTti%3bYz1kOyBl", &["a;b", "c=d; e"]);
        check("MQ==;Mg==", "YQ;YWI", &["a", "ab"]);
        check("eA%3d%3d", "PG5hbWU%2b", &["<name>"]);
        check("MQ%3d%3d", "YWxlcnQ%253d%253bZGVueQ%253d%253d", &["YWxlcnQ%3d%3bZGVueQ%3d%3d"]);
    }

    #[test]
    fn what_is_not_base64_stays_as_it_came() {
        check("MQ==;Mg==", "b2s=;!!!", &["ok", "!!!"]);
        check("MQ==", "RXhhbXBsZSBy dWxlIHRleHQ=", &["Example rule text"]);
        check("MQ==", "-_8", &["\u{fffd}\u{fffd}"]);
        for odd in ["YQ%3d", "YQ%3d%3d%3d", "YQ%3dYQ%3d", "%3d%3dYQ", "YWI%3d%3d", "YQ%3d%3dx"] {
            let lists =
                |spelled: &str| read(spelled, "").items(RuleList::Rules).map(<[u8]>::to_vec).collect::<Vec<_>>();
            // An encoded `+` makes a list of the same items take the other way.
            for list in [odd.to_owned(), format!("YQ%3d%3d%3b{odd}"), format!("{odd}%3bYQ%3d%3d")] {
                let other_way = lists(&format!("{list}%3bPj4%2b"));
                assert_eq!(lists(&list), other_way[..other_way.len() - 1], "{list}");
            }
        }
    }

    #[test]
    fn lists_are_aligned_with_the_rules() {
        check("MQ==;Mg==;", "YQ==;Yg==;", &["a", "b"]);
        check("MQ==;Mg==;Mw==", "YQ==;Yg==;", &["a", "b", ""]);
        check("MQ==;Mg==", "", &["", ""]);
        check("MQ==;Mg==", ";;", &["", ""]);
        check("MQ==", "YQ==;Yg==;Yw==", &["a", "b", "c"]);
        check("MQ==", "YQ==;Yg==;", &["a", "b", ""]);
        check("", "", &[]);
        check("", ";", &["", ""]);
    }

    #[test]
    fn no_more_items_are_kept_than_are_written() {
        let items = |lists: &RuleLists| (lists.items(RuleList::Rules).count(), lists.is_cut(RuleList::Rules));
        for separator in [";", "%3b", "%3B"] {
            for (count, expected) in [(999, (999, false)), (1_000, (1_000, false)), (9_000, (1_001, true))] {
                for item in ["YQ", "YWJj"] {
                    assert_eq!(items(&read(&vec![item; count].join(separator), "")), expected, "{separator}");
                }
            }
        }
        let line = format!(r#"{{"attackData":{{"rules":["a"{}]}}}}"#, r#","a""#.repeat(8_999));
        let tape = Tape::scan(line.as_bytes()).unwrap();
        assert_eq!(items(&RuleLists::read(&Members::resolve(&tape))), (1_001, true));
    }

    #[test]
    fn custom_is_decoded_only_where_it_is_base64_of_text() {
        assert_eq!(custom_text(b"Ymx1ZSB0ZWFt").as_deref(), Some(&b"blue team"[..]));
        assert_eq!(custom_text(b"Ymx1ZSB0ZWFtcw%3d%3d").as_deref(), Some(&b"blue teams"[..]));
        for word in [
            "not base64!",
            "",
            "deny",
            "WEB1",
            // Base64 of other than printable text, without padding, with spare bits, of another alphabet.
            "production==",
            "YQpiCmNkCg==",
            "Ymx1ZSB0ZWFtcw",
            "Ymx1ZSB0ZWFtcx==",
            "Ymx1 ZSB0ZWFt",
            "4oCuYWJj",
        ] {
            assert_eq!(custom_text(word.as_bytes()), None, "{word}");
        }
    }

    proptest! {
        #[test]
        fn what_is_encoded_comes_back(text in proptest::collection::vec(any::<u8>(), 0..40)) {
            let mut decoded = Vec::new();
            decode_item_into(BASE64_STANDARD.encode(&text).as_bytes(), &mut decoded);
            prop_assert_eq!(decoded, text);
        }
    }
}
