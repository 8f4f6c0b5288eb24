//! Random expressions over the table `n` of `tests/sql/federated`, and queries with them.
//!
//! A kind is a letter: `i` integer, `b` bigint, `n` numeric, `f` double precision, `t` text, `o` boolean, `d` date,
//! `s` timestamp, `z` timestamptz, `v` interval.

use super::random::Random;

fn columns(kind: char) -> &'static [&'static str] {
    match kind {
        'i' => &["id::int", "length(t)"],
        'b' => &["i", "id"],
        'n' => &["d", "big"],
        'f' => &["r"],
        't' => &["t", "v"],
        'o' => &["b"],
        'd' => &["dt"],
        's' => &["ts"],
        'z' => &["tz"],
        _ => &["(ts - ts)"],
    }
}

fn literal(r: &mut Random, kind: char) -> String {
    let all: &[&str] = match kind {
        'i' => &["0", "1", "-1", "2", "7", "10", "100", "2147483647", "NULL::int", "3"],
        'b' => &["9223372036854775807", "3000000000", "5::bigint", "NULL::bigint", "-9223372036854775807"],
        'n' => &["0.5", "1.0", "2.50", "-3.33", "0.001", "1e3", "100::numeric(6,2)", "NULL::numeric", "0.0"],
        'f' => {
            &["0.1::float8", "'NaN'::float8", "1e10::float8", "-0.5::float8", "'Infinity'::float8", "2::real"]
        }
        't' => &["'abc'", "''", "'Hello'", "'x%y'", "'Ünï'", "NULL::text", "'10'", "' a '", "'a_b'"],
        'o' => &["true", "false", "NULL::boolean"],
        'd' => &["'2024-02-29'::date", "'2000-01-01'::date", "'1970-01-01'::date"],
        's' => &["'2024-02-29 10:30:45'::timestamp", "'2023-12-31 23:59:59.5'::timestamp"],
        'z' => &["'2024-03-31 01:30:00+00'::timestamptz", "'2024-10-27 02:30:00'::timestamptz"],
        _ => {
            &["interval '1 day'", "interval '1 month'", "interval '90 minutes'", "interval '-1 day 2 hours'"]
        }
    };
    r.pick(all).to_owned()
}

/// An expression that reads a column: PostgreSQL computes those of constants while it plans, we where a row comes to them.
fn wide(r: &mut Random, kind: char, depth: usize) -> String {
    if depth == 0 || kind == 'v' {
        return r.pick(columns(kind)).to_owned();
    }
    for _ in 0..4 {
        let text = of(r, kind, depth - 1);
        let words = text.split(|c: char| !c.is_alphanumeric() && c != '\'');
        if words
            .into_iter()
            .any(|w| matches!(w, "id" | "i" | "r" | "d" | "b" | "t" | "v" | "dt" | "ts" | "tz" | "big"))
        {
            return text;
        }
    }
    r.pick(columns(kind)).to_owned()
}

pub fn number(r: &mut Random) -> char {
    r.letter("ibnnf")
}

/// An expression of a kind.
pub fn of(r: &mut Random, kind: char, depth: usize) -> String {
    if depth == 0 || r.percent(20) {
        return if r.percent(70) { r.pick(columns(kind)).to_owned() } else { literal(r, kind) };
    }
    let below = depth - 1;
    match r.below(100) {
        0..8 => return format!("coalesce({}, {})", wide(r, kind, below), of(r, kind, below)),
        8..15 if kind != 'v' => {
            let (when, yes, no) = (of(r, 'o', below), wide(r, kind, below), of(r, kind, below));
            return format!("CASE WHEN {when} THEN {yes} ELSE {no} END");
        }
        15..19 if kind != 'v' => return format!("nullif({}, {})", wide(r, kind, below), of(r, kind, below)),
        19..22 if !"ov".contains(kind) => {
            let name = r.pick(&["greatest", "least"]);
            return format!("{name}({}, {})", wide(r, kind, below), of(r, kind, below));
        }
        _ => {}
    }
    match kind {
        'i' | 'b' => integer(r, kind, below),
        'n' => numeric(r, below),
        'f' => float(r, below),
        't' => text(r, below),
        'o' => boolean(r, below),
        'd' => match r.below(3) {
            0 | 1 => {
                format!("({} {} {})", wide(r, 'd', below), r.pick(&["+", "-"]), r.pick(&["1", "30", "366"]))
            }
            _ => {
                let from = r.letter("sz");
                format!("({})::date", wide(r, from, below))
            }
        },
        's' | 'z' => moment(r, kind, below),
        _ => match r.below(3) {
            0 => format!("({} - {})", wide(r, 's', below), of(r, 's', below)),
            1 => format!("({} * {})", literal(r, 'v'), r.pick(&["2", "-1"])),
            _ => literal(r, 'v'),
        },
    }
}

