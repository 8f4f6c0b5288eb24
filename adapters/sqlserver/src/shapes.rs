//! The T-SQL that we generate, statement by statement: its shape, its quoting, and that nothing of a user's name or value
//! gets into a place where it isn't quoted.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::string_slice)]

use std::sync::Arc;

use epoch_adapter::{
    At, BackendKind, Column, Comparison, Layer, Leftover, LineageId, Location, Predicate, Segment, TableDef,
    TableId, TableName, TableSchema, Value, View, Wanted,
};
use epoch_layers::view::{Facts, Filter, union};

use crate::meta::Meta;
use crate::parameters::numbered;
use crate::physical::{Check, Foreign, Index, Physical, PhysicalColumn};
use crate::{ddl, diff, drift, garbage, seal, view, violations, write};

fn column(name: &str, ty: &str, not_null: bool) -> PhysicalColumn {
    PhysicalColumn {
        name: name.to_owned(),
        type_name: ty.to_owned(),
        bytes: 40,
        not_null,
        ..PhysicalColumn::default()
    }
}

fn index(name: &str, unique: bool, parts: &[(usize, bool)]) -> Index {
    Index {
        name: name.to_owned(),
        unique,
        primary: false,
        constraint: false,
        kind: "NONCLUSTERED".to_owned(),
        parts: parts.to_vec(),
        included: Vec::new(),
        filter: None,
        ignores: false,
    }
}

fn of(schema: &str, name: &str, key: &[usize], physical: Physical) -> Meta {
    let column = |(i, c): (usize, &PhysicalColumn)| {
        let (pg_type, data_type) = crate::types::map(&c.type_name);
        Column {
            name: c.name.clone(),
            type_name: c.type_name.clone(),
            pg_type,
            data_type,
            nullable: !c.not_null && !key.contains(&i),
            generated: c.computed.is_some(),
            default: None,
            equality: None,
        }
    };
    let def = TableDef::new(
        TableId(7),
        TableName::public(name),
        Location {
            kind: BackendKind::SqlServer,
            backend: "erp".to_owned(),
            schema: Some(schema.to_owned()),
            table: name.to_owned(),
        },
        TableSchema { columns: physical.columns.iter().enumerate().map(column).collect(), key: key.to_vec() },
    );
    Meta::new(def, physical)
}

/// `(n, v, x)` with the key `v`; `n` may be numbered by the server.
pub(crate) fn meta_of(name: &str, identity: bool) -> Meta {
    let physical = Physical {
        schema: "dbo".to_owned(),
        name: name.to_owned(),
        object: 99,
        columns: vec![
            PhysicalColumn { identity, ..column("n", "int", true) },
            column("v", "nvarchar(20) COLLATE Latin1_General_CI_AS", true),
            column("x", "money", false),
        ],
        indexes: vec![index("by_v", true, &[(1, false)])],
        ..Physical::default()
    };
    of("dbo", name, &[1], physical)
}

/// With a foreign key to another table of `dbo`.
pub(crate) fn with_parent(mut meta: Meta, parent: &str) -> Meta {
    meta.physical.foreign.push(Arc::new(Foreign {
        name: format!("to_{parent}"),
        child: meta.base.clone(),
        columns: vec!["n".to_owned()],
        parent: format!("[dbo].[{parent}]"),
        parent_columns: vec!["n".to_owned()],
        shown: (meta.name().to_owned(), parent.to_owned()),
        cascade: None,
    }));
    meta
}

