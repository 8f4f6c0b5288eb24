use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

/// One cell as the backend stores it, lossless for a round trip to the *same* backend.
///
/// SQLite uses all variants. PostgreSQL values are `Text` in the type's own output form (with
/// `DateStyle = ISO`, `TimeZone = UTC`, `extra_float_digits = 1`, `bytea_output = hex`) or `Null`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Value {
    /// SQL NULL.
    Null,
    /// A 64-bit integer.
    Int(i64),
    /// A double; NaN compares equal to itself here.
    Real(f64),
    /// Text.
    Text(String),
    /// Bytes.
    Blob(Vec<u8>),
}

/// One row: a value per column of the table's schema, in its order.
pub type Row = Vec<Value>;

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Int(a), Self::Int(b)) => a == b,
            (Self::Real(a), Self::Real(b)) => a == b || (a.is_nan() && b.is_nan()),
            (Self::Text(a), Self::Text(b)) => a == b,
            (Self::Blob(a), Self::Blob(b)) => a == b,
            _ => false,
        }
    }
}

impl Eq for Value {}

impl std::hash::Hash for Value {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        std::mem::discriminant(self).hash(state);
        match self {
            Self::Null => {}
            Self::Int(v) => v.hash(state),
            Self::Real(v) => v.to_bits().hash(state),
            Self::Text(v) => v.hash(state),
            Self::Blob(v) => v.hash(state),
        }
    }
}

impl PartialOrd for Value {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// A total order for maps and stable output; not the backend's collation.
impl Ord for Value {
    fn cmp(&self, other: &Self) -> Ordering {
        let rank = |v: &Self| match v {
            Self::Null => 0,
            Self::Int(_) => 1,
            Self::Real(_) => 2,
            Self::Text(_) => 3,
            Self::Blob(_) => 4,
        };
        match (self, other) {
            (Self::Int(a), Self::Int(b)) => a.cmp(b),
            (Self::Real(a), Self::Real(b)) => a.total_cmp(b),
            (Self::Text(a), Self::Text(b)) => a.cmp(b),
            (Self::Blob(a), Self::Blob(b)) => a.cmp(b),
            _ => rank(self).cmp(&rank(other)),
        }
    }
}

impl Value {
    /// Whether this is NULL.
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// The value as PostgreSQL would print it, `None` for NULL.
    pub fn to_text(&self) -> Option<String> {
        match self {
            Self::Null => None,
            Self::Int(v) => Some(v.to_string()),
            Self::Real(v) => Some(v.to_string()),
            Self::Text(v) => Some(v.clone()),
            Self::Blob(v) => {
                let hex: String = v.iter().map(|b| format!("{b:02x}")).collect();
                Some(format!("\\x{hex}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_with_a_nan_equals_itself() {
        assert_eq!(Value::Real(f64::NAN), Value::Real(f64::NAN));
        assert_ne!(Value::Real(f64::NAN), Value::Real(0.0));
        assert_eq!(Value::Real(-0.0), Value::Real(0.0));
        assert_ne!(Value::Int(0), Value::Real(0.0));
        assert_ne!(Value::Null, Value::Int(0));
    }
}
