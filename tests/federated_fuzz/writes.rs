//! Random INSERT, UPDATE and DELETE on two tables `w` and `z`.

use super::random::Random;

pub const POSTGRES: &str = "CREATE TABLE w (id bigint PRIMARY KEY, i bigint, r double precision, d numeric(10,2), \
 b boolean, t text, v varchar(20), dt date, ts timestamp, tz timestamptz, u uuid, j json, x bytea);\n\
 CREATE TABLE z (k bigint PRIMARY KEY, a bigint NOT NULL DEFAULT 5, b text DEFAULT 'q', UNIQUE (a, b), CHECK (a < 100));";

pub const SQLITE: &str = "CREATE TABLE w (id INTEGER PRIMARY KEY, i INTEGER, r REAL, d DECIMAL(10,2), \
 b BOOLEAN, t TEXT, v VARCHAR(20), dt DATE, ts TIMESTAMP, tz TIMESTAMPTZ, u UUID, j JSON, x BLOB);\n\
 CREATE TABLE z (k INTEGER PRIMARY KEY, a INTEGER NOT NULL DEFAULT 5, b TEXT DEFAULT 'q', UNIQUE (a, b), CHECK (a < 100));";

const COLUMNS: [&str; 12] = ["i", "r", "d", "b", "t", "v", "dt", "ts", "tz", "u", "j", "x"];

/// Values without columns.
fn constant(r: &mut Random, column: &str) -> String {
    let all: &[&str] = match column {
        "i" => &[
            "1",
            "2.5",
            "-7",
            "9223372036854775807",
            "'12'",
            "NULL",
            "DEFAULT",
            "2.5::float8",
            "1e3",
            "'x'",
            "true",
            "3.5::numeric",
            "1 + 1",
            "10 / 4",
            "length('abc')",
            "'2024-01-05'::date - '2024-01-01'::date",
        ],
        "r" => &[
            "1",
            "0.1",
            "1e10",
            "'1.5'",
            "NULL",
            "2::bigint",
            "'x'",
            "'NaN'",
            "sqrt(2)",
            "1 / 3.0",
            "'2024-01-01'::date",
        ],
        "d" => &[
            "1",
            "1.005",
            "2.995",
            "'7.125'",
            "99999999.994",
            "99999999.995",
            "NULL",
            "1.5::float8",
            "-0.004",
            "10 / 3.0",
            "'a'",
        ],
        "b" => &["true", "'f'", "NULL", "1", "'x'", "1 = 1", "NOT false"],
        "t" => &[
            "'abc'",
            "5",
            "1.50",
            "true",
            "'2024-01-01'::date",
            "NULL",
            "'é'",
            "''",
            "'x' || 'y'",
            "upper('a')",
        ],
        "v" => &["'abc'", "'x'", "5", "NULL", "'Ünï'", "upper('b')", "'b'::varchar"],
        "dt" => &[
            "'2024-02-29'",
            "'2024-02-29 10:00'",
            "NULL",
            "'2024-02-29'::timestamp",
            "'2024-02-29 23:30+00'::timestamptz",
            "5",
            "'x'",
            "'2024-01-01'::date + 1",
            "'2024-01-31'::date + interval '1 month'",
        ],
        "ts" => &[
            "'2024-02-29 10:00:00.5'",
            "'2024-02-29'::date",
            "'2024-02-29 10:00+00'::timestamptz",
            "NULL",
            "'x'",
            "'2024-02-29'::date + interval '1 hour'",
            "1",
        ],
        "tz" => &[
            "'2024-03-31 02:30'",
            "'2024-02-29'",
            "'2024-02-29 10:00'::timestamp",
            "NULL",
            "'2024-02-29'::date",
        ],
        "u" => &[
            "'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'",
            "NULL",
            "'x'",
            "'b0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid",
            "'b0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::text",
        ],
        "j" => &["'{\"a\": 1}'", "NULL", "'{'", "'[1, 2]'::json", "'{}'::text"],
        _ => &["'\\x00ff'", "NULL", "'abc'", "'\\xz'", "'\\x01'::bytea", "'a'::text"],
    };
    r.pick(all).to_owned()
}

/// Values of the row.
fn computed(r: &mut Random, column: &str) -> String {
    let all: &[&str] = match column {
        "i" => &[
            "i + 1",
            "length(t)",
            "d",
            "d / 3",
            "r",
            "extract(year from dt)",
            "dt - '2024-01-01'::date",
            "t",
            "b",
            "(SELECT max(i) FROM w)",
            "(SELECT avg(d) FROM w)",
            "div(i, 2)",
            "coalesce(i, 0) + 1",
            "nullif(i, 3)",
            "CASE WHEN b THEN 1 ELSE 2.5 END",
            "-i",
            "id % 3",
        ],
        "r" => {
            &["r * 2 + i", "d", "i", "sqrt(abs(r))", "d / 3", "date_part('day', dt)", "t", "'NaN'::float8"]
        }
        "d" => &[
            "d + 1",
            "d / 3",
            "i",
            "r",
            "(SELECT avg(d) FROM w)",
            "extract(epoch from ts) / 86400000",
            "coalesce(d, 1) / 7",
            "abs(d)",
            "round(d / 3, 1)",
            "greatest(d, i, 2.5)",
        ],
        "b" => &["NOT b", "i > 0", "t LIKE '%a%'", "dt IS NULL", "i > 5 OR b", "i", "t"],
        "t" => &["t || 'x'", "u", "r", "v", "j", "dt", "tz", "d / 3", "i", "b", "concat(t, i, d)", "x"],
        "v" => &["upper(v)", "t", "i", "substring(t from 1 for 3)", "coalesce(v, t)"],
        "dt" => &[
            "dt + 1",
            "dt - 7",
            "dt + i::int",
            "ts",
            "tz",
            "ts + interval '1 day'",
            "date_trunc('month', ts)",
            "t",
            "coalesce(dt, '2020-01-01')",
            "CASE WHEN b THEN dt ELSE '2020-01-01' END",
        ],
        "ts" => &[
            "ts + interval '1 day'",
            "dt",
            "tz",
            "dt + interval '1 month'",
            "tz AT TIME ZONE 'UTC'",
            "dt - interval '1 hour'",
            "i",
        ],
        "tz" => &["tz - interval '1 hour'", "dt", "ts", "ts AT TIME ZONE 'UTC'", "t"],
        "u" => &["u", "t", "v", "t::uuid", "j", "coalesce(u, 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11')"],
        "j" => &["j", "t", "v", "u"],
        _ => &["x", "t", "i"],
    };
    r.pick(all).to_owned()
}

