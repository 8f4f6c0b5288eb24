use std::borrow::Cow;
use std::fmt;

use crate::sqlstate;

/// The result of everything that can fail towards a client.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// How the reason of a drift begins that [`crate::Adapter::accept`] ends.
pub const REWRITTEN: &str = "its rows were written anew";

/// A PostgreSQL error: what a client gets as an ErrorResponse.
///
/// The primary message is in lower case without a full stop. No part holds a password or a URL with
/// credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error(Box<Fields>);

#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Fields {
    code: Cow<'static, str>,
    message: String,
    detail: Option<String>,
    hint: Option<String>,
    position: Option<usize>,
    schema: Option<String>,
    table: Option<String>,
    column: Option<String>,
    constraint: Option<String>,
}

macro_rules! optional_field {
    ($($(#[$doc:meta])* $field:ident, $with:ident;)*) => {$(
        $(#[$doc])*
        pub fn $field(&self) -> Option<&str> {
            self.0.$field.as_deref()
        }
        #[doc = concat!("Sets what [`Error::", stringify!($field), "`] returns.")]
        #[must_use]
        pub fn $with(mut self, value: impl Into<String>) -> Self {
            self.0.$field = Some(value.into());
            self
        }
    )*};
}

impl Error {
    /// An error with an SQLSTATE (see [`sqlstate`]) and a primary message.
    pub fn new(code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self(Box::new(Fields { code: code.into(), message: message.into(), ..Fields::default() }))
    }

    /// 0A000: a construct that we don't support, named in the message.
    pub fn unsupported(what: impl fmt::Display) -> Self {
        Self::new(sqlstate::FEATURE_NOT_SUPPORTED, format!("{what} is not supported"))
    }

    /// 55000: a table was changed past the repository, in the way that `reason` says, so that neither
    /// branches nor commits can be trusted to show it as it was.
    pub fn drifted(table: &str, reason: &str) -> Self {
        let message = format!("table \"{table}\" was changed in a way that branches cannot follow");
        let anew = format!("SELECT epoch_unregister('{table}', '-f') and register it again");
        let hint = if reason.starts_with(REWRITTEN) {
            format!("If no value changed by it, SELECT epoch_register('{table}', '--accept'); else {anew}.")
        } else {
            format!("Undo the change; if rows were written meanwhile, {anew}.")
        };
        Self::new(sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE, message)
            .with_detail(format!(
                "{}{}.",
                reason.get(..1).unwrap_or_default().to_uppercase(),
                reason.get(1..).unwrap_or_default()
            ))
            .with_hint(hint)
    }

    /// 55000: a row would not become what a commit has there, because `triggers` of the user's change what is written.
    /// `key`: the row's, as `(id)=(1)`; `None` if it is a row that isn't written to.
    pub fn altered(table: &str, triggers: &[String], key: Option<&str>) -> Self {
        let message = match triggers {
            [one] => format!("trigger \"{one}\" of table \"{table}\" changes rows beside what is written"),
            _ => format!("triggers of table \"{table}\" change rows beside what is written"),
        };
        let row = key.map_or_else(|| "Another row".to_owned(), |key| format!("Key {key}"));
        let which =
            if triggers.len() > 1 { format!(" Triggers: {}.", triggers.join(", ")) } else { String::new() };
        Self::new(sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE, message)
            .with_detail(format!("{row} would not be as it is in the commit.{which}"))
            .with_hint("Disable the trigger meanwhile, or make a commit: a merge without --ff-only, a revert in place of a reset.")
            .with_table(table)
    }

    /// XX000: a broken invariant of ours.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(sqlstate::INTERNAL_ERROR, message)
    }

    /// The five-character SQLSTATE.
    pub fn code(&self) -> &str {
        &self.0.code
    }

    /// The primary message.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    optional_field! {
        /// The DETAIL line.
        detail, with_detail;
        /// The HINT line.
        hint, with_hint;
        /// The schema the error is about.
        schema, with_schema;
        /// The table the error is about.
        table, with_table;
        /// The column the error is about.
        column, with_column;
        /// The constraint that failed.
        constraint, with_constraint;
    }

    /// Replaces the primary message.
    #[must_use]
    pub fn with_message(mut self, message: impl Into<String>) -> Self {
        self.0.message = message.into();
        self
    }

    /// Where in the statement the error is, in characters from 1.
    pub fn position(&self) -> Option<usize> {
        self.0.position
    }

    /// Sets what [`Error::position`] returns.
    #[must_use]
    pub fn with_position(mut self, position: usize) -> Self {
        self.0.position = Some(position);
        self
    }

    /// Without a position: the client didn't write the text that it is one in.
    #[must_use]
    pub fn without_position(mut self) -> Self {
        self.0.position = None;
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (SQLSTATE {})", self.0.message, self.0.code)?;
        if let Some(detail) = &self.0.detail {
            write!(f, "; {detail}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}
