//! Foreign keys over layers: triggers on the overlays do what the server's own do on the base.

use deadpool_postgres::Object;
use epoch_adapter::{
    BackendKind, Error, Layer, LineageId, Location, Result, TableDef, TableId, TableName, TableSchema,
};

use crate::error::pg;
use crate::layer;
use crate::layout::{BASE_OF_LINEAGE, base, literal, mask, overlay, quote};
use crate::of_main;
use crate::text::{fill, join, key, same_key};

const KEYS_SQL: &str = include_str!("../../../sql/postgres/foreign_keys.sql");
const CHILD_SQL: &str = include_str!("../../../sql/postgres/fk_child.sql");
const PARENT_SQL: &str = include_str!("../../../sql/postgres/fk_parent.sql");

/// Numbers that stand for a trigger's variables in generated SQL, as no lineage or ordinal does.
const VARIABLES: Layer = Layer { lineage: LineageId(-1_000_000_000_000_007), base: -1_000_000_000_000_009 };

/// The trigger's variables in the place of [`VARIABLES`].
fn with_variables(sql: &str) -> String {
    sql.replace(&VARIABLES.lineage.0.to_string(), "epoch_v_lineage")
        .replace(&VARIABLES.base.to_string(), "epoch_v_base")
}

struct ForeignKey {
    oid: i64,
    name: String,
    child: TableDef,
    /// `None` if the parent isn't versioned: then the live table counts.
    parent: Option<TableDef>,
    /// The parent's quoted and qualified name, and the bare one for messages.
    parent_name: (String, String),
    columns: Vec<String>,
    referenced: Vec<String>,
    /// `referenced OPERATOR column`, in order.
    operators: Vec<String>,
    on_delete: String,
    on_update: String,
    deferrable: Option<String>,
    /// The columns of ON DELETE SET NULL (…), if not all.
    set_columns: Vec<String>,
    /// MATCH FULL over several columns.
    full: bool,
}

/// Makes the triggers of all foreign keys that `table` takes part in, as what is versioned now
/// demands.
pub(crate) async fn refresh(client: &Object, table: &TableDef) -> Result<()> {
    for foreign_key in read(client, table).await? {
        let script = foreign_key.child_script() + &foreign_key.parent_script();
        client.batch_execute(&script).await.map_err(pg)?;
    }
    Ok(())
}

/// Takes the parents' triggers of `table`'s foreign keys away, before it goes.
pub(crate) async fn remove(client: &Object, table: &TableDef) -> Result<()> {
    for foreign_key in read(client, table).await? {
        if foreign_key.child.id == table.id {
            let script = foreign_key.drop_parent();
            client.batch_execute(&script).await.map_err(pg)?;
        }
    }
    Ok(())
}

/// The versioned tables whose rows an action of a foreign key may change when `table` is written to.
pub(crate) async fn related(client: &Object, table: &TableDef) -> Result<Vec<TableId>> {
    const RELATED: &str = "WITH RECURSIVE w (oid) AS (SELECT $1::text::regclass::oid UNION
            SELECT k.conrelid FROM w JOIN pg_constraint k ON k.confrelid = w.oid AND k.contype = 'f' AND k.conparentid = 0
                AND (k.confdeltype IN ('c', 'n', 'd') OR k.confupdtype IN ('c', 'n', 'd')))
        SELECT r.id FROM w JOIN pg_class c ON c.oid = w.oid JOIN pg_namespace n ON n.oid = c.relnamespace
        JOIN epoch.registered r ON r.schema_name = n.nspname AND r.table_name = c.relname WHERE r.id <> $2";
    let statement = client.prepare_cached(RELATED).await.map_err(pg)?;
    let rows = client.query(&statement, &[&base(table), &table.id.0]).await.map_err(pg)?;
    rows.iter().map(|row| row.try_get(0).map(TableId).map_err(pg)).collect()
}

