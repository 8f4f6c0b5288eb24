//! Views that branches define.
//!
//! Such a view is a real one, in a schema of its own as a draft's base is (see [`epoch_adapter::Location::draft`]), so that
//! PostgreSQL checks it and the catalogs have it. It doesn't read main's tables, which could not be altered any more then,
//! but stand-ins, empty tables with the columns and keys of what its query names, in the schema beside. Nobody reads the
//! view itself: on the branch its query stands in the place of its name. A merge makes it on main.

use deadpool_postgres::Object;
use epoch_adapter::{
    Arrival, Definition, Error, Piece, Result, Statement, TableChanges, TableDef, TableSchema, ViewChange,
    ViewDef, ViewRead, at_home, sqlstate,
};

use crate::draft;
use crate::error::pg;
use crate::layout::{base, literal, overlay_schema, quote};
use crate::text::join;
use crate::tx::{Tx, texts};

/// The name of what stands for a relation that the view reads.
pub(crate) fn stand_in(view: &TableDef, name: &str) -> String {
    format!("{}.{}", quote(&overlay_schema(view)), quote(name))
}

/// See [`epoch_adapter::DraftChange::View`].
pub(crate) async fn define(tx: &Tx, table: &TableDef, change: &ViewChange) -> Result<Definition> {
    let home = table.location.home();
    let schema = home.schema.as_deref().unwrap_or("public");
    let live = Live::find(tx, schema, &home.table).await?;
    let of = match change.before.as_ref().and_then(|before| before.view.as_ref()) {
        Some(before) => before.of.clone(),
        None => live.as_ref().and_then(|live| live.text.clone()),
    };
    let Some(statement) = &change.statement else {
        return Ok(definition(ViewDef { of, ..ViewDef::default() }));
    };
    let own = table.location.schema.as_deref().unwrap_or("public");
    tx.batch_execute(&format!("CREATE SCHEMA {}", quote(own))).await.map_err(pg)?;
    let reads = stand_ins(tx, table, statement).await?;
    if change.replace {
        let before = match change.before.as_ref().and_then(|before| before.view.as_ref()) {
            Some(before) => before.query.as_ref().map(|_| before.columns.clone()),
            None => live.filter(|live| live.text.is_some()).map(|live| live.columns),
        };
        if let Some(columns) = before {
            // What OR REPLACE finds.
            let columns = join(columns, ", ", |(name, kind)| format!("NULL::{kind} AS {}", quote(&name)));
            tx.batch_execute(&format!("CREATE VIEW {} AS SELECT {columns}", base(table)))
                .await
                .map_err(pg)?;
        }
    }
    draft::run(tx, table, statement).await?;
    if let Some(then) = &change.then {
        draft::run(tx, table, then).await?;
    }
    if let Some(comment) = &change.comment {
        let sql = format!("COMMENT ON VIEW {} IS {}", base(table), literal(comment));
        tx.batch_execute(&sql).await.map_err(pg)?;
    }
    let found = described(tx, table, &reads).await?;
    Ok(definition(ViewDef { comment: change.comment.clone(), reaches: change.reaches.clone(), of, ..found }))
}

/// As the metadata store keeps it: two views with equal texts are alike.
fn definition(view: ViewDef) -> Definition {
    let text = match view.text() {
        Some(text) => format!("view {text}\ncomment {}\n", view.comment.as_deref().unwrap_or_default()),
        None => "no view\n".to_owned(),
    };
    let schema = TableSchema { columns: Vec::new(), key: Vec::new() };
    Definition { schema, text, revision: None, view: Some(Box::new(view)), enumeration: None }
}

/// Makes what stands for the relations that a statement names, each once.
async fn stand_ins(tx: &Tx, table: &TableDef, statement: &Statement) -> Result<Vec<(String, String)>> {
    let mut made: Vec<(String, String)> = Vec::new();
    let mut script = format!("CREATE SCHEMA {};\n", quote(&overlay_schema(table)));
    for piece in &statement.pieces {
        let Piece::Read { schema, name, like, .. } = piece else { continue };
        match made.iter().find(|(_, n)| n == name) {
            Some((s, _)) if s == schema => continue,
            Some(_) => {
                return Err(Error::unsupported(format!(
                    "a view over two relations with the name \"{name}\" on a branch"
                )));
            }
            None => {}
        }
        script += &format!("CREATE TABLE {} (LIKE {like} INCLUDING INDEXES);\n", stand_in(table, name));
        made.push((schema.clone(), name.clone()));
    }
    tx.batch_execute(&script).await.map_err(pg)?;
    Ok(made)
}

