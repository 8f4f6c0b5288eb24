//! Frame headers: one type byte and a length that counts itself. A header is judged before anything
//! is reserved for it; what is larger than a buffer is passed on in pieces.

use epoch_adapter::{Error, Result, sqlstate};

/// Bytes of a header: type and length.
pub const HEADER: usize = 5;

/// What PostgreSQL takes at most in one message (its `PQ_LARGE_MESSAGE_LIMIT`).
pub const LARGE: usize = 0x3fff_ffff;
/// What PostgreSQL takes at most in a message that carries no user data (`PQ_SMALL_MESSAGE_LIMIT`).
pub const SMALL: usize = 10_000;
/// The longest statement text that we hold in memory.
pub const STATEMENT: usize = 256 << 20;

/// A judged header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The message type.
    pub tag: u8,
    /// Bytes of the whole frame, header included.
    pub size: usize,
}

/// Reads the header at the start of `buffer`; `None` if there aren't five bytes yet. The error says
/// that the stream can't be trusted any more.
fn header(buffer: &[u8], cap: impl FnOnce(u8) -> Option<usize>) -> Result<Option<Header>> {
    let &[tag, a, b, c, d, ..] = buffer else {
        return match buffer.first() {
            Some(&tag) if cap(tag).is_none() => Err(bad_type(tag)),
            _ => Ok(None),
        };
    };
    let cap = cap(tag).ok_or_else(|| bad_type(tag))?;
    let length = i32::from_be_bytes([a, b, c, d]);
    match usize::try_from(length) {
        Ok(length) if (4..=cap).contains(&length) => Ok(Some(Header { tag, size: length + 1 })),
        _ => Err(Error::new(sqlstate::PROTOCOL_VIOLATION, "invalid message length")
            .with_detail(format!("A message of type \"{}\" has length {length}.", tag.escape_ascii()))),
    }
}

fn bad_type(tag: u8) -> Error {
    Error::new(sqlstate::PROTOCOL_VIOLATION, format!("invalid frontend message type {tag}"))
}

/// The header of a message from a client.
pub fn from_client(buffer: &[u8]) -> Result<Option<Header>> {
    header(buffer, |tag| match tag {
        b'Q' | b'P' => Some(STATEMENT),
        b'B' | b'F' | b'd' => Some(LARGE),
        b'C' | b'D' | b'E' | b'H' | b'S' | b'X' | b'c' | b'f' | b'p' => Some(SMALL),
        _ => None,
    })
}

/// The header of a message from a server. It is trusted with types that we don't know.
pub fn from_server(buffer: &[u8]) -> Result<Option<Header>> {
    header(buffer, |_| Some(i32::MAX as usize))
        .map_err(|_| Error::new(sqlstate::PROTOCOL_VIOLATION, "the backend sent an invalid message"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn a_header_is_read_at_every_split() {
        let frame = b"Q\0\0\0\x0dSELECT 1\0";
        for end in 0..HEADER {
            assert_eq!(from_client(&frame[..end]).unwrap(), None);
        }
        for end in HEADER..=frame.len() {
            assert_eq!(from_client(&frame[..end]).unwrap(), Some(Header { tag: b'Q', size: 14 }));
        }
    }

    #[test]
    fn lengths_that_cannot_be_are_refused() {
        for length in [i32::MIN, -1, 0, 3, i32::MAX, STATEMENT as i32 + 1] {
            let mut frame = vec![b'Q'];
            frame.extend(length.to_be_bytes());
            assert_eq!(from_client(&frame).unwrap_err().code(), "08P01", "{length}");
        }
        let mut sync = vec![b'S'];
        sync.extend((SMALL as i32 + 1).to_be_bytes());
        assert_eq!(from_client(&sync).unwrap_err().code(), "08P01");
    }

    #[test]
    fn unknown_types_are_refused_at_their_first_byte() {
        for tag in 0..=255u8 {
            let known = b"QPBFdCDEHSXcfp".contains(&tag);
            assert_eq!(from_client(&[tag]).is_ok(), known, "{tag}");
        }
    }

    #[test]
    fn a_server_may_send_large_rows() {
        let mut row = vec![b'D'];
        row.extend(0x7fff_0000_i32.to_be_bytes());
        assert_eq!(from_server(&row).unwrap().unwrap().size, 0x7fff_0001);
    }
}
