use crate::Value;

/// A comparison operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// `=`
    Eq,
    /// `<>`
    NotEq,
    /// `<`
    Lt,
    /// `<=`
    LtEq,
    /// `>`
    Gt,
    /// `>=`
    GtEq,
}

impl Comparison {
    /// The operator in SQL.
    pub fn as_sql(self) -> &'static str {
        match self {
            Self::Eq => "=",
            Self::NotEq => "<>",
            Self::Lt => "<",
            Self::LtEq => "<=",
            Self::Gt => ">",
            Self::GtEq => ">=",
        }
    }
}

/// A filter that a backend may evaluate. Columns are indexes into the table's columns; values are
/// never NULL.
#[derive(Debug, Clone, PartialEq)]
pub enum Predicate {
    /// `column op value`
    Compare(usize, Comparison, Value),
    /// `column IN (values)`
    In(usize, Vec<Value>),
    /// `column IS NULL`
    IsNull(usize),
    /// `column IS NOT NULL`
    IsNotNull(usize),
    /// All of them.
    And(Vec<Predicate>),
    /// Any of them.
    Or(Vec<Predicate>),
}
