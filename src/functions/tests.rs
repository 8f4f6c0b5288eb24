#![allow(clippy::unwrap_used, clippy::panic)]

use super::args::parse;
use super::*;

fn parsed(name: &str, args: Args) -> Result<args::Parsed> {
    parse(find(name).unwrap(), &args)
}

#[test]
fn flags_read_as_on_the_command_line() {
    let commit = |texts: &[&str]| parsed("epoch_commit", Args::texts(texts.iter().copied()));
    assert_eq!(commit(&["fix"]).unwrap().text("message").unwrap(), "fix");
    assert_eq!(commit(&["-m", "-x"]).unwrap().text("message").unwrap(), "-x");
    let both = commit(&["-am", "fix", "--allow-empty"]).unwrap();
    assert!(both.flag("all") && both.flag("allow-empty") && !both.flag("amend"));
    assert_eq!(both.text("message").unwrap(), "fix");
    assert_eq!(commit(&["--message=a=b"]).unwrap().text("message").unwrap(), "a=b");
    assert_eq!(commit(&["--", "-m"]).unwrap().text("message").unwrap(), "-m");
}

#[test]
fn named_notation_and_flags_are_the_same() {
    let merge = parsed("epoch_merge", Args::texts(["x"]).with("no_ff", Arg::Bool(true))).unwrap();
    assert!(merge.flag("no-ff"));
    let merge = parsed("epoch_merge", Args::texts(["x"]).with("no_ff", Arg::Bool(false))).unwrap();
    assert!(!merge.flag("no-ff"));
    let key = Arg::Array(vec!["a".into(), "b".into()]);
    let register = parsed("epoch_register", Args::texts(["t"]).with("key", key)).unwrap();
    assert_eq!(register.list("key"), ["a", "b"]);
    let branch = parsed("epoch_branch", Args::texts(["a", "b"]).with("d", Arg::Bool(true))).unwrap();
    assert!(branch.flag("delete"));
    assert_eq!(branch.rest, ["a", "b"]);
}

#[test]
fn what_is_unknown_is_refused_with_what_is_known() {
    for args in [
        Args::texts(["x", "--fast"]),
        Args::texts(["-x"]),
        Args::texts(["-mx", "y"]),
        Args::texts(["x"]).with("fast", Arg::Bool(true)),
    ] {
        let error = parsed("epoch_merge", args.clone()).unwrap_err();
        assert_eq!(error.code(), "22023", "{args:?}");
        assert!(error.hint().unwrap().contains("--ff-only"), "{error:?}");
    }
}

#[test]
fn wrong_values_are_refused() {
    for (name, args) in [
        ("epoch_commit", Args::texts(["-m"])),
        ("epoch_commit", Args::texts(["a", "-m", "b"])),
        ("epoch_commit", Args::texts(["a", "b"])),
        ("epoch_commit", Args::texts(["a", "--amend=1"])),
        ("epoch_log", Args::texts(["-n", "many"])),
        ("epoch_merge", Args::texts(["x"]).with("no_ff", Arg::Int(3))),
        ("epoch_at", Args { positional: vec![Arg::Array(vec![])], named: vec![] }),
    ] {
        assert_eq!(parsed(name, args.clone()).unwrap_err().code(), "22023", "{name} {args:?}");
    }
}

#[test]
fn a_negative_number_is_no_flag() {
    let args = Args::texts(["value", "t", "-5", "price", "-1"]);
    let parsed = parsed("epoch_conflicts_resolve", args).unwrap();
    assert_eq!(parsed.list("key"), ["-5"]);
    assert_eq!(parsed.text("value").unwrap(), "-1");
}

#[test]
fn null_is_not_given_except_as_a_value() {
    let args = Args { positional: vec![Arg::Null], named: vec![] };
    assert_eq!(parsed("epoch_hashof", args).unwrap().required("ref").unwrap_err().code(), "22023");
    let args = Args::texts(["value"]).with("value", Arg::Null);
    assert_eq!(parsed("epoch_conflicts_resolve", args).unwrap().raw("value"), Some(&Arg::Null));
}

#[test]
fn a_range_takes_its_table_second() {
    let table =
        |texts: &[&str]| diff::table_of(&parsed("epoch_diff", Args::texts(texts.iter().copied())).unwrap());
    assert_eq!(table(&["a", "b"]), None);
    assert_eq!(table(&["a", "b", "t"]).unwrap(), "t");
    assert_eq!(table(&["a..b"]), None);
    assert_eq!(table(&["a...b", "t"]).unwrap(), "t");
}

#[test]
fn the_catalog_is_consistent() {
    let mut names = std::collections::HashSet::new();
    for function in catalog() {
        assert!(names.insert(function.name), "{} twice", function.name);
        assert!(function.name.starts_with("epoch_") && function.usage.starts_with(function.name));
        assert!(!function.summary.ends_with('.'), "{}", function.summary);
        let mut known: Vec<&str> = function.flags.iter().map(Flag::name).collect();
        known.sort_unstable();
        known.dedup();
        assert_eq!(known.len(), function.flags.len(), "flags of {}", function.name);
        assert!(known.iter().all(|name| !name.is_empty()), "flags of {}", function.name);
        if function.columns.is_empty() {
            let of_tables = [
                "epoch_diff",
                "epoch_at",
                "epoch_conflicts",
                "epoch_history",
                "epoch_blame",
                "epoch_all_branches",
                "epoch_preview_merge",
            ];
            assert!(of_tables.contains(&function.name), "{}", function.name);
        }
    }
}

#[test]
fn relations_are_found_by_their_schema_name() {
    for name in ["log", "branches", "status", "tags", "tables", "backends", "conflicts"] {
        let function = find(&format!("epoch.{name}")).unwrap_or_else(|| panic!("no epoch.{name}"));
        assert_eq!(function.kind, Kind::Reading);
        assert!(function.parameters.iter().all(|p| !p.required));
    }
    assert!(find("epoch.commit").is_none());
    assert!(find("log").is_none());
}
