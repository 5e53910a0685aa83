//! The parallel lists of `attackData`, one item a triggered rule: decoded and aligned. Never loses an item: what is not
//! base64 stays as it came, and a surplus stays at the end.

use base64::Engine;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use base64::prelude::BASE64_STANDARD;

use super::emit::ITEMS_MAX;
use super::fields::{RULE_LISTS, RuleList};
use super::quads;
use crate::event::blocks::{Marks, Percent, Special, holds};
use crate::event::control::control_length;
use crate::event::json::{TEXT_READ_BYTES_MAX, Text};
use crate::event::percent::{ESCAPE_BYTES, Left, PercentDecoder};

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

/// The lists of one event. Kept from event to event for its memory.
#[derive(Debug, Default)]
pub(super) struct RuleLists {
    /// All items, one behind the other; what stands behind `text_end` is left from earlier events.
    text: Vec<u8>,
    text_end: usize,
    /// Where each item stands in `text`.
    items: Vec<(usize, usize)>,
    /// Where each list stands in `items`; none where the event lacks the field.
    lists: [Option<(usize, usize)>; RULE_LISTS],
    /// Which lists are known to go on behind what was read of them.
    cut: [bool; RULE_LISTS],
    decoder: PercentDecoder,
}

/// What one triggered rule says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rule<'a> {
    pub(super) id: &'a [u8],
    pub(super) tag: &'a [u8],
    pub(super) action: &'a [u8],
}

impl RuleLists {
    /// Forgets the last event.
    pub(super) fn clear(&mut self) {
        self.text_end = 0;
        self.items.clear();
        self.lists = [None; RULE_LISTS];
        self.cut = [false; RULE_LISTS];
    }

    /// Reads an encoded list: percent-decoded once as a whole, split at `;`, each item base64-decoded (Akamai's techdocs,
    /// "configuration-rule"). An empty field has no items.
    pub(super) fn read(&mut self, list: RuleList, encoded: Text<'_>) {
        let (first, text_end) = (self.items.len(), self.text_end);
        // Decoding never makes a text longer.
        if self.text.len() < text_end + encoded.bytes.len() {
            self.text.resize(text_end + encoded.bytes.len(), 0);
        }
        if !encoded.bytes.is_empty() && !self.read_tidy(encoded.bytes) {
            self.items.truncate(first);
            self.text_end = text_end;
            self.read_untidy(encoded);
        }
        self.lists[list as usize] = Some((first, self.items.len()));
    }

    /// Reads a list spelled as Akamai spells it, with no escapes but `%3d` and `%3b`, without decoding them first; false if
    /// it is another one.
    fn read_tidy(&mut self, encoded: &[u8]) -> bool {
        let (mut start, mut padding) = (0, 0);
        let items_max = self.items.len() + ITEMS_KEPT;
        for at in Marks::<Percent>::from(encoded, 0, ()) {
            if self.items.len() == items_max {
                return true;
            }
            match encoded.get(at + 1..at + ESCAPE_BYTES) {
                Some([b'3', b'd' | b'D']) => padding += 1,
                Some([b'3', b'b' | b'B']) if self.read_tidy_item(&encoded[start..at], padding) => {
                    (start, padding) = (at + ESCAPE_BYTES, 0);
                }
                _ => return false,
            }
        }
        self.read_tidy_item(&encoded[start..], padding)
    }

    /// Reads an item that holds so many `%3d`; false if it is not base64, which has them at its end.
    #[inline]
    fn read_tidy_item(&mut self, item: &[u8], padding: usize) -> bool {
        // One that stands elsewhere is left among the digits and is none.
        self.read_digits(&item[..item.len() - ESCAPE_BYTES * padding], padding)
    }

    /// Reads the item of these digits and so many `=`; false if it is not base64 as it should be.
    #[inline]
    fn read_digits(&mut self, digits: &[u8], padding: usize) -> bool {
        let start = self.text_end;
        let Some(length) = quads::decode(digits, padding, &mut self.text[start..]) else { return false };
        self.text_end = start + length;
        self.items.push((start, self.text_end));
        true
    }

    /// Reads a list of any other spelling: one in which `+` and `/` are encoded, mostly.
    fn read_untidy(&mut self, encoded: Text<'_>) {
        let mut decoder = std::mem::take(&mut self.decoder);
        for item in decoder.decode(encoded, Left::NONE).bytes.split(|&byte| byte == b';').take(ITEMS_KEPT) {
            let padding = item.iter().rev().take_while(|&&byte| byte == b'=').count();
            if self.read_digits(&item[..item.len() - padding], padding) {
                continue;
            }
            let start = self.text_end;
            self.append(|text| {
                if BASE64.decode_vec(item, text).is_err() {
                    text.truncate(start);
                    decode_mangled_into(item, text);
                }
            });
            self.items.push((start, self.text_end));
        }
        self.decoder = decoder;
    }

    /// Appends to `text` what `write` appends to it.
    fn append(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        self.text.truncate(self.text_end);
        write(&mut self.text);
        self.text_end = self.text.len();
    }

    /// Starts a list whose items come one by one, already decoded (with [`Self::push`]).
    pub(super) fn begin(&mut self, list: RuleList) {
        self.lists[list as usize] = Some((self.items.len(), self.items.len()));
    }

