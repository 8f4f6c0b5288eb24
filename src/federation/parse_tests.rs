#![allow(clippy::unwrap_used, clippy::panic)]

use super::*;

#[test]
fn a_string_is_split_at_its_own_semicolons_only() {
    let sql = "select ';', $$;$$ ; ; -- end;\n/* ; */ insert into \"a;b\" values (E'\\';') ;\n";
    let parts: Vec<_> = split(sql).unwrap().iter().map(|s| s.trim()).collect();
    assert_eq!(parts, ["select ';', $$;$$", "-- end;\n/* ; */ insert into \"a;b\" values (E'\\';')"]);
    assert!(split("").unwrap().is_empty());
    assert!(split(" ; ; ").unwrap().is_empty());
    assert_eq!(split("select 'é'; select 2").unwrap(), ["select 'é'", " select 2"]);
}

/// `'a'` and `'b'` on the next line are one string to PostgreSQL; the first alone was stored.
#[test]
fn strings_that_go_on_are_refused() {
    for first in ["'a'", "E'a'", "N'a'", "U&'a'", "$$a$$"] {
        let error = parse(&format!("SELECT {first}\n 'b'")).unwrap_err();
        assert_eq!(error.code(), "0A000", "{first}: {}", error.message());
    }
    assert!(parse("SELECT E'a', 'b'").is_ok());
}

#[test]
fn transaction_commands() {
    let begin = |sql: &str| match parse(sql).unwrap() {
        Command::Begin(modes) => modes,
        other => panic!("{other:?}"),
    };
    assert_eq!(begin("BEGIN"), Modes::default());
    assert_eq!(begin("start transaction read only").read_only, Some(true));
    assert_eq!(begin("begin isolation level repeatable read, read write").snapshot, Some(true));
    assert!(matches!(parse("END").unwrap(), Command::Commit(false)));
    assert!(matches!(parse("commit and chain").unwrap(), Command::Commit(true)));
    assert!(matches!(parse("ABORT").unwrap(), Command::Rollback(false)));
    assert!(matches!(parse("rollback to savepoint A").unwrap(), Command::RollbackTo(n) if n == "a"));
    assert!(matches!(parse("release \"A\"").unwrap(), Command::Release(n) if n == "A"));
    assert_eq!(parse("begin nonsense").unwrap_err().code(), "42601");
}

#[test]
fn settings() {
    let set = |sql: &str| match parse(sql).unwrap() {
        Command::Set { name, value, local } => (name, value, local),
        other => panic!("{other:?}"),
    };
    let text = |t: &str| Some(t.to_owned());
    assert_eq!(set("SET epoch.branch = 'feature/x'"), ("epoch.branch".into(), text("feature/x"), false));
    assert_eq!(set("set local TimeZone to 'UTC'"), ("timezone".into(), text("UTC"), true));
    assert_eq!(set("set time zone -5"), ("timezone".into(), text("-5"), false));
    assert_eq!(
        set("set search_path to \"$user\", public"),
        ("search_path".into(), text("\"$user\", public"), false)
    );
    assert_eq!(set("set names 'utf8'"), ("client_encoding".into(), text("utf8"), false));
    assert_eq!(set("set extra_float_digits = 3"), ("extra_float_digits".into(), text("3"), false));
    assert_eq!(set("set work_mem = default"), ("work_mem".into(), None, false));
    assert!(
        matches!(parse("show transaction isolation level").unwrap(), Command::Show(n) if n == "transaction_isolation")
    );
    assert!(matches!(parse("RESET ALL").unwrap(), Command::Reset(n) if n == "all"));
}

#[test]
fn cursors() {
    assert!(
        matches!(parse("declare c no scroll cursor without hold for select 1").unwrap(), Command::Declare { name, .. } if name == "c")
    );
    assert_eq!(parse("declare c cursor with hold for select 1").unwrap_err().code(), "0A000");
    assert!(matches!(parse("fetch forward 10 from c").unwrap(), Command::Fetch { count: Some(10), .. }));
    assert!(matches!(parse("FETCH ALL IN c").unwrap(), Command::Fetch { count: None, .. }));
    assert!(matches!(parse("fetch c").unwrap(), Command::Fetch { count: Some(1), .. }));
    assert!(matches!(parse("move 5 c").unwrap(), Command::Fetch { count: Some(5), rows: false, .. }));
}

#[test]
fn errors_say_where_and_what() {
    let error = parse("select * frm t").unwrap_err();
    assert_eq!(error.code(), "42601");
    assert_eq!(error.position(), Some(14), "{error}");
    assert_eq!(parse("select (").unwrap_err().message(), "syntax error at end of input");
    assert_eq!(parse("create table x (a int)").unwrap_err().code(), "0A000");
    assert_eq!(
        parse("insert into t values (1) on conflict (lower(a)) do nothing").unwrap_err().code(),
        "0A000"
    );
    assert_eq!(parse("select 1; select 2").unwrap_err().code(), "42601");
    assert_eq!(
        parse(&format!("select {}1{}", "(".repeat(5000), ")".repeat(5000))).unwrap_err().code(),
        "54001"
    );
}

/// A chain of operators is as deep as it is long: it overflowed the stack, and with it went the process.
#[test]
fn long_chains_of_operators_are_refused() {
    let chain = |n: usize| format!("1{}", "+1".repeat(n));
    assert!(parse(&format!("select {}", chain(900))).is_ok());
    let nested = format!("{}+({}+({}))", chain(400), chain(400), chain(400));
    let or = vec!["a = 1"; 1100].join(" or ");
    for deep in [chain(1100), nested, or] {
        assert_eq!(parse(&format!("select {deep} from t")).unwrap_err().code(), "54001");
    }
    let keys = vec!["(a = 1 and b = 2 and c > 3)"; 900].join(" or ");
    assert!(parse(&format!("select 1 from t where {keys}")).is_ok());
    let rows = vec!["(-1, 2 - 1, 'a')"; 3000].join(", ");
    assert!(parse(&format!("insert into t values {rows}")).is_ok());
    let list = vec!["-1"; 3000].join(", ");
    assert!(parse(&format!("select 1 from t where a in ({list})")).is_ok());
}
