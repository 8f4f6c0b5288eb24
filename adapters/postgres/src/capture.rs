//! Capture of before-images: triggers on the base and on the overlay.

use epoch_adapter::TableDef;

use crate::layout::{base, copying_setting, history, literal, overlay};
use crate::text::{columns, fill, key, same_key};
use crate::writers::{NOTE_FIRST_SQL, NOTE_SQL};

const FUNCTIONS_SQL: &str = include_str!("../../../sql/postgres/capture.sql");
const PLAIN_SQL: &str = include_str!("../../../sql/postgres/capture_plain.sql");
const NEW_ONES_SQL: &str = include_str!("../../../sql/postgres/capture_new_ones.sql");
const TRIGGERS_SQL: &str = include_str!("../../../sql/postgres/capture_triggers.sql");
const FIRST_SQL: &str = include_str!("../../../sql/postgres/capture_first.sql");
const GUARD_SQL: &str = include_str!("../../../sql/postgres/guard.sql");
const TRUNCATE_SQL: &str = include_str!("../../../sql/postgres/truncate.sql");
const TRUNCATE_TRIGGER_SQL: &str = include_str!("../../../sql/postgres/truncate_trigger.sql");

/// Functions and triggers of base and overlay. Of a partitioned base the partitions aren't among them. `checks`: what the
/// overlay's function for an INSERT does last, and what it is to be set to for this.
pub(crate) fn script(table: &TableDef, partitioned: bool, (checks, path): (&str, &str)) -> String {
    let id = table.id.0.to_string();
    let (on_base, on_overlay) = (format!("b{id}"), format!("o{id}"));
    let (base, overlay) = (base(table), overlay(table));
    let mut script = truncate(table, partitioned);
    if partitioned {
        // A row that moves to another partition is no UPDATE for row triggers.
        let rest = ["true", &of_partitions(table)];
        script += &functions(table, "capture", ["1", "1"], "true", rest, ["", "", "", PATH]);
        script += &base_triggers(table, &base, &on_base);
    } else {
        script += &plain(table, &base, &on_base);
        script += &guard(&base);
        script += &truncate_trigger(table, &base);
    }
    let lineages = ["o.epoch_lineage", "n.epoch_lineage"];
    let rekeys = rekeyed_test(&on_overlay);
    let first = [first_old(table, &rekeys), first_new(table)];
    let first = [first[0].as_str(), first[1].as_str(), checks, path];
    script += &functions(table, "overlay", lineages, "NOT n.epoch_copied", [&rekeys, ""], first);
    let unless_copying = unless_copying(table);
    let function = format!("epoch.overlay_{id}");
    // The 1: like PostgreSQL, keys are checked before references.
    script
        + &triggers(
            &overlay,
            &function,
            &on_overlay,
            [MARK_CAPTURES, "", ""],
            ["zz_epoch_1_insert", &unless_copying],
        )
}

/// What a transaction does first on a partitioned table finds no images of its own.
fn nothing_before(table: &TableDef) -> String {
    format!(
        "IF epoch_v_count OPERATOR(pg_catalog.=) 1 AND pg_catalog.split_part(epoch_v_mark, ' ', 1) OPERATOR(pg_catalog.=) '1' THEN
            INSERT INTO {} (epoch_lineage, {}, epoch_existed) SELECT 1, {}, false FROM epoch_new n;
            RETURN NULL;
        END IF;",
        history(table),
        key(table, ""),
        key(table, "n.")
    )
}

/// What the overlay's functions do with the first rows of a transaction.
fn first(table: &TableDef, images: &str) -> String {
    fill(FIRST_SQL, &[("noted", &format!("n{}", table.id.0)), ("images", images)]).trim_end().to_owned()
}

fn first_old(table: &TableDef, may_rekey: &str) -> String {
    let (history, key_n) = (history(table), key(table, "n."));
    let images = format!(
        "INSERT INTO {history} (epoch_lineage, {columns}, epoch_existed) SELECT o.epoch_lineage, {columns_o}, true FROM epoch_old o;
        IF TG_OP OPERATOR(pg_catalog.=) 'UPDATE' THEN
            IF {may_rekey} THEN
                INSERT INTO {history} (epoch_lineage, {key}, epoch_existed) SELECT n.epoch_lineage, {key_n}, false FROM epoch_new n
                WHERE NOT EXISTS (SELECT FROM epoch_old o WHERE o.epoch_lineage OPERATOR(pg_catalog.=) n.epoch_lineage AND {same});
            END IF;
        END IF;",
        columns = columns(table, ""),
        columns_o = columns(table, "o."),
        key = key(table, ""),
        same = same_key(table, "o", "n"),
    );
    first(table, &images)
}

