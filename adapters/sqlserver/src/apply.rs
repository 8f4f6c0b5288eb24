//! The writes of a merge, in an order in which the server's own constraints let them pass: it checks each statement.

use std::sync::Arc;

use epoch_adapter::{Result, RowChange, RowWrite, sqlstate};
use epoch_layers::merge::{in_place, out_and_in};

use crate::meta::Meta;
use crate::physical::Foreign;
use crate::write::Writer;

/// A table and what is changed of it.
type Changes<'a> = (Arc<Meta>, &'a [RowChange]);

/// Orders in which writes are tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    /// New rows before what refers to them, then what refers to rows before those that go.
    NewFirst,
    /// What goes first, for values that new rows take over.
    OldFirst,
    /// All out, then all in: for rows that swap unique values.
    OutAndIn,
}

/// Writes all changes. Rows that collide on the way are tried in other orders.
pub(crate) async fn write_changes(writer: &mut Writer<'_>, changes: &[Changes<'_>]) -> Result<()> {
    let sorted = parents_first(changes);
    writer.session.run("SAVE TRANSACTION epoch_apply").await?;
    let mut first = None;
    for order in [Order::NewFirst, Order::OldFirst, Order::OutAndIn] {
        let collided = match in_order(writer, &sorted, order).await {
            Ok(()) => return Ok(()),
            Err(e) if matches!(e.code(), sqlstate::UNIQUE_VIOLATION | sqlstate::FOREIGN_KEY_VIOLATION) => e,
            Err(e) => return Err(e),
        };
        if !writer.session.in_transaction().await {
            return Err(collided);
        }
        // Set anew: whether a savepoint is there still after it was rolled back to is not documented.
        writer.session.run("ROLLBACK TRANSACTION epoch_apply; SAVE TRANSACTION epoch_apply").await?;
        drop(writer.checks.take());
        // What goes wrong in every order is told by the one that is the most natural.
        first.get_or_insert(collided);
    }
    first.map_or(Ok(()), Err)
}

async fn in_order(writer: &mut Writer<'_>, sorted: &[Changes<'_>], order: Order) -> Result<()> {
    let deletes = |write: &RowWrite| matches!(write, RowWrite::Delete { .. });
    let planned: Vec<(Arc<Meta>, Vec<RowWrite>, Vec<RowWrite>)> = sorted
        .iter()
        .map(|(meta, changes)| {
            let (old, new) = planned(meta, changes, order).into_iter().partition(deletes);
            (Arc::clone(meta), old, new)
        })
        .collect();
    if order == Order::NewFirst {
        for (meta, _, new) in &planned {
            writer.write_all(meta, new).await?;
        }
    }
    for (meta, old, _) in planned.iter().rev() {
        writer.write_all(meta, old).await?;
    }
    if order != Order::NewFirst {
        for (meta, _, new) in &planned {
            writer.write_all(meta, new).await?;
        }
    }
    Ok(())
}

/// The writes of one table. A row whose IDENTITY column differs is another one to the server, which lets nobody set it.
fn planned(meta: &Meta, changes: &[RowChange], order: Order) -> Vec<RowWrite> {
    if order == Order::OutAndIn {
        return out_and_in(changes, &meta.writable);
    }
    let Some(at) = meta.identity() else { return in_place(changes, &meta.writable) };
    let renumbered = |c: &RowChange| match (&c.before, &c.after) {
        (Some(before), Some(after)) => before.get(at) != after.get(at),
        _ => false,
    };
    let (anew, kept): (Vec<_>, Vec<_>) = changes.iter().cloned().partition(renumbered);
    let mut writes = in_place(&kept, &meta.writable);
    writes.extend(out_and_in(&anew, &meta.writable));
    writes
}

/// Tables that others refer to before those.
fn parents_first<'c>(changes: &[Changes<'c>]) -> Vec<Changes<'c>> {
    let mut left: Vec<Changes<'c>> = changes.to_vec();
    let mut out: Vec<Changes<'c>> = Vec::new();
    while !left.is_empty() {
        let waits = |meta: &Meta| {
            let parent = |fk: &Arc<Foreign>| {
                fk.parent != meta.base && left.iter().any(|(other, _)| other.base == fk.parent)
            };
            meta.physical.foreign.iter().any(parent)
        };
        // In a circle one is as good as another.
        let next = left.iter().position(|(meta, _)| !waits(meta)).unwrap_or(0);
        out.push(left.remove(next));
    }
    out
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use epoch_adapter::Value;

    use super::*;
    use crate::shapes::{meta_of, with_parent};

    #[test]
    fn parents_come_first_and_circles_end() {
        let (a, b, c) = (meta_of("a", false), meta_of("b", false), meta_of("c", false));
        let b = with_parent(b, "a");
        let c = with_parent(c, "b");
        let names = |metas: Vec<Meta>| {
            let all: Vec<Changes<'_>> = metas.into_iter().map(|m| (Arc::new(m), &[][..])).collect();
            parents_first(&all).iter().map(|(m, _)| m.name().to_owned()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(names(vec![c, b, a]), "a b c");
        let circle = vec![with_parent(meta_of("x", false), "y"), with_parent(meta_of("y", false), "x")];
        assert_eq!(names(circle), "x y");
        assert_eq!(names(vec![with_parent(meta_of("s", false), "s")]), "s");
    }

    #[test]
    fn a_row_with_another_number_is_taken_out_and_put_in() {
        let meta = meta_of("t", true);
        let row = |id: i64, v: &str| vec![Value::Int(id), Value::Text(v.to_owned()), Value::Null];
        let change = |before: Row, after: Row| RowChange {
            key: vec![Value::Text("k".to_owned())],
            before: Some(before),
            after: Some(after),
        };
        type Row = epoch_adapter::Row;
        let kept = planned(&meta, &[change(row(1, "a"), row(1, "b"))], Order::NewFirst);
        assert!(matches!(kept.as_slice(), [RowWrite::Update { .. }]), "{kept:?}");
        let anew = planned(&meta, &[change(row(1, "a"), row(2, "a"))], Order::NewFirst);
        assert!(matches!(anew.as_slice(), [RowWrite::Delete { .. }, RowWrite::Insert(_)]), "{anew:?}");
    }
}
