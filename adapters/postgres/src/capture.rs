//! Capture of before-images: triggers on the base and on the overlay.

use epoch_adapter::TableDef;

use crate::layout::{base, copying_setting, history, literal, overlay};
use crate::text::{columns, fill, key, same_key};
use crate::writers::{NOTE_FIRST_SQL, NOTE_SQL};

const FUNCTIONS_SQL: &str = include_str!("../../../sql/postgres/capture.sql");
const PLAIN_SQL: &str = include_str!("../../../sql/postgres/capture_plain.sql");
const NEW_ONES_SQL: &str = include_str!("../../../sql/postgres/capture_new_ones.sql");
const TRIGGERS_SQL: &str = include_str!("../../../sql/postgres/capture_triggers.sql");
const REKEYED_SQL: &str = include_str!("../../../sql/postgres/rekeyed.sql");
const GUARD_SQL: &str = include_str!("../../../sql/postgres/guard.sql");
const TRUNCATE_SQL: &str = include_str!("../../../sql/postgres/truncate.sql");
const TRUNCATE_TRIGGER_SQL: &str = include_str!("../../../sql/postgres/truncate_trigger.sql");

/// Functions and triggers of base and overlay. Of a partitioned base the partitions aren't among them.
pub(crate) fn script(table: &TableDef, partitioned: bool) -> String {
    let id = table.id.0.to_string();
    let (on_base, on_overlay) = (format!("b{id}"), format!("o{id}"));
    let (base, overlay) = (base(table), overlay(table));
    let mut script = truncate(table, partitioned);
    if partitioned {
        // A row that moves to another partition is no UPDATE for row triggers.
        let rest = ["true", &of_partitions(table)];
        script += &functions(table, &base, "capture", ["1", "1"], "true", rest);
        script += &base_triggers(table, &base, &on_base);
    } else {
        script += &plain(table, &base, &on_base);
        script += &guard(&base);
        script += &truncate_trigger(table, &base);
    }
    let lineages = ["o.epoch_lineage", "n.epoch_lineage"];
    let rekeys = rekeyed_test(&on_overlay);
    script += &functions(table, &overlay, "overlay", lineages, "NOT n.epoch_copied", [&rekeys, ""]);
    script += &triggers(
        &overlay,
        &format!("epoch.overlay_{id}"),
        &on_overlay,
        ["", ""],
        &unless_copying(table, &on_overlay),
    );
    script + &rekeyed(table, &overlay, &on_overlay)
}

/// Functions and triggers of a table without partitions.
fn plain(table: &TableDef, target: &str, marks: &str) -> String {
    let history = history(table);
    let again = format!("again_{}", table.id.0);
    let (key_n, match_n) = (key(table, "n."), same_key(table, "h", "n"));
    // The transaction's later images of the same keys give way to these.
    let noted = format!(
        "PERFORM pg_catalog.set_config('epoch.{again}', 'on', true), pg_catalog.set_config('epoch.odd', 'on', true);"
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
    target: &str,
    name: &str,
    lineage: [&str; 2],
    own: &str,
    [may_rekey, of_partitions]: [&str; 2],
) -> String {
    let id = table.id.0.to_string();
    fill(
        FUNCTIONS_SQL,
        &[
            ("target", target),
            ("fn", &format!("epoch.{name}_{id}")),
            ("may_rekey", may_rekey),
            ("partitions", of_partitions),
            ("note", if name == "capture" { NOTE_SQL } else { "" }),
            // What is only done for partitioned tables names things without their schemas.
            ("path", if of_partitions.is_empty() { "" } else { " SET search_path = pg_catalog, pg_temp" }),
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

fn rekeyed(table: &TableDef, target: &str, marks: &str) -> String {
    fill(REKEYED_SQL, &[("target", target), ("rekeyed", &format!("k{marks}")), ("changed", &changed(table))])
}

/// Counts a statement that starts, and says where the log is then (see capture.sql).
const MARK: &str = "set_config('epoch.marks', (coalesce(nullif(current_setting('epoch.marks', true), ''), '0')::int8 + 1)::text, true) \
    || ' ' || pg_current_wal_insert_lsn()";

/// A copy-up makes no images. The last of the overlay's triggers to be asked takes the setting back, and the mark that
/// the function would have.
fn unless_copying(table: &TableDef, marks: &str) -> String {
    let setting = copying_setting(table);
    format!(
        " WHEN (current_setting('{setting}', true) IS DISTINCT FROM 'on' \
         OR set_config('{setting}', '', true) || set_config('epoch.{marks}i_' || pg_trigger_depth(), '', true) IS NULL)"
    )
}

fn triggers(target: &str, functions: &str, marks: &str, also: [&str; 2], unless_copying: &str) -> String {
    fill(
        TRIGGERS_SQL,
        &[
            ("target", target),
            ("fn", functions),
            ("marks", marks),
            ("mark", MARK),
            ("also_insert", also[0]),
            ("also_delete", also[1]),
            ("unless_copying", unless_copying),
        ],
    )
}

/// The guard and the statement triggers of a partitioned base, or of one of its partitions. `marks` is a name
/// of the relation's own.
pub(crate) fn base_triggers(table: &TableDef, relation: &str, marks: &str) -> String {
    let id = table.id.0;
    let also = |event: &str| {
        format!(" OR set_config('epoch.b{id}s{event}_' || pg_trigger_depth(), 'on', true) IS NULL")
    };
    guard(relation) + &triggers(relation, &format!("epoch.capture_{id}"), marks, [&also("i"), &also("d")], "")
}

/// The guard of the base, or of one of its partitions; replaces the one that is there.
pub(crate) fn guard(relation: &str) -> String {
    fill(GUARD_SQL, &[("base", relation), ("base_text", &literal(relation))])
}

/// Captures TRUNCATE of a relation that holds rows itself.
pub(crate) fn truncate_trigger(table: &TableDef, relation: &str) -> String {
    fill(TRUNCATE_TRIGGER_SQL, &[("target", relation), ("id", &table.id.0.to_string())])
}