/// Names that would end a quotation, and end the statement, if they were not quoted.
pub(crate) fn odd() -> Meta {
    let computed = Some(("([k]]1]*(2))".to_owned(), true));
    let physical = Physical {
        schema: "s]ch".to_owned(),
        name: "größe '漢' [x]".to_owned(),
        object: 99,
        columns: vec![
            column("k]1", "int", true),
            column("sel?ect", "varchar(9) COLLATE Latin1_General_BIN2", true),
            PhysicalColumn { computed, ..column("g", "int", false) },
            PhysicalColumn {
                default: Some("(N'it''s')".to_owned()),
                ..column("t'x", "nvarchar(5) COLLATE X_CI", false)
            },
        ],
        indexes: vec![
            Index {
                primary: true,
                constraint: true,
                kind: "CLUSTERED".to_owned(),
                ..index("PK '1]", true, &[(0, false), (1, false)])
            },
            Index {
                included: vec![3],
                filter: Some("([g]>(0))".to_owned()),
                ..index("by g", true, &[(2, true)])
            },
        ],
        checks: vec![Check {
            object: 55,
            name: "ck]".to_owned(),
            condition: "([t'x]<>N'no; DROP TABLE t')".to_owned(),
        }],
        ..Physical::default()
    };
    of("s]ch", "größe '漢' [x]", &[0, 1], physical)
}

/// Of a database without registrations.
pub(crate) fn empty_catalog() -> crate::meta::Catalog {
    crate::meta::Catalog {
        at: std::time::Instant::now(),
        by_id: std::collections::HashMap::new(),
        dropped: std::collections::HashSet::new(),
        gaps: std::collections::HashMap::new(),
        lost: std::collections::HashMap::new(),
        kept: std::collections::HashMap::new(),
        by_name: std::collections::HashMap::new(),
        referrers: std::collections::HashMap::new(),
    }
}

const DEV: Layer = Layer { lineage: LineageId(2), base: 3 };

/// That a statement holds together: quotations and parentheses end, and it has as many parameters as are given.
fn whole(sql: &str, params: usize) -> String {
    let (text, count) = numbered(sql);
    assert_eq!(count, params, "{sql}");
    let (mut depth, mut rest) = (0_i32, text.as_str());
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        let end = match c {
            '\'' | '"' => Some(c),
            '[' => Some(']'),
            '(' => {
                depth += 1;
                None
            }
            ')' => {
                depth -= 1;
                None
            }
            _ => None,
        };
        assert!(depth >= 0, "{sql}");
        let Some(end) = end else { continue };
        loop {
            let at = rest.find(end).unwrap_or_else(|| panic!("a quotation without an end in {sql}"));
            rest = &rest[at + 1..];
            match rest.strip_prefix(end) {
                Some(after) => rest = after,
                None => break,
            }
        }
    }
    assert_eq!(depth, 0, "{sql}");
    text
}

fn text(v: &str) -> Value {
    Value::Text(v.to_owned())
}

#[test]
fn reads_of_a_view_are_arms_with_their_own_conditions() {
    let meta = meta_of("t", false);
    let filter = Filter::key(&meta, &[text("a")]);
    let sql = |view: &View, facts: Facts, limit| {
        let (sql, params) = union(&meta.arms(view, facts), &meta.row("x"), &filter, limit);
        whole(&sql, params.len())
    };
    assert_eq!(
        sql(&View::MAIN, Facts::ALL, None),
        "SELECT x.[n], x.[v], CAST(x.[x] AS decimal(19,4)) FROM [dbo].[t] AS x WHERE x.[v] = @P1"
    );
    let working = View { layer: DEV, at: At::Working };
    let quiet = Facts { own_moved: false, masked: true, main_moved: false };
    assert_eq!(
        sql(&working, quiet, Some(5)),
        "SELECT TOP (@P1) x.[n], x.[v], CAST(x.[x] AS decimal(19,4)) FROM [epoch].[epoch_overlay_7] AS x WHERE \
         x.epoch_lineage = @P2 AND x.[v] = @P3 UNION ALL SELECT TOP (@P4) x.[n], x.[v], CAST(x.[x] AS decimal(19,4)) \
         FROM [dbo].[t] AS x WHERE NOT EXISTS (SELECT 1 FROM [epoch].[epoch_mask_7] AS m WHERE m.epoch_lineage = @P5 AND \
         m.[v] = x.[v]) AND x.[v] = @P6"
    );
    let past = sql(&View { layer: Layer::MAIN, at: At::Ordinal(4) }, Facts::ALL, None);
    assert!(past.contains(
        "FROM [dbo].[t] AS x WHERE NOT EXISTS (SELECT 1 FROM [epoch].[epoch_history_7] AS h WHERE h.epoch_lineage = 1 AND \
         h.[v] = x.[v] AND h.epoch_to > @P1)"
    ), "{past}");
    assert!(past.contains("NOT EXISTS (SELECT 1 FROM [epoch].[epoch_history_7] AS q WHERE q.epoch_lineage = x.epoch_lineage AND q.[v] = x.[v]"), "{past}");
    // The order of parameters is that of their places.
    let (_, params) = union(&meta.arms(&working, quiet), "1", &filter, Some(5));
    let expected = [Value::Int(5), Value::Int(2), text("a"), Value::Int(5), Value::Int(2), text("a")];
    assert_eq!(params, expected);
}

