//! Registering leaves the user's tables alone, un-registering leaves nothing.

use std::process::Command;

use epoch_adapter::*;

use crate::harness::*;

const SCHEMA: &str = "
    CREATE TYPE mood AS ENUM ('sad', 'glad');
    CREATE DOMAIN email AS text NOT NULL CHECK (VALUE LIKE '%@%');
    CREATE TABLE orgs (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text UNIQUE NOT NULL);
    CREATE TABLE users (id bigserial PRIMARY KEY, mail email UNIQUE, \"Odd \"\"name\" varchar(10) DEFAULT 'x', mood mood,
        org int REFERENCES orgs ON DELETE CASCADE, amount numeric(10,2) CHECK (amount >= 0), tags text[],
        double_amount numeric GENERATED ALWAYS AS (amount * 2) STORED);
    CREATE INDEX ON users (lower(\"Odd \"\"name\")) WHERE amount > 1;
    CREATE INDEX ON users USING gin (tags);
    CREATE INDEX ON users USING hash (org);
    CREATE UNIQUE INDEX users_part ON users (org, mood) INCLUDE (amount) WHERE mood = 'glad';
    CREATE INDEX ON users (amount DESC NULLS LAST, mail COLLATE \"C\" text_pattern_ops) WITH (fillfactor = 70);
    COMMENT ON COLUMN users.mood IS 'how they feel';
    CREATE TABLE \"Weird Table\" (\"Key One\" text, k2 date, v json, PRIMARY KEY (\"Key One\", k2) DEFERRABLE INITIALLY DEFERRED);
    CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
    CREATE TRIGGER touch BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION touch();
    INSERT INTO orgs (name) VALUES ('a'), ('b');
    INSERT INTO users (mail, org, amount) SELECT i || '@x', 1, i FROM generate_series(1, 5) i;
    INSERT INTO \"Weird Table\" VALUES ('a', '2024-01-01', '{}');";

fn dump(url: &str) -> String {
    let binary = std::env::var("EPOCH_TEST_PG_DUMP").unwrap_or_else(|_| "pg_dump".to_owned());
    let output = Command::new(binary).arg("--dbname").arg(url).output().expect("pg_dump runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // Newer versions mark the script with a random word.
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines()
        .filter(|l| !l.starts_with("\\restrict") && !l.starts_with("\\unrestrict"))
        .collect::<Vec<_>>()
        .join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn unregistering_leaves_no_trace() {
    let Some(db) = database().await else { return };
    db.client().await.batch_execute(SCHEMA).await.unwrap();
    let before = dump(&db.url);
    let mut tables = Vec::new();
    for (id, name) in [(1, "orgs"), (2, "users"), (3, "Weird Table")] {
        tables.push(db.register(name, id).await);
    }
    // Idempotent, also from two processes at once.
    let (a, b) = tokio::join!(db.adapter.install(&tables[1]), db.adapter.install(&tables[1]));
    a.and(b).unwrap();
    let during = dump(&db.url);
    assert!(during.contains("zz_epoch_"), "something is installed");
    for table in &tables {
        db.adapter.uninstall(table).await.unwrap();
        db.adapter.uninstall(table).await.unwrap();
    }
    assert_eq!(before, dump(&db.url));
    db.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn installing_twice_at_once_works() {
    let Some(db) = database().await else { return };
    db.client().await.batch_execute("CREATE TABLE t (id int PRIMARY KEY)").await.unwrap();
    let table = db.describe("t", 1).await;
    let (a, b, c) =
        tokio::join!(db.adapter.install(&table), db.adapter.install(&table), db.adapter.install(&table));
    a.and(b).and(c).unwrap();
    // Another repository can't take the same table.
    let other = TableDef { id: TableId(9), ..(*table).clone() };
    assert_eq!(db.adapter.install(&other).await.unwrap_err().code(), "55000");
    db.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_that_cannot_be_versioned_say_why() {
    let Some(db) = database().await else { return };
    db.client()
        .await
        .batch_execute(
            "CREATE TABLE plain (id int PRIMARY KEY, a int NOT NULL, b int);
             CREATE TABLE keyless (a int UNIQUE);
             CREATE TABLE part (id int PRIMARY KEY) PARTITION BY RANGE (id);
             CREATE TABLE part1 PARTITION OF part FOR VALUES FROM (0) TO (9);
             CREATE TABLE far (id int PRIMARY KEY REFERENCES part1); CREATE TABLE lone (id int PRIMARY KEY) PARTITION BY RANGE (id);
             CREATE TABLE parent (id int PRIMARY KEY); CREATE TABLE child () INHERITS (parent);
             CREATE TABLE made (id int GENERATED ALWAYS AS (1) STORED PRIMARY KEY);
             CREATE VIEW v AS SELECT 1 AS one",
        )
        .await
        .unwrap();
    let found = db.adapter.discover("public.*").await.unwrap();
    let reason = |name: &str| found.iter().find(|d| d.location.table == name).unwrap().reason.clone();
    assert_eq!(reason("plain"), None);
    assert_eq!(reason("lone"), None);
    for (name, part) in [
        ("keyless", "no primary key"),
        ("part", "references one of its partitions"),
        ("part1", "partition of another table"),
        ("far", "foreign key to a partition"),
        ("parent", "inheritance"),
        ("child", "inheritance"),
        ("v", "view"),
        ("made", "generated"),
    ] {
        assert!(reason(name).unwrap().contains(part), "{name}: {:?}", reason(name));
    }
    let describe = |name: &str, key: Option<Vec<String>>| {
        let location: Location = format!("postgresql://shop/{name}").parse().unwrap();
        let adapter = db.adapter.clone();
        async move { adapter.describe(&location, key.as_deref()).await }
    };
    assert_eq!(describe("nowhere", None).await.unwrap_err().code(), "42P01");
    assert_eq!(describe("keyless", None).await.unwrap_err().code(), "42830");
    assert_eq!(describe("part", None).await.unwrap_err().code(), "0A000");
    assert_eq!(describe("plain", Some(vec!["a".into()])).await.unwrap_err().code(), "42830");
    let wider = describe("plain", Some(vec!["a".into(), "id".into()])).await.unwrap();
    assert_eq!(wider.key_names(), ["a", "id"]);
    db.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_never_hold_the_password() {
    let adapter =
        epoch_adapter_postgres::PostgresAdapter::connect("b", "postgresql://u:hunter2@127.0.0.1:1/d", 1)
            .unwrap();
    let error = adapter.health().await.unwrap_err();
    assert!(!format!("{error:?} {error} {adapter:?}").contains("hunter2"));
    assert_eq!(error.code(), "08001");
}
