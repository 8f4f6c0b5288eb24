//! Every datatype, with extremes, as a value and as a key: written on a branch, committed, compared, merged into main
//! and read directly, it is what it would be on a plain table.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use common::Fixture;
use common::conn::Conn;

/// What must be there before the tables.
const TYPES: &str = "
CREATE TYPE mood AS ENUM ('sad', 'ok', 'it''s fine');
CREATE TYPE pair AS (a int, b text);
CREATE DOMAIN percent AS numeric(5,2) CHECK (VALUE BETWEEN 0 AND 100);
CREATE DOMAIN pairs AS pair[];
CREATE TYPE span AS RANGE (subtype = float8);
CREATE EXTENSION citext; CREATE EXTENSION hstore; CREATE EXTENSION ltree; CREATE EXTENSION cube";

struct Type {
    name: &'static str,
    /// SQL of values that all differ.
    values: &'static [&'static str],
    /// Whether it can be a key: it has a btree.
    key: bool,
}

const fn key(name: &'static str, values: &'static [&'static str]) -> Type {
    Type { name, values, key: true }
}

const fn value(name: &'static str, values: &'static [&'static str]) -> Type {
    Type { name, values, key: false }
}

const ALL: &[Type] = &[
    key("bool", &["true", "false"]),
    key("smallint", &["-32768", "32767", "0"]),
    key("int", &["-2147483648", "2147483647", "0"]),
    key("bigint", &["-9223372036854775808", "9223372036854775807", "0"]),
    key("real", &["'NaN'", "'-Infinity'", "1.1754944e-38", "3.4028235e38", "0.1"]),
    key("double precision", &["'NaN'", "'Infinity'", "-4.9e-324", "1.7976931348623157e308", "0.1"]),
    key(
        "numeric",
        &["'NaN'", "'-Infinity'", "1e-1000", "-12345678901234567890123456789.000", "0.10", "1e1000"],
    ),
    key("numeric(10,3)", &["-9999999.999", "0.100", "9999999.999"]),
    key("money", &["-92233720368547758.08", "0.01"]),
    key("text", &["''", "'é — 漢字 🐘'", "E'tab\\t new\\nline \\\\ quote '' \"'", "repeat('x', 3000)"]),
    key("varchar(5)", &["'abc'", "'ab  '", "''"]),
    key("char(5)", &["'abc'", "'é'"]),
    key("\"char\"", &["'a'", "''"]),
    key("name", &["'a name'", "repeat('n', 63)"]),
    key("bytea", &["'\\x'", "'\\x00ff5c27'", "decode(repeat('00ff', 2000), 'hex')"]),
    key("date", &["'-infinity'", "'infinity'", "'4713-01-01 BC'", "'5874897-12-31'", "'2026-02-28'"]),
    key("time", &["'00:00'", "'24:00:00'", "'23:59:59.999999'"]),
    key("timetz", &["'00:00+15:59'", "'12:00:00.5-03'"]),
    key(
        "timestamp",
        &["'-infinity'", "'infinity'", "'4713-01-01 00:00:00 BC'", "'294276-12-31 23:59:59.999999'"],
    ),
    key(
        "timestamptz",
        &["'-infinity'", "'infinity'", "'2026-03-29 02:30:00.000001+02'", "'4714-11-24 00:00:00+00 BC'"],
    ),
    key("timestamptz(0)", &["'2026-03-29 02:30:00+02'", "'2026-03-29 02:30:01+02'"]),
    key("interval", &["'0'", "'1 year -2 mons 3 days -04:05:06.000007'", "'-178000000 years'"]),
    key("interval day to second(3)", &["'1 02:03:04.005'", "'0'"]),
    key("uuid", &["'00000000-0000-0000-0000-000000000000'", "'ffffffff-ffff-ffff-ffff-ffffffffffff'"]),
    key("inet", &["'10.0.0.1'", "'10.0.0.1/8'", "'::ffff:1.2.3.4/128'"]),
    key("cidr", &["'10.0.0.0/8'", "'2001:db8::/32'"]),
    key("macaddr", &["'08:00:2b:01:02:03'", "'00:00:00:00:00:00'"]),
    key("macaddr8", &["'08:00:2b:01:02:03:04:05'"]),
    key("bit(3)", &["B'000'", "B'101'"]),
    key("bit varying", &["B''", "B'1010101010101010101'"]),
    key("oid", &["0", "4294967295"]),
    key("regclass", &["'pg_class'", "'pg_type'"]),
    key("pg_lsn", &["'0/0'", "'FFFFFFFF/FFFFFFFF'"]),
    key("tsvector", &["''", "to_tsvector('english', 'The fat rats')", "'a:1A b:2,3C'"]),
    key("tsquery", &["'fat & (rat | !cat)'", "'a <-> b:*'"]),
    key("jsonb", &["'null'", "'{}'", "'{\"b\": [1, 1.0, \"é\"], \"a\": null}'", "'\"x\"'"]),
    key("int[]", &["'{}'", "'{NULL,1}'", "'[-1:1]={1,2,3}'", "'{{1,2},{3,4}}'"]),
    key("text[]", &["ARRAY['', NULL, 'NULL', 'a,b', '{}', E'\\\\\"']"]),
    key("int4range", &["'empty'", "'[1,5)'", "'(,)'", "'[5,)'"]),
    key("numrange", &["'[0.1,0.10]'", "'(0,1)'"]),
    key("tstzrange", &["'[2026-01-01,2026-02-01)'", "'[-infinity,infinity]'"]),
    key("span", &["'[0.5,1.5)'", "'empty'"]),
    key("mood", &["'sad'", "'it''s fine'"]),
    key("percent", &["0", "99.99"]),
    key("pair", &["ROW(1, 'x')", "ROW(NULL, E'(\"),\\\\')", "ROW(NULL, NULL)"]),
    key("pair[]", &["ARRAY[ROW(1, 'a,b')::pair, NULL]", "'{}'"]),
    key("pairs", &["ARRAY[ROW(2, '\"')::pair]"]),
    key("mood[]", &["'{sad,ok}'"]),
    // Keys of extensions' types aren't registered: their equality isn't in pg_catalog.
    value("citext", &["'MiXed'", "'other'"]),
    value("hstore", &["'a=>1, \"b c\"=>NULL'", "''"]),
    value("ltree", &["'Top.Science'", "''"]),
    value("cube", &["'(1,2,3)'", "'(0),(1)'"]),
    value("json", &["'{\"a\": 1, \"a\": 2}'", "' [1 , 2] '", "'null'"]),
    value("xml", &["'<a b=\"c\">é</a>'", "'text'"]),
    value("point", &["'(1,2)'", "'(NaN,Infinity)'", "'(0.1,-0)'"]),
    value("line", &["'{1,2,3}'"]),
    value("lseg", &["'[(0,0),(1,1)]'"]),
    value("box", &["'(2,2),(0,0)'"]),
    value("path", &["'[(0,0),(1,1)]'", "'((0,0),(1,1),(2,0))'"]),
    value("polygon", &["'((0,0),(1,1),(2,0))'"]),
    value("circle", &["'<(0,0),1.5>'"]),
    value("jsonpath", &["'$.a[*] ? (@ > 1)'"]),
    value("xid8", &["'18446744073709551615'", "'0'"]),
    value("point[]", &["ARRAY['(1,2)'::point, NULL]"]),
];

/// PostgreSQL 14 on has them.
const MULTIRANGES: &[Type] = &[key("int4multirange", &["'{}'", "'{[1,2),[5,9)}'"])];

fn all() -> impl Iterator<Item = (usize, &'static Type)> {
    ALL.iter().chain(MULTIRANGES).enumerate()
}

fn schema() -> String {
    let mut sql = TYPES.to_owned();
    for (i, ty) in all() {
        sql += &format!(";\nCREATE TABLE v{i} (id int PRIMARY KEY, v {}, n int NOT NULL DEFAULT 0)", ty.name);
        // One row per value, and NULL.
        for (row, value) in ty.values.iter().enumerate() {
            sql += &format!("; INSERT INTO v{i} VALUES ({row}, {value})");
        }
        sql += &format!("; INSERT INTO v{i} VALUES (99, NULL)");
        if ty.key {
            sql += &format!("; CREATE TABLE k{i} (k {} PRIMARY KEY, n int NOT NULL)", ty.name);
            for value in ty.values {
                sql += &format!("; INSERT INTO k{i} VALUES ({value}, 0)");
            }
        }
    }
    sql
}

/// What a session does, on plain tables and on a branch alike: each row gets the next one's value, one is
/// made of the last value, and every second key is counted, deleted and made again.
fn work(conn: &mut Conn) {
    for (i, ty) in all() {
        let values = ty.values;
        for row in 0..values.len() {
            let next = values[(row + 1) % values.len()];
            conn.exec(&format!("UPDATE v{i} SET v = {next}, n = n + 1 WHERE id = {row}"));
        }
        conn.exec(&format!(
            "INSERT INTO v{i} SELECT 50, v FROM v{i} WHERE id = 0; UPDATE v{i} SET v = NULL WHERE id = 0"
        ));
        if ty.key {
            for (at, value) in values.iter().enumerate() {
                match at % 3 {
                    0 => conn.exec(&format!("UPDATE k{i} SET n = n + 1 WHERE k = ({value})::{}", ty.name)),
                    1 => conn.exec(&format!("DELETE FROM k{i} WHERE k = ({value})::{}", ty.name)),
                    _ => conn.exec(&format!(
                        "DELETE FROM k{i} WHERE k = ({value})::{}; INSERT INTO k{i} VALUES ({value}, 7)",
                        ty.name
                    )),
                };
            }
        }
    }
}

/// All tables, each as its rows' texts.
fn everything(conn: &mut Conn) -> Vec<(String, Vec<String>)> {
    let mut out = Vec::new();
    for (i, ty) in all() {
        out.push((format!("v {}", ty.name), conn.lines(&format!("SELECT id, v, n FROM v{i} ORDER BY id"))));
        if ty.key {
            out.push((format!("k {}", ty.name), conn.lines(&format!("SELECT k, n FROM k{i} ORDER BY k"))));
        }
    }
    out
}

fn assert_same(found: &[(String, Vec<String>)], expected: &[(String, Vec<String>)], what: &str) {
    for (found, expected) in found.iter().zip(expected) {
        assert_eq!(found, expected, "{what}");
    }
}

#[test]
fn every_type_goes_through_branch_commit_and_merge() {
    need_postgres!();
    let shop = Fixture::registered(&schema());
    let plain = common::database::Database::create();
    let mut plain = plain.connect();
    plain.exec(&schema());
    let before = everything(&mut plain);
    let mut branch = shop.branch("types");
    assert_same(&everything(&mut branch), &before, "a fresh branch");
    work(&mut plain);
    work(&mut branch);
    let after = everything(&mut plain);
    assert_same(&everything(&mut branch), &after, "the branch after its work");
    assert_same(&everything(&mut shop.direct()), &before, "the base");
    let fork = branch.one("SELECT epoch_hashof('HEAD')");
    branch.exec("SELECT * FROM epoch_commit('all types')");
    for (i, ty) in all() {
        let rows = branch.lines(&format!("SELECT id, v, n FROM epoch_at('v{i}', '{fork}') ORDER BY id"));
        assert_eq!(
            &rows,
            &before.iter().find(|(n, _)| *n == format!("v {}", ty.name)).unwrap().1,
            "the fork, {}",
            ty.name
        );
        // Both sides of the diff are the rows themselves.
        let sql = format!(
            "SELECT to_id, to_v, to_n FROM epoch_diff('{fork}', 'types', 'v{i}') WHERE diff_type <> 'removed' ORDER BY to_id"
        );
        let changed = branch.lines(&sql);
        let now =
            branch.lines(&format!("SELECT id, v, n FROM v{i} WHERE n > 0 OR id = 50 OR id = 0 ORDER BY id"));
        assert_eq!(changed, now, "the diff of {}", ty.name);
    }
    // A change on main beside it, so that the merge is a three-way one.
    for (i, _) in all() {
        shop.direct().exec(&format!("UPDATE v{i} SET n = 1000 WHERE id = 99"));
        plain.exec(&format!("UPDATE v{i} SET n = 1000 WHERE id = 99"));
    }
    let mut main = shop.main();
    main.exec("SELECT * FROM epoch_commit('beside')");
    let merged = main.call("epoch_merge('types')", "conflicts");
    assert_eq!(merged, ["0"], "{:?}", main.lines("SELECT * FROM epoch.conflicts"));
    assert_same(&everything(&mut shop.direct()), &everything(&mut plain), "the base after the merge");
    assert_same(&everything(&mut main), &everything(&mut plain), "main after the merge");
    assert_same(&everything(&mut shop.on("main~2")), &before, "the commit before the branch");
}