async fn read(client: &Object, table: &TableDef) -> Result<Vec<ForeignKey>> {
    let schema = table.location.schema.as_deref().unwrap_or("public");
    let rows = client.query(KEYS_SQL, &[&schema, &table.location.table]).await.map_err(pg)?;
    let mut out = Vec::with_capacity(rows.len());
    for row in &rows {
        let text = |i: usize| row.try_get::<_, String>(i).map_err(pg);
        let list = |i: usize| row.try_get::<_, Vec<String>>(i).map_err(pg);
        let (parent_schema, parent_table) = (text(6)?, text(7)?);
        let child = definition(client, row.try_get(2).map_err(pg)?, text(4)?, text(5)?, &list(15)?).await?;
        let parent = match row.try_get::<_, Option<i64>>(3).map_err(pg)? {
            None => None,
            Some(id) => {
                Some(definition(client, id, parent_schema.clone(), parent_table.clone(), &list(16)?).await?)
            }
        };
        out.push(ForeignKey {
            oid: row.try_get(0).map_err(pg)?,
            name: text(1)?,
            child,
            parent,
            parent_name: (format!("{}.{}", quote(&parent_schema), quote(&parent_table)), parent_table),
            columns: list(8)?,
            referenced: list(9)?,
            operators: list(10)?,
            on_delete: text(11)?,
            on_update: text(12)?,
            deferrable: row.try_get(13).map_err(pg)?,
            set_columns: list(14)?,
            full: row.try_get(17).map_err(pg)?,
        });
    }
    Ok(out)
}

/// A registered table as the database knows it.
async fn definition(
    client: &Object,
    id: i64,
    schema: String,
    table: String,
    key: &[String],
) -> Result<TableDef> {
    let columns = crate::catalog::columns(client, &schema, &table).await?;
    let index = |name: &String| {
        let position = columns.iter().position(|c| &c.name == name);
        position.ok_or_else(|| Error::internal(format!("key column \"{name}\" of \"{table}\" is gone")))
    };
    let key = key.iter().map(index).collect::<Result<Vec<_>>>()?;
    Ok(TableDef {
        id: TableId(id),
        name: TableName { schema: schema.clone(), name: table.clone() },
        location: Location {
            kind: BackendKind::PostgreSql,
            backend: String::new(),
            schema: Some(schema),
            table,
        },
        schema: TableSchema { columns, key },
        revision: None,
        retired: None,
        source: None,
    })
}

impl ForeignKey {
    /// `p.referenced = n.epoch_u0 AND …`.
    fn same(&self, parent: &str, value: impl Fn(usize) -> String) -> String {
        join(self.referenced.iter().zip(&self.operators).enumerate(), " AND ", |(i, (column, operator))| {
            format!("{parent}.{} {operator} {}", quote(column), value(i))
        })
    }

    /// `p.referenced = c.column AND …`.
    fn joined(&self, parent: &str, child: &str) -> String {
        self.same(parent, |i| {
            format!("{child}.{}", self.columns.get(i).map(|c| quote(c)).unwrap_or_default())
        })
    }

