//! A byte queue that keeps its allocation: appended at the end, consumed from the start.

use std::ops::Deref;

/// What a buffer starts with and shrinks back to; the cost of an idle session.
pub const SMALL: usize = 8 << 10;

/// Bytes between a producer and a consumer.
#[derive(Debug, Default)]
pub struct Buffer {
    data: Vec<u8>,
    start: usize,
}

impl Buffer {
    /// An empty buffer of the small size.
    pub fn new() -> Self {
        Self { data: Vec::with_capacity(SMALL), start: 0 }
    }

    /// Forgets the first `n` bytes.
    pub fn consume(&mut self, n: usize) {
        self.start = (self.start + n).min(self.data.len());
        if self.start == self.data.len() {
            self.data.clear();
            self.start = 0;
        }
    }

    /// Appends bytes, moving the rest to the front first if that avoids growing.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.data.capacity() - self.data.len() < bytes.len() {
            self.compact();
        }
        self.data.extend_from_slice(bytes);
    }

    /// The end of the buffer, for a writer that appends.
    pub fn tail(&mut self) -> &mut Vec<u8> {
        if self.start > self.data.len() / 2 {
            self.compact();
        }
        &mut self.data
    }

    /// Makes room for at least one byte without letting the buffer exceed `most`. False if it is
    /// full.
    pub fn make_room(&mut self, most: usize) -> bool {
        if self.data.len() < self.data.capacity() {
            return true;
        }
        self.compact();
        let capacity = self.data.capacity();
        if self.data.len() < capacity {
            return true;
        }
        if capacity >= most {
            return false;
        }
        let wanted = (capacity * 2).max(SMALL).min(most);
        self.data.reserve_exact(wanted - self.data.len());
        true
    }

    /// Whether more is allocated than an idle connection should hold.
    pub fn is_grown(&self) -> bool {
        self.data.capacity() > SMALL
    }

    /// Gives memory back if the buffer is empty.
    pub fn shrink(&mut self) {
        if self.is_empty() && self.is_grown() {
            *self = Self::new();
        }
    }

    fn compact(&mut self) {
        if self.start > 0 {
            self.data.drain(..self.start);
            self.start = 0;
        }
    }
}

impl Deref for Buffer {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        self.data.get(self.start..).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_out_as_they_went_in_and_the_allocation_stays() {
        let mut buffer = Buffer::new();
        let mut expected = 0u8;
        let mut next = 0u8;
        for round in 0..10_000usize {
            let piece: Vec<u8> = (0..round % 700).map(|i| next.wrapping_add(i as u8)).collect();
            next = next.wrapping_add(piece.len() as u8);
            buffer.push(&piece);
            // A few bytes stay behind each time, as of a message that has not arrived whole.
            let take = buffer.len().saturating_sub(round % 7);
            for byte in buffer.iter().take(take) {
                assert_eq!(*byte, expected);
                expected = expected.wrapping_add(1);
            }
            buffer.consume(take);
        }
        assert!(!buffer.is_grown());
    }

    #[test]
    fn room_is_bounded() {
        let mut buffer = Buffer::new();
        while buffer.make_room(20_000) {
            buffer.push(&[0]);
        }
        assert_eq!(buffer.len(), 20_000);
        buffer.consume(1);
        assert!(buffer.make_room(20_000));
    }
}
