//! Plans for statements that differ from one that was planned before in nothing but the constants which
//! are parameters of its lifted form (see [`super::lift`]): what programs send that write their values into
//! the text. The plan is filled in with the new constants, without a parse.

use std::ops::Range;

use super::lexer::{self, Token, TokenKind};
use super::lift::{self, Lifted};
use super::plan::{Prelude, Rewritten};
use super::text::Kept;

/// Stands for a constant in a shape. A text that has it has no shape.
const MARK: char = '\u{1}';

/// A text without its constants.
pub(super) struct Shape {
    /// The text with a mark for each constant, which says of what kind it is.
    pub text: String,
    constants: Vec<Constant>,
}

/// A constant that may be a parameter: a whole number, or a string in the plain form.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Constant {
    /// Where it is in the text, in bytes.
    range: Range<usize>,
    oid: u32,
    value: String,
}

impl Shape {
    /// The shape of a text; `None` if it has parameters, or no constants.
    pub fn of(sql: &str) -> Option<Self> {
        // What inserts has no lifted form, and may be long.
        let inserts = sql.trim_start().get(..6).is_some_and(|word| word.eq_ignore_ascii_case("insert"));
        if inserts || sql.contains(MARK) {
            return None;
        }
        let tokens = lexer::tokens(sql).ok()?;
        if tokens.list.iter().any(|t| t.kind == TokenKind::Param) {
            return None;
        }
        let constants: Vec<_> = tokens.list.iter().filter_map(|t| Constant::of(sql, t)).collect();
        let mut text = String::with_capacity(sql.len());
        let mut at = 0;
        for constant in &constants {
            text.push_str(sql.get(at..constant.range.start)?);
            text.push(MARK);
            text.push(match constant.oid {
                lift::INT4 => '4',
                lift::INT8 => '8',
                _ => 's',
            });
            at = constant.range.end;
        }
        text.push_str(sql.get(at..)?);
        (!constants.is_empty()).then_some(Self { text, constants })
    }

    /// Whether a position (in characters from 1) is in a constant.
    #[cfg(test)]
    pub fn is_within(&self, sql: &str, position: usize) -> bool {
        let at = sql.char_indices().nth(position - 1).map_or(sql.len(), |(at, _)| at);
        self.constants.iter().any(|c| c.range.contains(&at))
    }
}

impl Constant {
    fn of(sql: &str, token: &Token) -> Option<Self> {
        let (oid, value) = match token.kind {
            TokenKind::Number => lift::number(sql, token)?,
            TokenKind::Str => (0, lift::string(sql, token)?),
            _ => return None,
        };
        Some(Self { range: token.start..token.end, oid, value })
    }
}

/// A plan, and what of it are constants of the text that it was made of.
#[derive(Debug, Clone)]
pub(super) struct Template {
    rewritten: Rewritten,
    lifted: Lifted,
    /// The constants of the text.
    constants: Vec<Constant>,
    /// Which parameter each of them is.
    lifted_as: Vec<Option<usize>>,
    /// Where the parameters are in the lifted statement.
    params: Vec<Param>,
    /// And in what runs before it.
    prelude_params: Vec<Vec<Param>>,
}

/// A parameter's place in a text of ours, in bytes, and its number from 0.
type Param = (Range<usize>, usize);

impl Template {
    /// What can be made of a plan of the only statement in a text of this shape. `None` if it has no lifted form.
    pub fn new(shape: &Shape, rewritten: &Rewritten) -> Option<Self> {
        let lifted = rewritten.lifted.clone()?;
        let number = |c: &Constant| lifted.places.iter().find(|(at, _)| *at == c.range.start).map(|p| p.1);
        let lifted_as: Vec<_> = shape.constants.iter().map(number).collect();
        // Each has to be known again.
        if lifted_as.iter().flatten().count() != lifted.places.len() || rewritten.fails.is_some() {
            return None;
        }
        let same = rewritten.prelude.len() == lifted.prelude.len();
        let prelude_params = lifted.prelude.iter().map(|p| params(&p.sql)).collect::<Option<_>>()?;
        same.then_some(Self {
            params: params(&lifted.sql)?,
            prelude_params,
            constants: shape.constants.clone(),
            lifted_as,
            rewritten: rewritten.clone(),
            lifted,
        })
    }

    /// About how many bytes it takes.
    pub fn size(&self) -> usize {
        let texts = |preludes: &[Prelude]| preludes.iter().map(|p| p.sql.len()).sum::<usize>();
        let (plain, lifted) = (&self.rewritten, &self.lifted);
        2 * (plain.sql.len() + texts(&plain.prelude)) + 2 * (lifted.sql.len() + texts(&lifted.prelude))
    }

