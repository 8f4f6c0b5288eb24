//! Foreign keys over layers: triggers on the overlays do what the server's own do on the base.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use deadpool_postgres::Object;
use epoch_adapter::{Layer, LineageId, Result, TableDef, TableId};

use crate::error::pg;
use crate::layer;
use crate::layout::{BASE_OF_LINEAGE, literal, mask, overlay, overlay_schema, quote};
use crate::of_main;
use crate::text::{fill, join, key, same_key};
use crate::tx::texts;
use crate::versions::{self, UNKNOWN, Version};

const KEYS_SQL: &str = include_str!("../../../sql/postgres/foreign_keys.sql");
const CHILD_SQL: &str = include_str!("../../../sql/postgres/fk_child.sql");
const PARENT_SQL: &str = include_str!("../../../sql/postgres/fk_parent.sql");
const RELATED_SQL: &str = include_str!("../../../sql/postgres/fk_related.sql");

/// Numbers that stand for a trigger's variables in generated SQL, as no lineage or ordinal does.
const VARIABLES: Layer = Layer { lineage: LineageId(-1_000_000_000_000_007), base: -1_000_000_000_000_009 };

/// The trigger's variables in the place of [`VARIABLES`].
fn with_variables(sql: &str) -> String {
    sql.replace(&VARIABLES.lineage.0.to_string(), "epoch_v_lineage")
        .replace(&VARIABLES.base.to_string(), "epoch_v_base")
}

/// A foreign key of one version of a table.
pub(crate) struct ForeignKey {
    pub oid: i64,
    pub name: String,
    pub child: TableDef,
    pub child_family: i64,
    /// `None` if the parent isn't versioned: then the live table counts.
    pub parent_family: Option<i64>,
    /// The versions of the parent that have what the key refers to.
    pub parents: Vec<Parent>,
    /// The version that the key itself names.
    pub named: Option<TableId>,
    /// The parent's quoted and qualified name, and the bare one for messages.
    pub parent_name: (String, String),
    pub columns: Vec<String>,
    /// The parent's columns, as the key itself names them.
    pub referenced: Vec<String>,
    /// `referenced OPERATOR column`, in order.
    operators: Vec<String>,
    on_delete: String,
    on_update: String,
    deferrable: Option<String>,
    /// The columns of ON DELETE SET NULL (…), if not all.
    set_columns: Vec<String>,
    pub validated: bool,
    match_full: bool,
    /// MATCH FULL over several columns.
    pub full: bool,
}

/// A version of a parent.
pub(crate) struct Parent {
    pub table: TableDef,
    /// What it calls the columns that are referred to.
    pub referenced: Vec<String>,
}

/// A trigger that a table has to have.
struct Trigger {
    schema: String,
    table: String,
    name: String,
    deferrable: Option<String>,
    /// The statement that makes it.
    sql: String,
}

/// Makes the triggers of all foreign keys that `table` takes part in, in whatever version, as what is versioned now
/// demands. `family`: if the table isn't registered any more.
pub(crate) async fn refresh(client: &Object, table: &TableDef, family: Option<i64>) -> Result<()> {
    let family = match family {
        Some(family) => family,
        None => versions::family(client, table.id).await?.unwrap_or(table.id.0),
    };
    let keys = read(client, table, family).await?;
    if keys.is_empty() {
        return Ok(());
    }
    let there = triggers(client).await?;
    for key in keys {
        let (functions, triggers) = key.script();
        client.batch_execute(&functions).await.map_err(pg)?;
        // What is there stays: to make it anew would keep everybody off the table.
        for trigger in triggers {
            let place = (trigger.schema.clone(), trigger.table.clone(), trigger.name.clone());
            match there.get(&place) {
                Some(deferrable) if *deferrable == trigger.deferrable => continue,
                Some(_) => {
                    let drop = format!(
                        "DROP TRIGGER {} ON {}.{}",
                        quote(&trigger.name),
                        quote(&trigger.schema),
                        quote(&trigger.table)
                    );
                    client.batch_execute(&drop).await.map_err(pg)?;
                }
                None => {}
            }
            client.batch_execute(&trigger.sql).await.map_err(pg)?;
        }
    }
    Ok(())
}

