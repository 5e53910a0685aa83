//! Sixty-four bytes of text at a time: a word with one bit for each byte of a kind. Never reads past the text; what such
//! a bit means is up to the caller.

use std::marker::PhantomData;

use wide::i8x16;

/// Bytes of a block; the lowest bit of a mask stands for the first of them.
pub(crate) const BLOCK_BYTES: usize = 64;

/// A kind of bytes that is searched for.
pub(crate) trait Kind {
    /// All ones in each byte of the kind, zero in the others.
    fn of(bytes: i8x16) -> i8x16;
}

/// `%`.
pub(crate) struct Percent;

/// Carriage return and line feed.
pub(crate) struct LineEnd;

/// `:`.
pub(crate) struct Colon;

/// `"` and `\`.
pub(crate) struct QuoteOrBackslash;

/// What cannot stand in a value as it is, or is not ASCII: below 0x20, `"`, `\`, 0x7f and above.
pub(crate) struct Special;

/// What is not printable ASCII.
pub(crate) struct Unprintable;

/// The places of a kind of bytes in a text, one after the other. They are found a block ahead of where their user stands,
/// so that one place need not wait for what was made of the place before it.
pub(crate) struct Marks<'a, K, F = ()> {
    text: &'a [u8],
    /// Is shown every block once.
    follower: F,
    /// How far it has been shown the text.
    followed: usize,
    stand: Stand,
    kind: PhantomData<K>,
}

/// How far the places of a text are taken.
#[derive(Clone, Copy)]
pub(crate) struct Stand {
    /// Where the block of `mask` begins.
    base: usize,
    /// The places in that block that are still to come.
    mask: u64,
}

/// What goes over the same text at the same time. Hashing does: each step of it waits for the one before, and a CPU that
/// has a search to do meanwhile does it for almost nothing.
pub(crate) trait Follow {
    /// Takes the next bytes of the text.
    fn follow(&mut self, bytes: &[u8]);
}

impl Follow for () {
    fn follow(&mut self, _: &[u8]) {}
}

impl<'a, K: Kind, F: Follow> Marks<'a, K, F> {
    /// Those from `at` on.
    #[inline]
    pub(crate) fn from(text: &'a [u8], at: usize, follower: F) -> Self {
        let stand = Stand { base: at, mask: 0 };
        let mut marks = Self { text, follower, followed: at, stand, kind: PhantomData };
        marks.stand.mask = marks.block(at);
        marks
    }

    /// Shows the follower what is left of the text.
    pub(crate) fn finish(mut self) {
        self.follower.follow(self.text.get(self.followed..).unwrap_or_default());
    }

    /// How far they are taken.
    #[inline(always)]
    pub(crate) fn stand(&self) -> Stand {
        self.stand
    }

    /// Goes on from another place, where [`Self::next_from`] has led.
    #[inline(always)]
    pub(crate) fn go_on_from(&mut self, stand: Stand) {
        self.stand = stand;
    }

    /// The next place behind `stand`, without taking it.
    #[inline(always)]
    pub(crate) fn next_from(&mut self, stand: &mut Stand) -> Option<usize> {
        if stand.mask == 0 {
            *stand = self.next_block(stand.base);
            if stand.mask == 0 {
                return None;
            }
        }
        let at = stand.base + stand.mask.trailing_zeros() as usize;
        stand.mask &= stand.mask - 1;
        Some(at)
    }

    /// The next block that holds any; the last one of the text if none does.
    #[inline(never)]
    fn next_block(&mut self, mut base: usize) -> Stand {
        let mut mask = 0;
        while mask == 0 && self.text.len() - base > BLOCK_BYTES {
            base += BLOCK_BYTES;
            mask = self.block(base);
        }
        Stand { base, mask }
    }

    #[inline]
    fn block(&mut self, base: usize) -> u64 {
        let rest = &self.text[base..];
        let block = &rest[..rest.len().min(BLOCK_BYTES)];
        if base >= self.followed {
            self.follower.follow(block);
            self.followed = base + block.len();
        }
        mask::<K>(block)
    }
}

impl<K: Kind, F: Follow> Iterator for Marks<'_, K, F> {
    type Item = usize;

    #[inline(always)]
    fn next(&mut self) -> Option<usize> {
        let mut stand = self.stand;
        let next = self.next_from(&mut stand);
        self.stand = stand;
        next
    }
}