#[test]
fn truth_values_are_numbers() {
    let meta = meta_of("t", false);
    let (sql, params) = meta.facts_sql(&View { layer: DEV, at: At::Ordinal(1) });
    let sql = whole(&sql, params.len());
    assert_eq!(sql.matches("CASE WHEN EXISTS (SELECT 1 FROM ").count(), 3, "{sql}");
    assert_eq!(sql.matches("THEN 1 ELSE 0 END").count(), 3, "{sql}");
    let (sql, params) = meta.facts_sql(&View { layer: DEV, at: At::Working });
    assert!(whole(&sql, params.len()).starts_with("SELECT 0, CASE WHEN"), "{sql}");
}

#[test]
fn a_diff_joins_the_keys_of_its_segments_with_all_places() {
    for meta in [meta_of("t", false), odd()] {
        let (from, to) =
            (View { layer: Layer::MAIN, at: At::Ordinal(1) }, View { layer: DEV, at: At::Working });
        let segments = [Segment { lineage: LineageId(2), after: 0, upto: At::Working }];
        let plan = diff::plan(&meta, (&from, &to), &segments, &Wanted::default()).unwrap();
        let sql = whole(&plan.sql, plan.params.len());
        assert!(sql.starts_with("SELECT k.["), "{sql}");
        assert!(
            sql.contains("CASE WHEN p0.epoch_lineage IS NOT NULL THEN 1 ELSE 0 END, p0.epoch_existed"),
            "{sql}"
        );
        assert!(sql.contains(" UNION SELECT ") && !sql.contains("LIMIT"), "{sql}");
        assert!(sql.contains("= (SELECT min(q.epoch_to) FROM [epoch].[epoch_history_7] AS q WHERE"), "{sql}");
        assert!(sql.contains(" ORDER BY k.["), "{sql}");
    }
}

#[test]
fn predicates_compare_as_postgresql_does() {
    let meta = meta_of("t", false);
    let sql = |p: Predicate| {
        let filter = view::predicates(&meta.def, &[p]).unwrap();
        whole(&filter.sql.join(" AND "), filter.params.len())
    };
    assert_eq!(sql(Predicate::Compare(0, Comparison::GtEq, Value::Int(5))), "x.[n] >= @P1");
    assert_eq!(sql(Predicate::In(0, vec![Value::Int(5), Value::Int(6)])), "x.[n] IN (@P1, @P2)");
    assert_eq!(sql(Predicate::In(0, vec![])), "1 = 0");
    // Whatever the collation: to the last character, blanks at the end included.
    assert_eq!(
        sql(Predicate::Compare(1, Comparison::Eq, text("a"))),
        "(x.[v] = @P1 AND CAST(x.[v] AS nvarchar(max)) COLLATE Latin1_General_100_BIN2 = CAST(@P2 AS nvarchar(max)) \
         COLLATE Latin1_General_100_BIN2 AND DATALENGTH(CAST(x.[v] AS nvarchar(max))) = DATALENGTH(CAST(@P3 AS nvarchar(max))))"
    );
    let several = sql(Predicate::In(1, vec![text("a"), text("b")]));
    assert!(several.starts_with("((x.[v] = @P1") && several.contains(") OR (x.[v] = @P4"), "{several}");
    assert_eq!(
        sql(Predicate::Or(vec![Predicate::IsNull(2), Predicate::And(vec![Predicate::IsNotNull(0)])])),
        "(x.[x] IS NULL OR (x.[n] IS NOT NULL))"
    );
    // Of keys, as keys compare.
    let keys = view::keys(&meta.def, &[Predicate::Compare(1, Comparison::Lt, text("b"))]).unwrap();
    assert_eq!(keys.sql, ["x.[v] < ?"]);
    // A name with the sign of a parameter has none.
    let odd = odd();
    let filter = view::predicates(&odd.def, &[Predicate::Compare(1, Comparison::Eq, text("a"))]).unwrap();
    whole(&filter.sql.join(" AND "), filter.params.len());
}