/// Our triggers of foreign keys that there are, with their deferrability.
async fn triggers(client: &Object) -> Result<HashMap<(String, String, String), Option<String>>> {
    const SQL: &str = "SELECT n.nspname, c.relname, t.tgname, \
        CASE WHEN t.tgdeferrable THEN 'DEFERRABLE INITIALLY ' || CASE WHEN t.tginitdeferred THEN 'DEFERRED' ELSE 'IMMEDIATE' END END \
        FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
        WHERE t.tgname ~ '^zz_epoch_(fk|ref)[0-9]+_' AND NOT t.tgisinternal";
    let row = |row: Vec<Option<String>>| {
        let mut cells = row.into_iter();
        let mut next = || cells.next().flatten();
        let place = (next().unwrap_or_default(), next().unwrap_or_default(), next().unwrap_or_default());
        (place, next())
    };
    Ok(texts(client, SQL).await?.into_iter().map(row).collect())
}

/// Takes the parents' triggers of `table`'s foreign keys away, before it goes.
pub(crate) async fn remove(client: &Object, table: &TableDef) -> Result<()> {
    for foreign_key in of(client, table).await? {
        let script = join(&foreign_key.parents, "", |p| foreign_key.drop_parent(&p.table));
        client.batch_execute(&script).await.map_err(pg)?;
    }
    Ok(())
}

/// The foreign keys of one version of a table.
pub(crate) async fn of(client: &Object, table: &TableDef) -> Result<Vec<ForeignKey>> {
    let family = versions::family(client, table.id).await?.unwrap_or(table.id.0);
    let keys = read(client, table, family).await?;
    Ok(keys.into_iter().filter(|key| key.child.id == table.id).collect())
}

/// Takes the parents' triggers of keys away that the table doesn't have any more.
pub(crate) async fn remove_dropped(client: &Object, table: &TableDef, before: &[ForeignKey]) -> Result<()> {
    let now: Vec<i64> = of(client, table).await?.iter().map(|key| key.oid).collect();
    for key in before.iter().filter(|key| !now.contains(&key.oid)) {
        let script = join(&key.parents, "", |p| key.drop_parent(&p.table));
        client.batch_execute(&script).await.map_err(pg)?;
    }
    Ok(())
}

/// The versioned tables whose rows an action of a foreign key may change when `table` is written to, in all their
/// versions.
pub(crate) async fn related(client: &Object, table: &TableDef) -> Result<Vec<TableId>> {
    let statement = client.prepare_cached(RELATED_SQL).await.map_err(pg)?;
    let rows = client.query(&statement, &[&table.id.0]).await.map_err(pg)?;
    rows.iter().map(|row| row.try_get(0).map(TableId).map_err(pg)).collect()
}

/// The foreign keys from and to all versions of a table.
pub(crate) async fn read(client: &Object, table: &TableDef, family: i64) -> Result<Vec<ForeignKey>> {
    let schema = table.location.schema.as_deref().unwrap_or("public");
    let rows = client.query(KEYS_SQL, &[&family, &schema, &table.location.table]).await.map_err(pg)?;
    let mut known: HashMap<i64, Vec<Version>> = HashMap::new();
    let mut out = Vec::with_capacity(rows.len());
    for row in &rows {
        let text = |i: usize| row.try_get::<_, String>(i).map_err(pg);
        let list = |i: usize| row.try_get::<_, Vec<String>>(i).map_err(pg);
        let (parent_schema, parent_table) = (text(6)?, text(7)?);
        let (child, named): (i64, Option<i64>) = (row.try_get(2).map_err(pg)?, row.try_get(3).map_err(pg)?);
        let child_family: i64 = row.try_get(15).map_err(pg)?;
        let parent_family: Option<i64> = row.try_get(16).map_err(pg)?;
        for family in [Some(child_family), parent_family].into_iter().flatten() {
            if let Entry::Vacant(entry) = known.entry(family) {
                entry.insert(versions::all(client, family).await?);
            }
        }
        let of = |family: i64| known.get(&family).map(Vec::as_slice).unwrap_or_default();
        let Some(child) = of(child_family).iter().find(|v| v.table.id.0 == child) else { continue };
        let referenced = list(9)?;
        let versions = parent_family.map(of).unwrap_or_default();
        let parents = match versions.iter().find(|v| Some(v.table.id.0) == named) {
            None => Vec::new(),
            Some(own) => {
                let one = |v: &Version| {
                    let referenced = v.called(own, &referenced)?;
                    Some(Parent { table: v.table.clone(), referenced })
                };
                versions.iter().filter_map(one).collect()
            }
        };
        out.push(ForeignKey {
            oid: row.try_get(0).map_err(pg)?,
            name: text(1)?,
            child: child.table.clone(),
            child_family,
            parent_family,
            parents,
            named: named.map(TableId),
            parent_name: (format!("{}.{}", quote(&parent_schema), quote(&parent_table)), parent_table),
            columns: list(8)?,
            referenced,
            operators: list(10)?,
            on_delete: text(11)?,
            on_update: text(12)?,
            deferrable: row.try_get(13).map_err(pg)?,
            set_columns: list(14)?,
            validated: row.try_get(17).map_err(pg)?,
            match_full: row.try_get(18).map_err(pg)?,
            full: row.try_get(19).map_err(pg)?,
        });
    }
    Ok(out)
}

