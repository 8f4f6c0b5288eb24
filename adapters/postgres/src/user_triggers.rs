//! The user's row triggers on rows of branches, for tables that ask for it.
//!
//! The overlay gets a copy of each trigger, which calls a copy of its function as it was then ([`trigger_body`]). It fires
//! for what sessions on branches write, not for rows that are copied up, nor for what merges, resets or TRUNCATE do.
//! What is deferrable isn't taken: SET CONSTRAINTS would name main's.
//! All triggers of a table run on branches, or none: half of them would make rows that neither main nor their
//! author knows.

use deadpool_postgres::Object;
use epoch_adapter::{Error, Result, TableDef, UserTrigger, sqlstate};

use crate::error::pg;
use crate::install;
use crate::layout::{LINEAGE_SETTING, SCHEMA, base, literal, overlay};
use crate::lexer;
use crate::trigger_body::{self, For};
use crate::tx::Tx;

const TRIGGERS_SQL: &str = include_str!("../../../sql/postgres/user_triggers.sql");
const UNKNOWN_SQL: &str = include_str!("../../../sql/postgres/user_trigger_names.sql");

/// The setting that is `on` while a statement of ours empties a table.
pub const TRUNCATING_SETTING: &str = "epoch.truncating";

/// A trigger of the user's table.
struct Trigger {
    name: String,
    /// `regprocedure`
    function: String,
    body: String,
    /// The whole statement.
    definition: String,
    kind: i32,
    constraint: bool,
    always: bool,
    /// What stands after UPDATE OF, quoted.
    of: Vec<String>,
    /// Why none like it can run on branches, whatever its function does.
    reason: Option<String>,
    /// Of the table.
    relation: u32,
}

/// Bits of `pg_trigger.tgtype`, and with which letter our copy for this event ends.
const EVENTS: [(i32, &str, char); 3] = [(INSERT, "INSERT", 'i'), (16, "UPDATE", 'u'), (8, "DELETE", 'd')];
const BEFORE: i32 = 2;
const INSERT: i32 = 4;

/// The triggers of a table that fire for clients, and what becomes of them on branches.
pub(crate) async fn list(client: &Object, table: &TableDef) -> Result<Vec<UserTrigger>> {
    let copied = copied(client, table).await?;
    let mut out = Vec::new();
    for trigger in read(client, table).await? {
        let reason = copy(client, table, &trigger).await?.err();
        let on_branches = copied.contains(&trigger.name);
        out.push(UserTrigger { name: trigger.name, function: trigger.function, on_branches, reason });
    }
    Ok(out)
}

/// The names of those that have copies.
pub(crate) async fn copied(client: &Object, table: &TableDef) -> Result<Vec<String>> {
    let sql = "SELECT DISTINCT d.description FROM pg_proc p JOIN pg_description d ON d.objoid = p.oid AND d.classoid = 'pg_proc'::regclass \
        WHERE p.pronamespace = to_regnamespace('epoch') AND p.proname ~ $1";
    let rows = client.query(sql, &[&format!("^user_{}_", table.id.0)]).await.map_err(pg)?;
    rows.iter().map(|row| row.try_get(0).map_err(pg)).collect()
}

/// Makes the table's triggers run on branches as they are now, or no longer. 0A000 if one of them can't.
pub(crate) async fn set(tx: &Tx, table: &TableDef, on: bool) -> Result<()> {
    install::lock(tx).await?;
    tx.batch_execute(&drop_sql(table)).await.map_err(pg)?;
    if !on {
        return Ok(());
    }
    if others(tx, table).await? {
        return Err(Error::unsupported(format!(
            "triggers on branches of table \"{}\", which branches have altered",
            table.name
        )));
    }
    let mut script = String::new();
    let mut reasons = Vec::new();
    for (n, trigger) in read(tx, table).await?.iter().enumerate() {
        match copy(tx, table, trigger).await? {
            Ok(copied) => script += &statements(table, trigger, n, &copied),
            Err(reason) => reasons.push(format!("{}: {reason}", trigger.name)),
        }
    }
    if !reasons.is_empty() {
        let message = format!("triggers of table \"{}\" can't run on branches", table.name);
        return Err(Error::new(sqlstate::FEATURE_NOT_SUPPORTED, message)
            .with_detail(format!("{}.", reasons.join("; "))));
    }
    tx.batch_execute(&script).await.map_err(pg)
}

