//! Constants of a rewritten statement as parameters, so that the server can keep it prepared: planning
//! what a branch shows costs several times what reading or writing a row of it does.

use super::lexer::{Token, TokenKind};
use super::parse::{Kind, Modify, Parsed, Statement, Wrap};
use super::plan::Prelude;
use super::text::{Edits, Kept};

pub(super) const INT8: u32 = 20;
pub(super) const INT4: u32 = 23;

/// A rewritten statement with parameters in the place of constants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lifted {
    /// What runs before it; its parameters are some of `values`.
    pub prelude: Vec<Prelude>,
    /// Its text.
    pub sql: String,
    /// The oids of the parameters' types.
    pub types: Vec<u32>,
    /// Their values, in text form.
    pub values: Vec<String>,
    /// Where constants stood in the client's text, in bytes, and which parameter (from 0) each is.
    pub places: Vec<(usize, usize)>,
    /// Whether it has a result.
    pub returns: bool,
    pub(super) kept: Kept,
}

impl Lifted {
    /// The position in the client's text of an error of the server in `sql` (characters from 1).
    pub fn position(&self, client: &str, position: usize) -> usize {
        self.kept.position(client, &self.sql, position)
    }

    /// The position in the client's text of the constant that is parameter `number` (from 0).
    pub fn constant(&self, client: &str, number: usize) -> Option<usize> {
        let (at, _) = self.places.iter().find(|(_, parameter)| *parameter == number)?;
        let text = client.get(..*at)?;
        Some(text.chars().count() + 1)
    }
}

/// Constants of a statement that can be parameters.
#[derive(Default)]
pub(super) struct Constants {
    /// The parameters in their places.
    pub edits: Edits,
    /// The oids of their types, 0 where the server is to find it as it would the constant's.
    pub types: Vec<u32>,
    /// Their values, in text form.
    pub values: Vec<String>,
    /// As [`Lifted::places`].
    pub places: Vec<(usize, usize)>,
    /// Whether the statement has a result.
    pub returns: bool,
    /// How many of them are strings.
    strings: usize,
}

/// The constants of a query, UPDATE or DELETE that has no parameters of its own. They are taken
/// where nothing can be told from their being constants: whole numbers and strings that a name or a bracket is compared with
/// (`=`, `>`, `BETWEEN`, `IN` …), and operands in what an UPDATE sets. What is best planned for its own value still
/// is: PostgreSQL keeps planning with the values where that costs less than the plan for any value.
///
/// A string takes its type from what it is compared with, and so does a parameter without a type; what it means is found
/// when it is bound, with each execution: `'today'` or `'01/02/2026'` must not go on meaning what they meant when the
/// statement was prepared. So a statement with a string in any other place isn't kept.
pub(super) fn constants(sql: &str, parsed: &Parsed, statement: &Statement) -> Option<Constants> {
    let writes = matches!(statement.kind, Kind::Update(_) | Kind::Delete(_));
    let plain = statement.wrap == Wrap::None && statement.locking.is_empty() && statement.nested.is_empty();
    if !plain || !(writes || statement.kind == Kind::Query) {
        return None;
    }
    let tokens = &parsed.tokens;
    let (first, last) = (tokens.at(statement.range.start), tokens.at(statement.range.end));
    let inside = tokens.list.get(first..last)?;
    let unfit = |t: &Token| t.kind == TokenKind::Param || t.is_word(sql, "into");
    let strings = inside.iter().filter(|t| t.kind == TokenKind::Str).count();
    // What is grouped by must go on meaning the selected expression: see `Constants::lift`.
    let grouped = |t: &Token| t.is_word(sql, "group") || t.is_word(sql, "distinct");
    if inside.iter().any(|t| unfit(t) || strings > 0 && grouped(t)) {
        return None;
    }
    let returns = !writes || inside.iter().any(|t| t.depth == 0 && t.is_word(sql, "returning"));
    let mut found = Constants { returns, ..Constants::default() };
    let set = set_clause(sql, inside, statement);
    for (at, window) in inside.windows(3).enumerate() {
        let [before, operator, constant] = window else { continue };
        let operand = before.is_name() || before.is_symbol(b')');
        if operator.kind == TokenKind::Operator {
            let compared = operand && COMPARISONS.contains(&operator.text(sql));
            // Not behind a sign: PostgreSQL wants constants in some places, and takes a sign for a part of them.
            if compared
                || operand && set.contains(&at) && !BEFORE_SIGNS.iter().any(|w| before.is_word(sql, w))
            {
                let number = found.lift(sql, constant);
                if compared && !number {
                    found.lift_string(sql, constant, inside.get(at + 3));
                }
            }
        } else if operator.is_word(sql, "between") || operator.is_word(sql, "in") {
            let after = inside.get(at + 2..).unwrap_or_default();
            let constants = range(sql, after).or_else(|| list(sql, after)).unwrap_or_default();
            for constant in constants {
                if !found.lift(sql, constant) {
                    found.lift_string(sql, constant, None);
                }
            }
        }
    }
    (found.strings == strings).then_some(found)
}

