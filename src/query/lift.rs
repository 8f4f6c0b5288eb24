//! Constants of a rewritten statement as parameters, so that the server can keep it prepared: planning
//! what a branch shows costs several times what reading or writing a row of it does.

use super::lexer::{Token, TokenKind};
use super::parse::{Kind, Modify, Parsed, Statement, Wrap};
use super::plan::Prelude;
use super::text::{Edits, Kept};

const INT8: u32 = 20;
const INT4: u32 = 23;

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
    /// Whether it has a result.
    pub returns: bool,
    pub(super) kept: Kept,
}

impl Lifted {
    /// The position in the client's text of an error of the server in `sql` (characters from 1).
    pub fn position(&self, client: &str, position: usize) -> usize {
        self.kept.position(client, &self.sql, position)
    }
}

/// Constants of a statement that can be parameters.
pub(super) struct Constants {
    /// The parameters in their places.
    pub edits: Edits,
    /// The oids of their types.
    pub types: Vec<u32>,
    /// Their values, in text form.
    pub values: Vec<String>,
    /// Whether the statement has a result.
    pub returns: bool,
}

/// The constants of a query, UPDATE or DELETE that has no parameters of its own. They are taken
/// where nothing can be told from their being constants: whole numbers that a name or a bracket is compared with
/// (`=`, `>`, `BETWEEN`, `IN` …), and operands in what an UPDATE sets. What is best planned for its own value still
/// is: PostgreSQL keeps planning with the values where that costs less than the plan for any value. With strings there is no such form: `'today'` or `'01/02/2026'` would
/// go on meaning what they meant when the statement was prepared, and a string takes its type from what it is
/// compared with.
pub(super) fn constants(sql: &str, parsed: &Parsed, statement: &Statement) -> Option<Constants> {
    let writes = matches!(statement.kind, Kind::Update(_) | Kind::Delete(_));
    let plain = statement.wrap == Wrap::None && statement.locking.is_empty() && statement.nested.is_empty();
    if !plain || !(writes || statement.kind == Kind::Query) {
        return None;
    }
    let tokens = &parsed.tokens;
    let (first, last) = (tokens.at(statement.range.start), tokens.at(statement.range.end));
    let inside = tokens.list.get(first..last)?;
    let unfit = |t: &Token| matches!(t.kind, TokenKind::Param | TokenKind::Str) || t.is_word(sql, "into");
    if inside.iter().any(unfit) {
        return None;
    }
    let returns = !writes || inside.iter().any(|t| t.depth == 0 && t.is_word(sql, "returning"));
    let mut found = Constants { edits: Edits::default(), types: Vec::new(), values: Vec::new(), returns };
    let set = set_clause(sql, inside, statement);
    for (at, window) in inside.windows(3).enumerate() {
        let [before, operator, constant] = window else { continue };
        let operand = before.is_name() || before.is_symbol(b')');
        if operator.kind == TokenKind::Operator {
            if set.contains(&at) || operand && COMPARISONS.contains(&operator.text(sql)) {
                found.lift(sql, constant);
            }
        } else if operator.is_word(sql, "between") || operator.is_word(sql, "in") {
            let after = inside.get(at + 2..).unwrap_or_default();
            range(sql, after).or_else(|| list(sql, after)).iter().flatten().for_each(|c| found.lift(sql, c));
        }
    }
    Some(found)
}

const COMPARISONS: [&str; 7] = ["=", "<", ">", "<=", ">=", "<>", "!="];

/// Longer lists differ from each other too often to be kept.
const LONGEST_LIST: usize = 16;

/// The bounds at the start of `tokens`: `1 AND 5`.
fn range<'a>(sql: &str, tokens: &'a [Token]) -> Option<Vec<&'a Token>> {
    match tokens {
        [low, and, high, ..] if and.is_word(sql, "and") => {
            number(sql, low).and(number(sql, high)).map(|_| vec![low, high])
        }
        _ => None,
    }
}

/// The numbers of the list at the start of `tokens`: `(1, 2, 3)`.
fn list<'a>(sql: &str, tokens: &'a [Token]) -> Option<Vec<&'a Token>> {
    let mut found = Vec::new();
    for pair in tokens.chunks(2).take(LONGEST_LIST + 1) {
        match pair {
            [end, ..] if !found.is_empty() && end.is_symbol(b')') => return Some(found),
            [open, constant] if open.is_symbol(if found.is_empty() { b'(' } else { b',' }) => {
                number(sql, constant)?;
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
    /// Makes `constant` a parameter if it is a whole number.
    fn lift(&mut self, sql: &str, constant: &Token) {
        let Some((oid, value)) = number(sql, constant) else { return };
        // One parameter for what is written alike: GROUP BY must go on meaning the selected expression.
        let known = self.types.iter().zip(&self.values).position(|(t, v)| *t == oid && *v == value);
        let number = known.unwrap_or(self.values.len());
        if known.is_none() {
            self.types.push(oid);
            self.values.push(value);
        }
        // The blank keeps it apart from what follows.
        self.edits.replace(constant.start..constant.end, format!("${} ", number + 1));
    }
}

/// A whole number, with the type that PostgreSQL gives it.
fn number(sql: &str, token: &Token) -> Option<(u32, String)> {
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
                Some("UPDATEtSETa=a+$1,b=-$2,c=$3WHEREid=$3ANDd<$4|5,3,7,2|false"),
            ),
            (
                "UPDATE t SET a = x::numeric(10, 2) * 3.5, b = (c)[1] WHERE id = 1",
                Some("UPDATEtSETa=x::numeric(10,2)*3.5,b=(c)[1]WHEREid=$1|1|false"),
            ),
            (
                "UPDATE t SET a = a + 1 FROM u WHERE u.id + 1 = t.id RETURNING t.a + 2",
                Some("UPDATEtSETa=a+$1FROMuWHEREu.id+1=t.idRETURNINGt.a+2|1|true"),
            ),
            ("UPDATE t SET a = a + 9999999999", Some("UPDATEtSETa=a+$1|9999999999|false")),
            ("DELETE FROM t WHERE id = 8", Some("DELETEFROMtWHEREid=$1|8|false")),
            ("DELETE FROM t WHERE id = 8 RETURNING *", Some("DELETEFROMtWHEREid=$1RETURNING*|8|true")),
            ("UPDATE t SET a = 'now' WHERE id = 1", None),
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