#[test]
fn only_what_the_server_compares_alike_is_sent_to_it() {
    let types = [
        "int",
        "varchar(5) COLLATE X_CI",
        "varbinary(9)",
        "datetime2(3)",
        "datetime2(7)",
        "datetime",
        "decimal(9,2)",
        "datetimeoffset(3)",
        "bit",
        "float",
        "time(3)",
        "date",
        "uniqueidentifier",
    ];
    let columns = types.iter().enumerate().map(|(n, ty)| column(&format!("c{n}"), ty, true)).collect();
    let meta = of("dbo", "t", &[0], Physical { columns, ..Physical::default() });
    let supported = |i: usize, op, v: Value| view::supports(&meta.def, &Predicate::Compare(i, op, v));
    use Comparison::{Eq, Gt, NotEq};
    let moment = || text("2024-01-01 00:00:00.123");
    assert!(supported(0, Gt, Value::Int(1)) && !supported(0, Eq, text("1")));
    assert!(supported(1, Eq, text("a")) && !supported(1, Gt, text("a")) && !supported(1, NotEq, text("a")));
    assert!(supported(2, Eq, Value::Blob(vec![1])) && !supported(2, Gt, Value::Blob(vec![1])));
    assert!(supported(3, Gt, moment()) && !supported(3, Eq, text("2024-01-01 00:00:00.1234")));
    assert!(
        !supported(3, Eq, text("infinity")) && !supported(4, Eq, moment()) && !supported(5, Eq, moment())
    );
    assert!(supported(6, Gt, text("1.50")) && !supported(6, Eq, text("1.505")));
    assert!(!supported(7, Eq, moment()) && supported(8, Eq, Value::Int(1)));
    assert!(supported(9, Gt, Value::Real(0.5)) && !supported(9, Eq, Value::Real(f64::NAN)));
    assert!(supported(10, Eq, text("12:00:00.5")) && !supported(10, Eq, text("12:00:00.5555")));
    assert!(supported(11, Eq, text("2024-01-01")) && !supported(12, Eq, text("x")));
    let many = |n| Predicate::In(0, vec![Value::Int(1); n]);
    assert!(view::supports(&meta.def, &many(150)) && !view::supports(&meta.def, &many(151)));
    assert!(!view::supports(&meta.def, &Predicate::IsNull(99)));
}