fn integer(r: &mut Random, kind: char, below: usize) -> String {
    let name = if kind == 'i' { "int" } else { "bigint" };
    match r.below(10) {
        0..3 => {
            let op = r.pick(&["+", "-", "*", "/", "%"]);
            format!("({} {op} {})", wide(r, kind, below), of(r, kind, below))
        }
        3 => format!("abs({})", wide(r, kind, below)),
        4 => format!("(-{})", wide(r, kind, below)),
        5 => {
            let from = r.letter("nf");
            format!("({})::{name}", wide(r, from, below))
        }
        6 if kind == 'i' => format!("strpos({}, {})", wide(r, 't', below), of(r, 't', below)),
        6 => format!("({} {} {})", wide(r, 'b', below), r.pick(&["&", "|"]), of(r, 'i', below)),
        7 if kind == 'i' => format!("({} - {})", wide(r, 'd', below), of(r, 'd', below)),
        7 => format!("mod({}, {})", wide(r, 'b', below), of(r, 'i', below)),
        8 if kind == 'i' => format!("ascii({})", wide(r, 't', below)),
        8 => format!("({} * {})", wide(r, 'i', below), of(r, 'b', below)),
        _ => {
            let field = r.pick(&["year", "dow", "week", "doy", "quarter", "isoyear", "day"]);
            let from = r.letter("dsz");
            format!("extract({field} from {})::{name}", wide(r, from, below))
        }
    }
}

fn numeric(r: &mut Random, below: usize) -> String {
    match r.below(9) {
        0..3 => {
            let (left, op) = (r.letter("nnib"), r.pick(&["+", "-", "*", "/", "%"]));
            format!("({} {op} {})", wide(r, left, below), of(r, 'n', below))
        }
        3 => format!("round({}, {})", wide(r, 'n', below), r.pick(&["0", "1", "2", "-1", "5"])),
        4 => {
            let name = r.pick(&["ceil", "floor", "abs", "sign", "round", "trunc"]);
            format!("{name}({})", wide(r, 'n', below))
        }
        5 => {
            let from = r.letter("ibn");
            format!("({})::numeric(20,{})", wide(r, from, below), r.below(4))
        }
        6 => format!("({})::numeric", wide(r, 'f', below)),
        7 => format!("div({}, {})", wide(r, 'n', below), of(r, 'n', below)),
        _ => {
            let field = r.pick(&["epoch", "second", "milliseconds"]);
            let from = r.letter("sz");
            format!("extract({field} from {})", wide(r, from, below))
        }
    }
}

fn float(r: &mut Random, below: usize) -> String {
    match r.below(6) {
        0 | 1 => {
            let (left, op) = (r.letter("ffibn"), r.pick(&["+", "-", "*", "/"]));
            format!("({} {op} {})", wide(r, left, below), of(r, 'f', below))
        }
        2 => {
            let from = r.letter("ibn");
            format!("({})::float8", wide(r, from, below))
        }
        3 => {
            let name = r.pick(&["abs", "ceil", "floor", "round", "trunc", "sign"]);
            format!("{name}({})", wide(r, 'f', below))
        }
        4 => format!("sqrt(abs({}))", wide(r, 'f', below)),
        _ => format!("date_part('{}', {})", r.pick(&["epoch", "year", "second"]), wide(r, 's', below)),
    }
}