/// Name, type and (if it isn't the type's own) collation of the columns of relation `c`.
const COLUMNS: &str = "coalesce((SELECT json_agg(json_build_array(a.attname, format_type(a.atttypid, a.atttypmod) || CASE WHEN a.attcollation NOT IN (0, t.typcollation) \
     THEN (SELECT format(' COLLATE %I.%I', s.nspname, k.collname) FROM pg_collation k JOIN pg_namespace s ON s.oid = k.collnamespace WHERE k.oid = a.attcollation) ELSE '' END) ORDER BY a.attnum) \
     FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped), '[]')::text";

/// The view as the server has it, in names that sessions know.
async fn described(tx: &Tx, table: &TableDef, reads: &[(String, String)]) -> Result<ViewDef> {
    let sql = format!(
        "SELECT pg_get_viewdef(c.oid), coalesce(to_json(c.reloptions), '[]')::text, {COLUMNS} FROM pg_class c WHERE c.oid = {}::regclass",
        literal(&base(table))
    );
    let row = texts(tx, &sql).await?.into_iter().next().unwrap_or_default();
    let cell = |i: usize| row.get(i).cloned().flatten().unwrap_or_default();
    let mut query = cell(0).trim_end().trim_end_matches(';').to_owned();
    let mut found = Vec::new();
    for (schema, name) in reads {
        let (place, home, columns) = used(tx, table, schema, name).await?;
        query = renamed(&query, &place, &home);
        found.push(ViewRead { schema: schema.clone(), name: name.clone(), columns });
    }
    Ok(ViewDef {
        // With the names that sessions have for types of branches.
        query: Some(at_home(&query)),
        columns: json(&cell(2))?,
        options: json(&cell(1))?,
        reads: found,
        ..ViewDef::default()
    })
}

/// How the server writes the name of a stand-in and that of what it stands for, and which columns of it the view uses.
async fn used(tx: &Tx, view: &TableDef, schema: &str, name: &str) -> Result<(String, String, Vec<String>)> {
    let sql = format!(
        "SELECT format('%I.%I', {beside}, {name}), format('%I.%I', {schema}, {name}), \
         coalesce((SELECT json_agg(DISTINCT a.attname) FROM pg_rewrite r JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid \
             AND d.refclassid = 'pg_class'::regclass AND d.refobjid = {stand_in}::regclass \
             JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid AND a.attnum > 0 \
             WHERE r.ev_class = {view}::regclass), '[]')::text",
        beside = literal(&overlay_schema(view)),
        name = literal(name),
        schema = literal(schema),
        stand_in = literal(&stand_in(view, name)),
        view = literal(&base(view)),
    );
    let row = texts(tx, &sql).await?.into_iter().next().unwrap_or_default();
    let cell = |i: usize| row.get(i).cloned().flatten().unwrap_or_default();
    Ok((cell(0), cell(1), json(&cell(2))?))
}

fn json<T: serde::de::DeserializeOwned>(text: &str) -> Result<T> {
    serde_json::from_str(text)
        .map_err(|e| Error::internal(format!("the server's catalog answered in an unexpected form: {e}")))
}

/// A text with another name in the place of a qualified one, where that isn't the beginning of a longer one.
fn renamed(text: &str, from: &str, to: &str) -> String {
    let part = |c: char| c.is_alphanumeric() || matches!(c, '_' | '$' | '"');
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(from) {
        out.push_str(before);
        let inside = after.starts_with(part) || before.ends_with(part);
        out.push_str(if inside { from } else { to });
        rest = after;
    }
    out.push_str(rest);
    out
}

/// What main has of a name.
struct Live {
    /// As [`ViewDef::text`]; `None`: it isn't a view.
    text: Option<String>,
    columns: Vec<(String, String)>,
    /// The columns that its query uses: schema, relation, column.
    uses: Vec<(String, String, String)>,
}