impl ForeignKey {
    /// `p.referenced = n.epoch_u0 AND …`.
    fn same(&self, referenced: &[String], parent: &str, value: impl Fn(usize) -> String) -> String {
        join(referenced.iter().zip(&self.operators).enumerate(), " AND ", |(i, (column, operator))| {
            format!("{parent}.{} {operator} {}", quote(column), value(i))
        })
    }

    /// `p.referenced = c.column AND …`.
    pub(crate) fn joined(&self, referenced: &[String], parent: &str, child: &str) -> String {
        self.same(referenced, parent, |i| {
            format!("{child}.{}", self.columns.get(i).map(|c| quote(c)).unwrap_or_default())
        })
    }

    /// The same key, where the child's columns have other names.
    pub(crate) fn renamed(mut self, name: impl Fn(&str) -> String) -> Self {
        let own = self.parent_family == Some(self.child_family);
        let lists = [&mut self.columns, &mut self.set_columns];
        lists.into_iter().flatten().for_each(|column| *column = name(column));
        if own {
            self.referenced.iter_mut().for_each(|column| *column = name(column));
        }
        self
    }

    /// The constraint as SQL, to a table of this name with these columns.
    pub(crate) fn definition(&self, target: &str, referenced: &[String]) -> String {
        let names = |names: &[String]| join(names, ", ", |c| quote(c));
        let action = |code: &str| match code {
            "c" => "CASCADE",
            "n" => "SET NULL",
            "d" => "SET DEFAULT",
            "r" => "RESTRICT",
            _ => "NO ACTION",
        };
        let some = if self.set_columns.is_empty() {
            String::new()
        } else {
            format!(" ({})", names(&self.set_columns))
        };
        format!(
            "CONSTRAINT {} FOREIGN KEY ({}) REFERENCES {target} ({}){} ON UPDATE {} ON DELETE {}{some} {}{}",
            quote(&self.name),
            names(&self.columns),
            names(referenced),
            if self.match_full { " MATCH FULL" } else { "" },
            action(&self.on_update),
            action(&self.on_delete),
            self.deferrable.as_deref().unwrap_or_default(),
            if self.validated { "" } else { " NOT VALID" }
        )
    }

    /// The functions, and the triggers that call them.
    fn script(&self) -> (String, Vec<Trigger>) {
        let (mut functions, mut triggers) = self.child_script();
        for parent in &self.parents {
            let (more, of_parent) = self.parent_script(parent);
            functions += &more;
            triggers.extend(of_parent);
        }
        (functions, triggers)
    }

    fn trigger(&self, table: &TableDef, name: String, deferrable: Option<&str>, sql: &str) -> Trigger {
        let kind = if deferrable.is_some() { "CONSTRAINT " } else { "" };
        Trigger {
            schema: overlay_schema(table),
            table: table.location.table.clone(),
            sql: format!("CREATE {kind}TRIGGER {name} {sql}"),
            name,
            deferrable: deferrable.map(str::to_owned),
        }
    }