fn text(r: &mut Random, below: usize) -> String {
    match r.below(14) {
        0 | 1 => {
            let right = r.letter("ttibnodsz");
            format!("({} || {})", wide(r, 't', below), of(r, right, below))
        }
        2 => {
            let name = r.pick(&["upper", "lower", "initcap", "reverse", "trim", "ltrim"]);
            format!("{name}({})", wide(r, 't', below))
        }
        3 => {
            let (from, length) = (r.pick(&["0", "1", "2", "-1"]), r.pick(&["0", "2", "5"]));
            format!("substring({} from {from} for {length})", wide(r, 't', below))
        }
        4 => {
            let (name, n) = (r.pick(&["left", "right"]), r.pick(&["2", "-1", "0"]));
            format!("{name}({}, {n})", wide(r, 't', below))
        }
        5 => format!("replace({}, {}, 'z')", wide(r, 't', below), of(r, 't', below)),
        6 | 7 => {
            let from = r.letter("ibnfodsz");
            format!("({})::text", wide(r, from, below))
        }
        8 => format!("lpad({}, {}, {})", wide(r, 't', below), r.pick(&["3", "8"]), r.pick(&["'*'", "'ab'"])),
        9 => format!(
            "split_part({}, {}, {})",
            wide(r, 't', below),
            r.pick(&["','", "' '", "'o'"]),
            r.pick(&["1", "2", "-1"])
        ),
        10 => {
            let second = r.letter("ibnt");
            format!("concat({}, {})", wide(r, 't', below), of(r, second, below))
        }
        11 => format!("translate({}, 'abo', 'xy')", wide(r, 't', below)),
        12 => format!("({})::varchar(3)", wide(r, 't', below)),
        _ => {
            let second = r.letter("in");
            format!("concat_ws('-', {}, {})", wide(r, 't', below), of(r, second, below))
        }
    }
}

fn boolean(r: &mut Random, below: usize) -> String {
    let not = r.pick(&["", "NOT "]);
    match r.below(13) {
        0 | 1 => {
            let (l, x, op) = (number(r), number(r), r.pick(&["=", "<", ">", "<=", ">=", "<>"]));
            format!("({} {op} {})", wide(r, l, below), of(r, x, below))
        }
        2 => format!("({} {} {})", wide(r, 't', below), r.pick(&["=", "<", ">", "<>"]), of(r, 't', below)),
        3 => {
            let (l, x, op) = (r.letter("dsz"), r.letter("dsz"), r.pick(&["=", "<", ">"]));
            format!("({} {op} {})", wide(r, l, below), of(r, x, below))
        }
        4 | 5 => format!("({} {} {})", of(r, 'o', below), r.pick(&["AND", "OR"]), of(r, 'o', below)),
        6 => format!("(NOT {})", of(r, 'o', below)),
        7 => {
            let of_kind = r.letter("ibnftods");
            format!("({} IS {not}NULL)", wide(r, of_kind, below))
        }
        8 => {
            let (x, low, high) = (number(r), number(r), number(r));
            let (x, low, high) = (wide(r, x, below), of(r, low, below), of(r, high, below));
            format!("({x} {not}BETWEEN {low} AND {high})")
        }
        9 => {
            let (x, second) = (r.letter("ibn"), r.letter("in"));
            let (x, a, b) = (wide(r, x, below), of(r, 'i', below), of(r, second, below));
            format!("({x} {not}IN ({a}, {b}, 7))")
        }
        10 => {
            let op = r.pick(&["LIKE", "ILIKE", "NOT LIKE"]);
            let pattern = r.pick(&["'%o%'", "'a%'", "'_'", "'x\\%%'", "'%'", "''"]);
            format!("({} {op} {pattern})", wide(r, 't', below))
        }
        11 => {
            let what = r.pick(&["TRUE", "FALSE", "UNKNOWN"]);
            format!("({} IS {not}{what})", of(r, 'o', below))
        }
        _ => {
            let (l, x) = (number(r), number(r));
            format!("({} IS {not}DISTINCT FROM {})", wide(r, l, below), of(r, x, below))
        }
    }
}