fn condition(r: &mut Random) -> String {
    let id = 1 + r.below(20);
    match r.below(16) {
        0..3 => format!("id = {id}"),
        3 => format!("id % 3 = {} AND 10 / (id % 3) > 4", r.below(3)),
        other => [
            "i > 2",
            "d >= 1.01",
            "t IS NULL",
            "v = 'abc'",
            "b",
            "NOT b",
            "id IN (1, 2, 3)",
            "dt = '2024-02-29'",
            "ts < '2024-03-01'",
            "r > 0.5",
            "i = (SELECT max(i) FROM w)",
            "id IN (SELECT k FROM z)",
            "NOT EXISTS (SELECT 1 FROM z WHERE z.k = w.id)",
        ][other % 13]
            .to_owned(),
    }
}

fn columns(r: &mut Random, most: usize) -> Vec<&'static str> {
    let mut found: Vec<&str> = Vec::new();
    for _ in 0..=r.below(most) {
        let column = COLUMNS[r.below(COLUMNS.len())];
        if !found.contains(&column) {
            found.push(column);
        }
    }
    found
}

/// One statement.
pub fn statement(r: &mut Random) -> String {
    match r.below(100) {
        0..32 => insert(r),
        32..66 => {
            let set: Vec<_> = columns(r, 2)
                .into_iter()
                .map(|c| {
                    if r.percent(75) {
                        format!("{c} = {}", computed(r, c))
                    } else {
                        format!("{c} = {}", constant(r, c))
                    }
                })
                .collect();
            let returning = r.pick(&["", " RETURNING id, t, v, i", " RETURNING *"]);
            format!("UPDATE w SET {} WHERE {}{returning}", set.join(", "), condition(r))
        }
        66..70 => {
            let column = COLUMNS[r.below(COLUMNS.len())];
            let value = computed(r, column)
                .replace("(SELECT max(i) FROM w)", "1")
                .replace("(SELECT avg(d) FROM w)", "1");
            format!(
                "INSERT INTO w (id, {column}) SELECT id + 20, {value} FROM w WHERE {} ORDER BY id LIMIT 3",
                condition(r)
            )
        }
        70..76 => format!("DELETE FROM w WHERE {}{}", condition(r), r.pick(&["", " RETURNING id, t"])),
        76..80 => {
            let column = r.pick(&["i", "d", "t"]);
            let value = r.pick(&["z.a", "z.b", "z.a + w.id", "w.i + z.a"]);
            format!("UPDATE w SET {column} = {value} FROM z WHERE z.k = w.id")
        }
        80..90 => {
            let (k, a) = (1 + r.below(20), r.pick(&["1", "2", "99", "100", "NULL", "DEFAULT"]));
            let b = r.pick(&["'q'", "'r'", "NULL", "DEFAULT"]);
            format!("INSERT INTO z (k, a, b) VALUES ({k}, {a}, {b}){}", r.pick(&["", " RETURNING *"]))
        }
        90..96 => {
            let set = r.pick(&[
                "a = a + 1",
                "a = a * 2",
                "b = b || 'x'",
                "k = k + 20",
                "a = NULL",
                "a = 3",
                "k = 5",
            ]);
            format!("UPDATE z SET {set} WHERE {}", r.pick(&["true", "k < 5", "a > 2", "k = 3"]))
        }
        _ => format!("DELETE FROM z WHERE {}", r.pick(&["k = 1", "a > 3", "b IS NULL"])),
    }
}

fn insert(r: &mut Random) -> String {
    let columns = columns(r, 4);
    let rows = 1 + r.below(3);
    let row = |r: &mut Random| {
        let cells: Vec<_> = columns.iter().map(|c| constant(r, c)).collect();
        format!("({}, {})", 1 + r.below(20), cells.join(", "))
    };
    let rows: Vec<_> = (0..rows).map(|_| row(r)).collect();
    let first = columns[0];
    let tail = match r.below(5) {
        0 => " RETURNING *".to_owned(),
        1 => " ON CONFLICT DO NOTHING".to_owned(),
        2 => format!(" ON CONFLICT (id) DO UPDATE SET {first} = excluded.{first} RETURNING id, {first}"),
        _ => String::new(),
    };
    format!("INSERT INTO w (id, {}) VALUES {}{tail}", columns.join(", "), rows.join(", "))
}
