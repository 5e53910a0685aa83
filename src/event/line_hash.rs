//! The hash that makes a line's id, a block at a time between other work. Never looks at what the line says.
//!
//! Each step of a hash waits for the one before, and a CPU that has other work meanwhile does it for almost nothing.

use sha2::{Digest, Sha256};

use crate::event::blocks::{BLOCK_BYTES, Follow};

/// What tells one line from another: the first 128 bits of SHA-256 over Akamai's line.
pub type EventId = [u8; 16];

/// The hash of one line.
pub(super) struct LineHash<'a> {
    hash: Sha256,
    /// What has not been hashed yet.
    rest: &'a [u8],
    id: Option<EventId>,
}

impl<'a> LineHash<'a> {
    /// That of a line of which nothing has been hashed.
    pub(super) fn of(line: &'a [u8]) -> Self {
        Self { hash: Sha256::new(), rest: line, id: None }
    }

    /// Hashes the next block, if there is one.
    #[inline]
    pub(super) fn step(&mut self) {
        if let Some((block, rest)) = self.rest.split_first_chunk::<BLOCK_BYTES>() {
            self.hash.update(block);
            self.rest = rest;
        }
    }

    /// Hashes what is left.
    pub(super) fn id(&mut self) -> EventId {
        let Self { hash, rest, id } = self;
        *id.get_or_insert_with(|| {
            hash.update(rest);
            let mut id = EventId::default();
            id.copy_from_slice(&hash.finalize_reset()[..size_of::<EventId>()]);
            id
        })
    }

    /// The id as hexadecimal digits.
    pub(super) fn digits(&mut self) -> [u8; 2 * size_of::<EventId>()] {
        let mut digits = [0; 2 * size_of::<EventId>()];
        for (pair, byte) in digits.as_chunks_mut().0.iter_mut().zip(self.id()) {
            let digit = |nibble: u8| b"0123456789abcdef"[usize::from(nibble)];
            *pair = [digit(byte >> 4), digit(byte & 15)];
        }
        digits
    }
}

/// Over the blocks of its line, whoever reads them.
impl Follow for &mut LineHash<'_> {
    #[inline]
    fn follow(&mut self, _: &[u8]) {
        self.step();
    }
}
