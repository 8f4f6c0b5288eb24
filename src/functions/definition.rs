//! What a function of the SQL surface is made of.

use super::SqlType;

/// A function of the SQL surface.
#[derive(Debug)]
pub struct Function {
    /// `epoch_commit`.
    pub name: &'static str,
    /// One line for people.
    pub summary: &'static str,
    /// How it is called.
    pub usage: &'static str,
    /// What it does to the repository.
    pub kind: Kind,
    /// Positional arguments, in order; each may be given by its name as well.
    pub parameters: &'static [Parameter],
    /// Takes any number of texts after the parameters.
    pub variadic: bool,
    /// Flags, written as on the command line or as `name => value`.
    pub flags: &'static [Flag],
    /// The result's columns; empty if they depend on the arguments.
    pub columns: &'static [(&'static str, SqlType)],
    /// The name of its relation in schema `epoch`, if it works without arguments.
    pub relation: Option<&'static str>,
}

/// What a function does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Changes the repository or the session.
    Mutating,
    /// Returns rows; may be joined and filtered.
    Reading,
    /// Returns one value.
    Scalar,
}

impl Function {
    /// The result's type as `\df` shows it.
    pub fn result_type(&self) -> String {
        let columns: Vec<_> = self.columns.iter().map(|(name, ty)| format!("{name} {}", ty.name())).collect();
        match (self.kind, self.columns) {
            (Kind::Scalar, [(_, ty)]) => ty.name().to_owned(),
            (_, []) => "SETOF record".to_owned(),
            _ => format!("TABLE({})", columns.join(", ")),
        }
    }

    /// The arguments as `\df` shows them.
    pub fn argument_types(&self) -> String {
        let parameter = |p: &Parameter| {
            let default = if p.required { "" } else { " DEFAULT NULL" };
            format!("{} {}{default}", p.name, p.takes.sql_type().name())
        };
        let mut all: Vec<_> = self.parameters.iter().map(parameter).collect();
        if self.variadic || !self.flags.is_empty() {
            all.push("VARIADIC text[]".to_owned());
        }
        all.join(", ")
    }
}

impl Kind {
    /// As in the `kind` column of `epoch_help()`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mutating => "mutating",
            Self::Reading => "reading",
            Self::Scalar => "scalar",
        }
    }
}

/// A positional argument.
#[derive(Debug)]
pub struct Parameter {
    /// Name.
    pub name: &'static str,
    /// Type.
    pub takes: Takes,
    /// Whether a call without it can mean something.
    pub required: bool,
    /// For people.
    pub help: &'static str,
}

/// A flag.
#[derive(Debug)]
pub struct Flag {
    /// `-m`.
    pub short: Option<char>,
    /// `--message`, without the dashes; empty if there is only the short form.
    pub long: &'static str,
    /// What follows it.
    pub takes: Takes,
    /// For people.
    pub help: &'static str,
}

impl Flag {
    /// Its one name in parsed arguments.
    pub fn name(&self) -> &'static str {
        match (self.long, self.short) {
            ("", Some('b')) => "b",
            (long, _) => long,
        }
    }

    /// `-m/--message`.
    pub fn spelling(&self) -> String {
        match (self.short, self.long) {
            (Some(short), "") => format!("-{short}"),
            (Some(short), long) => format!("-{short}/--{long}"),
            (None, long) => format!("--{long}"),
        }
    }
}

/// What an argument is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// A switch.
    Nothing,
    /// One text.
    Text,
    /// One number.
    Count,
    /// An array of texts, or one text.
    List,
}

impl Takes {
    pub(super) fn describe(self) -> &'static str {
        match self {
            Self::Nothing => "a boolean",
            Self::Text => "a text",
            Self::Count => "a number",
            Self::List => "an array of texts",
        }
    }

    /// The PostgreSQL type, for parameters of prepared statements and `\df`.
    pub fn sql_type(self) -> SqlType {
        match self {
            Self::Nothing => SqlType::Bool,
            Self::Text => SqlType::Text,
            Self::Count => SqlType::Int8,
            Self::List => SqlType::TextArray,
        }
    }
}
