//! How the types of branches differ between two refs.

use std::collections::BTreeMap;

use epoch_adapter::TableName;

use super::view_diff::{literal, quote};
use super::{SchemaDiff, Tables};

/// A type's backend and name.
type Key = (String, TableName);

/// The values of each type. Main's own, which no branch made, are the server's.
fn shown(tables: &Tables) -> BTreeMap<Key, Vec<String>> {
    let one = |t: &super::ShownType| {
        let key = (t.table.location.backend.clone(), t.table.name.clone());
        Some((key, t.table.enumeration.as_ref()?.labels.clone()))
    };
    tables.types.values().filter_map(one).collect()
}

/// Whether a ref says anything of a type.
pub(super) fn has(tables: &Tables, name: &TableName) -> bool {
    tables.types.values().any(|t| t.table.name == *name)
}

/// The types that two refs have in different ways, by name: those that come first, and those that go, whose statements belong
/// behind those of tables.
pub(super) fn between(left: &Tables, right: &Tables) -> [Vec<SchemaDiff>; 2] {
    let (left, right) = (shown(left), shown(right));
    let mut found = [Vec::new(), Vec::new()];
    let mut keys: Vec<&Key> = left.keys().chain(right.keys()).collect();
    keys.sort_by(|a, b| (&a.1, &a.0).cmp(&(&b.1, &b.0)));
    keys.dedup();
    for key in keys {
        let (from, to) = (left.get(key), right.get(key));
        if from == to {
            continue;
        }
        let named = format!("{}.{}", quote(&key.1.schema), quote(&key.1.name));
        let created = |labels: Option<&Vec<String>>| labels.map(|labels| create(&named, labels));
        let drop = from.map(|_| format!("DROP TYPE {named};"));
        let statements = drop.into_iter().chain(created(to)).collect();
        let diff = SchemaDiff {
            table: key.1.clone(),
            from: created(from),
            to: created(to),
            statements: Some(statements),
        };
        let [coming, going] = &mut found;
        if to.is_some() { coming.push(diff) } else { going.push(diff) }
    }
    found
}

fn create(named: &str, labels: &[String]) -> String {
    let labels: Vec<String> = labels.iter().map(|label| literal(label)).collect();
    format!("CREATE TYPE {named} AS ENUM ({});", labels.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_types_values_are_written_as_sql() {
        let labels = ["it's", "a\\b", ""].map(str::to_owned);
        assert_eq!(
            create("\"p\".\"t\"", &labels),
            "CREATE TYPE \"p\".\"t\" AS ENUM ('it''s', E'a\\\\b', '');"
        );
    }
}
