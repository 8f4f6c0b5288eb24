//! Names of types that branches made.

use epoch_adapter::EnumDef;

use super::*;
use crate::operations::ShownType;

/// The branch made `mood` and `other."Odd"`, and doesn't have main's `tone`.
fn state() -> Fake {
    let mut tables = Tables::new(Fake::new().tables.by_id.clone());
    for (id, schema, name, on_main) in
        [(9, "public", "mood", false), (10, "other", "Odd", false), (11, "public", "kind", true)]
    {
        let name = TableName { schema: schema.to_owned(), name: name.to_owned() };
        let quoted = if name.name == "Odd" { "\"Odd\"" } else { name.name.as_str() };
        let def = EnumDef {
            labels: vec!["a".to_owned()],
            place: format!("epoch_b{id}_{schema}.{quoted}"),
            home: format!("{schema}.{quoted}"),
            on_main,
        };
        let table = TableDef {
            id: TableId(id),
            location: Location::draft("crm", TableId(id), &name).unwrap(),
            name,
            enumeration: Some(Box::new(def)),
            schema: TableSchema { columns: vec![], key: vec![] },
            revision: None,
            retired: None,
            view: None,
            source: None,
        };
        tables.types.insert(table.id, ShownType { table: Arc::new(table), own: true });
    }
    tables.absent_types.insert(("crm".to_owned(), TableName::public("tone")));
    Fake { tables: Arc::new(tables) }
}

async fn planned(checkout: &Checkout, sql: &str) -> String {
    let (state, mut names) = (state(), NameCache::default());
    let plans = plan(&mut context(&state, checkout, &mut names), &mut Server::new(), sql).await;
    match plans {
        Ok(plans) => plans.iter().map(|p| shown(p, sql)).collect::<Vec<_>>().join(" ;; "),
        Err(error) => format!("{} {} {:?}", error.code(), error.message(), error.position()),
    }
}

#[tokio::test]
async fn names_of_types_are_where_the_server_has_them() {
    for (sql, expected) in [
        ("SELECT 'a'::mood", "SELECT 'a'::epoch_b9_public.mood"),
        (
            "SELECT CAST('a' AS public . mood), mood 'a'",
            "SELECT CAST('a' AS epoch_b9_public.mood), epoch_b9_public.mood 'a'",
        ),
        (
            "SELECT '{}'::mood[], '{}'::Mood array, x::\"mood\"",
            "SELECT '{}'::epoch_b9_public.mood[], '{}'::epoch_b9_public.mood array, x::epoch_b9_public.mood",
        ),
        ("SELECT 'a'::other.\"Odd\", 'a'::kind", "SELECT 'a'::epoch_b10_other.\"Odd\", 'a'::public.kind"),
        // Not in the search path, not of this name, not a type.
        (
            "SELECT 'a'::\"Odd\", 'a'::odd, mood, mood.a, 'mood' FROM plain mood",
            "relay SELECT 'a'::\"Odd\", 'a'::odd, mood, mood.a, 'mood' FROM plain mood",
        ),
        ("SELECT 'a'::pg_catalog.mood", "relay SELECT 'a'::pg_catalog.mood"),
        (
            "CREATE TEMP TABLE t (m mood DEFAULT 'a'::mood, n int)",
            "CREATE TEMP TABLE t (m epoch_b9_public.mood DEFAULT 'a'::epoch_b9_public.mood, n int)",
        ),
        (
            "SELECT * FROM json_to_record('{}') AS r (m mood)",
            "SELECT * FROM json_to_record('{}') AS r (m epoch_b9_public.mood)",
        ),
        (
            "PREPARE p (int, mood) AS SELECT $2 FROM users WHERE id = $1",
            "PREPARE p (int, epoch_b9_public.mood) AS SELECT $2 FROM <branch users> AS \"users\" WHERE id = $1",
        ),
        ("SELECT 'a'::tone", "42704 type \"tone\" does not exist Some(13)"),
        ("SELECT 'a'::public.tone", "42704 type \"public.tone\" does not exist Some(13)"),
        ("SELECT 'a'::other.tone", "relay SELECT 'a'::other.tone"),
        ("SELECT 'a'::epoch_b9_public.mood", "42704 type \"epoch_b9_public.mood\" does not exist None"),
    ] {
        assert_eq!(planned(&branch(), sql).await, expected, "{sql}");
    }
    assert_eq!(planned(&main_branch(), "SELECT 'a'::mood").await, "relay SELECT 'a'::mood");
}

#[tokio::test]
async fn types_are_made_and_dropped_by_their_names() {
    let define = |sql: &'static str| async move {
        let (state, mut names) = (state(), NameCache::default());
        let checkout = branch();
        let plans = plan(&mut context(&state, &checkout, &mut names), &mut Server::new(), sql).await;
        match plans.map(|plans| plans.into_iter().next()) {
            Ok(Some(Plan::Define(definition))) => format!("{:?}", definition.action),
            Ok(_) => "no definition".to_owned(),
            Err(error) => format!("{} {}", error.code(), error.message()),
        }
    };
    let made = define("CREATE TYPE other.\"T\" AS ENUM ('a', 'it''s')").await;
    assert!(made.contains("schema: Some(\"other\"), name: \"T\", labels: [\"a\", \"it's\"]"), "{made}");
    assert!(made.contains("Text(\"CREATE TYPE \"), Own(9), Text(\" AS ENUM ('a', 'it''s')\")"), "{made}");
    let dropped = define("DROP TYPE IF EXISTS mood, nothing, other.\"Odd\"").await;
    assert_eq!(dropped, "DropType { types: [TableId(9), TableId(10)], missing: [\"nothing\"] }");
    assert_eq!(define("DROP TYPE nothing").await, "42704 type \"nothing\" does not exist");
    assert_eq!(
        define("DROP TYPE mood CASCADE").await,
        "0A000 DROP TYPE … CASCADE on a branch is not supported"
    );
    let table = define("CREATE TABLE t (id int PRIMARY KEY, m mood[])").await;
    assert!(table.contains("Type(\"epoch_b9_public.mood\", 4), Text(\"[])\")"), "{table}");
}