    fn child_script(&self) -> (String, Vec<Trigger>) {
        let child = &self.child;
        let overlay = overlay(child);
        let stem = format!("epoch.overlay_{}_fk{}", child.id.0, self.oid);
        // Looks at the row as it stands when the check runs, which may be at the end of the transaction.
        let row = format!(
            "(SELECT c.* FROM {overlay} c WHERE c.epoch_lineage = NEW.epoch_lineage AND {}) epoch_row",
            same_key(child, "c", "NEW")
        );
        let any = if self.full { " OR " } else { " AND " };
        let given = join(&self.columns, any, |c| format!("{} IS NOT NULL", quote(c)));
        let not_null = format!(" AND ({given})");
        let changed = join(&self.columns, " OR ", |c| {
            format!("NOT pg_catalog.record_image_eq(ROW(OLD.{c}), ROW(NEW.{c}))", c = quote(c))
        });
        let by_row = self.child_function(&format!("{stem}_row"), &row, &format!("true{not_null}"));
        let deferrable = self.deferrable.as_deref();
        let when = deferrable.unwrap_or_default();
        let update = self.trigger(
            child,
            format!("zz_epoch_fk{}_update", self.oid),
            deferrable,
            &format!(
                "AFTER UPDATE ON {overlay} {when} FOR EACH ROW WHEN ({changed}) EXECUTE FUNCTION {stem}_row()"
            ),
        );
        let name = format!("zz_epoch_fk{}_insert", self.oid);
        let (by_rows, insert) = if deferrable.is_some() {
            let sql = format!(
                "AFTER INSERT ON {overlay} {when} FOR EACH ROW WHEN (NOT NEW.epoch_copied) EXECUTE FUNCTION {stem}_row()"
            );
            (String::new(), self.trigger(child, name, deferrable, &sql))
        } else {
            let own = format!("NOT epoch_copied{not_null}");
            let sql = format!(
                "AFTER INSERT ON {overlay} REFERENCING NEW TABLE AS epoch_new FOR EACH STATEMENT EXECUTE FUNCTION {stem}_rows()"
            );
            (
                self.child_function(&format!("{stem}_rows"), "epoch_new", &own),
                self.trigger(child, name, None, &sql),
            )
        };
        (by_row + &by_rows, vec![update, insert])
    }

    fn child_function(&self, name: &str, rows: &str, own: &str) -> String {
        let width = self.columns.len();
        let parent_exists = self.parent_exists();
        let message = format!(
            "insert or update on table \"{}\" violates foreign key constraint \"{}\"",
            self.child.location.table, self.name
        );
        let detail = format!(
            "{} || {} || ') is not present in table \"' || {} || '\".'",
            literal(&format!("Key ({})=(", self.columns.join(", "))),
            join(0..width, " || ', ' || ", |i| format!("format('%s', epoch_v_hit.epoch_u{i})")),
            self.parent_shown()
        );
        let detail = if self.full {
            let mixed = join(0..width, " OR ", |i| format!("epoch_v_hit.epoch_u{i} IS NULL"));
            format!(
                "CASE WHEN {mixed} THEN 'MATCH FULL does not allow mixing of null and nonnull key values.' ELSE {detail} END"
            )
        } else {
            detail
        };
        // Others delete rows of a table that isn't versioned as they like.
        let note = self.parent_family.map_or_else(String::new, |family| {
            format!(
                "PERFORM epoch.note_child(n.epoch_l, {family}) FROM (SELECT DISTINCT epoch_lineage AS epoch_l FROM {rows} WHERE {own}) n;"
            )
        });
        fill(
            CHILD_SQL,
            &[
                ("fn", name),
                ("note", &note),
                ("parent_id", &self.parent_family.unwrap_or_default().to_string()),
                ("rows", rows),
                ("own", own),
                ("values", &join(0..width, ", ", |i| format!("n.epoch_u{i}"))),
                (
                    "child_columns",
                    &join(self.columns.iter().enumerate(), ", ", |(i, c)| {
                        format!("{} AS epoch_u{i}", quote(c))
                    }),
                ),
                ("parent_exists", &parent_exists),
                ("message_text", &literal(&message)),
                ("detail", &detail),
                ("schema", &literal(&self.child.name.schema)),
                ("table", &literal(&self.child.location.table)),
                ("constraint", &literal(&self.name)),
            ],
        )
    }