/// Calls `each` with the places of a kind of bytes in `text`, in order.
#[inline(always)]
pub(crate) fn each_mark<K: Kind>(text: &[u8], mut each: impl FnMut(usize)) {
    for (index, block) in text.chunks(BLOCK_BYTES).enumerate() {
        let base = index * BLOCK_BYTES;
        let mut marks = mask::<K>(block);
        while marks != 0 {
            each(base + marks.trailing_zeros() as usize);
            marks &= marks - 1;
        }
    }
}

/// Whether the bytes of this kind in `text` are exactly those at `marks`. For assertions.
pub(crate) fn is_marked<K: Kind>(text: &[u8], marks: &[usize]) -> bool {
    let mut marks = marks.iter();
    let mut all = true;
    each_mark::<K>(text, |at| all &= marks.next() == Some(&at));
    all && marks.next().is_none()
}

/// The first place of a byte of this kind in `text`; quickest where it is one of the first.
#[inline]
pub(crate) fn first<K: Kind>(text: &[u8]) -> Option<usize> {
    if let Some(vector) = text.first_chunk()
        && let found @ 1.. = bits::<K>(vector)
    {
        return Some(found.trailing_zeros() as usize);
    }
    let (index, found) = text.chunks(BLOCK_BYTES).map(mask::<K>).enumerate().find(|(_, found)| *found != 0)?;
    Some(index * BLOCK_BYTES + found.trailing_zeros() as usize)
}

/// Whether a byte of this kind is in `text`.
#[inline]
pub(crate) fn holds<K: Kind>(text: &[u8]) -> bool {
    let (blocks, rest) = text.as_chunks::<BLOCK_BYTES>();
    let of = |vector: &[u8; VECTOR_BYTES]| K::of(i8x16::new(vector.map(u8::cast_signed)));
    let in_block = |block: &[u8; BLOCK_BYTES]| {
        let (vectors, _) = block.as_chunks();
        vectors.iter().map(of).fold(i8x16::splat(0), |any, found| any | found).to_bitmask() != 0
    };
    blocks.iter().any(in_block) || (!rest.is_empty() && mask::<K>(rest) != 0)
}

/// The bytes of this kind among at most [`BLOCK_BYTES`].
#[inline]
pub(crate) fn mask<K: Kind>(bytes: &[u8]) -> u64 {
    let (vectors, _) = bytes.as_chunks();
    if let [first, second, third, fourth] = vectors {
        return bits::<K>(first) | bits::<K>(second) << 16 | bits::<K>(third) << 32 | bits::<K>(fourth) << 48;
    }
    // The last vector overlaps the one before: the same bits once more.
    let Some(last) = bytes.last_chunk() else { return short_mask::<K>(bytes) };
    let whole = vectors.iter().rev().fold(0, |mask, vector| mask << VECTOR_BYTES | bits::<K>(vector));
    whole | bits::<K>(last) << (bytes.len() - VECTOR_BYTES)
}

/// The bytes of this kind among fewer than [`VECTOR_BYTES`]: read as two words that may overlap, since a vector that is
/// put together in memory byte by byte has to wait for it. What is padded is a blank, which is of no kind.
#[inline]
fn short_mask<K: Kind>(bytes: &[u8]) -> u64 {
    const BLANKS: u128 = u128::from_ne_bytes([b' '; VECTOR_BYTES]);
    let length = bytes.len();
    if let (Some(first), Some(last)) = (bytes.first_chunk(), bytes.last_chunk()) {
        let words = u128::from(u64::from_le_bytes(*first)) | u128::from(u64::from_le_bytes(*last)) << 64;
        let found = bits::<K>(&words.to_le_bytes());
        return found & 0xff | found >> 8 << (length - 8);
    }
    if let (Some(first), Some(last)) = (bytes.first_chunk(), bytes.last_chunk()) {
        let words = u128::from(u32::from_le_bytes(*first)) | u128::from(u32::from_le_bytes(*last)) << 32;
        let found = bits::<K>(&(BLANKS << 64 | words).to_le_bytes());
        return found & 0xf | (found >> 4) << (length - 4);
    }
    let [Some(&first), Some(&last)] = [bytes.first(), bytes.last()] else { return 0 };
    let words = u128::from(first) | u128::from(bytes[length / 2]) << 8 | u128::from(last) << 16;
    let found = bits::<K>(&(BLANKS << 24 | words).to_le_bytes());
    found & 1 | (found >> 1 & 1) << (length / 2) | (found >> 2) << (length - 1)
}