    /// The plan of `sql`, which has this shape. `None` if it differs in a constant that isn't a parameter, or if
    /// other ones are alike.
    pub fn fill(&self, sql: &str, shape: &Shape) -> Option<Rewritten> {
        let values = self.values(&shape.constants)?;
        let moved = Moved::new(&self.constants, &shape.constants);
        let text = |number: usize| {
            let at = self.lifted_as.iter().position(|n| *n == Some(number))?;
            sql.get(shape.constants.get(at)?.range.clone())
        };
        let lifted = Lifted {
            values,
            places: self.lifted.places.iter().map(|&(at, number)| (moved.place(at), number)).collect(),
            kept: self.lifted.kept.moved(|_, here| (0, moved.by(here))),
            ..self.lifted.clone()
        };
        let (plain, grown) = replaced(&self.lifted.sql, &self.params, text)?;
        let kept = self.lifted.kept.moved(|there, here| (grown.by(there), moved.by(here)));
        let mut prelude = Vec::with_capacity(lifted.prelude.len());
        for ((before, lifted), params) in
            self.rewritten.prelude.iter().zip(&lifted.prelude).zip(&self.prelude_params)
        {
            let own = |number: usize| text(*lifted.params.get(number)?);
            let sql = replaced(&lifted.sql, params, own)?.0;
            prelude.push(Prelude { sql, params: Vec::new(), strings: before.strings });
        }
        let range = &self.rewritten.range;
        Some(Rewritten {
            range: moved.place(range.start)..moved.place(range.end),
            prelude,
            sql: plain,
            lifted: Some(lifted),
            kept,
            origins: self.rewritten.origins.clone(),
            settings: self.rewritten.settings.clone(),
            fails: None,
            ..self.rewritten
        })
    }

    /// The parameters' values.
    fn values(&self, constants: &[Constant]) -> Option<Vec<String>> {
        if constants.len() != self.constants.len() {
            return None;
        }
        let mut values: Vec<Option<&str>> = vec![None; self.lifted.values.len()];
        for ((new, old), number) in constants.iter().zip(&self.constants).zip(&self.lifted_as) {
            let Some(number) = number else {
                if new.value == old.value {
                    continue;
                }
                return None;
            };
            match values.get_mut(*number)? {
                Some(known) if *known == new.value => {}
                Some(_) => return None,
                free => *free = Some(&new.value),
            }
        }
        let values: Vec<String> = values.into_iter().map(|v| v.map(str::to_owned)).collect::<Option<_>>()?;
        // Numbers that are written alike are one parameter: see `Constants::lift`.
        let numbers = || values.iter().zip(&self.lifted.types).filter(|(_, oid)| **oid != 0).enumerate();
        let twice = numbers().any(|(i, one)| numbers().any(|(j, other)| i < j && one == other));
        (!twice).then_some(values)
    }
}

/// How far the parts of a text moved, because pieces before them have another length: where such a piece ended, and by how
/// much it grew.
struct Moved(Vec<(usize, isize)>);

impl Moved {
    fn new(before: &[Constant], after: &[Constant]) -> Self {
        let one = |(b, a): (&Constant, &Constant)| {
            (b.range.end, a.range.len().cast_signed() - b.range.len().cast_signed())
        };
        Self(before.iter().zip(after).map(one).collect())
    }

    fn by(&self, at: usize) -> isize {
        self.0.iter().take_while(|(end, _)| *end <= at).map(|(_, by)| by).sum()
    }

    fn place(&self, at: usize) -> usize {
        at.saturating_add_signed(self.by(at))
    }
}

/// The parameters of a text of ours, in order, each with the blank behind it that lifting put there.
fn params(sql: &str) -> Option<Vec<Param>> {
    let tokens = lexer::tokens(sql).ok()?;
    let param = |t: &Token| {
        let number = t.text(sql).get(1..)?.parse::<usize>().ok()?;
        let blank = usize::from(sql.get(t.end..)?.starts_with(' '));
        Some((t.start..t.end + blank, number.checked_sub(1)?))
    };
    tokens.list.iter().filter(|t| t.kind == TokenKind::Param).map(param).collect()
}

/// A text with constants in the place of its parameters.
fn replaced<'a>(
    sql: &str,
    params: &[Param],
    constant: impl Fn(usize) -> Option<&'a str>,
) -> Option<(String, Moved)> {
    let mut out = String::with_capacity(sql.len() + 16 * params.len());
    let mut grown = Vec::with_capacity(params.len());
    let mut at = 0;
    for (range, number) in params {
        let text = constant(*number)?;
        out.push_str(sql.get(at..range.start)?);
        out.push_str(text);
        grown.push((range.end, text.len().cast_signed() - range.len().cast_signed()));
        at = range.end;
    }
    out.push_str(sql.get(at..)?);
    Some((out, Moved(grown)))
}

impl Kept {
    /// With each part moved by so many bytes in the rewritten text, and in the client's.
    fn moved(&self, by: impl Fn(usize, usize) -> (isize, isize)) -> Self {
        let one = |&(there, here, length): &(usize, usize, usize)| {
            let (out, own) = by(there, here);
            (there.saturating_add_signed(out), here.saturating_add_signed(own), length)
        };
        Self(self.0.iter().map(one).collect())
    }
}