/// See [`Live::uses`], of relation `c`.
const USES: &str = "coalesce((SELECT json_agg(DISTINCT jsonb_build_array(s.nspname, u.relname, a.attname)) FROM pg_rewrite r \
     JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid AND d.refclassid = 'pg_class'::regclass \
     JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid AND a.attnum > 0 \
     JOIN pg_class u ON u.oid = d.refobjid AND u.oid <> c.oid JOIN pg_namespace s ON s.oid = u.relnamespace WHERE r.ev_class = c.oid), '[]')::text";

impl Live {
    async fn find(client: &Object, schema: &str, name: &str) -> Result<Option<Self>> {
        let sql = format!(
            "SELECT CASE WHEN c.relkind = 'v' THEN coalesce(array_to_string(c.reloptions, ', '), '') || E'\\n' || rtrim(pg_get_viewdef(c.oid), E' \\n;') END, {COLUMNS}, {USES} \
             FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = {} AND c.relname = {}",
            literal(schema),
            literal(name)
        );
        let Some(row) = texts(client, &sql).await?.into_iter().next() else { return Ok(None) };
        let cell = |i: usize| row.get(i).cloned().flatten();
        let (columns, uses) = (json(&cell(1).unwrap_or_default())?, json(&cell(2).unwrap_or_default())?);
        Ok(Some(Self { text: cell(0), columns, uses }))
    }
}

/// The text of the view that main has where another one comes to.
pub(crate) async fn live_text(client: &Object, view: &TableDef) -> Result<Option<String>> {
    let home = view.location.home();
    let live = Live::find(client, home.schema.as_deref().unwrap_or("public"), &home.table).await?;
    Ok(live.and_then(|live| live.text))
}

/// A view on its way to main.
struct Coming<'a> {
    table: &'a TableDef,
    view: &'a ViewDef,
    schema: String,
    live: Option<Live>,
}

impl<'a> Coming<'a> {
    /// `None` if main has nothing of the name, and isn't to. 55000, or 42P07, if main has another one than the branch knew.
    async fn of(tx: &Tx, change: &'a TableChanges, known: &[Option<String>]) -> Result<Option<Self>> {
        let table: &TableDef = &change.table;
        let Some(view) = &table.view else { return Ok(None) };
        let schema = table.location.home().schema.unwrap_or_else(|| "public".to_owned());
        let live = Live::find(tx, &schema, &table.location.table).await?;
        let text = live.as_ref().and_then(|live| live.text.clone());
        let coming = Self { table, view, schema, live };
        if coming.live.as_ref().is_some_and(|live| live.text.is_none()) {
            return if view.query.is_none() { Ok(None) } else { Err(coming.taken()) };
        }
        if text == view.text() {
            return Ok(text.is_some().then_some(coming));
        }
        if known.contains(&text) {
            return Ok(Some(coming));
        }
        if known.iter().all(Option::is_none) { Err(coming.taken()) } else { Err(coming.changed()) }
    }

    /// Whether main has it as it comes.
    fn is_there(&self) -> bool {
        self.live.as_ref().is_some_and(|live| live.text == self.view.text())
    }

    /// Whether main's view uses a column that a table loses with the merge, or that gets another type.
    fn is_in_the_way(&self, altered: &[(&TableDef, &TableDef)]) -> bool {
        let kind = |table: &TableDef, column: &str| {
            table.schema.columns.iter().find(|c| c.name == column).map(|c| c.type_name.clone())
        };
        let loses = |schema: &str, name: &str, column: &str| {
            altered.iter().any(|(before, after)| {
                before.location.schema.as_deref().unwrap_or("public") == schema
                    && before.location.table == name
                    && kind(before, column) != kind(after, column)
            })
        };
        self.live.iter().flat_map(|live| &live.uses).any(|(schema, name, column)| loses(schema, name, column))
    }

    /// Whether main's view reads another one.
    fn reads(&self, other: &Coming<'_>) -> bool {
        let uses = |(schema, name, _): &(String, String, String)| {
            *schema == other.schema && *name == other.table.location.table
        };
        self.live.as_ref().is_some_and(|live| live.uses.iter().any(uses))
    }

    fn name(&self) -> String {
        format!("{}.{}", quote(&self.schema), quote(&self.table.location.table))
    }

    fn taken(&self) -> Error {
        let message = format!("view \"{}\" cannot be created on main", self.table.name);
        Error::new("42P07", message)
            .with_detail(format!("relation \"{}\" already exists", self.table.location.table))
    }

