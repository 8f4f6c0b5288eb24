//! The rewriter against a repository and a server that are made up: two registered tables, a branch
//! of lineage 7 forked at ordinal 100 of main.

mod rewrites;
mod server;
mod shapes;
mod statements;
mod types;

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use epoch_adapter::{
    At, BackendKind, Column, Layer, LineageId, Location, TableDef, TableId, TableName, TableSchema, View,
};

use super::lexer::{self, TokenKind};
use super::{Catalog, Context, NameCache, Plan, State, plan};
use crate::operations::{Checkout, Right, Tables, Target, Watch};
use crate::{Error, Result, sqlstate};

pub(super) struct Fake {
    tables: Arc<Tables>,
}

fn column(name: &str, pg_type: &str) -> Column {
    Column {
        name: name.into(),
        type_name: pg_type.into(),
        pg_type: pg_type.into(),
        data_type: arrow::datatypes::DataType::Utf8,
        nullable: true,
        generated: false,
        default: None,
        equality: None,
    }
}

fn table(id: i64, backend: &str, name: &str, columns: Vec<Column>) -> Arc<TableDef> {
    let kind = if backend == "crm" { BackendKind::PostgreSql } else { BackendKind::Sqlite };
    let schema = (backend == "crm").then(|| "public".to_owned());
    Arc::new(TableDef::new(
        TableId(id),
        TableName::public(name),
        Location { kind, backend: backend.into(), schema, table: name.into() },
        TableSchema { columns, key: vec![0] },
    ))
}

impl Fake {
    pub fn new() -> Self {
        let mut total = column("total", "numeric");
        total.generated = true;
        let all = [
            table(
                1,
                "crm",
                "users",
                vec![column("id", "bigint"), column("email", "text"), column("balance", "numeric")],
            ),
            table(
                2,
                "crm",
                "orders",
                vec![column("id", "bigint"), column("user_id", "bigint"), column("amount", "numeric"), total],
            ),
            table(3, "lite", "events", vec![column("id", "bigint")]),
        ];
        Self { tables: Arc::new(Tables::new(all.iter().map(|t| (t.id, t.clone())).collect())) }
    }
}

#[async_trait]
impl State for Fake {
    fn name(&self) -> &str {
        "shop"
    }
    fn generation(&self) -> u64 {
        1
    }
    fn tables(&self, _: &Checkout) -> Arc<Tables> {
        self.tables.clone()
    }
    fn every_table(&self) -> Vec<Arc<TableDef>> {
        self.tables.by_id.values().cloned().collect()
    }
    fn find_table(&self, _: &Checkout, name: &str) -> Option<Arc<TableDef>> {
        self.tables.find(name).cloned()
    }
    fn watch(&self, _: &Checkout) -> Watch {
        Watch::Nothing
    }
    fn sees_all(&self) -> bool {
        true
    }
    fn may(&self, _: &Checkout, _: Right, _: &TableName) -> Result<()> {
        Ok(())
    }
    fn version_on(&self, _: &Checkout, _: &TableDef) -> Option<Arc<TableDef>> {
        None
    }
    async fn refresh(&self) -> Result<()> {
        Ok(())
    }
    fn view(&self, checkout: &Checkout, _: &TableDef) -> Result<View> {
        Ok(match checkout.target {
            Target::Branch { layer } if layer.is_main() => View::MAIN,
            Target::Branch { layer } => View { layer, at: At::Working },
            Target::Commit { layer, ordinal, .. } => View { layer, at: At::Ordinal(ordinal) },
        })
    }
    fn is_copy(&self, _: &View, _: &TableDef) -> Result<bool> {
        Ok(false)
    }
    async fn writable(&self, checkout: &Checkout, _: &TableDef) -> Result<Layer> {
        match checkout.target {
            Target::Branch { layer } => Ok(layer),
            Target::Commit { .. } => Err(Error::new(sqlstate::READ_ONLY_SQL_TRANSACTION, "read-only")),
        }
    }
    async fn checkout(&self, spec: &str, _: Option<&Checkout>) -> Result<Checkout> {
        Ok(Checkout {
            name: spec.into(),
            target: Target::Commit { hash: spec.into(), layer: Layer::MAIN, ordinal: 5 },
        })
    }
}

pub(super) fn branch() -> Checkout {
    let layer = Layer { lineage: LineageId(7), base: 100 };
    Checkout { name: "feature".into(), target: Target::Branch { layer } }
}

pub(super) fn main_branch() -> Checkout {
    Checkout { name: "main".into(), target: Target::Branch { layer: Layer::MAIN } }
}

pub(super) fn commit() -> Checkout {
    let layer = Layer { lineage: LineageId(7), base: 100 };
    Checkout { name: "v1".into(), target: Target::Commit { hash: "c0ffee".into(), layer, ordinal: 3 } }
}

