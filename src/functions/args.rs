//! Arguments as a statement gives them, and their meaning by a function's parameters and flags.

use std::borrow::Cow;

use super::catalog::{Flag, Function, Takes};
use crate::{Error, Result, sqlstate};

/// One argument's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Arg {
    /// A string.
    Text(String),
    /// A boolean.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// An array of strings.
    Array(Vec<String>),
    /// NULL, or a value that isn't known yet (a parameter at Describe).
    Null,
}

impl From<&str> for Arg {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl Arg {
    pub(super) fn as_text(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Text(text) => Some(Cow::Borrowed(text)),
            Self::Int(number) => Some(Cow::Owned(number.to_string())),
            Self::Bool(true) => Some(Cow::Borrowed("true")),
            Self::Bool(false) => Some(Cow::Borrowed("false")),
            Self::Array(_) | Self::Null => None,
        }
    }
}

/// The arguments of one call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Args {
    /// In order.
    pub positional: Vec<Arg>,
    /// `name => value`.
    pub named: Vec<(String, Arg)>,
}

impl Args {
    /// Positional texts only.
    pub fn texts<T: Into<String>>(texts: impl IntoIterator<Item = T>) -> Self {
        let positional = texts.into_iter().map(|text| Arg::Text(text.into())).collect();
        Self { positional, named: Vec::new() }
    }

    /// Adds `name => value`.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: Arg) -> Self {
        self.named.push((name.into(), value));
        self
    }
}

/// Arguments sorted by what they mean to a function. Names are the catalog's: a parameter's name, or
/// a flag's long form (its short one if it has no other).
#[derive(Debug, Default)]
pub(super) struct Parsed {
    function: &'static str,
    usage: &'static str,
    values: Vec<(&'static str, Arg)>,
    /// Positional arguments beyond the parameters, of a variadic function.
    pub(super) rest: Vec<String>,
}

/// Sorts `args`; 22023 for what `function` doesn't know, listing what it knows.
pub(super) fn parse(function: &'static Function, args: &Args) -> Result<Parsed> {
    let mut parsed = Parsed { function: function.name, usage: function.usage, ..Parsed::default() };
    let mut positional = Vec::new();
    let mut pending = args.positional.iter();
    let mut flags_end = false;
    while let Some(arg) = pending.next() {
        match arg {
            Arg::Text(text) if !flags_end && text == "--" => flags_end = true,
            Arg::Text(text) if !flags_end && is_flag(text) => {
                parsed.take_flags(function, text, &mut || pending.next().cloned())?;
            }
            _ => positional.push(arg.clone()),
        }
    }
    parsed.take_positional(function, positional)?;
    for (name, value) in &args.named {
        parsed.take_named(function, name, value)?;
    }
    Ok(parsed)
}

/// `-d` and `--hard` are flags; `-`, `-5` and the empty text are values.
fn is_flag(text: &str) -> bool {
    let mut chars = text.chars();
    chars.next() == Some('-') && chars.next().is_some_and(|c| c == '-' || c.is_ascii_alphabetic())
}

impl Parsed {
    /// One argument with flags: `--long`, `--long=value`, `-x`, `-xy` with the value of `y` next.
    fn take_flags(
        &mut self,
        function: &'static Function,
        text: &str,
        next: &mut dyn FnMut() -> Option<Arg>,
    ) -> Result<()> {
        if let Some(long) = text.strip_prefix("--") {
            let (name, inline) = match long.split_once('=') {
                Some((name, value)) => (name, Some(Arg::from(value))),
                None => (long, None),
            };
            let flag = function.flags.iter().find(|f| f.long == name && !name.is_empty());
            let flag = flag.ok_or_else(|| unknown(function, &format!("--{name}")))?;
            return self.take_flag(flag, text, inline, next);
        }
        for letter in text.chars().skip(1) {
            let flag = function.flags.iter().find(|f| f.short == Some(letter));
            let flag = flag.ok_or_else(|| unknown(function, &format!("-{letter}")))?;
            self.take_flag(flag, text, None, next)?;
        }
        Ok(())
    }

    fn take_flag(
        &mut self,
        flag: &'static Flag,
        text: &str,
        inline: Option<Arg>,
        next: &mut dyn FnMut() -> Option<Arg>,
    ) -> Result<()> {
        if flag.takes == Takes::Nothing {
            if inline.is_some() {
                return Err(self.invalid(format!("flag {text} of {} takes no value", self.function)));
            }
            return self.put(flag.name(), Arg::Bool(true));
        }
        let missing = || self.invalid(format!("flag {text} of {} needs a value", self.function));
        let value = match inline {
            Some(value) => value,
            None => next().ok_or_else(missing)?,
        };
        if value == Arg::Null {
            return Err(missing());
        }
        let value = checked(flag.takes, value).ok_or_else(|| self.wrong_type(flag.name(), flag.takes))?;
        self.put(flag.name(), value)
    }

    fn take_positional(&mut self, function: &'static Function, given: Vec<Arg>) -> Result<()> {
        let mut parameters = function.parameters.iter();
        for arg in given {
            let Some(parameter) = parameters.next() else {
                match (function.variadic, arg) {
                    (true, Arg::Array(items)) => self.rest.extend(items),
                    (true, arg) => self.rest.extend(arg.as_text().map(Cow::into_owned)),
                    (false, _) => {
                        return Err(self.invalid(format!("too many arguments for {}", self.function)));
                    }
                }
                continue;
            };
            let value = checked(parameter.takes, arg)
                .ok_or_else(|| self.wrong_type(parameter.name, parameter.takes))?;
            self.put(parameter.name, value)?;
        }
        Ok(())
    }