    /// What the parent is called on the branch of the row that was found.
    fn parent_shown(&self) -> String {
        let named = literal(&self.parent_name.1);
        let others = self.parents.iter().any(|p| p.table.location.table != self.parent_name.1);
        let Some(family) = self.parent_family.filter(|_| others) else { return named };
        let cases = join(&self.parents, "", |p| {
            format!(" WHEN {} THEN {}", p.table.id.0, literal(&p.table.location.table))
        });
        format!(
            "CASE epoch.version_of(epoch_v_hit.epoch_l, coalesce((SELECT e.base FROM epoch.lineage e WHERE e.id = epoch_v_hit.epoch_l), epoch_v_base), {family}){cases} ELSE {named} END"
        )
    }

    /// Whether the parent of a row `n` is there, in the version that its branch shows.
    fn parent_exists(&self) -> String {
        let value = |i: usize| format!("n.epoch_u{i}");
        let Some(family) = self.parent_family else {
            return format!(
                "EXISTS (SELECT FROM {} p WHERE {} OFFSET 0)",
                self.parent_name.0,
                self.same(&self.referenced, "p", value)
            );
        };
        let one = |parent: &Parent| self.visible_parent(parent, "n.epoch_l", BASE_OF_LINEAGE, value);
        if let [only] = self.parents.as_slice() {
            return one(only);
        }
        let cases = join(&self.parents, "", |p| format!(" WHEN {} THEN ({})", p.table.id.0, one(p)));
        format!("CASE epoch.version_of(n.epoch_l, {BASE_OF_LINEAGE}, {family}){cases} ELSE false END")
    }

    /// Whether a branch sees a parent with these values.
    fn visible_parent(
        &self,
        parent: &Parent,
        lineage: &str,
        base: &str,
        value: impl Fn(usize) -> String + Copy,
    ) -> String {
        let live = format!(
            "EXISTS (SELECT FROM {} p WHERE p.epoch_lineage = {lineage} AND {} OFFSET 0)",
            overlay(&parent.table),
            self.same(&parent.referenced, "p", value)
        );
        format!(
            "{live} OR {}",
            below(&parent.table, lineage, base, &self.same(&parent.referenced, "b", value))
        )
    }

    fn drop_parent(&self, parent: &TableDef) -> String {
        join(["delete", "update"], "", |event| {
            format!(
                "DROP FUNCTION IF EXISTS epoch.overlay_{}_ref{}_{event}() CASCADE;\n",
                parent.id.0, self.oid
            )
        })
    }

    fn parent_script(&self, parent: &Parent) -> (String, Vec<Trigger>) {
        let overlay = overlay(&parent.table);
        let stem = format!("epoch.overlay_{}_ref{}", parent.table.id.0, self.oid);
        let changed = join(&parent.referenced, " OR ", |c| {
            format!("NOT pg_catalog.record_image_eq(ROW(OLD.{c}), ROW(NEW.{c}))", c = quote(c))
        });
        let old_row = format!(
            "(SELECT OLD.epoch_lineage, {})",
            join(&parent.referenced, ", ", |c| format!("OLD.{}", quote(c)))
        );
        let deferred = |action: &str| self.deferrable.as_deref().filter(|_| action == "a");
        let when = deferred(&self.on_delete);
        let (rows, sql) = match when {
            Some(when) => (
                old_row.as_str(),
                format!("AFTER DELETE ON {overlay} {when} FOR EACH ROW EXECUTE FUNCTION {stem}_delete()"),
            ),
            None => (
                "epoch_old",
                format!(
                    "AFTER DELETE ON {overlay} REFERENCING OLD TABLE AS epoch_old FOR EACH STATEMENT EXECUTE FUNCTION {stem}_delete()"
                ),
            ),
        };
        let delete = self.trigger(&parent.table, format!("zz_epoch_ref{}_delete", self.oid), when, &sql);
        let functions = self.parent_function(parent, &format!("{stem}_delete"), rows, &self.on_delete, false)
            + &self.parent_function(parent, &format!("{stem}_update"), &old_row, &self.on_update, true);
        let when = deferred(&self.on_update);
        let sql = format!(
            "AFTER UPDATE ON {overlay} {} FOR EACH ROW WHEN ({changed}) EXECUTE FUNCTION {stem}_update()",
            when.unwrap_or_default()
        );
        let update = self.trigger(&parent.table, format!("zz_epoch_ref{}_update", self.oid), when, &sql);
        (functions, vec![delete, update])
    }