    /// Appends an item to the list begun last; returns false once it takes no more.
    pub(super) fn push(&mut self, list: RuleList, item: &[u8]) -> bool {
        let start = self.text_end;
        self.append(|text| text.extend_from_slice(item));
        self.items.push((start, self.text_end));
        if let Some((_, end)) = &mut self.lists[list as usize] {
            *end = self.items.len();
        }
        self.raw_items(list).len() < ITEMS_KEPT && self.text_end < TEXT_READ_BYTES_MAX * RULE_LISTS
    }

    /// Remembers that the list goes on behind what was read of it.
    pub(super) fn note_cut(&mut self, list: RuleList) {
        self.cut[list as usize] = true;
    }

    /// Whether the list may have had more than is kept.
    pub(super) fn is_cut(&self, list: RuleList) -> bool {
        self.cut[list as usize] || self.raw_items(list).len() >= ITEMS_KEPT
    }

    /// How many rules were triggered: the items of `rules`, without one empty item that a final `;` leaves (an id is
    /// never empty).
    pub(super) fn rules(&self) -> usize {
        let items = self.raw_items(RuleList::Rules);
        items.len() - usize::from(items.last().is_some_and(|&(start, end)| start == end))
    }

    /// The items of a list, aligned with the rules: an empty item beyond them that a final `;` leaves is dropped, missing
    /// ones are empty, a surplus follows.
    pub(super) fn items(&self, list: RuleList) -> impl Iterator<Item = &[u8]> {
        let rules = self.rules();
        let items = self.raw_items(list);
        let ended_by_semicolon = items.len() == rules + 1 && items.last().is_some_and(|&(start, end)| start == end);
        let count = if ended_by_semicolon { rules } else { items.len().max(rules) };
        (0..count).map(move |index| items.get(index).map_or(&[][..], |&(start, end)| &self.text[start..end]))
    }

    /// The same as texts.
    pub(super) fn texts(&self, list: RuleList) -> impl Iterator<Item = Text<'_>> {
        // The items of a list stand side by side: one search tells of all of them.
        let items = self.raw_items(list);
        let (start, end) = (items.first().map_or(0, |item| item.0), items.last().map_or(0, |item| item.1));
        let marks = (!holds::<Special>(&self.text[start..end])).then_some(&[][..]);
        self.items(list).map(move |bytes| Text { bytes, marks })
    }

    /// The rules in the order of the event.
    pub(super) fn each_rule(&self) -> impl Iterator<Item = Rule<'_>> {
        (0..self.rules()).map(|index| Rule {
            id: self.item(RuleList::Rules, index),
            tag: self.item(RuleList::Tags, index),
            action: self.item(RuleList::Actions, index),
        })
    }

    fn item(&self, list: RuleList, index: usize) -> &[u8] {
        self.raw_items(list).get(index).map_or(&[], |&(start, end)| &self.text[start..end])
    }

    fn raw_items(&self, list: RuleList) -> &[(usize, usize)] {
        self.lists[list as usize].map_or(&[], |(first, end)| &self.items[first..end])
    }
}

/// Appends the bytes that `item` encodes once blanks are left out and the URL-safe alphabet is replaced (both occur in
/// mangled samples only), or `item` itself where it is no base64 even so.
fn decode_mangled_into(item: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    let tidy: Vec<u8> = item
        .iter()
        .filter(|byte| !byte.is_ascii_whitespace())
        .map(|&byte| match byte {
            b'-' => b'+',
            b'_' => b'/',
            other => other,
        })
        .collect();
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
    let mut decoder = PercentDecoder::default();
    let digits = decoder.decode(value.into(), Left::NONE).bytes;
    if digits.len() < CUSTOM_BYTES_MIN {
        return None;
    }
    let decoded = BASE64_STANDARD.decode(digits).ok()?;
    let is_printable = |at: usize| control_length(&decoded[at..]) == 0 && decoded[at] != 0;
    let text = std::str::from_utf8(&decoded).ok()?;
    text.char_indices().all(|(at, _)| is_printable(at)).then_some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(rules: &str, other: &str, expected: &[&str]) {
        let mut lists = RuleLists::default();
        lists.read(RuleList::Rules, rules.into());
        lists.read(RuleList::Data, other.into());
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
            let lists = |spelled: &str| {
                let mut lists = RuleLists::default();
                lists.read(RuleList::Rules, spelled.into());
                lists.items(RuleList::Rules).map(<[u8]>::to_vec).collect::<Vec<_>>()
            };
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
                let mut lists = RuleLists::default();
                lists.read(RuleList::Rules, vec!["YQ"; count].join(separator).as_str().into());
                assert_eq!(items(&lists), expected, "{separator}");
                lists.read(RuleList::Rules, vec!["YWJj"; count].join(separator).as_str().into());
                assert_eq!(items(&lists), expected, "{separator}");
            }
        }
        let mut lists = RuleLists::default();
        lists.begin(RuleList::Rules);
        assert_eq!((0..9_000).take_while(|_| lists.push(RuleList::Rules, b"a")).count(), ITEMS_MAX);
        assert!(lists.is_cut(RuleList::Rules));
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
}