/// Bytes that are compared at once.
const VECTOR_BYTES: usize = 16;

#[inline]
fn bits<K: Kind>(bytes: &[u8; VECTOR_BYTES]) -> u64 {
    u64::from(K::of(i8x16::new(bytes.map(u8::cast_signed))).to_bitmask())
}

#[inline]
fn equal(bytes: i8x16, byte: u8) -> i8x16 {
    bytes.simd_eq(i8x16::splat(byte.cast_signed()))
}

/// Below 0x20, or not ASCII: the comparison is signed.
#[inline]
fn control_or_not_ascii(bytes: i8x16) -> i8x16 {
    bytes.simd_lt(i8x16::splat(0x20))
}

impl Kind for Percent {
    #[inline]
    fn of(bytes: i8x16) -> i8x16 {
        equal(bytes, b'%')
    }
}

impl Kind for LineEnd {
    #[inline]
    fn of(bytes: i8x16) -> i8x16 {
        equal(bytes, b'\r') | equal(bytes, b'\n')
    }
}

impl Kind for Colon {
    #[inline]
    fn of(bytes: i8x16) -> i8x16 {
        equal(bytes, b':')
    }
}

impl Kind for QuoteOrBackslash {
    #[inline]
    fn of(bytes: i8x16) -> i8x16 {
        equal(bytes, b'"') | equal(bytes, b'\\')
    }
}

impl Kind for Special {
    #[inline]
    fn of(bytes: i8x16) -> i8x16 {
        QuoteOrBackslash::of(bytes) | Unprintable::of(bytes)
    }
}

impl Kind for Unprintable {
    #[inline]
    fn of(bytes: i8x16) -> i8x16 {
        equal(bytes, 0x7f) | control_or_not_ascii(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Keeps what it is shown.
    struct Kept<'a>(&'a mut Vec<u8>);

    impl Follow for Kept<'_> {
        fn follow(&mut self, bytes: &[u8]) {
            self.0.extend_from_slice(bytes);
        }
    }

    fn check<K: Kind>(block: &[u8; BLOCK_BYTES], is_kind: impl Fn(u8) -> bool) {
        let expected = block.iter().enumerate().fold(0, |mask, (at, &byte)| mask | u64::from(is_kind(byte)) << at);
        assert_eq!(mask::<K>(block), expected);
        assert_eq!(mask::<K>(&block[..40]), expected & ((1 << 40) - 1));
        for length in 0..BLOCK_BYTES {
            assert_eq!(mask::<K>(&block[..length]), expected & ((1 << length) - 1));
        }
        assert_eq!(holds::<K>(&block[..40]), expected & ((1 << 40) - 1) != 0);
        let text = block.repeat(3);
        assert_eq!(first::<K>(&text[3..]), (0..text.len() - 3).find(|&at| is_kind(text[at + 3])));
        let places: Vec<usize> = (3..text.len() - 5).filter(|&at| is_kind(text[at])).collect();
        assert_eq!(Marks::<K>::from(&text[..text.len() - 5], 3, ()).collect::<Vec<_>>(), places);
        let mut followed = Vec::new();
        let mut marks = Marks::<K, _>::from(&text, 3, Kept(&mut followed));
        // Whoever looks ahead and goes back shows nothing twice.
        let mut ahead = marks.stand();
        while marks.next_from(&mut ahead).is_some_and(|at| at < 100) {}
        marks.by_ref().take(9).for_each(drop);
        marks.finish();
        assert_eq!(followed, &text[3..]);
    }

    proptest! {
        #[test]
        fn agrees_with_a_byte_by_byte_search(block in any::<[u8; BLOCK_BYTES]>(), common in any::<[bool; BLOCK_BYTES]>()) {
            let mut block = block;
            for (byte, common) in block.iter_mut().zip(common) {
                if common {
                    *byte = b"%\r\n:;\"\\\x1f \x7e\x7f\x80"[usize::from(*byte) % 12];
                }
            }
            check::<Percent>(&block, |byte| byte == b'%');
            check::<LineEnd>(&block, |byte| matches!(byte, b'\r' | b'\n'));
            check::<Colon>(&block, |byte| byte == b':');
            check::<QuoteOrBackslash>(&block, |byte| byte == b'"' || byte == b'\\');
            check::<Special>(&block, |byte| !(0x20..0x7f).contains(&byte) || byte == b'"' || byte == b'\\');
            check::<Unprintable>(&block, |byte| !(0x20..0x7f).contains(&byte));
        }
    }
}
