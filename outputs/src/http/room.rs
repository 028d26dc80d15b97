//! How large a request may be: what was too large is remembered, and tried again after a while.

/// The least that a request may hold: below it one event alone is too large.
const LEAST_BYTES: usize = 16 << 10;
/// After so many requests that were taken, room grows by a sixteenth of the limit.
const GROW_AFTER: u32 = 64;

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Room {
    ceiling: usize,
    bytes: usize,
    taken: u32,
}

impl Room {
    /// All of `ceiling`.
    pub(super) const fn new(ceiling: usize) -> Self {
        Self { ceiling, bytes: ceiling, taken: 0 }
    }

    /// Bytes that a request may hold now, before compression.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// A request of so many bytes was too large.
    pub(super) fn too_large(&mut self, bytes: usize) {
        let half = bytes / 2;
        self.bytes = self.bytes.min(half).max(LEAST_BYTES.min(self.ceiling));
        self.taken = 0;
    }

    /// A request was taken.
    pub(super) fn taken(&mut self) {
        if self.bytes == self.ceiling {
            return;
        }
        self.taken += 1;
        if self.taken >= GROW_AFTER {
            self.taken = 0;
            self.bytes = (self.bytes + self.ceiling / 16).min(self.ceiling);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_what_was_too_large_and_slowly_more() {
        let mut room = Room::new(1 << 20);
        room.too_large(1 << 20);
        assert_eq!(room.bytes(), 1 << 19);
        room.too_large(1 << 20);
        assert_eq!(room.bytes(), 1 << 19, "the other half of one request is no news");
        for _ in 0..63 {
            room.taken();
        }
        assert_eq!(room.bytes(), 1 << 19);
        room.taken();
        assert_eq!(room.bytes(), (1 << 19) + (1 << 16));
        for _ in 0..64 * 16 {
            room.taken();
        }
        assert_eq!(room.bytes(), 1 << 20);
        for _ in 0..40 {
            let bytes = room.bytes();
            room.too_large(bytes);
        }
        assert_eq!(room.bytes(), LEAST_BYTES);
    }
}