/// Words behind which `-` is a sign.
const BEFORE_SIGNS: [&str; 27] = [
    "all",
    "and",
    "any",
    "array",
    "between",
    "by",
    "case",
    "distinct",
    "else",
    "except",
    "from",
    "having",
    "in",
    "intersect",
    "like",
    "limit",
    "not",
    "offset",
    "on",
    "or",
    "select",
    "some",
    "then",
    "union",
    "using",
    "when",
    "where",
];

const COMPARISONS: [&str; 7] = ["=", "<", ">", "<=", ">=", "<>", "!="];

/// Longer lists differ from each other too often to be kept.
const LONGEST_LIST: usize = 16;

/// The bounds at the start of `tokens`: `1 AND 5`.
fn range<'a>(sql: &str, tokens: &'a [Token]) -> Option<Vec<&'a Token>> {
    match tokens {
        [low, and, high, after @ ..] if and.is_word(sql, "and") => {
            let all = number(sql, low).and(number(sql, high)).is_some()
                || string(sql, low).and(string(sql, high)).is_some()
                    && after.first().is_none_or(|after| ends_operand(sql, after));
            all.then(|| vec![low, high])
        }
        _ => None,
    }
}

/// The constants of the list at the start of `tokens`: `(1, 2, 3)`.
fn list<'a>(sql: &str, tokens: &'a [Token]) -> Option<Vec<&'a Token>> {
    let mut found = Vec::new();
    for pair in tokens.chunks(2).take(LONGEST_LIST + 1) {
        match pair {
            [end, ..] if !found.is_empty() && end.is_symbol(b')') => return Some(found),
            [open, constant] if open.is_symbol(if found.is_empty() { b'(' } else { b',' }) => {
                // Mixed, they would take their type from each other.
                let like_first = |first: &&Token| first.kind == constant.kind;
                if !found.first().is_none_or(like_first) {
                    return None;
                }
                number(sql, constant).map(|_| ()).or_else(|| string(sql, constant).map(|_| ()))?;
                found.push(constant);
            }
            _ => return None,
        }
    }
    None
}

/// Which tokens (by their number in `inside`) are in the SET clause of an UPDATE.
fn set_clause(sql: &str, inside: &[Token], statement: &Statement) -> std::ops::Range<usize> {
    let Kind::Update(Modify { from, condition, end, .. }) = &statement.kind else { return 0..0 };
    let start = inside.iter().position(|t| t.depth == 0 && t.is_word(sql, "set")).unwrap_or(inside.len());
    let next = [from, condition].into_iter().flatten().map(|r| r.start).min().unwrap_or(*end);
    start..inside.iter().position(|t| t.start >= next).unwrap_or(inside.len())
}

impl Constants {
    /// Makes `constant` a parameter if it is a whole number. Whether it is.
    fn lift(&mut self, sql: &str, constant: &Token) -> bool {
        let Some((oid, value)) = number(sql, constant) else { return false };
        // One parameter for what is written alike: GROUP BY must go on meaning the selected expression.
        let known = self.types.iter().zip(&self.values).position(|(t, v)| *t == oid && *v == value);
        let number = known.unwrap_or(self.values.len());
        if known.is_none() {
            self.types.push(oid);
            self.values.push(value);
        }
        self.places.push((constant.start, number));
        // The blank keeps it apart from what follows.
        self.edits.replace(constant.start..constant.end, format!("${} ", number + 1));
        true
    }

    /// Makes `constant` a parameter of its own if it is a string and all of an operand.
    fn lift_string(&mut self, sql: &str, constant: &Token, after: Option<&Token>) {
        let Some(value) = string(sql, constant) else { return };
        if after.is_some_and(|after| !ends_operand(sql, after)) {
            return;
        }
        self.places.push((constant.start, self.values.len()));
        self.types.push(0);
        self.values.push(value);
        self.strings += 1;
        self.edits.replace(constant.start..constant.end, format!("${} ", self.values.len()));
    }
}

/// Whether the operand before this token is complete.
fn ends_operand(sql: &str, token: &Token) -> bool {
    const WORDS: [&str; 9] = ["and", "or", "where", "returning", "order", "limit", "offset", "from", "union"];
    token.is_symbol(b')')
        || token.is_symbol(b',')
        || token.is_symbol(b';')
        || WORDS.iter().any(|word| token.is_word(sql, word))
}

/// The value of a string constant in the plain form, on one line.
pub(super) fn string(sql: &str, token: &Token) -> Option<String> {
    let text = token.text(sql).strip_prefix('\'')?.strip_suffix('\'')?;
    let plain = token.kind == TokenKind::Str && !text.replace("''", "").contains('\'');
    plain.then(|| text.replace("''", "'"))
}

