//! What main's rows come to as of its last commit: a sum over all rows, which commits keep up by what changed. A table
//! that was altered or rebuilt past us has kept its rows if they still come to it.

use epoch_adapter::{Error, Result, Row, sqlstate};
use sha2::{Digest, Sha256};

use crate::cells::Cell;
use crate::digest::feed;
use crate::names::LINEAGE;
use crate::view::Places;

/// A sum of rows, in no order: adding and taking are each other's reverse.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sum(u128);

impl Sum {
    /// With one more row.
    pub fn add(&mut self, row: &Row) {
        self.0 = self.0.wrapping_add(weight(row));
    }

    /// With one row less.
    pub fn take(&mut self, row: &Row) {
        self.0 = self.0.wrapping_sub(weight(row));
    }

    /// With what moved.
    #[must_use]
    pub fn plus(self, moved: Self) -> Self {
        Self(self.0.wrapping_add(moved.0))
    }

    /// As it is noted.
    pub fn text(self) -> String {
        format!("{:032x}", self.0)
    }

    /// As it was noted.
    ///
    /// # Errors
    /// XX001 if it is no sum; `place` says where it was noted.
    pub fn parse(text: &str, place: &str) -> Result<Self> {
        u128::from_str_radix(text.trim(), 16).map(Self).map_err(|e| {
            Error::new(sqlstate::DATA_CORRUPTED, format!("{place} is damaged: a sum of rows: {e}"))
        })
    }
}

/// A row's part in a sum.
fn weight(row: &Row) -> u128 {
    let mut hash = Sha256::new();
    row.iter().for_each(|value| feed(&mut hash, Cell::from(value)));
    hash.finalize().iter().take(16).fold(0, |sum, byte| (sum << 8) | u128::from(*byte))
}

/// The rows of main as of its last commit: those that nobody changed since, and those that were, as they were.
pub fn statements(places: &Places) -> [String; 2] {
    let pending = format!("{LINEAGE} = 1 AND h.epoch_to = {}", places.dialect.pending());
    [
        format!(
            "SELECT {} FROM {} AS x WHERE NOT EXISTS (SELECT 1 FROM {} AS h WHERE h.{pending} AND {})",
            places.row("x"),
            places.base,
            places.history,
            places.dialect.equal(&places.key, "h", "x")
        ),
        format!(
            "SELECT {} FROM {} AS h WHERE h.{pending} AND h.epoch_existed = 1",
            places.row("h"),
            places.history
        ),
    ]
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use epoch_adapter::Value;

    use super::*;

    #[test]
    fn sums_forget_the_order_and_tell_rows_apart() {
        let row = |a: i64, b: &str| vec![Value::Int(a), Value::Text(b.to_owned())];
        let of = |rows: &[Row]| {
            let mut sum = Sum::default();
            rows.iter().for_each(|row| sum.add(row));
            sum
        };
        let all = of(&[row(1, "a"), row(2, "b"), row(3, "c")]);
        assert_eq!(all, of(&[row(3, "c"), row(1, "a"), row(2, "b")]));
        // Values that change places are other rows.
        assert_ne!(all, of(&[row(1, "b"), row(2, "a"), row(3, "c")]));
        let mut moved = Sum::default();
        moved.take(&row(2, "b"));
        moved.add(&row(2, "z"));
        assert_eq!(all.plus(moved), of(&[row(1, "a"), row(2, "z"), row(3, "c")]));
        assert_eq!(Sum::parse(&all.text(), "x").unwrap(), all);
        assert_ne!(weight(&vec![Value::Null]), weight(&vec![Value::Text(String::new())]));
    }
}