/// Answers questions about names from a list: schema, relkind, persistence, what it reads.
pub(super) struct Server {
    relations: HashMap<&'static str, (&'static str, &'static str, &'static str, &'static str)>,
    temporary: bool,
    pub asked: usize,
    /// What it says of prepared statements: text, and parameter types as JSON.
    pub prepared: Vec<[String; 2]>,
}

impl Server {
    pub fn new() -> Self {
        let relations = HashMap::from([
            ("users", ("public", "r", "p", "")),
            ("orders", ("public", "r", "p", "")),
            ("plain", ("public", "r", "p", "")),
            ("rich", ("public", "v", "p", r#"[["public","users"]]"#)),
            ("harmless", ("public", "v", "p", r#"[["public","plain"]]"#)),
            ("scratch", ("pg_temp_3", "r", "t", "")),
            ("pg_class", ("pg_catalog", "r", "p", "")),
            ("history_1", ("epoch", "r", "p", "")),
        ]);
        Self { relations, temporary: false, asked: 0, prepared: Vec::new() }
    }

    /// The session made a temporary table `users`.
    pub fn with_temporary_users() -> Self {
        let mut server = Self::new();
        server.relations.insert("users", ("pg_temp_3", "r", "t", ""));
        server.temporary = true;
        server
    }

    fn table(&self, index: &str, name: &str) -> Vec<Option<String>> {
        let parts: Vec<String> =
            name.split("\".\"").map(|p| p.trim_matches('"').replace("\"\"", "\"")).collect();
        let (schema, name) = match parts.as_slice() {
            [schema, name] => (Some(schema.as_str()), name.as_str()),
            [name] => (None, name.as_str()),
            _ => (None, ""),
        };
        let found = self.relations.get(name).filter(|r| schema.is_none_or(|s| s == r.0));
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        match found {
            Some((schema, kind, persistence, reads)) => {
                vec![
                    some("t"),
                    some(index),
                    some(schema),
                    some(name),
                    some(kind),
                    some(persistence),
                    some(reads),
                    None,
                    None,
                    (name == "users")
                        .then(|| r#"[1,[["id",1,""],["email",2,""],["balance",3,""]],[1]]"#.to_owned()),
                ]
            }
            None => vec![some("t"), some(index), None, None, None, None, None, None],
        }
    }

    fn function(&self, index: &str, name: &str) -> Vec<Option<String>> {
        let (volatile, language) = match name {
            "random" | "nextval" | "clock_timestamp" => ("v", None),
            "sneaky" => ("v", Some("plpgsql".to_owned())),
            _ => ("s", None),
        };
        let placed = matches!(name, "max" | "min" | "sum" | "count").then(|| "t".to_owned());
        vec![Some("f".into()), Some(index.into()), Some(volatile.into()), language, None, None, None, placed]
    }
}

#[async_trait]
impl Catalog for Server {
    async fn query(&mut self, sql: &str) -> Result<Vec<Vec<Option<String>>>> {
        self.asked += 1;
        if sql.contains("EXPLAIN") {
            return Err(Error::internal("no statistics here"));
        }
        if sql.contains("pg_index") {
            return Ok(vec![
                vec![Some("t".into()), Some("f".into()), Some(r#"["id"]"#.into())],
                vec![Some("t".into()), Some("f".into()), Some(r#"["email"]"#.into())],
                vec![Some("t".into()), Some("t".into()), Some(r#"["balance"]"#.into())],
            ]);
        }
        if sql.contains("count(*) FROM pg_catalog.pg_attribute") {
            return Ok(vec![vec![Some("2".into())]]);
        }
        if sql.contains("SELECT 'y', t.typname") {
            let path = r#"["pg_catalog", "public"]"#;
            return Ok(vec![vec![Some("s".into()), Some("0".into()), Some(path.into())]]);
        }
        if sql.starts_with("SELECT FROM pg_catalog.pg_type t") {
            return Ok(Vec::new());
        }
        if sql.contains("pg_prepared_statements") || sql.contains("DEALLOCATE") {
            let row =
                |[text, types]: &[String; 2]| vec![Some(text.clone()), Some(types.clone()), Some("t".into())];
            return Ok(self.prepared.iter().map(row).collect());
        }
        let mut rows = Vec::new();
        for part in sql.split(" UNION ALL SELECT '") {
            let kind = part.trim_start_matches("SELECT '").chars().next();
            let Some((_, values)) = part.split_once("FROM (VALUES (") else { continue };
            let tokens = lexer::tokens(values).unwrap().list;
            let list: Vec<_> = tokens
                .windows(3)
                .filter(|w| w[0].kind == TokenKind::Number && w[2].kind == TokenKind::Str)
                .collect();
            for window in &list {
                let index = window[0].text(values);
                let name = window[2].text(values).trim_matches('\'').replace("''", "'");
                match kind {
                    Some('t') => rows.push(self.table(index, &name)),
                    Some('f') => rows.push(self.function(index, &name)),
                    _ => {}
                }
            }
            if kind == Some('f') {
                // (0, NULL::text, 'name')
                let nulls = values.split("NULL::text, '").skip(1).enumerate();
                for (i, rest) in nulls {
                    let name = rest.split('\'').next().unwrap();
                    rows.push(self.function(&i.to_string(), name));
                }
            }
        }
        Ok(rows)
    }

    fn in_transaction(&self) -> bool {
        false
    }
}

pub(super) async fn plans_on(server: &mut Server, checkout: &Checkout, sql: &str) -> Result<Vec<Plan>> {
    let (state, mut names) = (Fake::new(), NameCache::default());
    plan(&mut context(&state, checkout, &mut names), server, sql).await
}

/// A session on a checkout of the made-up repository.
pub(super) fn context<'a>(state: &'a Fake, checkout: &'a Checkout, names: &'a mut NameCache) -> Context<'a> {
    Context { repository: state, checkout, backend: "crm", names, functions: None, parameters: None }
}

/// The plans of a text on a checkout.
pub(super) async fn plans(checkout: &Checkout, sql: &str) -> Result<Vec<Plan>> {
    plans_on(&mut Server::new(), checkout, sql).await
}

/// The relations of the tables as the rewriter writes them, by short names: readable snapshots.
pub(super) fn shortened(sql: &str) -> String {
    use epoch_adapter_postgres::relation::{self, Claim};
    let state = Fake::new();
    let mut sql = sql.to_owned();
    for table in state.tables(&main_branch()).by_id.values() {
        let name = &table.name.name;
        let (branch, commit) = (branch(), commit());
        for (checkout, tag) in [(&branch, "branch"), (&commit, "commit")] {
            let view = state.view(checkout, table).unwrap();
            sql = sql.replace(&relation::selective(table, &view), &format!("<{tag} {name}>"));
            sql = sql.replace(&relation::scanning(table, &view), &format!("<{tag} scan {name}>"));
        }
        let at = View { layer: Layer::MAIN, at: At::Ordinal(5) };
        sql = sql.replace(&relation::selective(table, &at), &format!("<main@5 {name}>"));
        if let Target::Branch { layer } = branch.target {
            sql = sql.replace(&relation::base_part(table, layer), &format!("<below {name}>"));
            let empty = relation::copy_up(table, layer, "@");
            if let Some((head, tail)) = empty.split_once('@')
                && let Some(inside) = sql.strip_prefix(head).and_then(|s| s.strip_suffix(tail))
            {
                sql = format!("<copy up {name}: {inside}>");
            }
            for (claim, word) in [(Claim::Wait, "claim"), (Claim::Skip, "skip"), (Claim::Fail, "fail")] {
                let empty = relation::claim(table, layer, "@", claim, Some("#"));
                if let Some((head, rest)) = empty.split_once('@')
                    && let Some((middle, tail)) = rest.split_once(" LIMIT #")
                    && let Some(inside) = sql.strip_prefix(head).and_then(|s| s.strip_suffix(tail))
                    && let Some((source, most)) = inside.split_once(middle)
                {
                    sql = format!("<{word} {name}: {source}{most}>");
                }
            }
        }
    }
    sql
}

/// What becomes of one statement, readable: the statements that are sent, joined by ` ;; `.
pub(super) async fn rewritten(checkout: &Checkout, sql: &str) -> String {
    match plans(checkout, sql).await {
        Ok(plans) => plans.iter().map(|p| shown(p, sql)).collect::<Vec<_>>().join(" ;; "),
        Err(error) => format!("{}: {}", error.code(), error.message()),
    }
}

fn shown(plan: &Plan, sql: &str) -> String {
    match plan {
        Plan::Relay { range } => format!("relay {}", &sql[range.clone()]),
        Plan::Federated { range } => format!("federated {}", &sql[range.clone()]),
        Plan::Define(definition) => format!("{:?}", definition.action),
        Plan::Commit { range } => format!("commit {}", &sql[range.clone()]),
        Plan::Rest { range } => format!("rest {}", &sql[range.clone()]),
        Plan::Setting { setting, .. } => format!("{setting:?}"),
        Plan::Call(call) => format!("call {} {:?} {:?}", call.name, call.args(&[]), call.columns),
        Plan::Rewritten(rewritten) => {
            let prelude =
                rewritten.prelude.iter().map(|p| format!("{} {:?} ;; ", shortened(&p.sql), p.params));
            format!("{}{}", prelude.collect::<String>(), shortened(&rewritten.sql))
        }
    }
}