    fn parent_function(&self, parent: &Parent, name: &str, rows: &str, action: &str, update: bool) -> String {
        let body = match action {
            "c" | "n" => self.follow(parent, rows, action, update),
            // The default may be the very key that goes.
            "d" => self.follow(parent, rows, action, update) + &self.refuse(parent, rows, action),
            _ => self.refuse(parent, rows, action),
        };
        // A child that the branch has in another version, or not at all, doesn't count.
        let shows_child = format!(
            "epoch.version_of(epoch_v_lineage, epoch_v_base, {}) IN ({}, {UNKNOWN})",
            self.child_family, self.child.id.0
        );
        fill(
            PARENT_SQL,
            &[
                ("fn", name),
                ("rows", rows),
                ("shows_child", &shows_child),
                ("parent_id", &self.parent_family.unwrap_or_default().to_string()),
                ("action", &body),
            ],
        )
    }

    /// NO ACTION and RESTRICT: an error if a child is left without a parent.
    fn refuse(&self, parent: &Parent, rows: &str, action: &str) -> String {
        let value =
            |i: usize| format!("o.{}", parent.referenced.get(i).map(|c| quote(c)).unwrap_or_default());
        let child_of = |alias: &str| self.joined(&parent.referenced, "o", alias);
        let child_exists = format!(
            "EXISTS (SELECT FROM {} c WHERE c.epoch_lineage = epoch_v_lineage AND {} OFFSET 0) OR {}",
            overlay(&self.child),
            child_of("c"),
            below(&self.child, "epoch_v_lineage", "epoch_v_base", &child_of("b"))
        );
        let replaced = if action == "r" {
            "false".to_owned()
        } else {
            self.visible_parent(parent, "epoch_v_lineage", "epoch_v_base", value)
        };
        let [code, message, referenced] = self.refusal(parent, action);
        let values = join(parent.referenced.iter(), " || ', ' || ", |c| {
            format!("format('%s', epoch_v_hit.{})", quote(c))
        });
        // A child that another transaction is deleting is waited for: in the overlay by its lock, in main's part by the
        // gate of the copy-up. Each turn raises the error, or finds a child gone.
        format!(
            "LOOP
            SELECT o.* INTO epoch_v_hit FROM {rows} o WHERE o.epoch_lineage = epoch_v_lineage AND ({child_exists}) AND NOT ({replaced}) LIMIT 1;
            EXIT WHEN NOT FOUND;
            PERFORM FROM {overlay} c WHERE c.epoch_lineage = epoch_v_lineage AND {held} LIMIT 1 FOR KEY SHARE;
            IF FOUND THEN
                RAISE USING ERRCODE = {code}, MESSAGE = {message}, DETAIL = {} || {values} || {referenced},
                    SCHEMA = {}, TABLE = {}, CONSTRAINT = {};
            END IF;
            {up};
        END LOOP;",
            literal(&format!("Key ({})=(", parent.referenced.join(", "))),
            literal(&self.child.name.schema),
            literal(&self.child.location.table),
            literal(&self.name),
            overlay = overlay(&self.child),
            held = self.joined(&parent.referenced, "epoch_v_hit", "c"),
            up = self.one_child_up(parent),
        )
    }

    /// SQLSTATE, message and the end of the DETAIL for a parent that has children, as expressions. From PostgreSQL 18 on,
    /// RESTRICT has words and a code of its own.
    fn refusal(&self, parent: &Parent, action: &str) -> [String; 3] {
        let (parent, child) = (&parent.table.location.table, &self.child.location.table);
        let words = |setting: &str, still: &str| {
            let message = format!(
                "update or delete on table \"{parent}\" violates {setting}foreign key constraint \"{}\" on table \"{child}\"",
                self.name
            );
            [literal(&message), literal(&format!(") is {still}referenced from table \"{child}\"."))]
        };
        let [message, referenced] = words("", "still ");
        if action != "r" {
            return ["'23503'".to_owned(), message, referenced];
        }
        let since_18 = |new: &str, old: &str| {
            format!(
                "CASE WHEN current_setting('server_version_num')::int4 >= 180000 THEN {new} ELSE {old} END"
            )
        };
        let [restricts, refers] = words("RESTRICT setting of ", "");
        [
            since_18("'23001'", "'23503'"),
            since_18(&restricts, &message),
            format!("({})", since_18(&refers, &referenced)),
        ]
    }