#[test]
fn our_tables_have_the_columns_checks_and_indexes_of_the_table() {
    let made = ddl::tables(&odd());
    made.iter().for_each(|sql| drop(whole(sql, 0)));
    assert_eq!(
        made[0],
        "CREATE TABLE [epoch].[epoch_overlay_7] (\n  [k]]1] int NOT NULL,\n  [sel?ect] varchar(9) COLLATE Latin1_General_BIN2 NOT NULL,\n  \
         [g] AS ([k]]1]*(2)) PERSISTED,\n  [t'x] nvarchar(5) COLLATE X_CI NULL DEFAULT (N'it''s'),\n  epoch_lineage bigint NOT NULL,\n  \
         epoch_copied  tinyint NOT NULL DEFAULT 0,\n  CONSTRAINT [epoch_check_7_55] CHECK ([t'x]<>N'no; DROP TABLE t')\n)"
    );
    assert_eq!(
        made[1],
        "CREATE UNIQUE CLUSTERED INDEX [epoch_key] ON [epoch].[epoch_overlay_7] (epoch_lineage, [k]]1], [sel?ect])"
    );
    assert!(
        made[2].contains("[epoch].[epoch_mask_7]")
            && made[2].contains("PRIMARY KEY CLUSTERED (epoch_lineage, [k]]1], [sel?ect])")
    );
    assert!(
        made[3].contains("[g] int NULL")
            && made[3].contains("PRIMARY KEY CLUSTERED (epoch_lineage, [k]]1], [sel?ect], epoch_to)"),
        "{}",
        made[3]
    );
    assert_eq!(made[4], "CREATE INDEX [epoch_to] ON [epoch].[epoch_history_7] (epoch_lineage, epoch_to)");
    assert!(made[5].starts_with("CREATE TABLE [epoch].[epoch_own_7] ("), "{}", made[5]);
    // The key has its index; others begin with the lineage.
    assert_eq!(
        made[6],
        "CREATE UNIQUE INDEX [by g] ON [epoch].[epoch_overlay_7] (epoch_lineage, [g] DESC) INCLUDE ([t'x]) WHERE ([g]>(0))"
    );
    assert_eq!(made.len(), 7);
}

#[test]
fn numbered_columns_are_plain_in_our_tables() {
    let made = ddl::tables(&meta_of("t", true));
    assert!(made[0].contains("[n] int NOT NULL,") && !made[0].contains("IDENTITY"), "{}", made[0]);
    assert!(ddl::create_statement(&meta_of("t", true).physical).contains("[n] int IDENTITY NOT NULL,"));
}

#[test]
fn long_keys_are_kept_beside_the_rows_or_refused() {
    let wide = |bytes| {
        let key = PhysicalColumn { bytes, ..column("k", "nvarchar(450) COLLATE X_CI", true) };
        of("dbo", "t", &[0], Physical { columns: vec![key], ..Physical::default() })
    };
    assert_eq!((wide(884).clustered(), wide(884).key_obstacle()), ("CLUSTERED", None));
    assert_eq!((wide(900).clustered(), wide(900).key_obstacle()), ("NONCLUSTERED", None));
    assert!(wide(1_700).key_obstacle().is_some() && wide(-1).key_obstacle().is_some());
}

#[test]
fn triggers_capture_sets_and_never_trust_a_snapshot() {
    let meta = meta_of("t", false);
    let [insert, update, delete] = ddl::triggers(&meta, false).try_into().unwrap();
    for sql in [&insert, &update, &delete] {
        whole(sql, 0);
        assert!(sql.contains("WITH EXECUTE AS SELF AFTER ") && sql.contains("SET ROWCOUNT 0;"), "{sql}");
        assert!(
            sql.contains(
                "sp_getapplock @Resource = N'epoch 7 1', @LockMode = N'Shared', @LockOwner = N'Transaction'"
            ),
            "{sql}"
        );
        assert_eq!(
            sql.matches("[epoch].[epoch_history_7] AS h").count(),
            sql.matches("WITH (READCOMMITTEDLOCK, FORCESEEK)").count(),
            "{sql}"
        );
        // A seal's own writes don't wait for the seal.
        assert!(
            sql.contains("IF APPLOCK_MODE(N'public', N'epoch 7 1', N'Session') <> N'Exclusive'"),
            "{sql}"
        );
        // What is there is asked after the turn is taken.
        assert!(sql.find("sp_getapplock") < sql.find("NOT EXISTS (SELECT 1 FROM [epoch]"), "{sql}");
    }
    assert!(insert.starts_with("CREATE TRIGGER [dbo].[epoch_capture_7_insert] ON [dbo].[t] "), "{insert}");
    assert!(
        insert.contains("SELECT 1, i.[v], 0, CAST(9223372036854775807 AS bigint) FROM inserted AS i"),
        "{insert}"
    );
    assert!(
        update.contains(
            "SELECT 1, d.[n], d.[v], d.[x], 1, CAST(9223372036854775807 AS bigint) FROM deleted AS d"
        ),
        "{update}"
    );
    assert!(update.contains("NOT EXISTS (SELECT 1 FROM deleted AS d WHERE d.[v] = i.[v])"), "{update}");
    assert!(delete.contains("AFTER DELETE") && !delete.contains("i.[v], 0, 9223"), "{delete}");
    // A MERGE that puts a row in the place of one that it removes.
    for sql in [&update, &delete] {
        assert!(
            sql.contains("JOIN [dbo].[t] AS b ON b.[v] = d.[v]")
                && sql.contains("THROW 50000, N'epoch: a MERGE"),
            "{sql}"
        );
    }
    // All of the table's own columns, none of ours: the triggers run whatever the names are.
    for sql in ddl::triggers(&odd(), false) {
        let sql = whole(&sql, 0);
        assert!(
            sql.starts_with("CREATE TRIGGER [s]]ch].[epoch_capture_7_")
                && sql.contains(" ON [s]]ch].[größe '漢' [x]]] "),
            "{sql}"
        );
    }
}