    fn child_script(&self) -> String {
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
            format!("NOT (ROW(OLD.{c})::record OPERATOR(pg_catalog.*=) ROW(NEW.{c})::record)", c = quote(c))
        });
        let by_row = self.child_function(&format!("{stem}_row"), &row, &format!("true{not_null}"));
        let names = [format!("zz_epoch_fk{}_insert", self.oid), format!("zz_epoch_fk{}_update", self.oid)];
        let [insert, update] = &names;
        let drops = join(&names, "", |n| format!("DROP TRIGGER IF EXISTS {n} ON {overlay};\n"));
        let (kind, deferrable) = match &self.deferrable {
            Some(deferrable) => ("CONSTRAINT ", deferrable.as_str()),
            None => ("", ""),
        };
        let on_update = format!(
            "CREATE {kind}TRIGGER {update} AFTER UPDATE ON {overlay} {deferrable} FOR EACH ROW WHEN ({changed}) EXECUTE FUNCTION {stem}_row();\n"
        );
        let on_insert = if self.deferrable.is_some() {
            format!(
                "CREATE CONSTRAINT TRIGGER {insert} AFTER INSERT ON {overlay} {deferrable} FOR EACH ROW WHEN (NOT NEW.epoch_copied) EXECUTE FUNCTION {stem}_row();\n"
            )
        } else {
            let own = format!("NOT epoch_copied{not_null}");
            self.child_function(&format!("{stem}_rows"), "epoch_new", &own)
                + &format!(
                    "CREATE TRIGGER {insert} AFTER INSERT ON {overlay} REFERENCING NEW TABLE AS epoch_new FOR EACH STATEMENT EXECUTE FUNCTION {stem}_rows();\n"
                )
        };
        format!("{drops}{by_row}{on_update}{on_insert}")
    }

    fn child_function(&self, name: &str, rows: &str, own: &str) -> String {
        let width = self.columns.len();
        let parent_exists = match &self.parent {
            None => format!(
                "EXISTS (SELECT FROM {} p WHERE {} OFFSET 0)",
                self.parent_name.0,
                self.same("p", |i| format!("n.epoch_u{i}"))
            ),
            Some(parent) => {
                self.visible_parent(parent, "n.epoch_l", BASE_OF_LINEAGE, |i| format!("n.epoch_u{i}"))
            }
        };
        let message = format!(
            "insert or update on table \"{}\" violates foreign key constraint \"{}\"",
            self.child.location.table, self.name
        );
        let detail = format!(
            "{} || {} || {}",
            literal(&format!("Key ({})=(", self.columns.join(", "))),
            join(0..width, " || ', ' || ", |i| format!("format('%s', epoch_v_hit.epoch_u{i})")),
            literal(&format!(") is not present in table \"{}\".", self.parent_name.1))
        );
        let detail = if self.full {
            let mixed = join(0..width, " OR ", |i| format!("epoch_v_hit.epoch_u{i} IS NULL"));
            format!(
                "CASE WHEN {mixed} THEN 'MATCH FULL does not allow mixing of null and nonnull key values.' ELSE {detail} END"
            )
        } else {
            detail
        };
        fill(
            CHILD_SQL,
            &[
                ("fn", name),
                ("parent_id", &self.parent.as_ref().map_or(0, |p| p.id.0).to_string()),
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

    /// Whether a branch sees a parent with these values.
    fn visible_parent(
        &self,
        parent: &TableDef,
        lineage: &str,
        base: &str,
        value: impl Fn(usize) -> String + Copy,
    ) -> String {
        let live = format!(
            "EXISTS (SELECT FROM {} p WHERE p.epoch_lineage = {lineage} AND {} OFFSET 0)",
            overlay(parent),
            self.same("p", value)
        );
        format!("{live} OR {}", below(parent, lineage, base, &self.same("b", value)))
    }

    fn drop_parent(&self) -> String {
        let Some(parent) = &self.parent else { return String::new() };
        join(["delete", "update"], "", |event| {
            format!(
                "DROP FUNCTION IF EXISTS epoch.overlay_{}_ref{}_{event}() CASCADE;\n",
                parent.id.0, self.oid
            )
        })
    }

    fn parent_script(&self) -> String {
        let Some(parent) = &self.parent else { return String::new() };
        let overlay = overlay(parent);
        let stem = format!("epoch.overlay_{}_ref{}", parent.id.0, self.oid);
        let changed = join(&self.referenced, " OR ", |c| {
            format!("NOT (ROW(OLD.{c})::record OPERATOR(pg_catalog.*=) ROW(NEW.{c})::record)", c = quote(c))
        });
        let old_row = format!(
            "(SELECT OLD.epoch_lineage, {})",
            join(&self.referenced, ", ", |c| format!("OLD.{}", quote(c)))
        );
        let deferred = |action: &str| self.deferrable.as_deref().filter(|_| action == "a");
        let on_delete = match deferred(&self.on_delete) {
            Some(when) => {
                self.parent_function(parent, &format!("{stem}_delete"), &old_row, &self.on_delete, false)
                    + &format!(
                        "CREATE CONSTRAINT TRIGGER zz_epoch_ref{oid}_delete AFTER DELETE ON {overlay} {when} FOR EACH ROW EXECUTE FUNCTION {stem}_delete();\n",
                        oid = self.oid
                    )
            }
            None => {
                self.parent_function(parent, &format!("{stem}_delete"), "epoch_old", &self.on_delete, false)
                    + &format!(
                        "CREATE TRIGGER zz_epoch_ref{oid}_delete AFTER DELETE ON {overlay} REFERENCING OLD TABLE AS epoch_old FOR EACH STATEMENT EXECUTE FUNCTION {stem}_delete();\n",
                        oid = self.oid
                    )
            }
        };
        let (kind, when) = deferred(&self.on_update).map_or(("", ""), |when| ("CONSTRAINT ", when));
        let on_update = self.parent_function(
            parent,
            &format!("{stem}_update"),
            &old_row,
            &self.on_update,
            true,
        ) + &format!(
            "CREATE {kind}TRIGGER zz_epoch_ref{oid}_update AFTER UPDATE ON {overlay} {when} FOR EACH ROW WHEN ({changed}) EXECUTE FUNCTION {stem}_update();\n",
            oid = self.oid
        );
        format!("{}{on_delete}{on_update}", self.drop_parent())
    }

    fn parent_function(
        &self,
        parent: &TableDef,
        name: &str,
        rows: &str,
        action: &str,
        update: bool,
    ) -> String {
        let body = match action {
            "c" | "n" => self.follow(rows, action, update),
            // The default may be the very key that goes.
            "d" => self.follow(rows, action, update) + &self.refuse(parent, rows, action),
            _ => self.refuse(parent, rows, action),
        };
        fill(
            PARENT_SQL,
            &[("fn", name), ("rows", rows), ("parent_id", &parent.id.0.to_string()), ("action", &body)],
        )
    }

    /// NO ACTION and RESTRICT: an error if a child is left without a parent.
    fn refuse(&self, parent: &TableDef, rows: &str, action: &str) -> String {
        let value = |i: usize| format!("o.{}", self.referenced.get(i).map(|c| quote(c)).unwrap_or_default());
        let child_of = |alias: &str| self.joined("o", alias);
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
        let message = format!(
            "update or delete on table \"{}\" violates foreign key constraint \"{}\" on table \"{}\"",
            parent.location.table, self.name, self.child.location.table
        );
        let values = join(self.referenced.iter(), " || ', ' || ", |c| {
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
                RAISE foreign_key_violation USING MESSAGE = {}, DETAIL = {} || {values} || {},
                    SCHEMA = {}, TABLE = {}, CONSTRAINT = {};
            END IF;
            {up};
        END LOOP;",
            literal(&message),
            literal(&format!("Key ({})=(", self.referenced.join(", "))),
            literal(&format!(") is still referenced from table \"{}\".", self.child.location.table)),
            literal(&self.child.name.schema),
            literal(&self.child.location.table),
            literal(&self.name),
            overlay = overlay(&self.child),
            held = self.joined("epoch_v_hit", "c"),
            up = self.one_child_up(),
        )
    }

    /// Brings one child of the row `epoch_v_hit` up into the layer.
    fn one_child_up(&self) -> String {
        let child = &self.child;
        let [live, images] = below_rows(
            child,
            "epoch_v_lineage",
            "epoch_v_base",
            &self.joined("epoch_v_hit", "b"),
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
    fn follow(&self, rows: &str, action: &str, update: bool) -> String {
        let child = &self.child;
        let candidates = format!(
            "SELECT {keys} FROM {rows} o JOIN {base} b ON {same} WHERE o.epoch_lineage = epoch_v_lineage
             UNION SELECT {keys} FROM {rows} o JOIN {history} b ON b.epoch_lineage = 1 AND b.epoch_existed AND b.epoch_to > epoch_v_base AND {same}
             WHERE o.epoch_lineage = epoch_v_lineage",
            keys = key(child, "b."),
            base = of_main::rows(child),
            history = of_main::images(child),
            same = self.joined("o", "b")
        );
        let up = with_variables(&layer::copy_up(child, VARIABLES, &candidates));
        let of_branch = format!(
            "c.epoch_lineage = epoch_v_lineage AND o.epoch_lineage = epoch_v_lineage AND {}",
            self.joined("o", "c")
        );
        let overlay = overlay(child);
        let change = match action {
            "c" if !update => format!("DELETE FROM {overlay} c USING {rows} o WHERE {of_branch}"),
            "c" => {
                let set = join(self.columns.iter().zip(&self.referenced), ", ", |(c, r)| {
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