    /// Brings one child of the row `epoch_v_hit` up into the layer.
    fn one_child_up(&self, parent: &Parent) -> String {
        let child = &self.child;
        let [live, images] = below_rows(
            child,
            "epoch_v_lineage",
            "epoch_v_base",
            &self.joined(&parent.referenced, "epoch_v_hit", "b"),
            &key(child, "b."),
        );
        with_variables(&layer::copy_up(
            child,
            VARIABLES,
            &format!(
                "(SELECT * FROM ({live} LIMIT 1) a UNION ALL SELECT * FROM ({images} LIMIT 1) b LIMIT 1)"
            ),
        ))
    }

    /// CASCADE, SET NULL, SET DEFAULT: children are brought up into the layer and changed there.
    fn follow(&self, parent: &Parent, rows: &str, action: &str, update: bool) -> String {
        let child = &self.child;
        let candidates = format!(
            "SELECT {keys} FROM {rows} o JOIN {base} b ON {same} WHERE o.epoch_lineage = epoch_v_lineage
             UNION SELECT {keys} FROM {rows} o JOIN {history} b ON b.epoch_lineage = 1 AND b.epoch_existed AND b.epoch_to > epoch_v_base AND {same}
             WHERE o.epoch_lineage = epoch_v_lineage",
            keys = key(child, "b."),
            base = of_main::rows(child),
            history = of_main::images(child),
            same = self.joined(&parent.referenced, "o", "b")
        );
        let up = with_variables(&layer::copy_up(child, VARIABLES, &candidates));
        let of_branch = format!(
            "c.epoch_lineage = epoch_v_lineage AND o.epoch_lineage = epoch_v_lineage AND {}",
            self.joined(&parent.referenced, "o", "c")
        );
        let overlay = overlay(child);
        let change = match action {
            "c" if !update => format!("DELETE FROM {overlay} c USING {rows} o WHERE {of_branch}"),
            "c" => {
                let set = join(self.columns.iter().zip(&parent.referenced), ", ", |(c, r)| {
                    format!("{} = NEW.{}", quote(c), quote(r))
                });
                format!("UPDATE {overlay} c SET {set} FROM {rows} o WHERE {of_branch}")
            }
            _ => {
                let value = if action == "n" { "NULL" } else { "DEFAULT" };
                let columns =
                    if self.set_columns.is_empty() || update { &self.columns } else { &self.set_columns };
                let set = join(columns, ", ", |c| format!("{} = {value}", quote(c)));
                format!("UPDATE {overlay} c SET {set} FROM {rows} o WHERE {of_branch}")
            }
        };
        format!("{up};\n        {change};")
    }
}

/// Whether main below a lineage holds a visible row `b` for which `same` holds.
pub(crate) fn below(table: &TableDef, lineage: &str, ordinal: &str, same: &str) -> String {
    let [live, images] = below_rows(table, lineage, ordinal, same, "");
    format!("EXISTS ({live} OFFSET 0)\n        OR EXISTS ({images} OFFSET 0)")
}

/// `columns` of the rows `b` that main below a lineage shows and for which `same` holds: those that
/// stand there as they were, and those that are images by now.
pub(crate) fn below_rows(
    table: &TableDef,
    lineage: &str,
    ordinal: &str,
    same: &str,
    columns: &str,
) -> [String; 2] {
    let unmasked = format!(
        "NOT EXISTS (SELECT FROM {} m WHERE m.epoch_lineage = {lineage} AND {} OFFSET 0)",
        mask(table),
        same_key(table, "m", "b")
    );
    let image = format!(
        "SELECT FROM {} g WHERE g.epoch_lineage = 1 AND {} AND g.epoch_to > {ordinal}",
        of_main::images(table),
        same_key(table, "g", "b")
    );
    [
        format!(
            "SELECT {columns} FROM {} b WHERE {same} AND {unmasked} AND NOT EXISTS ({image} OFFSET 0)",
            of_main::rows(table)
        ),
        format!(
            "SELECT {columns} FROM {} b WHERE b.epoch_lineage = 1 AND b.epoch_existed AND b.epoch_to > {ordinal} AND {same}
            AND {unmasked} AND NOT EXISTS ({image} AND (g.epoch_to, g.epoch_seq) < (b.epoch_to, b.epoch_seq) OFFSET 0)",
            of_main::images(table)
        ),
    ]
}