    /// `no_ff => true`, `message => 'x'`, `tables => array['a']`, or a parameter by its name.
    fn take_named(&mut self, function: &'static Function, name: &str, value: &Arg) -> Result<()> {
        if let Some(parameter) = function.parameters.iter().find(|p| p.name == name) {
            let value = checked(parameter.takes, value.clone())
                .ok_or_else(|| self.wrong_type(parameter.name, parameter.takes))?;
            return self.put(parameter.name, value);
        }
        let dashed = name.replace('_', "-");
        let flag = function.flags.iter().find(|f| {
            (f.long == dashed && !dashed.is_empty())
                || f.short.is_some_and(|short| dashed.chars().eq([short]))
        });
        let flag = flag.ok_or_else(|| unknown(function, name))?;
        match (flag.takes, value) {
            (_, Arg::Null) | (Takes::Nothing, Arg::Bool(false)) => Ok(()),
            (takes, value) => {
                let value =
                    checked(takes, value.clone()).ok_or_else(|| self.wrong_type(flag.name(), takes))?;
                self.put(flag.name(), value)
            }
        }
    }

    fn put(&mut self, name: &'static str, value: Arg) -> Result<()> {
        match (self.values.iter_mut().find(|(known, _)| *known == name), value) {
            (None, value) => self.values.push((name, value)),
            (Some((_, Arg::Array(all))), Arg::Array(more)) => all.extend(more),
            (Some((_, Arg::Bool(true))), Arg::Bool(true)) => {}
            (Some(_), _) => {
                return Err(self.invalid(format!("argument {name} of {} is given twice", self.function)));
            }
        }
        Ok(())
    }

    /// Whether a flag is set.
    pub(super) fn flag(&self, name: &str) -> bool {
        matches!(self.raw(name), Some(Arg::Bool(true)))
    }

    /// The value of a parameter or flag; NULL and "not given" differ.
    pub(super) fn raw(&self, name: &str) -> Option<&Arg> {
        self.values.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// A text, if given and not NULL.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        self.raw(name).and_then(Arg::as_text).map(Cow::into_owned)
    }

    /// A text that the function can't do without.
    pub(super) fn required(&self, name: &str) -> Result<String> {
        self.text(name).ok_or_else(|| self.missing(name))
    }

    /// A list of texts; empty if not given.
    pub(super) fn list(&self, name: &str) -> Vec<String> {
        match self.raw(name) {
            Some(Arg::Array(items)) => items.clone(),
            Some(arg) => arg.as_text().map(Cow::into_owned).into_iter().collect(),
            None => Vec::new(),
        }
    }

    /// A count: an integer that isn't negative.
    pub(super) fn count(&self, name: &str) -> Result<Option<usize>> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let wrong =
            |_| self.invalid(format!("argument {name} of {} is not a count: \"{text}\"", self.function));
        text.parse().map(Some).map_err(wrong)
    }

    /// Whether the call only lists, as `git branch` and `git tag` do without arguments.
    pub(super) fn lists(&self, function: &Function) -> bool {
        match function.name {
            "epoch_branch" | "epoch_tag" => self.values.is_empty() && self.rest.is_empty(),
            "epoch_stash" => self.text("action").as_deref() == Some("list"),
            _ => false,
        }
    }

    /// 22023 with the function's usage as the hint.
    pub(super) fn invalid(&self, message: impl Into<String>) -> Error {
        Error::new(sqlstate::INVALID_PARAMETER_VALUE, message).with_hint(format!("Usage: {}.", self.usage))
    }

    /// 22023: an argument is missing.
    pub(super) fn missing(&self, name: &str) -> Error {
        self.invalid(format!("{} needs the argument {name}", self.function))
    }

    fn wrong_type(&self, name: &str, takes: Takes) -> Error {
        self.invalid(format!("argument {name} of {} must be {}", self.function, takes.describe()))
    }
}

/// The value in the form in which it is kept, `None` if it is of the wrong type. NULL stays NULL.
fn checked(takes: Takes, value: Arg) -> Option<Arg> {
    match (takes, value) {
        (_, Arg::Null) => Some(Arg::Null),
        (Takes::Nothing, Arg::Bool(value)) => Some(Arg::Bool(value)),
        (Takes::Nothing, Arg::Text(text)) => match text.to_ascii_lowercase().as_str() {
            "t" | "true" | "on" | "yes" | "1" => Some(Arg::Bool(true)),
            "f" | "false" | "off" | "no" | "0" => Some(Arg::Bool(false)),
            _ => None,
        },
        (Takes::Nothing, _) => None,
        (Takes::Text, Arg::Array(_)) => None,
        (Takes::Text, value) => Some(value),
        (Takes::Count, Arg::Int(number)) => Some(Arg::Int(number)),
        (Takes::Count, Arg::Text(text)) => text.parse().ok().map(Arg::Int),
        (Takes::Count, _) => None,
        (Takes::List, Arg::Array(items)) => Some(Arg::Array(items)),
        (Takes::List, value) => Some(Arg::Array(vec![value.as_text()?.into_owned()])),
    }
}

fn unknown(function: &Function, name: &str) -> Error {
    let error = Error::new(
        sqlstate::INVALID_PARAMETER_VALUE,
        format!("unknown argument {name} of {}", function.name),
    );
    let mut known: Vec<String> = function.parameters.iter().map(|p| p.name.to_owned()).collect();
    known.extend(function.flags.iter().map(Flag::spelling));
    let known = if known.is_empty() { "no arguments".to_owned() } else { known.join(", ") };
    error.with_hint(format!("{} knows: {known}.", function.name))
}