fn moment(r: &mut Random, kind: char, below: usize) -> String {
    match (r.below(4), kind) {
        (0, 's') => {
            let from = r.letter("ds");
            format!("({} {} {})", wide(r, from, below), r.pick(&["+", "-"]), of(r, 'v', below))
        }
        (0, _) => format!("({} {} {})", wide(r, 'z', below), r.pick(&["+", "-"]), of(r, 'v', below)),
        (1, _) => {
            let field = r.pick(&["day", "month", "week", "hour", "year", "quarter"]);
            format!("date_trunc('{field}', {})", wide(r, kind, below))
        }
        (2, 's') => {
            let from = r.letter("dz");
            format!("({})::timestamp", wide(r, from, below))
        }
        (2, _) => {
            let from = r.letter("ds");
            format!("({})::timestamptz", wide(r, from, below))
        }
        (_, 's') => format!("({} AT TIME ZONE 'America/New_York')", wide(r, 'z', below)),
        _ => format!("({} AT TIME ZONE 'Asia/Kolkata')", wide(r, 's', below)),
    }
}

fn aggregate(r: &mut Random) -> String {
    match r.below(9) {
        0 => {
            let kind = number(r);
            format!("{}({})", r.pick(&["sum", "avg"]), wide(r, kind, 2))
        }
        1 | 2 => {
            let kind = r.letter("ibnftdsz");
            format!("{}({})", r.pick(&["min", "max"]), wide(r, kind, 2))
        }
        3 => {
            let kind = r.letter("into");
            format!("count({})", wide(r, kind, 2))
        }
        4 => {
            let kind = r.letter("ibtod");
            format!("count(DISTINCT {})", wide(r, kind, 1))
        }
        5 => {
            let kind = r.letter("ibn");
            let name = r.pick(&["stddev", "variance", "var_pop", "stddev_pop", "sum"]);
            format!("{name}({})", wide(r, kind, 1))
        }
        6 => format!("bool_and({})", of(r, 'o', 2)),
        7 => format!("sum({}) FILTER (WHERE {})", wide(r, 'n', 1), of(r, 'o', 2)),
        _ => format!("string_agg({}, ',' ORDER BY id)", wide(r, 't', 1)),
    }
}

/// A query over `n`.
pub fn query(r: &mut Random) -> String {
    match r.below(100) {
        0..40 => {
            let count = 1 + r.below(3);
            let list: Vec<_> = (0..count)
                .map(|_| {
                    let kind = r.letter("ibnftodszv");
                    of(r, kind, 3)
                })
                .collect();
            format!("SELECT id, {} FROM n ORDER BY id", list.join(", "))
        }
        40..65 => format!("SELECT id FROM n WHERE {} ORDER BY id", of(r, 'o', 4)),
        65..77 => {
            let (one, two) = (aggregate(r), aggregate(r));
            let some = of(r, 'o', 2);
            let condition = r.pick(&["true", "id < 5", "id > 100", &some]).to_owned();
            format!("SELECT {one}, {two} FROM n WHERE {condition}")
        }
        77..84 => {
            let kind = r.letter("ibtod");
            let group = wide(r, kind, 1);
            let having = r.pick(&["", " HAVING count(*) > 1"]);
            format!("SELECT {group} AS g, {} FROM n GROUP BY 1{having} ORDER BY 1, 2", aggregate(r))
        }
        84..89 => {
            let kind = r.letter("ibtodsz");
            format!("SELECT DISTINCT {} FROM n ORDER BY 1", wide(r, kind, 2))
        }
        89..94 => {
            let kind = r.letter("ibnftodsz");
            let how = r.pick(&["", "DESC", "NULLS FIRST", "DESC NULLS LAST"]);
            format!("SELECT id FROM n ORDER BY {} {how}, id", wide(r, kind, 2))
        }
        _ => {
            let kind = r.letter("in");
            let name = r.pick(&["sum", "avg", "min", "max", "count"]);
            let part = r.pick(&["", "PARTITION BY b "]);
            let frame = r.pick(&[
                "",
                "ROWS BETWEEN 1 PRECEDING AND CURRENT ROW",
                "ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING",
                "ROWS BETWEEN 1 FOLLOWING AND 2 FOLLOWING",
            ]);
            format!(
                "SELECT id, {name}({}) OVER ({part}ORDER BY id {frame}) FROM n ORDER BY id",
                wide(r, kind, 1)
            )
        }
    }
}
