//! Which columns of a table an ALTER TABLE concerns that views may read.

use pg_raw_parse::{Node, nodes};

use crate::query::lexer;

/// What happens to a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Altered {
    /// It goes.
    Dropped(String),
    /// It gets another type.
    Retyped(String),
    /// It gets another name.
    Renamed(String),
}

/// What the only statement of a text does to columns that are there; nothing if it isn't an ALTER TABLE.
pub fn altered(sql: &str) -> Vec<Altered> {
    use nodes::AlterTableType as Form;
    let Ok(tokens) = lexer::tokens(sql) else { return Vec::new() };
    let stack = (4 << 20) + tokens.nesting * (24 << 10);
    stacker::maybe_grow(stack, stack, || {
        let Ok(tree) = pg_raw_parse::parse(sql) else { return Vec::new() };
        let Some(statement) = tree.iter().next() else { return Vec::new() };
        match statement.stmt() {
            Node::AlterTableStmt(alter) => {
                let one = |command: Node<'_>| {
                    let Node::AlterTableCmd(command) = command else { return None };
                    let name = command.name()?.to_owned();
                    match command.subtype {
                        Form::AT_DropColumn => Some(Altered::Dropped(name)),
                        Form::AT_AlterColumnType => Some(Altered::Retyped(name)),
                        _ => None,
                    }
                };
                alter.cmds().iter().filter_map(one).collect()
            }
            Node::RenameStmt(rename) if rename.rename_type == nodes::ObjectType::OBJECT_COLUMN => {
                rename.subname().map(|name| Altered::Renamed(name.to_owned())).into_iter().collect()
            }
            _ => Vec::new(),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_that_are_altered_are_found() {
        let name = |n: &str| n.to_owned();
        assert_eq!(
            altered("ALTER TABLE t ADD a int, DROP COLUMN b, ALTER c TYPE text, ALTER d SET DEFAULT 1"),
            [Altered::Dropped(name("b")), Altered::Retyped(name("c"))]
        );
        assert_eq!(altered("ALTER TABLE t RENAME \"A\" TO b"), [Altered::Renamed(name("A"))]);
        assert_eq!(altered("CREATE INDEX ON t (a)"), []);
        assert_eq!(altered("ALTER TABLE ("), []);
    }
}
