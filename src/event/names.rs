//! The names of the table, and how one is found by a single look at its bytes. Never takes a name for another.

/// The name of a field or object of the table, also as it is written.
#[derive(Debug)]
pub(super) struct Name {
    /// As Akamai spells it.
    pub(super) text: &'static str,
    /// With comma, quotes and colon; padded, since copying a fixed number of bytes is quicker than asking how many.
    pub(super) spelled: [u8; Self::SPELLED_BYTES_MAX + 1],
    /// How many bytes of that there are.
    pub(super) length: usize,
    spelling: Spelling,
}

impl Name {
    /// Bytes that are copied of a spelled name: all of the longest, with comma, quotes and colon.
    pub(super) const SPELLED_BYTES_MAX: usize = Spelling::BYTES_MAX + 4;

    pub(super) const fn new(text: &'static str) -> Self {
        let bytes = text.as_bytes();
        assert!(!bytes.is_empty() && bytes.len() <= Spelling::BYTES_MAX, "a name of the table has 1 to 16 bytes");
        let mut spelled = [b' '; Self::SPELLED_BYTES_MAX + 1];
        let mut at = 0;
        while at < bytes.len() {
            spelled[at + 2] = bytes[at];
            at += 1;
        }
        (spelled[0], spelled[1], spelled[at + 2], spelled[at + 3]) = (b',', b'"', b'"', b':');
        Self { text, spelled, length: at + 4, spelling: Spelling::of(bytes) }
    }
}

/// The beginning and the end of a name in two words. Up to [`Spelling::BYTES_MAX`] they hold every byte of it, so that with
/// the length they tell it from any other name.
#[derive(Clone, Copy, Debug)]
struct Spelling {
    first: u64,
    last: u64,
    length: usize,
}

impl Spelling {
    /// Bytes of the longest name that the two words hold.
    const BYTES_MAX: usize = 16;

    #[inline(always)]
    const fn of(name: &[u8]) -> Self {
        let length = name.len();
        let (first, last) = if let (Some(first), Some(last)) = (name.first_chunk(), name.last_chunk()) {
            (u64::from_le_bytes(*first), u64::from_le_bytes(*last))
        } else if let (Some(first), Some(last)) = (name.first_chunk(), name.last_chunk()) {
            (u32::from_le_bytes(*first) as u64, u32::from_le_bytes(*last) as u64)
        } else if let (Some(&first), Some(&last)) = (name.first(), name.last()) {
            (first as u64, (name[length / 2] as u64) << 8 | last as u64)
        } else {
            (0, 0)
        };
        Self { first, last, length }
    }

    #[inline(always)]
    const fn equals(self, other: Self) -> bool {
        self.first == other.first && self.last == other.last && self.length == other.length
    }

    /// One of the [`SLOTS`]. Which names share one depends on the odd `factor`.
    #[inline(always)]
    #[allow(clippy::cast_possible_truncation, reason = "six bits are left")]
    const fn slot(self, factor: u64) -> usize {
        let mixed = (self.first ^ self.last.rotate_left(29) ^ self.length as u64).wrapping_mul(factor);
        (mixed >> (u64::BITS - SLOTS.ilog2())) as usize & (SLOTS - 1)
    }
}

const SLOTS: usize = 64;

/// Where each name of a list stands in it. The names have a slot each; which of them is computed when the program is
/// compiled.
pub(super) struct Slots {
    factor: u64,
    /// The place in the list, or more than any place.
    places: [usize; SLOTS],
}

impl Slots {
    const NONE: usize = usize::MAX;

    /// Those of the names in `list`, no two of which may be the same.
    pub(super) const fn of<T>(list: &[(Name, T)]) -> Self {
        assert!(list.len() < SLOTS);
        let mut factor = 0x9e37_79b9_7f4a_7c15;
        loop {
            let mut places = [Self::NONE; SLOTS];
            let mut at = 0;
            while at < list.len() {
                let slot = list[at].0.spelling.slot(factor);
                let taken = places[slot];
                if taken != Self::NONE {
                    assert!(!list[taken].0.spelling.equals(list[at].0.spelling));
                    break;
                }
                places[slot] = at;
                at += 1;
            }
            if at == list.len() {
                return Self { factor, places };
            }
            factor = factor.wrapping_mul(0x5851_f42d_4c95_7f2d);
        }
    }

    /// The place of `name` in `list`, which must be the one that the slots are made of; upper and lower case differ.
    #[inline(always)]
    pub(super) fn find<T>(&self, list: &[(Name, T)], name: &[u8]) -> Option<usize> {
        let spelling = Spelling::of(name);
        let place = self.places[spelling.slot(self.factor)];
        list.get(place)?.0.spelling.equals(spelling).then_some(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static LIST: [(Name, ()); 8] = [
        (Name::new("tlsFingerprintV2"), ()),
        (Name::new("xlsFingerprintV2"), ()),
        (Name::new("a"), ()),
        (Name::new("abc"), ()),
        (Name::new("abcd"), ()),
        (Name::new("slowPostAction"), ()),
        (Name::new("slowPostRate"), ()),
        (Name::new("tlsFingerprintV3"), ()),
    ];

    #[test]
    fn only_the_names_of_the_list_are_found() {
        let slots = Slots::of(&LIST);
        for (place, (name, ())) in LIST.iter().enumerate() {
            assert_eq!(slots.find(&LIST, name.text.as_bytes()), Some(place));
            for at in 0..name.text.len() {
                let mut other = name.text.as_bytes().to_vec();
                other[at] ^= 0x20;
                assert_eq!(slots.find(&LIST, &other), None, "{}", String::from_utf8_lossy(&other));
            }
        }
        for other in ["", "aa", "aaa", "abcda", "slowPostActionX", "tlsFingerprint_V2", "tlsFingertlsFingerprintV2"] {
            assert_eq!(slots.find(&LIST, other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn names_that_share_a_slot_are_told_apart() {
        let slots = Slots::of(&LIST);
        let name = "slowPostAction";
        let slot = |name: &str| Spelling::of(name.as_bytes()).slot(slots.factor);
        let (mut other_beginnings, mut other_ends) = (0, 0);
        for number in 0..1_000 {
            let other_beginning = format!("{number:06}{}", &name[6..]);
            let other_end = format!("{}{number:06}", &name[..8]);
            for (other, count) in [(other_beginning, &mut other_beginnings), (other_end, &mut other_ends)] {
                *count += usize::from(slot(&other) == slot(name));
                assert_eq!(slots.find(&LIST, other.as_bytes()), None, "{other}");
            }
        }
        assert!(other_beginnings > 0 && other_ends > 0, "{other_beginnings} {other_ends}");
    }
}