fn first_new(table: &TableDef) -> String {
    let images = format!(
        "INSERT INTO {} (epoch_lineage, {}, epoch_existed) SELECT n.epoch_lineage, {}, false FROM epoch_new n WHERE NOT n.epoch_copied;",
        history(table),
        key(table, ""),
        key(table, "n.")
    );
    first(table, &images)
}

const PATH: &str = " SET search_path = pg_catalog, pg_temp";

/// Functions and triggers of a table without partitions.
fn plain(table: &TableDef, target: &str, marks: &str) -> String {
    let history = history(table);
    let again = format!("again_{}", table.id.0);
    let (key_n, match_n) = (key(table, "n."), same_key(table, "h", "n"));
    // The transaction's later images of the same keys give way to these.
    let noted = format!(
        "IF pg_catalog.concat(pg_catalog.set_config('epoch.{again}', 'on', true), pg_catalog.set_config('epoch.odd', 'on', true)) IS NULL THEN END IF;"
    );
    let new_ones = |distinct: &str| {
        fill(
            NEW_ONES_SQL,
            &[
                ("noted", noted.as_str()),
                ("distinct", distinct),
                ("history", &history),
                ("key", &key(table, "")),
                ("key_n", &key_n),
                ("match_n", &match_n),
            ],
        )
    };
    fill(
        PLAIN_SQL,
        &[
            ("new_ones", new_ones("").trim_end()),
            // Cascades to the table itself come in the same set, so that it may have a key twice.
            ("new_keys", new_ones("DISTINCT ").trim_end()),
            ("target", target),
            ("fn", &format!("epoch.capture_{}", table.id.0)),
            ("marks", marks),
            ("may_rekey", &rekeyed_test(marks)),
            ("note", NOTE_SQL),
            ("note_first", NOTE_FIRST_SQL),
            ("noted", &noted),
            ("changed", &changed(table)),
            ("key", &key(table, "")),
            ("key_n", &key_n),
            ("history", &history),
            ("again", &again),
            ("columns", &columns(table, "")),
            ("columns_o", &columns(table, "o.")),
            ("key_o", &key(table, "o.")),
            ("key_old", &key(table, "OLD.")),
            ("match_o", &same_key(table, "h", "o")),
        ],
    )
}

fn functions(
    table: &TableDef,
    name: &str,
    lineage: [&str; 2],
    own: &str,
    [may_rekey, of_partitions]: [&str; 2],
    first: [&str; 4],
) -> String {
    let id = table.id.0.to_string();
    fill(
        FUNCTIONS_SQL,
        &[
            ("fn", &format!("epoch.{name}_{id}")),
            ("nothing_before", &if first[1].is_empty() { nothing_before(table) } else { String::new() }),
            ("first_old", first[0]),
            ("first_new", first[1]),
            ("may_rekey", may_rekey),
            ("partitions", of_partitions),
            ("note", if name == "capture" { NOTE_SQL } else { "" }),
            // What is only done for partitioned tables names things without their schemas.
            ("path", if of_partitions.is_empty() { "" } else { PATH }),
            ("end_first", if first[0].is_empty() { "" } else { "END IF;" }),
            ("checks_new", first[2]),
            ("path_new", first[3]),
            ("history", &history(table)),
            ("rows_old", "epoch_old"),
            ("rows_new", "epoch_new"),
            ("lineage_o", lineage[0]),
            ("lineage_n", lineage[1]),
            ("own_n", own),
            ("columns", &columns(table, "")),
            ("columns_o", &columns(table, "o.")),
            ("key", &key(table, "")),
            ("key_n", &key(table, "n.")),
            ("match_o", &same_key(table, "h", "o")),
            ("match_n", &same_key(table, "h", "n")),
        ],
    )
}

fn truncate(table: &TableDef, partitioned: bool) -> String {
    fill(
        TRUNCATE_SQL,
        &[
            ("id", &table.id.0.to_string()),
            ("still_ours", &still_ours(table, partitioned)),
            ("note", NOTE_SQL),
            ("history", &history(table)),
            ("overlay", &overlay(table)),
            ("columns", &columns(table, "")),
            ("columns_o", &columns(table, "o.")),
            ("match_o", &same_key(table, "h", "o")),
        ],
    )
}

