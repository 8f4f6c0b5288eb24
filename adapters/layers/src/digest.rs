//! What a seal's digest is made of.

use sha2::{Digest, Sha256};

use crate::cells::Cell;

/// Adds a value: type and length come before it, so that different rows never read the same.
pub fn feed(hash: &mut Sha256, value: Cell<'_>) {
    let mut bytes = |tag: u8, data: &[u8]| {
        hash.update([tag]);
        hash.update((data.len() as u64).to_le_bytes());
        hash.update(data);
    };
    match value {
        Cell::Null => bytes(0, &[]),
        Cell::Int(v) => bytes(1, &v.to_le_bytes()),
        // -0.0 equals 0.0.
        Cell::Real(v) => bytes(2, &(v + 0.0).to_le_bytes()),
        Cell::Text(v) => bytes(3, v),
        Cell::Blob(v) => bytes(4, v),
    }
}

/// In hexadecimal digits.
pub fn finish(hash: Sha256) -> String {
    hash.finalize().iter().map(|b| format!("{b:02x}")).collect()
}