#[test]
fn triggers_of_the_overlay_go_by_the_rows_own_lineage() {
    let [insert, update, delete] = ddl::triggers(&meta_of("t", false), true).try_into().unwrap();
    for sql in [&insert, &update, &delete] {
        whole(sql, 0);
        assert!(!sql.contains("sp_getapplock") && !sql.contains("THROW"), "{sql}");
        assert!(sql.starts_with("CREATE TRIGGER [epoch].[epoch_capture_7_overlay_"), "{sql}");
    }
    assert!(insert.contains("WHERE i.epoch_copied = 0 AND NOT EXISTS"), "{insert}");
    assert!(insert.contains("SELECT i.epoch_lineage, i.[v], 0"), "{insert}");
    assert!(update.contains("d.[v] = i.[v] AND d.epoch_lineage = i.epoch_lineage"), "{update}");
}

#[test]
fn inserts_say_what_the_row_is_by_way_of_a_variable() {
    let meta = meta_of("t", true);
    let given = [(1, text("a")), (2, text("1.5000"))];
    let sql = |layer, given: &[(usize, Value)], returned| {
        let (sql, params) = write::insert_sql(&meta, layer, given, returned).unwrap();
        whole(&sql, params.len())
    };
    assert_eq!(
        sql(Layer::MAIN, &given, false),
        "INSERT INTO [dbo].[t] ([v], [x]) VALUES (@P1, CAST(@P2 AS money))"
    );
    assert_eq!(
        sql(Layer::MAIN, &given, true),
        "DECLARE @epoch_new TABLE ([v] nvarchar(20) COLLATE Latin1_General_CI_AS NOT NULL); INSERT INTO [dbo].[t] ([v], [x]) \
         OUTPUT inserted.[v] INTO @epoch_new ([v]) VALUES (@P1, CAST(@P2 AS money)); SELECT x.[n], x.[v], CAST(x.[x] AS decimal(19,4)) \
         FROM [dbo].[t] AS x JOIN @epoch_new AS o ON x.[v] = o.[v]"
    );
    // A number that the server would give, given.
    let numbered = [(0, Value::Int(5)), (1, text("a"))];
    assert_eq!(
        sql(Layer::MAIN, &numbered, false),
        "SET IDENTITY_INSERT [dbo].[t] ON; INSERT INTO [dbo].[t] ([n], [v]) VALUES (@P1, @P2); SET IDENTITY_INSERT [dbo].[t] OFF"
    );
    let on_branch = sql(DEV, &numbered, true);
    assert!(
        on_branch.contains("INSERT INTO [epoch].[epoch_overlay_7] ([n], [v], [epoch_lineage]) OUTPUT"),
        "{on_branch}"
    );
    assert!(
        on_branch.ends_with("WHERE x.epoch_lineage = 2") && !on_branch.contains("IDENTITY_INSERT"),
        "{on_branch}"
    );
    assert_eq!(sql(Layer::MAIN, &[], false), "INSERT INTO [dbo].[t] DEFAULT VALUES");
}