/// A whole number, with the type that PostgreSQL gives it.
pub(super) fn number(sql: &str, token: &Token) -> Option<(u32, String)> {
    let digits = token.text(sql);
    if token.kind != TokenKind::Number || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let oid = match digits.parse::<i64>() {
        Ok(n) if i32::try_from(n).is_ok() => INT4,
        Ok(_) => INT8,
        Err(_) => return None,
    };
    Some((oid, digits.to_owned()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::query::parse;

    fn lifted(sql: &str) -> Option<String> {
        let parsed = parse::parse(sql).unwrap();
        let statement = parsed.statements.first().unwrap();
        let found = constants(sql, &parsed, statement)?;
        let text = found.edits.render(sql, &statement.range).0;
        Some(format!("{}|{}|{}", text.replace(" ", ""), found.values.join(","), found.returns))
    }

    #[test]
    fn constants_that_say_nothing_by_being_constants() {
        let cases = [
            (
                "SELECT a FROM t WHERE id = 7 AND b > 3 LIMIT 2",
                Some("SELECTaFROMtWHEREid=$1ANDb>$2LIMIT2|7,3|true"),
            ),
            (
                "SELECT a >= 3, count(*) FROM t GROUP BY a >= 3, 1 ORDER BY 2 LIMIT 3",
                Some("SELECTa>=$1,count(*)FROMtGROUPBYa>=$1,1ORDERBY2LIMIT3|3|true"),
            ),
            (
                "SELECT a FROM t WHERE (b) NOT BETWEEN 1 AND 9999999999 AND c BETWEEN 2 AND d AND e IN (1, 2,3) AND f IN (1,g)",
                Some(
                    "SELECTaFROMtWHERE(b)NOTBETWEEN$1AND$2ANDcBETWEEN2ANDdANDeIN($1,$3,$4)ANDfIN(1,g)|1,9999999999,2,3|true",
                ),
            ),
            (
                "SELECT sum(a) OVER (ROWS BETWEEN 1 PRECEDING AND 2 FOLLOWING) FROM t WHERE b IN (7)",
                Some("SELECTsum(a)OVER(ROWSBETWEEN1PRECEDINGAND2FOLLOWING)FROMtWHEREbIN($1)|7|true"),
            ),
            (
                "UPDATE t SET a = a + 5, b = -3, c = 7 WHERE id = 7 AND d < 2",
                Some("UPDATEtSETa=a+$1,b=-3,c=$2WHEREid=$2ANDd<$3|5,7,2|false"),
            ),
            (
                "UPDATE t SET a = x::numeric(10, 2) * 3.5, b = (c)[1] WHERE id = 1",
                Some("UPDATEtSETa=x::numeric(10,2)*3.5,b=(c)[1]WHEREid=$1|1|false"),
            ),
            (
                "UPDATE t SET a = a + 1 FROM u WHERE u.id + 1 = t.id RETURNING t.a + 2",
                Some("UPDATEtSETa=a+$1FROMuWHEREu.id+1=t.idRETURNINGt.a+2|1|true"),
            ),
            (
                "UPDATE t SET a = x::numeric(10, -2), b = f(-2147483648), c = (SELECT d FROM u ORDER BY -1 LIMIT 1), e = g - 1",
                Some(
                    "UPDATEtSETa=x::numeric(10,-2),b=f(-2147483648),c=(SELECTdFROMuORDERBY-1LIMIT1),e=g-$1|1|false",
                ),
            ),
            ("UPDATE t SET a = a + 9999999999", Some("UPDATEtSETa=a+$1|9999999999|false")),
            ("DELETE FROM t WHERE id = 8", Some("DELETEFROMtWHEREid=$1|8|false")),
            ("DELETE FROM t WHERE id = 8 RETURNING *", Some("DELETEFROMtWHEREid=$1RETURNING*|8|true")),
            ("UPDATE t SET a = 'now' WHERE id = 1", Some("UPDATEtSETa=$1WHEREid=$2|now,1|false")),
            (
                "SELECT a FROM t WHERE b = '1' AND c = '1' OR d BETWEEN 'a' AND 'it''s' AND e IN ('x', 'y') LIMIT 5",
                Some("SELECTaFROMtWHEREb=$1ANDc=$2ORdBETWEEN$3AND$4ANDeIN($5,$6)LIMIT5|1,1,a,it's,x,y|true"),
            ),
            ("SELECT a FROM t WHERE b = 'a' || c", None),
            ("SELECT a FROM t WHERE b = 'a' COLLATE \"C\"", None),
            ("SELECT a FROM t WHERE b = 'a'::date", None),
            ("SELECT a FROM t WHERE b = date '2026-01-01'", None),
            ("SELECT a FROM t WHERE b = E'a'", None),
            ("SELECT a FROM t WHERE b = 'a'\n'b'", None),
            ("SELECT a FROM t WHERE b IN ('a', 1)", None),
            ("SELECT a FROM t WHERE b BETWEEN 'a' AND 'b' || c", None),
            ("SELECT a, 'x' FROM t WHERE b = 'a'", None),
            ("SELECT b = 'a' FROM t GROUP BY b = 'a'", None),
            ("UPDATE t SET a = a + '1 day' WHERE b = 'c'", None),
            ("UPDATE t SET a = $1 WHERE id = 1", None),
            ("SELECT a FROM t WHERE id = 1 FOR UPDATE", None),
            ("INSERT INTO t VALUES (1)", None),
        ];
        for (sql, expected) in cases {
            let expected = expected.map(str::to_owned);
            assert_eq!(lifted(sql), expected, "{sql}");
        }
    }
}