    fn changed(&self) -> Error {
        let message = format!("view \"{}\" was changed on main", self.table.name);
        Error::new(sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE, message)
            .with_detail("It isn't any more what the branch's definition took the place of.")
            .with_hint("Define it on main as it was, or as the branch has it, and merge again.")
    }

    async fn drop(&self, tx: &Tx) -> Result<()> {
        tx.batch_execute(&format!("DROP VIEW {}", self.name())).await.map_err(pg)
    }

    /// What main has becomes what OR REPLACE can make this one of.
    async fn clear(&self, tx: &Tx) -> Result<()> {
        let Some(live) = &self.live else { return Ok(()) };
        if self.view.columns.starts_with(&live.columns) {
            return Ok(());
        }
        let pairs = || live.columns.iter().zip(&self.view.columns).enumerate();
        if live.columns.len() > self.view.columns.len() || pairs().any(|(_, (old, new))| old.1 != new.1) {
            self.check_replaceable(tx).await?;
            return self.drop(tx).await;
        }
        // By way of names that nobody has: two may have changed places.
        let alter = |from: &str, to: &str| {
            format!("ALTER VIEW {} RENAME COLUMN {} TO {};", self.name(), quote(from), quote(to))
        };
        let between = |i: usize| format!("epoch_renamed_{i}");
        let renamed = || pairs().filter(|(_, (old, new))| old.0 != new.0);
        let away = renamed().map(|(i, (old, _))| alter(&old.0, &between(i)));
        let back = renamed().map(|(i, (_, new))| alter(&between(i), &new.0));
        tx.batch_execute(&away.chain(back).collect::<String>()).await.map_err(pg)
    }

    /// 55000 if main's view has what would be lost with it.
    async fn check_replaceable(&self, tx: &Tx) -> Result<()> {
        let sql = format!(
            "SELECT concat_ws(', ', \
               (SELECT string_agg('trigger ' || t.tgname, ', ' ORDER BY t.tgname) FROM pg_trigger t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal), \
               (SELECT string_agg('rule ' || r.rulename, ', ' ORDER BY r.rulename) FROM pg_rewrite r WHERE r.ev_class = c.oid AND r.rulename <> '_RETURN'), \
               (SELECT string_agg('default of column ' || a.attname, ', ' ORDER BY a.attname) FROM pg_attrdef d JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum WHERE d.adrelid = c.oid), \
               CASE WHEN c.relacl IS NOT NULL OR EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attacl IS NOT NULL) THEN 'privileges' END, \
               CASE WHEN pg_get_userbyid(c.relowner) <> current_user THEN 'owner ' || pg_get_userbyid(c.relowner) END) \
             FROM pg_class c WHERE c.oid = {}::regclass",
            literal(&self.name())
        );
        let row = texts(tx, &sql).await?.into_iter().next().unwrap_or_default();
        match row.into_iter().next().flatten().filter(|attached| !attached.is_empty()) {
            None => Ok(()),
            Some(attached) => Err(Error::new(
                sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE,
                format!("view \"{}\" cannot be replaced on main", self.table.name),
            )
            .with_detail(format!(
                "It would have to be dropped, as its columns are others now, and would lose: {attached}."
            ))
            .with_hint("Make the change on main itself, or take these away there and merge again.")),
        }
    }

    /// Whether it is main's view under another name.
    fn is_renamed(&self, from: &Coming<'_>) -> bool {
        let query =
            |text: &Option<String>| text.as_ref().and_then(|t| t.split_once('\n')).map(|t| t.1.to_owned());
        let live = from.live.as_ref();
        self.live.is_none()
            && live.and_then(|live| query(&live.text)) == self.view.query
            && live.is_some_and(|live| live.columns == self.view.columns)
    }

    /// Main's view gets this one's name, and keeps all that belongs to it.
    async fn take_over(&mut self, tx: &Tx, from: &Coming<'_>) -> Result<()> {
        let name = &self.table.location.table;
        let mut script = String::new();
        let mut at = from.name();
        if self.schema != from.schema {
            script += &format!("ALTER VIEW {at} SET SCHEMA {};", quote(&self.schema));
            at = format!("{}.{}", quote(&self.schema), quote(&from.table.location.table));
        }
        if *name != from.table.location.table {
            script += &format!("ALTER VIEW {at} RENAME TO {};", quote(name));
        }
        tx.batch_execute(&script).await.map_err(pg)?;
        self.live = Live::find(tx, &self.schema, name).await?;
        Ok(())
    }

