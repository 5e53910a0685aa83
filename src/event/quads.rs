//! Base64 as it should be: groups of four characters, padded at the end. Never guesses: anything else is left to a decoder
//! that knows the exceptions. The items of rule lists are so short that asking that one takes longer than decoding.

/// Decodes `digits`, behind which `padding` characters `=` stand, to the beginning of `room` and returns how many bytes that
/// are; nothing if they are spelled otherwise or there is too little room. The spare bits of a padded group are ignored.
#[inline]
pub(super) fn decode(digits: &[u8], padding: usize, room: &mut [u8]) -> Option<usize> {
    let (groups, rest) = digits.as_chunks::<4>();
    let (room, _) = room.as_chunks_mut::<3>();
    let mut seen = 0;
    for (group, bytes) in groups.iter().zip(&mut *room) {
        let bits = bits(*group);
        seen |= bits;
        *bytes = three(bits);
    }
    let last = match (rest, padding) {
        ([], 0) => None,
        ([one, two], 2) => Some([*one, *two, b'A', b'A']),
        ([one, two, three], 1) => Some([*one, *two, *three, b'A']),
        _ => return None,
    };
    if room.len() < groups.len() + usize::from(last.is_some()) {
        return None;
    }
    if let Some(last) = last {
        let bits = bits(last);
        seen |= bits;
        room[groups.len()] = three(bits);
    }
    (seen < NO_DIGIT).then_some(3 * groups.len() + last.map_or(0, |_| 3 - padding))
}

/// A bit beyond those of a group: a character of it is none of the alphabet.
const NO_DIGIT: u32 = 1 << 24;

#[inline]
fn bits(group: [u8; 4]) -> u32 {
    let at = |place: usize| DIGITS[place][usize::from(group[place])];
    at(0) | at(1) | at(2) | at(3)
}

#[inline]
fn three(bits: u32) -> [u8; 3] {
    let [_, bytes @ ..] = bits.to_be_bytes();
    bytes
}

/// What each character stands for at each place of a group.
static DIGITS: [[u32; 256]; 4] = {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut digits = [[NO_DIGIT; 256]; 4];
    let mut place = 0;
    while place < 4 {
        let mut value = 0;
        while value < 64 {
            digits[place][alphabet[value as usize] as usize] = value << (18 - 6 * place);
            value += 1;
        }
        place += 1;
    }
    digits
};

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine;
    use base64::prelude::BASE64_STANDARD;
    use proptest::prelude::*;

    fn decoded(item: &[u8]) -> Option<Vec<u8>> {
        let digits = item.strip_suffix(b"==").or(item.strip_suffix(b"=")).unwrap_or(item);
        let mut room = vec![0; item.len()];
        decode(digits, item.len() - digits.len(), &mut room).map(|length| room[..length].to_vec())
    }

    #[test]
    fn anything_else_is_left_alone() {
        for item in ["YQ", "YQ=", "Y===", "====", "YQ==YQ==", "YW=j", "YWJ-", "YW J", "YWJ\n", "YWI", "YWJj=", "Y", "="]
        {
            assert_eq!(decoded(item.as_bytes()), None, "{item}");
        }
        assert_eq!(decoded(b"YR=="), Some(b"a".to_vec()));
        assert_eq!(decoded(b""), Some(Vec::new()));
        assert_eq!(decode(b"YWJj", 0, &mut [0; 2]), None);
        assert_eq!(decode(b"YQ", 2, &mut [0; 2]), None);
    }

    proptest! {
        #[test]
        fn what_is_encoded_comes_back(text in proptest::collection::vec(any::<u8>(), 0..40)) {
            prop_assert_eq!(decoded(BASE64_STANDARD.encode(&text).as_bytes()), Some(text));
        }
    }
}
