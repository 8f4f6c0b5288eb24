//! In which order statements are sent, with a server of our own that has one registered table: what is locked before what
//! begins, and what is left when something fails.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::string_slice)]

use std::sync::Arc;

use epoch_adapter::{
    Adapter, At, Layer, LineageId, Predicate, RowWrite, Scan, SealMode, TableDef, Value, View,
};
use futures::TryStreamExt;

use crate::SqlServerAdapter;
use crate::ddl::{EVENTS, trigger, triggers};
use crate::shapes::meta_of;
use crate::tds::{Answer, Cell, Kind, Script, Server, counted, done_all, error, failed, mixed};

const DEV: Layer = Layer { lineage: LineageId(2), base: 0 };
use Kind::{Number as N, Text as T};

fn n(v: i64) -> Cell {
    Cell::Number(v)
}

fn t(v: &str) -> Cell {
    Cell::Text(v.to_owned())
}

fn of(kinds: &[Kind], rows: &[Vec<Cell>]) -> Answer {
    Answer::Tokens(mixed(kinds, rows))
}

/// A database with the table `t (n, v, x)` registered under the number 7, and nothing in it.
fn registered() -> (TableDef, Vec<(&'static str, Answer)>) {
    let meta = meta_of("t", false);
    let def = meta.def.clone();
    let one = |number: i64| of(&[N], &[vec![n(number)]]);
    let column = |name: &str, ty: &str, bytes, collation: Cell, null| {
        let mut row = vec![n(99), t(name), t(ty), n(bytes), n(10), n(0), collation, n(null), n(0)];
        row.extend([Cell::Null, Cell::Null, Cell::Null]);
        row.extend([0, 0, 0, 0, 0, 0, 1].map(n));
        row
    };
    let columns = [
        column("n", "int", 4, Cell::Null, 0),
        column("v", "nvarchar", 40, t("Latin1_General_CI_AS"), 0),
        column("x", "money", 8, Cell::Null, 1),
    ];
    let column_kinds = [N, T, T, N, N, N, T, N, N, T, T, N, N, N, N, N, N, N, N];
    let index = vec![
        n(99),
        t("by_v"),
        n(1),
        n(0),
        n(0),
        t("NONCLUSTERED"),
        Cell::Null,
        n(0),
        t("v"),
        n(0),
        n(0),
        n(2),
    ];
    let all = [false, true].into_iter().flat_map(|on_overlay| {
        let names = EVENTS.map(|event| trigger(&meta, on_overlay, event));
        triggers(&meta, on_overlay).into_iter().zip(names).map(move |(sql, name)| {
            let (schema, name) = name
                .split_once("].[")
                .map(|(s, n)| (s[1..].to_owned(), n.trim_end_matches(']').to_owned()))
                .unwrap();
            vec![t(&schema), t(&name), n(99), t(&sql), n(0), t("made"), n(1)]
        })
    });
    let all: Vec<_> = all.collect();
    let mut made: Vec<String> = all
        .iter()
        .map(|row| match (&row[0], &row[1]) {
            (Cell::Text(schema), Cell::Text(name)) => format!("[{schema}].[{name}] made"),
            _ => panic!(),
        })
        .collect();
    made.sort();
    let mut sorted = all;
    sorted.sort_by_key(|row| format!("{:?}{:?}", row[0], row[1]));
    let definition = serde_json::to_string(&def).unwrap();
    let table = vec![n(99), t("dbo"), t("t"), t("formed"), n(1), n(0), n(0), n(0), n(0), n(0), n(1)];
    let answers = vec![
        ("OBJECT_ID(@P1, N'U') IS NULL", one(1)),
        ("t.modify_date, 126", of(&[N, T, T, T, N, N, N, N, N, N, N], &[table])),
        ("sys.default_constraints", of(&column_kinds, &columns)),
        ("sys.index_columns", of(&[N, T, N, N, N, T, T, N, T, N, N, N], &[index])),
        ("SELECT definition FROM", of(&[T], &[vec![t(&definition)]])),
        ("sys.sql_modules", of(&[T, T, N, T, N, T, N], &sorted)),
        (
            "SELECT id, object, formed",
            of(&[N, N, T, T, N], &[vec![n(7), n(99), t("formed"), t(&made.join("; ")), n(0)]]),
        ),
        ("WHEN h.epoch_existed = 0 AND", one(0)),
        ("sp_getapplock", one(0)),
        ("SELECT CASE WHEN EXISTS", of(&[N, N, N], &[vec![n(0), n(0), n(0)]])),
        ("SELECT 0, 0, CASE WHEN EXISTS", of(&[N, N, N], &[vec![n(0), n(0), n(1)]])),
        ("SELECT 0, CASE WHEN EXISTS", of(&[N, N, N], &[vec![n(0), n(0), n(0)]])),
        ("XACT_STATE", one(1)),
        ("SELECT 1 FROM [epoch].[epoch_lineage]", one(1)),
    ];
    (def, answers)
}

async fn started(more: Vec<(&'static str, Answer)>) -> (Server, SqlServerAdapter, Arc<TableDef>) {
    let (def, answers) = registered();
    let statements = more.into_iter().chain(answers).collect();
    let server = Server::start(Script { statements, ..Script::default() }).await;
    let adapter = SqlServerAdapter::new("erp", &server.url("encrypt=no"), 4).unwrap();
    (server, adapter, Arc::new(def))
}

/// That parts of statements were heard in this order, and that nothing of `never` was.
fn in_order(heard: &[String], parts: &[&str], never: &[&str]) {
    let mut from = 0;
    for part in parts {
        let at = heard[from..].iter().position(|sql| sql.contains(part));
        from += at.unwrap_or_else(|| panic!("{part} is missing from {from} on in {heard:#?}")) + 1;
    }
    for part in never {
        assert!(heard.iter().all(|sql| !sql.contains(part)), "{part} in {heard:#?}");
    }
}

const LOCK: &str = "@LockMode = N'Exclusive', @LockOwner = N'Session'";
const SNAPSHOT: &str = "ISOLATION LEVEL SNAPSHOT; BEGIN TRANSACTION";
const COMMITTED: &str = "ISOLATION LEVEL READ COMMITTED; BEGIN TRANSACTION";
const RELEASE: &str = "sp_releaseapplock";

fn working(layer: Layer) -> View {
    View { layer, at: At::Working }
}

#[tokio::test]
async fn a_registered_table_that_is_as_it_was_has_not_drifted() {
    let (server, adapter, table) = started(Vec::new()).await;
    assert_eq!(adapter.drift(std::slice::from_ref(&table)).await.unwrap(), []);
    // Rows that no image tells of, by the server's own count.
    let more = vec![("WHEN h.epoch_existed = 0 AND", of(&[N], &[vec![n(5)]]))];
    let (_server, adapter, table) = started(more).await;
    let drift = adapter.drift(std::slice::from_ref(&table)).await.unwrap();
    assert!(drift[0].1.contains("filled without firing triggers"), "{drift:?}");
    in_order(&server.heard(), &["sys.sql_modules", SNAPSHOT, "WHEN h.epoch_existed = 0 AND"], &[LOCK]);
}

#[tokio::test]
async fn a_seal_begins_its_snapshot_with_its_turn_and_gives_it_back() {
    let (server, adapter, table) = started(Vec::new()).await;
    let tables = std::slice::from_ref(&table);
    adapter.seal("op", tables, Layer::MAIN, 1, &[], SealMode::All).await.unwrap();
    let order = [
        "DEADLOCK_PRIORITY LOW",
        LOCK,
        "LOCK_TIMEOUT 0",
        SNAPSHOT,
        "h.epoch_existed, CASE WHEN",
        "INSERT INTO [epoch].[epoch_seal]",
        "COMMIT TRANSACTION",
        RELEASE,
    ];
    in_order(&server.heard(), &order, &["TABLOCK", "HOLDLOCK"]);
}

#[tokio::test]
async fn a_seal_that_fails_leaves_no_transaction_and_no_turn() {
    let refused = Answer::Tokens([error(229, 14, "The INSERT permission was denied."), failed()].concat());
    let (server, adapter, table) = started(vec![("INSERT INTO [epoch].[epoch_seal]", refused)]).await;
    let tables = std::slice::from_ref(&table);
    let e = adapter.seal("op", tables, DEV, 1, &[], SealMode::All).await.unwrap_err();
    assert_eq!(e.code(), "42501");
    in_order(
        &server.heard(),
        &[LOCK, SNAPSHOT, "[epoch_seal]", "ROLLBACK TRANSACTION", RELEASE],
        &["COMMIT TRANSACTION"],
    );
}

#[tokio::test]
async fn reads_of_a_branch_are_of_one_snapshot() {
    let (server, adapter, table) = started(Vec::new()).await;
    let scan = Scan { filters: vec![Predicate::IsNull(2)], limit: Some(3), ..Scan::default() };
    let batches: Vec<_> =
        adapter.scan(&table, &working(DEV), &scan).await.unwrap().try_collect().await.unwrap();
    assert!(batches.is_empty());
    in_order(
        &server.heard(),
        &[SNAPSHOT, "SELECT 0, CASE WHEN EXISTS", "FROM [epoch].[epoch_overlay_7] AS x"],
        &["UPDLOCK", LOCK],
    );
}

#[tokio::test]
async fn rows_are_decoded_with_all_of_their_digits() {
    let rows = of(
        &[N, T, T, T],
        &[vec![n(5), t("Grüße 😀"), Cell::Null, t("Grüße 😀")], vec![n(-1), t(""), Cell::Null, t("")]],
    );
    let (_server, adapter, table) = started(vec![("CAST(x.[x] AS decimal(19,4))", rows)]).await;
    let batches: Vec<_> =
        adapter.scan(&table, &View::MAIN, &Scan::default()).await.unwrap().try_collect().await.unwrap();
    let cell =
        |row, column: usize| epoch_layers::cells::value_at(batches[0].column(column).as_ref(), row).unwrap();
    assert_eq!(
        (batches[0].num_rows(), cell(0, 0), cell(0, 1)),
        (2, Value::Int(5), Value::Text("Grüße 😀".into()))
    );
    assert_eq!(
        (cell(1, 0), cell(1, 1), cell(1, 2)),
        (Value::Int(-1), Value::Text(String::new()), Value::Null)
    );
}

#[tokio::test]
async fn a_writer_of_a_branch_has_its_turn_before_its_snapshot() {
    let (server, adapter, table) = started(Vec::new()).await;
    let mut tx = adapter.begin().await.unwrap();
    tx.savepoint("a").await.unwrap();
    tx.prepare_write(&table, DEV, false).await.unwrap();
    let key = vec![Value::Text("a".into())];
    assert_eq!(tx.write(&table, DEV, &[RowWrite::Delete { key }]).await.unwrap(), 0);
    tx.commit().await.unwrap();
    let order = [
        LOCK,
        SNAPSHOT,
        "SAVE TRANSACTION epoch_0",
        "stamp = stamp + 1",
        "INSERT INTO [epoch].[epoch_overlay_7]",
        "DELETE FROM [epoch].[epoch_overlay_7]",
        "COMMIT TRANSACTION",
        RELEASE,
    ];
    in_order(&server.heard(), &order, &[COMMITTED, "DELETE FROM [dbo].[t]"]);
}

#[tokio::test]
async fn a_writer_of_main_locks_the_rows_that_it_reads() {
    let (server, adapter, table) = started(Vec::new()).await;
    let mut tx = adapter.begin().await.unwrap();
    let scan = Scan::default();
    drop(tx.scan(&table, &View::MAIN, &scan).await.unwrap().try_collect::<Vec<_>>().await.unwrap());
    tx.prepare_write(&table, Layer::MAIN, false).await.unwrap();
    drop(tx.scan(&table, &View::MAIN, &scan).await.unwrap().try_collect::<Vec<_>>().await.unwrap());
    // What a commit shows is read beside it, of one moment.
    let past = View { layer: Layer::MAIN, at: At::Ordinal(0) };
    drop(tx.scan(&table, &past, &scan).await.unwrap().try_collect::<Vec<_>>().await.unwrap());
    assert_eq!(tx.prepare_write(&table, DEV, false).await.unwrap_err().code(), "0A000");
    tx.rollback().await.unwrap();
    let order = [
        SNAPSHOT,
        "ROLLBACK TRANSACTION",
        COMMITTED,
        "FROM [dbo].[t] AS x WITH (UPDLOCK, ROWLOCK)",
        SNAPSHOT,
        "[epoch_history_7] AS h",
        "ROLLBACK TRANSACTION",
    ];
    in_order(&server.heard(), &order, &[LOCK]);
}

#[tokio::test]
async fn a_delete_counts_its_own_row_and_not_what_a_users_trigger_changed() {
    // The server tells of the trigger's statements first.
    let counts = |own| Answer::Tokens([counted(3), counted(own), done_all()].concat());
    for own in [0, 1] {
        let (_server, adapter, table) = started(vec![("DELETE FROM [dbo].[t]", counts(own))]).await;
        let mut tx = adapter.begin().await.unwrap();
        let key = vec![Value::Text("a".into())];
        assert_eq!(tx.write(&table, Layer::MAIN, &[RowWrite::Delete { key }]).await.unwrap(), own);
    }
}

#[tokio::test]
async fn a_transaction_that_the_server_ended_is_over() {
    let broken = || Answer::Tokens([error(1205, 13, "Transaction was deadlocked."), failed()].concat());
    let (server, adapter, table) =
        started(vec![("DELETE FROM [dbo].[t]", broken()), ("XACT_STATE", of(&[N], &[vec![n(0)]]))]).await;
    let mut tx = adapter.begin().await.unwrap();
    tx.prepare_write(&table, Layer::MAIN, false).await.unwrap();
    tx.savepoint("a").await.unwrap();
    let key = vec![Value::Text("a".into())];
    let e = tx.write(&table, Layer::MAIN, &[RowWrite::Delete { key }]).await.unwrap_err();
    assert_eq!(e.code(), "40P01");
    // Not even to a savepoint: there is none any more.
    assert_eq!(tx.rollback_to("a").await.unwrap_err().code(), "25P02");
    assert_eq!(tx.scan(&table, &View::MAIN, &Scan::default()).await.map(drop).unwrap_err().code(), "25P02");
    tx.rollback().await.unwrap();
    in_order(
        &server.heard(),
        &[COMMITTED, "SAVE TRANSACTION epoch_0", "DELETE FROM [dbo].[t]", "XACT_STATE"],
        &["COMMIT TRANSACTION"],
    );
}

#[tokio::test]
async fn a_savepoint_can_be_rolled_back_to_again() {
    let (server, adapter, table) = started(Vec::new()).await;
    let mut tx = adapter.begin().await.unwrap();
    tx.prepare_write(&table, Layer::MAIN, false).await.unwrap();
    tx.savepoint("a").await.unwrap();
    tx.rollback_to("a").await.unwrap();
    tx.rollback_to("a").await.unwrap();
    let again = "ROLLBACK TRANSACTION epoch_0; SAVE TRANSACTION epoch_0";
    in_order(&server.heard(), &["SAVE TRANSACTION epoch_0", again, again], &[]);
}

#[tokio::test]
async fn a_turn_that_does_not_come_is_a_lock_that_could_not_be_had() {
    let (_server, adapter, table) = started(vec![("sp_getapplock", of(&[N], &[vec![n(-1)]]))]).await;
    let mut tx = adapter.begin().await.unwrap();
    assert_eq!(tx.prepare_write(&table, DEV, false).await.unwrap_err().code(), "55P03");
    let (_server, adapter, table) = started(vec![("sp_getapplock", of(&[N], &[vec![n(-3)]]))]).await;
    let mut tx = adapter.begin().await.unwrap();
    assert_eq!(tx.prepare_write(&table, DEV, false).await.unwrap_err().code(), "40P01");
}

/// The turn stayed the session's, so the second try didn't look whether others had written, and a child was left without its
/// parent.
#[tokio::test]
async fn what_a_snapshot_lacks_is_refused_after_a_rollback_to_a_savepoint_too() {
    let stamp = |v| mixed(&[N], &[vec![n(v)]]);
    for (there, refused) in [(2, true), (1, false)] {
        let stamps = vec![("SELECT stamp FROM", Answer::Within(stamp(1), stamp(there)))];
        let (_server, adapter, table) = started(stamps).await;
        let mut tx = adapter.begin().await.unwrap();
        let _: Vec<_> =
            tx.scan(&table, &working(DEV), &Scan::default()).await.unwrap().try_collect().await.unwrap();
        tx.savepoint("a").await.unwrap();
        for _ in 0..2 {
            let tried = tx.prepare_write(&table, DEV, true).await;
            assert_eq!(tried.err().map(|e| e.code().to_owned()), refused.then(|| "40001".to_owned()));
            tx.rollback_to("a").await.unwrap();
        }
    }
}