    async fn create(&self, tx: &Tx) -> Result<()> {
        let Some(query) = &self.view.query else { return Ok(()) };
        if self.is_there() {
            return self.comment(tx).await;
        }
        self.clear(tx).await?;
        let options = match self.view.options.is_empty() {
            true => String::new(),
            false => format!(" WITH ({})", self.view.options.join(", ")),
        };
        let sql = format!("CREATE OR REPLACE VIEW {}{options} AS {query}", self.name());
        tx.batch_execute(&sql).await.map_err(pg)?;
        self.comment(tx).await
    }

    async fn comment(&self, tx: &Tx) -> Result<()> {
        let comment = self.view.comment.as_ref().map_or_else(|| "NULL".to_owned(), |c| literal(c));
        tx.batch_execute(&format!("COMMENT ON VIEW {} IS {comment}", self.name())).await.map_err(pg)
    }
}

/// Views among the changes of a merge into main that main gets with it, in an order in which each finds what it reads.
pub(crate) struct Arriving<'a>(Vec<Coming<'a>>);

impl<'a> Arriving<'a> {
    /// Renames those that have another name now, and drops those that go: before tables are altered that they read.
    pub(crate) async fn begin(tx: &Tx, changes: &'a [TableChanges]) -> Result<Self> {
        let altered: Vec<(&TableDef, &TableDef)> = changes
            .iter()
            .filter_map(|change| match &change.arrival {
                Some(Arrival::Home(home)) => Some((&*home.before, &*change.table)),
                _ => None,
            })
            .collect();
        let mut all = Vec::new();
        for change in changes {
            if let Some(Arrival::View(known)) = &change.arrival {
                all.extend(Coming::of(tx, change, known).await?);
            }
        }
        let (mut going, mut coming): (Vec<_>, Vec<_>) = all.into_iter().partition(|c| c.view.query.is_none());
        for new in &mut coming {
            if let Some(old) = going.iter().position(|old| new.is_renamed(old)) {
                new.take_over(tx, &going.remove(old)).await?;
            }
        }
        let mut dropped: Vec<String> = going.iter().map(Coming::name).collect();
        for at in in_the_way(&coming, &altered) {
            if let Some(view) = coming.get_mut(at) {
                view.check_replaceable(tx).await?;
                dropped.push(view.name());
                view.live = None;
            }
        }
        if !dropped.is_empty() {
            // Together, as they may read each other.
            tx.batch_execute(&format!("DROP VIEW {}", dropped.join(", "))).await.map_err(pg)?;
        }
        Ok(Self(coming))
    }

    /// Makes those that come.
    pub(crate) async fn finish(self, tx: &Tx) -> Result<()> {
        let mut left = self.0;
        while !left.is_empty() {
            let open = |c: &Coming<'_>| {
                left.iter().any(|other| c.view.names(&other.schema, &other.table.location.table).is_some())
            };
            let next = left.iter().position(|c| !open(c)).unwrap_or(0);
            left.swap_remove(next).create(tx).await?;
        }
        Ok(())
    }
}

/// Which of main's views have to go before tables are altered, to be made again after: those that use what these lose,
/// and those that read such views.
fn in_the_way(coming: &[Coming<'_>], altered: &[(&TableDef, &TableDef)]) -> Vec<usize> {
    let numbered = || coming.iter().enumerate();
    let mut found: Vec<usize> =
        numbered().filter(|(_, c)| c.is_in_the_way(altered)).map(|(i, _)| i).collect();
    let mut at = 0;
    while let Some(gone) = found.get(at).and_then(|&i| coming.get(i)) {
        at += 1;
        let readers = numbered().filter(|(i, c)| !found.contains(i) && c.reads(gone)).map(|(i, _)| i);
        let more: Vec<usize> = readers.collect();
        found.extend(more);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_replaced_where_it_ends() {
        let text = "SELECT a FROM e.users, e.users2 WHERE e.users.x = 'e.users' OR xe.users(1)";
        assert_eq!(
            renamed(text, "e.users", "public.users"),
            "SELECT a FROM public.users, e.users2 WHERE public.users.x = 'public.users' OR xe.users(1)"
        );
        assert_eq!(renamed("FROM e.\"U\" JOIN e.\"U\"", "e.\"U\"", "p.\"U\""), "FROM p.\"U\" JOIN p.\"U\"");
    }
}