/// Whether there are other versions of the table.
async fn others(client: &Object, table: &TableDef) -> Result<bool> {
    let family = crate::versions::family(client, table.id).await?.unwrap_or(table.id.0);
    crate::tx::is_true(client, &format!("SELECT count(*) > 1 FROM epoch.registered WHERE family = {family}"))
        .await
}

async fn read(client: &Object, table: &TableDef) -> Result<Vec<Trigger>> {
    let rows = client.query(TRIGGERS_SQL, &[&base(table)]).await.map_err(pg)?;
    let read = |row: &tokio_postgres::Row| -> Result<Trigger, tokio_postgres::Error> {
        Ok(Trigger {
            name: row.try_get(0)?,
            function: row.try_get(1)?,
            body: row.try_get(2)?,
            definition: row.try_get(3)?,
            kind: row.try_get(4)?,
            constraint: row.try_get(5)?,
            always: row.try_get(6)?,
            of: row.try_get(7)?,
            reason: row.try_get(8)?,
            relation: u32::try_from(row.try_get::<_, i64>(9)?).unwrap_or_default(),
        })
    };
    rows.iter().map(|row| read(row).map_err(pg)).collect()
}

/// The copy of its function's body and of its condition, or why there is none.
struct Copied {
    body: String,
    condition: Option<String>,
    /// With brackets.
    arguments: String,
}

async fn copy(client: &Object, table: &TableDef, trigger: &Trigger) -> Result<Result<Copied, String>> {
    if let Some(reason) = &trigger.reason {
        return Ok(Err(reason.clone()));
    }
    let columns: Vec<String> = table.schema.columns.iter().map(|c| c.name.clone()).collect();
    let schema = table.location.schema.as_deref().unwrap_or("public");
    let of = For {
        table: (schema, &table.location.table, trigger.relation),
        trigger: &trigger.name,
        columns: &columns,
    };
    let Some((condition, arguments)) = parts(&trigger.definition) else {
        return Ok(Err("its definition was not understood".to_owned()));
    };
    let body = match trigger_body::copy(&trigger.body, &of) {
        Ok(body) => body,
        Err(reason) => return Ok(Err(format!("function {}: {reason}", trigger.function))),
    };
    let condition = match condition.map(|text| trigger_body::copy(&text, &of)).transpose() {
        Ok(condition) => condition,
        Err(reason) => return Ok(Err(format!("its condition: {reason}"))),
    };
    for names in [Some(&body), condition.as_ref()].into_iter().flatten() {
        let asked = client
            .query_opt(UNKNOWN_SQL, &[&names.functions, &names.operators, &names.columns, &base(table)])
            .await
            .map_err(pg)?;
        if let Some(row) = asked {
            return Ok(Err(format!(
                "function {}: {}",
                trigger.function,
                row.try_get::<_, String>(0).map_err(pg)?
            )));
        }
    }
    if let Some(column) = conflicting(client, table, trigger, &body.assigned).await? {
        let reason =
            format!("it changes column {column} of new rows, which conflicts of INSERT are found by");
        return Ok(Err(format!("function {}: {reason}", trigger.function)));
    }
    Ok(Ok(Copied { body: body.body, condition: condition.map(|c| c.body), arguments }))
}

/// A column of a unique index that a trigger before INSERT gives values to: ON CONFLICT looks for rows by what it makes of
/// them, and these are brought up by what the statement has.
async fn conflicting(
    client: &Object,
    table: &TableDef,
    trigger: &Trigger,
    assigned: &[String],
) -> Result<Option<String>> {
    if trigger.kind & BEFORE == 0 || trigger.kind & INSERT == 0 {
        return Ok(None);
    }
    // An index over an expression may be over any of them.
    let sql = "SELECT a.attname::text FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid \
        WHERE i.indrelid = $1::text::regclass AND (i.indisunique OR i.indisexclusion) AND a.attname = ANY ($2) \
        AND (a.attnum = ANY (i.indkey::int2[]) OR i.indexprs IS NOT NULL OR i.indpred IS NOT NULL) ORDER BY 1 LIMIT 1";
    let row = client.query_opt(sql, &[&base(table), &assigned]).await.map_err(pg)?;
    row.map(|row| row.try_get(0).map_err(pg)).transpose()
}

