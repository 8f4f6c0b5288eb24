//! Constraints of what a ref shows, of what a merge would have broken, and how definitions differ.

use epoch::functions::{self, Args, Outcome, Session};
use epoch::operations::{Actor, Checkout, MergeOptions, Right, Strategy, Unsound};
use epoch_adapter::{RowWrite, Value};

use super::support::{Fixture, ada};

async fn on_all(test: impl AsyncFn(&Fixture)) {
    let f = Fixture::new().await;
    test(&f).await;
    f.finish().await;
    if let Some(f) = Fixture::postgres().await {
        test(&f).await;
        f.finish().await;
    }
}

async fn register(f: &Fixture, tables: &[&str]) {
    let scheme = if f.is_postgres() { ("postgresql", "public.") } else { ("sqlite", "") };
    for table in tables {
        let location = format!("{}://one/{}{table}", scheme.0, scheme.1);
        f.repository.register(table, Some(&location), None).await.unwrap();
    }
}

async fn call(f: &Fixture, on: &Checkout, name: &str, args: &[&str]) -> epoch::Result<Outcome> {
    let session = Session {
        repository: &f.repository,
        checkout: on,
        author: ada(),
        read_only: !on.is_branch(),
        in_transaction: false,
        branch_in_use: &|_| false,
        strategy: Strategy::Field,
        explain: None,
    };
    functions::call(&session, name, &Args::texts(args.iter().copied())).await
}

/// Table, kind, constraint and key of each.
fn told(found: &[Unsound]) -> Vec<String> {
    let key = |u: &Unsound| match &u.row {
        Some((_, key)) => key.iter().map(|v| v.to_text().unwrap()).collect::<Vec<_>>().join(","),
        None => "-".to_owned(),
    };
    let mut told: Vec<_> =
        found.iter().map(|u| format!("{} {} {} {}", u.table_name, u.kind, u.constraint, key(u))).collect();
    told.sort();
    told
}

