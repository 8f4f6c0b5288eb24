//! The relation of a branch for a table with several versions: main's rows are seen through its columns, by arms that
//! PostgreSQL can pull up.

use epoch_adapter::{
    At, BackendKind, Column, Layer, LineageId, Location, Origin, Source, TableDef, TableId, TableName,
    TableSchema, View,
};
use epoch_adapter_postgres::relation;

fn column(name: &str) -> Column {
    Column {
        name: name.to_owned(),
        type_name: "bigint".to_owned(),
        pg_type: "bigint".to_owned(),
        data_type: arrow::datatypes::DataType::Int64,
        nullable: false,
        generated: false,
        default: None,
        equality: None,
    }
}

fn table(id: i64, schema: &str, columns: &[&str]) -> TableDef {
    TableDef::new(
        TableId(id),
        TableName::public("users"),
        Location {
            kind: BackendKind::PostgreSql,
            backend: "crm".into(),
            schema: Some(schema.to_owned()),
            table: "users".into(),
        },
        TableSchema { columns: columns.iter().map(|c| column(c)).collect(), key: vec![0] },
    )
}

fn from(name: &str, casts: &[&str]) -> Origin {
    Origin::Column { name: name.to_owned(), casts: casts.iter().map(|c| (*c).to_owned()).collect() }
}

fn arms(table: &TableDef) -> (String, usize) {
    let view = View { layer: Layer { lineage: LineageId(7), base: 100 }, at: At::Working };
    let sql = relation::selective(table, &view);
    let union = sql.split(" epoch_x WHERE ").next().unwrap().to_owned();
    let count = union.matches("UNION ALL").count() + 1;
    (union, count)
}

#[test]
fn a_revision_reads_mains_table_through_its_columns() {
    let first = table(4, "public", &["id", "age"]);
    let mut revision = table(5, "epoch_b5_public", &["key", "age", "note"]);
    let columns = [from("id", &[]), from("age", &["numeric"]), Origin::Value("NULL::text".to_owned())];
    revision.source = Some(Source::of(&first, &columns));
    let (union, count) = arms(&revision);
    assert_eq!(count, 3, "overlay, main's history, main's table: {union}");
    assert!(!union.contains("WHERE"), "{union}");
    let seen = r#"epoch_s."id" AS "key", epoch_s."age"::numeric AS "age", NULL::text AS "note""#;
    assert!(union.contains(&format!(r#"(SELECT {seen} FROM "public"."users" epoch_s)"#)), "{union}");
    assert!(union.contains("FROM epoch.history_4 epoch_s)"), "{union}");
    assert!(union.contains(r#"FROM "epoch_epoch_b5_public"."users""#), "{union}");
    // A version of the version.
    let mut again = table(6, "epoch_b6_public", &["key", "age"]);
    again.source = Some(Source::of(&revision, &[from("key", &[]), from("age", &["text"])]));
    let (union, _) = arms(&again);
    assert!(
        union.contains(
            r#"epoch_s."id" AS "key", epoch_s."age"::numeric::text AS "age" FROM "public"."users""#
        ),
        "{union}"
    );
}

#[test]
fn the_history_of_all_versions_that_were_mains_is_one_line() {
    let mut retired = table(4, "epoch_b4_public", &["id", "age"]);
    let newer = table(5, "public", &["key", "age"]);
    retired.source = Some(Source {
        table: newer.id,
        rows: Some((newer.location.clone(), vec![from("key", &[]), from("age", &[])])),
        images: vec![
            (retired.id, vec![from("id", &[]), from("age", &[])]),
            (newer.id, vec![from("key", &[]), from("age", &[])]),
        ],
    });
    let (union, count) = arms(&retired);
    assert_eq!(count, 4, "{union}");
    assert!(!union.contains("WHERE"), "{union}");
    assert!(
        union.contains(
            r#"(SELECT epoch_s."key" AS "id", epoch_s."age" AS "age" FROM "public"."users" epoch_s)"#
        ),
        "{union}"
    );
    for history in ["epoch.history_4 epoch_s", "epoch.history_5 epoch_s"] {
        assert!(union.contains(history), "{union}");
    }
}