#[test]
fn a_copy_up_takes_the_row_and_hides_it_below() {
    let meta = odd();
    let key = vec![Value::Int(1), text("a")];
    let [(rows, params), (mask, mask_params)] = write::copy_up_sql(&meta, DEV, &key);
    let rows = whole(&rows, params.len());
    // What is computed is computed again.
    assert!(rows.starts_with("INSERT INTO [epoch].[epoch_overlay_7] ([k]]1], [sel?ect], [t'x], epoch_lineage, epoch_copied) SELECT x.[k]]1], x.[sel?ect], x.[t'x], 2, 1 FROM [s]]ch]."), "{rows}");
    assert!(rows.contains("x.[sel?ect] = CAST(@P4 COLLATE Latin1_General_BIN2 AS varchar(8000))"), "{rows}");
    let mask = whole(&mask, mask_params.len());
    assert!(mask.starts_with("INSERT INTO [epoch].[epoch_mask_7] ([k]]1], [sel?ect], epoch_lineage) SELECT x.[k]]1], x.[sel?ect], 2 FROM [epoch].[epoch_overlay_7] AS x"), "{mask}");
}

#[test]
fn seals_read_images_beside_rows_and_give_them_their_ordinals() {
    for meta in [meta_of("t", false), odd()] {
        let own = crate::layout::own(meta.id());
        for (main, own) in [(true, None), (false, None), (true, Some(own.as_str()))] {
            let sql = whole(&seal::pending_sql(&meta, main, own), 1);
            assert!(
                sql.contains("h.epoch_existed, CASE WHEN c.")
                    && sql.contains("h.epoch_to = CAST(9223372036854775807 AS bigint)"),
                "{sql}"
            );
            assert_eq!(
                sql.contains("EXISTS (SELECT 1 FROM [epoch].[epoch_own_7] AS o"),
                own.is_some(),
                "{sql}"
            );
            assert_eq!(sql.contains("c.epoch_lineage = h.epoch_lineage"), !main, "{sql}");
            let sql = whole(&seal::stamp_sql(&meta, own), 2);
            assert!(sql.starts_with("UPDATE h SET epoch_from = coalesce((SELECT max(p.epoch_to) FROM [epoch].[epoch_history_7] AS p"), "{sql}");
        }
        whole(&drift::net_sql(&meta), 0);
        for sql in epoch_layers::sum::statements(&meta) {
            whole(&sql, 0);
        }
    }
}

/// To T-SQL a constant of so many digits is a decimal, to which the column would be converted.
#[test]
fn the_ordinal_of_pending_images_is_compared_as_a_bigint() {
    let meta = meta_of("t", false);
    let holes = Leftover::Holes(LineageId::MAIN, vec![(1, 2)]);
    let mut all = vec![
        drift::net_sql(&meta),
        seal::pending_sql(&meta, true, None),
        seal::pending_sql(&meta, false, None),
        seal::stamp_sql(&meta, None),
    ];
    all.extend(epoch_layers::sum::statements(&meta));
    all.extend(ddl::triggers(&meta, false));
    all.extend(ddl::triggers(&meta, true));
    all.extend(garbage::remove_sql(&meta, &holes));
    for sql in all {
        let (constants, cast) =
            (sql.matches("9223372036854775807"), sql.matches("CAST(9223372036854775807 AS bigint)"));
        assert!(constants.clone().count() > 0 && constants.count() == cast.count(), "{sql}");
    }
}