const FAMILY: &str = "CREATE TABLE p (id INTEGER PRIMARY KEY, code TEXT);
    CREATE TABLE c (id INTEGER PRIMARY KEY, p INTEGER CONSTRAINT c_p_fkey REFERENCES p (id),
        n INTEGER CONSTRAINT positive CHECK (n > 0));
    INSERT INTO p VALUES (1, 'a'), (2, 'b'); INSERT INTO c VALUES (1, 1, 5);";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_written_past_the_constraints_are_found_on_every_layer() {
    on_all(async |f| {
        f.direct_sql("one", FAMILY).await;
        register(f, &["p", "c"]).await;
        let before = f.branch("before", &f.main).await;
        let deep = f.branch("deep", &before).await;
        let number = |n: i64| if f.is_postgres() { Value::Text(n.to_string()) } else { Value::Int(n) };
        let row = vec![Some(number(2)), Some(number(2)), Some(number(7))];
        super::support::write(&f.repository, &deep, "c", vec![RowWrite::Insert(row)]).await;
        assert_eq!(f.repository.verify_constraints(&deep, &[]).await.unwrap(), 0);
        // Somebody writes to main without its constraints.
        if f.is_postgres() {
            f.direct_sql(
                "one",
                "BEGIN; ALTER TABLE c DROP CONSTRAINT positive, DROP CONSTRAINT c_p_fkey; INSERT INTO c VALUES (8, 9, -1);
                 ALTER TABLE c ADD CONSTRAINT positive CHECK (n > 0) NOT VALID,
                     ADD CONSTRAINT c_p_fkey FOREIGN KEY (p) REFERENCES p (id) NOT VALID; COMMIT",
            )
            .await;
        } else {
            f.direct_sql(
                "one",
                "PRAGMA foreign_keys = off; PRAGMA ignore_check_constraints = on; INSERT INTO c VALUES (8, 9, -1);",
            )
            .await;
        }
        let found = f.repository.violations(&f.main, &[]).await.unwrap();
        assert_eq!(told(&found), ["c check positive 8", "c foreign key c_p_fkey 8"]);
        let detail = |kind: &str| found.iter().find(|u| u.kind == kind).unwrap().detail.clone();
        assert_eq!(detail("foreign key"), "Key (p)=(9) is not present in table \"p\".");
        assert!(detail("check").contains("> 0"), "{}", detail("check"));
        assert_eq!(f.repository.verify_constraints(&f.main, &["c".to_owned()]).await.unwrap(), 2);
        assert_eq!(f.repository.verify_constraints(&f.main, &["p".to_owned()]).await.unwrap(), 0);
        // Branches from before don't see it, those from after do, and so does the commit.
        assert_eq!(f.repository.verify_constraints(&before, &[]).await.unwrap(), 0);
        assert_eq!(f.repository.verify_constraints(&deep, &[]).await.unwrap(), 0);
        f.commit(&f.main, "unsound").await;
        let after = f.branch("after", &f.main).await;
        assert_eq!(f.repository.verify_constraints(&after, &[]).await.unwrap(), 2);
        let commit = f.checkout(&f.repository.hash_of(&f.main, "HEAD").await.unwrap()).await;
        assert_eq!(f.repository.verify_constraints(&commit, &[]).await.unwrap(), 2);
        // The parent goes on main: main's other child has lost it, the branch's own hasn't.
        let gone = if f.is_postgres() {
            "BEGIN; ALTER TABLE c DROP CONSTRAINT c_p_fkey; DELETE FROM p WHERE id = 1;
             ALTER TABLE c ADD CONSTRAINT c_p_fkey FOREIGN KEY (p) REFERENCES p (id) NOT VALID; COMMIT"
        } else {
            "PRAGMA foreign_keys = off; DELETE FROM p WHERE id = 1"
        };
        f.direct_sql("one", gone).await;
        assert_eq!(f.repository.verify_constraints(&f.main, &[]).await.unwrap(), 3);
        assert_eq!(f.repository.verify_constraints(&deep, &[]).await.unwrap(), 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_constraint_that_came_after_the_rows_finds_those_of_branches() {
    let Some(f) = Fixture::postgres().await else { return };
    f.direct_sql("one", FAMILY).await;
    register(&f, &["p", "c"]).await;
    let dev = f.branch("dev", &f.main).await;
    let text = |t: &str| Some(Value::Text(t.to_owned()));
    let insert =
        |id: &str, code: Option<Value>| RowWrite::Insert(vec![text(id), Some(code.unwrap_or(Value::Null))]);
    let rows =
        vec![insert("10", text("a")), insert("11", text("x")), insert("12", text("x")), insert("13", None)];
    super::support::write(&f.repository, &dev, "p", rows).await;
    assert_eq!(f.repository.verify_constraints(&dev, &[]).await.unwrap(), 0);
    f.direct_sql("one", "CREATE UNIQUE INDEX code_key ON p (code); ALTER TABLE p ALTER code SET NOT NULL")
        .await;
    let found = f.repository.violations(&dev, &["p".to_owned()]).await.unwrap();
    assert_eq!(
        told(&found),
        [
            "p not null code 13",
            "p unique code_key 1",
            "p unique code_key 10",
            "p unique code_key 11",
            "p unique code_key 12"
        ]
    );
    let first = found.iter().find(|u| u.kind == "unique").unwrap();
    assert!(first.detail.starts_with("Key (code)=("), "{}", first.detail);
    assert_eq!(f.repository.verify_constraints(&f.main, &[]).await.unwrap(), 0);
    f.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_merge_would_break_is_listed_until_one_works() {
    on_all(async |f| {
        f.direct_sql(
            "one",
            "CREATE TABLE w (id INTEGER PRIMARY KEY, name TEXT CONSTRAINT w_name_key UNIQUE)",
        )
        .await;
        register(f, &["w"]).await;
        let dev = f.branch("dev", &f.main).await;
        let number = |n: i64| if f.is_postgres() { Value::Text(n.to_string()) } else { Value::Int(n) };
        let write = async |on: &Checkout, row: RowWrite| {
            super::support::write(&f.repository, on, "w", vec![row]).await;
        };
        let ada = |id: i64| RowWrite::Insert(vec![Some(number(id)), Some(Value::Text("Ada".to_owned()))]);
        write(&dev, ada(1)).await;
        f.commit(&dev, "Ada on dev").await;
        write(&f.main, ada(2)).await;
        f.commit(&f.main, "Ada on main").await;
        let head = f.repository.hash_of(&f.main, "HEAD").await.unwrap();
        let error = f.repository.merge(&f.main, "dev", &MergeOptions::default()).await.unwrap_err();
        assert_eq!(error.code(), "23505");
        assert!(error.hint().unwrap().contains("epoch.constraint_violations"), "{error:?}");
        assert_eq!(f.repository.hash_of(&f.main, "HEAD").await.unwrap(), head);
        let outcome = call(f, &f.main, "epoch_constraint_violations", &[]).await.unwrap();
        let names: Vec<_> = outcome.columns.iter().map(|c| c.name.as_str()).collect();
        assert_eq!(names, ["table_name", "kind", "constraint_name", "key", "detail"]);
        let row: Vec<_> = outcome.rows[0].iter().map(|c| c.as_deref().unwrap_or("NULL")).collect();
        assert_eq!(row[..2], ["w", "unique"]);
        assert!(row[4].contains("(name)=(Ada)"), "{row:?}");
        // Nothing that the branch shows is wrong, and other branches have nothing to do with it.
        assert_eq!(f.repository.verify_constraints(&f.main, &[]).await.unwrap(), 0);
        assert!(f.repository.violations(&dev, &[]).await.unwrap().is_empty());
        let set = vec![(1, Value::Text("Ada L.".to_owned()))];
        write(&dev, RowWrite::Update { key: vec![number(1)], set }).await;
        f.commit(&dev, "another name").await;
        f.merge(&f.main, "dev").await;
        assert!(f.repository.violations(&f.main, &[]).await.unwrap().is_empty());
    })
    .await;
}

/// Of `epoch_preview_merge`: table, rows that are added, modified and deleted, conflicts, violations.
async fn preview(f: &Fixture, on: &Checkout, source: &str) -> Vec<String> {
    let outcome = call(f, on, "epoch_preview_merge", &[source]).await.unwrap();
    let line = |row: &Vec<Option<String>>| {
        row.iter().map(|c| c.as_deref().unwrap_or("NULL")).collect::<Vec<_>>().join(" ")
    };
    outcome.rows.iter().map(line).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_that_a_merge_would_break_is_listed_not_the_first_alone() {
    on_all(async |f| {
        f.direct_sql("one", FAMILY).await;
        f.direct_sql("one", "CREATE UNIQUE INDEX p_code_key ON p (code)").await;
        register(f, &["p", "c"]).await;
        let dev = f.branch("dev", &f.main).await;
        let number = |n: i64| if f.is_postgres() { Value::Text(n.to_string()) } else { Value::Int(n) };
        let text = |t: &str| Value::Text(t.to_owned());
        let write = async |on: &Checkout, table: &str, rows: Vec<RowWrite>| {
            super::support::write(&f.repository, on, table, rows).await;
        };
        let child = |id, p| RowWrite::Insert(vec![Some(number(id)), Some(number(p)), Some(number(7))]);
        let parent = |id, code: &str| RowWrite::Insert(vec![Some(number(id)), Some(text(code))]);
        write(&dev, "c", vec![child(2, 2), child(3, 2), child(4, 1)]).await;
        write(&dev, "p", vec![parent(10, "x"), parent(11, "y"), parent(12, "z")]).await;
        f.commit(&dev, "children and parents").await;
        write(&f.main, "p", vec![RowWrite::Delete { key: vec![number(2)] }]).await;
        write(&f.main, "p", vec![parent(20, "x"), parent(21, "y")]).await;
        f.commit(&f.main, "one parent less, and codes").await;

        let broken = [
            "c foreign key c_p_fkey 2",
            "c foreign key c_p_fkey 3",
            "p unique p_code_key 10",
            "p unique p_code_key 11",
            "p unique p_code_key 20",
            "p unique p_code_key 21",
        ];
        assert_eq!(preview(f, &f.main, "dev").await, ["c 3 0 0 0 2", "p 3 0 0 0 4"]);
        assert!(f.repository.violations(&f.main, &[]).await.unwrap().is_empty(), "a preview leaves nothing");
        let error = f.repository.merge(&f.main, "dev", &MergeOptions::default()).await.unwrap_err();
        assert!(["23503", "23505"].contains(&error.code()), "{error:?}");
        assert_eq!(told(&f.repository.violations(&f.main, &[]).await.unwrap()), broken);
        // The other way round the children aren't what is merged.
        assert_eq!(preview(f, &dev, "main").await, ["p 2 0 1 0 4", "c 0 0 0 0 2"]);
        f.repository.merge(&dev, "main", &MergeOptions::default()).await.unwrap_err();
        assert_eq!(told(&f.repository.violations(&dev, &[]).await.unwrap()), broken);
        // What is left when a part is mended.
        write(&dev, "c", vec![RowWrite::Delete { key: vec![number(2)] }]).await;
        write(&dev, "c", vec![RowWrite::Delete { key: vec![number(3)] }]).await;
        f.commit(&dev, "no children").await;
        f.repository.merge(&f.main, "dev", &MergeOptions::default()).await.unwrap_err();
        assert_eq!(told(&f.repository.violations(&f.main, &[]).await.unwrap()), broken[2..]);
        for (id, code) in [(10, "xx"), (11, "yy")] {
            let set = vec![(1, text(code))];
            write(&dev, "p", vec![RowWrite::Update { key: vec![number(id)], set }]).await;
        }
        f.commit(&dev, "other codes").await;
        assert_eq!(preview(f, &f.main, "dev").await, ["c 1 0 0 0 0", "p 3 0 0 0 0"]);
        f.merge(&f.main, "dev").await;
        assert!(f.repository.violations(&f.main, &[]).await.unwrap().is_empty());
        assert_eq!(f.repository.verify_constraints(&f.main, &[]).await.unwrap(), 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_than_can_be_noted_of_a_merge_is_said() {
    on_all(async |f| {
        f.direct_sql("one", FAMILY).await;
        register(f, &["p", "c"]).await;
        let dev = f.branch("dev", &f.main).await;
        let number = |n: i64| if f.is_postgres() { Value::Text(n.to_string()) } else { Value::Int(n) };
        let child = |id| RowWrite::Insert(vec![Some(number(id)), Some(number(2)), Some(number(7))]);
        super::support::write(&f.repository, &dev, "c", (100..1200).map(child).collect()).await;
        f.commit(&dev, "children").await;
        f.direct_sql("one", "DELETE FROM p WHERE id = 2").await;
        f.commit(&f.main, "without a parent").await;
        f.repository.merge(&f.main, "dev", &MergeOptions::default()).await.unwrap_err();
        let found = f.repository.violations(&f.main, &[]).await.unwrap();
        assert_eq!((found.len(), found.last().unwrap().kind.as_str()), (1001, "more"));
        assert!(found[..1000].iter().all(|u| u.kind == "foreign key" && u.row.is_some()));
        assert_eq!(preview(f, &f.main, "dev").await, ["c 1100 0 0 0 1100"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn arguments_and_rights_of_verification() {
    let f = Fixture::new().await;
    let ok = call(&f, &f.main, "epoch_verify_constraints", &["t", "u"]).await.unwrap();
    assert_eq!(ok.rows, [[Some("0".to_owned())]]);
    let commit = f.checkout(&f.repository.hash_of(&f.main, "HEAD").await.unwrap()).await;
    assert_eq!(
        call(&f, &commit, "epoch_verify_constraints", &[]).await.unwrap().rows,
        [[Some("0".to_owned())]]
    );
    for (name, args, code) in [
        ("epoch_verify_constraints", &["nothing"][..], "42P01"),
        ("epoch_verify_constraints", &["--all"], "22023"),
        ("epoch_constraint_violations", &["nothing"], "42P01"),
        ("epoch_schema_diff", &["main", "main", "nothing"], "42P01"),
        ("epoch_schema_diff", &["nowhere", "main"], "3D000"),
        ("epoch_schema_diff", &["main", "main", "t", "u"], "22023"),
    ] {
        assert_eq!(call(&f, &f.main, name, args).await.unwrap_err().code(), code, "{name} {args:?}");
    }
    assert!(call(&f, &f.main, "epoch_schema_diff", &["main", "main"]).await.unwrap().rows.is_empty());
    // Who may read some tables is told of those.
    f.direct("one").execute_batch(FAMILY).unwrap();
    register(&f, &["p", "c"]).await;
    f.direct_sql("one", "PRAGMA foreign_keys = off; INSERT INTO c VALUES (8, 9, 1)").await;
    f.repository.grant("root", Right::Admin, "*", &["*".to_owned()]).await.unwrap();
    for (user, table) in [("ann", "c"), ("bob", "p")] {
        f.repository.grant(user, Right::Read, "*", &[table.to_owned()]).await.unwrap();
    }
    let by = |user: &str| {
        f.repository.acting(Actor { user: user.to_owned(), client: "here".to_owned(), owner: false })
    };
    assert_eq!(told(&by("ann").violations(&f.main, &[]).await.unwrap()), ["c foreign key c_p_fkey 8"]);
    assert!(by("bob").violations(&f.main, &[]).await.unwrap().is_empty());
    let denied = by("bob").verify_constraints(&f.main, &["c".to_owned()]).await.unwrap_err();
    assert_eq!(denied.code(), "42501");
}