/// What the base's functions do besides if it is partitioned: the common mark goes (`moved_in` and
/// `moved_out` look at it), and a partition that was detached is no longer captured. It keeps its triggers,
/// but loses its copies of the base's row triggers.
fn of_partitions(table: &TableDef) -> String {
    format!(
        "IF TG_OP <> 'UPDATE' THEN PERFORM set_config('epoch.b{id}s' || lower(left(TG_OP, 1)) || '_' || split_part(epoch_v_setting, '_', 2), '', true); END IF;
    {}",
        still_ours(table, true),
        id = table.id.0
    )
}

fn still_ours(table: &TableDef, partitioned: bool) -> String {
    if !partitioned {
        return String::new();
    }
    format!(
        "IF NOT EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = TG_RELID AND t.tgfoid = 'epoch.capture_{}_fresh'::regproc) THEN RETURN NULL; END IF;",
        table.id.0
    )
}

/// The setting that says that a key of the overlay changed, for the rest of the transaction.
pub(crate) fn rekeyed_setting(table: &TableDef) -> String {
    format!("epoch.ko{}", table.id.0)
}

fn rekeyed_test(marks: &str) -> String {
    format!("pg_catalog.current_setting('epoch.k{marks}', true) OPERATOR(pg_catalog.=) 'on'")
}

/// Whether an UPDATE changes a row's key.
fn changed(table: &TableDef) -> String {
    let (old, new) = (key(table, "OLD."), key(table, "NEW."));
    // Of an extension's type, bytes are compared: one time too often does no harm. (By the operator's function: a
    // dump writes the operator in a way that compares column by column when it is read.)
    if table.schema.key_columns().any(|c| c.equality.is_some()) {
        format!("NOT pg_catalog.record_image_eq(ROW({old}), ROW({new}))")
    } else {
        format!("({old}) IS DISTINCT FROM ({new})")
    }
}

/// Says where the log is when a statement starts, and how many captures there were (see capture.sql). `||` would be a function
/// in SQL here, which the server reads anew for each statement.
const MARK_CAPTURES: &str =
    "concat('0', current_setting('epoch.marks', true), ' ', pg_current_wal_insert_lsn())";

/// Counts the statement that starts, too.
const MARK: &str = "concat(set_config('epoch.marks', (concat('0', current_setting('epoch.marks', true))::int8 + 1)::text, true), \
    ' ', pg_current_wal_insert_lsn())";

/// A copy-up makes no images, and there is nothing to check. The setting is taken back.
fn unless_copying(table: &TableDef) -> String {
    let setting = copying_setting(table);
    format!(
        " WHEN (current_setting('{setting}', true) IS DISTINCT FROM 'on' OR set_config('{setting}', '', true) IS NULL)"
    )
}

fn triggers(
    target: &str,
    functions: &str,
    marks: &str,
    [mark, also_insert, also_delete]: [&str; 3],
    [insert, unless_copying]: [&str; 2],
) -> String {
    fill(
        TRIGGERS_SQL,
        &[
            ("target", target),
            ("fn", functions),
            ("marks", marks),
            ("mark", mark),
            ("also_insert", also_insert),
            ("also_delete", also_delete),
            ("insert", insert),
            ("unless_copying", unless_copying),
        ],
    )
}

/// The guard and the statement triggers of a partitioned base, or of one of its partitions. `marks` is a name
/// of the relation's own.
pub(crate) fn base_triggers(table: &TableDef, relation: &str, marks: &str) -> String {
    let id = table.id.0;
    let also = |event: &str| {
        format!(" OR set_config(concat('epoch.b{id}s{event}_', pg_trigger_depth()), 'on', true) IS NULL")
    };
    let and_marks = [MARK, &also("i"), &also("d")];
    guard(relation)
        + &triggers(relation, &format!("epoch.capture_{id}"), marks, and_marks, ["zz_epoch_insert", ""])
}

/// The guard of the base, or of one of its partitions; replaces the one that is there.
pub(crate) fn guard(relation: &str) -> String {
    fill(GUARD_SQL, &[("base", relation), ("base_text", &literal(relation))])
}

/// Captures TRUNCATE of a relation that holds rows itself.
pub(crate) fn truncate_trigger(table: &TableDef, relation: &str) -> String {
    fill(TRUNCATE_TRIGGER_SQL, &[("target", relation), ("id", &table.id.0.to_string())])
}