/// The condition without its brackets, and the arguments with them, of what `pg_get_triggerdef` says.
fn parts(definition: &str) -> Option<(Option<String>, String)> {
    let tokens = lexer::tokens(definition).ok()?.list;
    let word =
        |i: usize, word: &str| tokens.get(i).is_some_and(|t| t.depth == 0 && t.is_word(definition, word));
    let row = (0..tokens.len()).find(|i| word(*i, "for") && word(i + 1, "each") && word(i + 2, "row"))?;
    let execute = (row..tokens.len()).find(|i| word(*i, "execute") && word(i + 1, "function"))?;
    let open = tokens.get(execute..)?.iter().find(|t| t.depth == 0 && t.is_symbol(b'('))?;
    let condition = match word(row + 3, "when") {
        true => {
            let (first, last) = (tokens.get(row + 4)?, tokens.get(execute.checked_sub(1)?)?);
            Some(definition.get(first.end..last.start)?.to_owned())
        }
        false => None,
    };
    Some((condition, definition.get(open.start..)?.to_owned()))
}

/// The copy of its function, and of the trigger for each event.
fn statements(table: &TableDef, trigger: &Trigger, n: usize, copied: &Copied) -> String {
    let function = format!("{SCHEMA}.user_{}_{n}", table.id.0);
    let mut script = format!(
        "CREATE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS {};\n\
         COMMENT ON FUNCTION {function}() IS {};\n",
        literal(&copied.body),
        literal(&trigger.name)
    );
    let constraint = if trigger.constraint { "CONSTRAINT " } else { "" };
    let time = if trigger.kind & BEFORE != 0 { "BEFORE" } else { "AFTER" };
    for (_, event, letter) in EVENTS.iter().filter(|(bit, ..)| trigger.kind & bit != 0) {
        let of = match (*event, trigger.of.as_slice()) {
            ("UPDATE", [_, ..]) => format!(" OF {}", trigger.of.join(", ")),
            _ => String::new(),
        };
        let ours = match *event {
            "INSERT" => " AND NOT new.epoch_copied".to_owned(),
            "DELETE" => format!(" AND current_setting('{TRUNCATING_SETTING}', true) IS DISTINCT FROM 'on'"),
            _ => String::new(),
        };
        let theirs = copied.condition.as_ref().map(|c| format!(" AND ({c})")).unwrap_or_default();
        // Ours come after it, in the order of names, as those of main do; of the user's, the order is kept.
        let name = format!("zz_epoch_0{n:04}_{letter}");
        script += &format!(
            "CREATE {constraint}TRIGGER {name} {time} {event}{of} ON {overlay} FOR EACH ROW \
             WHEN (current_setting('{LINEAGE_SETTING}', true) <> ''{ours}{theirs}) EXECUTE FUNCTION {function}{};\n",
            copied.arguments,
            overlay = overlay(table),
        );
        if trigger.always {
            script += &format!("ALTER TABLE {} ENABLE ALWAYS TRIGGER {name};\n", overlay(table));
        }
    }
    script
}

/// Removes the copies.
fn drop_sql(table: &TableDef) -> String {
    format!(
        "DO $epoch$ DECLARE epoch_v record; BEGIN
             FOR epoch_v IN SELECT t.tgname FROM pg_trigger t WHERE t.tgrelid = {}::regclass AND t.tgname LIKE 'zz\\_epoch\\_0%' LOOP
                 EXECUTE format('DROP TRIGGER %I ON %s', epoch_v.tgname, {overlay_text});
             END LOOP;
             FOR epoch_v IN SELECT p.proname FROM pg_proc p
                 WHERE p.pronamespace = 'epoch'::regnamespace AND p.proname ~ '^user_{}_' LOOP
                 EXECUTE format('DROP FUNCTION epoch.%I()', epoch_v.proname);
             END LOOP;
         END $epoch$",
        literal(&overlay(table)),
        table.id.0,
        overlay_text = literal(&overlay(table)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_and_arguments_are_found() {
        let definition = "CREATE TRIGGER \"for each row\" BEFORE INSERT OR UPDATE OF \"when\" ON public.\"execute function\" FOR EACH ROW \
            WHEN (((new.a)::text = ') EXECUTE FUNCTION ('::text)) EXECUTE FUNCTION public.\"f(\"('it''s', 'b')";
        let (condition, arguments) = parts(definition).unwrap_or_default();
        assert_eq!(condition.as_deref(), Some("((new.a)::text = ') EXECUTE FUNCTION ('::text)"));
        assert_eq!(arguments, "('it''s', 'b')");
        let plain = "CREATE TRIGGER t AFTER DELETE ON public.x FOR EACH ROW EXECUTE FUNCTION f()";
        assert_eq!(parts(plain), Some((None, "()".to_owned())));
    }
}