#[test]
fn garbage_is_removed_in_portions_past_what_others_have() {
    let meta = meta_of("t", false);
    let lineage = Leftover::Lineage(LineageId(2));
    let all = garbage::remove_sql(&meta, &lineage);
    assert_eq!(
        all[0],
        "DELETE TOP (?) FROM [epoch].[epoch_overlay_7] WITH (ROWLOCK, READPAST, READCOMMITTEDLOCK) WHERE epoch_lineage = 2"
    );
    assert!(all.last().unwrap().contains("[epoch].[epoch_history_7]") && all.len() == 3);
    let holes = Leftover::Holes(LineageId::MAIN, vec![(1, 2), (3, 4)]);
    let [sql] = garbage::remove_sql(&meta, &holes).try_into().unwrap();
    assert!(
        whole(&sql, 1).contains("(epoch_to > 1 AND epoch_to <= 2 AND epoch_from >= 1) OR (epoch_to > 3"),
        "{sql}"
    );
    for sql in garbage::measure_sql(&odd(), &lineage) {
        assert!(whole(&sql, 0).contains("DATALENGTH([k]]1])"), "{sql}");
    }
}

#[test]
fn broken_constraints_are_looked_for_with_their_own_conditions() {
    let queries = violations::queries(&odd());
    for query in &queries {
        whole(&format!("SELECT TOP (1) {}", query.sql), 0);
    }
    let all: String = queries.iter().map(|q| q.sql.clone() + "\n").collect();
    assert!(all.contains("FROM r WHERE r.[k]]1] IS NULL"), "{all}");
    assert!(all.contains("WHERE NOT ([t'x]<>N'no; DROP TABLE t')"), "{all}");
    // The condition is in a text, too, with its own quotes doubled.
    assert!(all.contains("N'CHECK ([t''x]<>N''no; DROP TABLE t'') is false.'"), "{all}");
    assert!(all.contains("PARTITION BY r.[g]) AS epoch_count FROM r WHERE ([g]>(0))"), "{all}");
}

#[test]
fn the_text_of_a_table_is_complete() {
    let odd = odd();
    let foreign = Foreign {
        name: "fk".to_owned(),
        child: odd.base.clone(),
        columns: vec!["k]1".to_owned()],
        parent: "[dbo].[p]".to_owned(),
        parent_columns: vec!["id".to_owned()],
        shown: ("x".to_owned(), "p".to_owned()),
        cascade: Some("ON DELETE CASCADE".to_owned()),
    };
    let physical = Physical { foreign: vec![Arc::new(foreign)], ..odd.physical };
    let sql = ddl::create_statement(&physical);
    whole(&sql, 0);
    assert!(sql.starts_with("CREATE TABLE [s]]ch].[größe '漢' [x]]] (\n"), "{sql}");
    assert!(sql.contains("CONSTRAINT [PK '1]]] PRIMARY KEY CLUSTERED ([k]]1], [sel?ect])"), "{sql}");
    assert!(
        sql.contains("CONSTRAINT [ck]]] CHECK (")
            && sql.contains("FOREIGN KEY ([k]]1]) REFERENCES [dbo].[p] ([id]) ON DELETE CASCADE"),
        "{sql}"
    );
    assert!(sql.ends_with("CREATE UNIQUE NONCLUSTERED INDEX [by g] ON [s]]ch].[größe '漢' [x]]] ([g] DESC) INCLUDE ([t'x]) WHERE ([g]>(0));"), "{sql}");
}

#[test]
fn what_is_made_once_is_made_in_a_schema_of_its_own() {
    let shared = ddl::batches(include_str!("../../../sql/sqlserver/shared.sql"));
    assert_eq!(shared.len(), 6);
    assert!(shared.iter().all(|sql| sql.starts_with("IF ") && sql.contains("epoch")), "{shared:?}");
    shared.iter().for_each(|sql| drop(whole(sql, 0)));
    // A template's own line with GO ends a batch; a name with it does not.
    assert_eq!(ddl::batches("-- c\nA\nGO\nB [x GO y]\nGO\n"), ["A", "B [x GO y]"]);
}
