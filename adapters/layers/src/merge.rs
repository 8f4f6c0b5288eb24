//! The writes that make rows what a merge computed.

use epoch_adapter::{Row, RowChange, RowWrite, Value};

/// Each row where it is: deletes, then updates of what differs, then inserts. `writable`: the columns that aren't
/// generated.
pub fn in_place(changes: &[RowChange], writable: &[usize]) -> Vec<RowWrite> {
    let deletes =
        changes.iter().filter(|c| c.after.is_none()).map(|c| RowWrite::Delete { key: c.key.clone() });
    let updates = changes.iter().filter_map(|change| {
        let (before, after) = (change.before.as_ref()?, change.after.as_ref()?);
        let differs = |i: &&usize| before.get(**i) != after.get(**i);
        let set: Vec<(usize, Value)> =
            writable.iter().filter(differs).filter_map(|&i| Some((i, after.get(i)?.clone()))).collect();
        (!set.is_empty()).then(|| RowWrite::Update { key: change.key.clone(), set })
    });
    let inserts = changes.iter().filter(|c| c.before.is_none()).filter_map(|c| insert(c, writable));
    deletes.chain(updates).chain(inserts).collect()
}

/// All out, then all in: for rows that swap unique values, which collide on the way otherwise.
pub fn out_and_in(changes: &[RowChange], writable: &[usize]) -> Vec<RowWrite> {
    let deletes =
        changes.iter().filter(|c| c.before.is_some()).map(|c| RowWrite::Delete { key: c.key.clone() });
    deletes.chain(changes.iter().filter_map(|c| insert(c, writable))).collect()
}

/// Whether a row became what it was to be, but for what the backend computes.
pub fn same(now: Option<&Row>, wanted: Option<&Row>, writable: &[usize]) -> bool {
    match (now, wanted) {
        (Some(now), Some(wanted)) => writable.iter().all(|&i| now.get(i) == wanted.get(i)),
        (now, wanted) => now.is_none() && wanted.is_none(),
    }
}

fn insert(change: &RowChange, writable: &[usize]) -> Option<RowWrite> {
    let cell = |(i, v): (usize, &Value)| writable.contains(&i).then(|| v.clone());
    Some(RowWrite::Insert(change.after.as_ref()?.iter().enumerate().map(cell).collect()))
}
