//! UPDATE and DELETE of `epoch.conflicts`: which conflicts, and what becomes of them. They become calls, of functions that
//! nobody can name.

use pg_raw_parse::{Node, nodes};

use super::Kind;
use crate::query::parse::call::constant;
use crate::query::parse::{Argument, Constant};

/// UPDATE, as a call: arguments `set our_x`, `take our_x` (of another column, by its name), and `where x`; `refused` with
/// the construct that isn't understood.
pub const UPDATE_CONFLICTS: &str = "UPDATE epoch.conflicts";
/// DELETE, as a call.
pub const DELETE_CONFLICTS: &str = "DELETE FROM epoch.conflicts";

/// Whether a statement's target is the relation of conflicts.
pub(super) fn is_target(relation: Option<&nodes::RangeVar>) -> bool {
    relation.is_some_and(|r| r.schemaname() == Some("epoch") && r.relname() == Some("conflicts"))
}

/// The call that an UPDATE is. `inside`: it is a part of another statement.
pub(super) fn update(update: &nodes::UpdateStmt, inside: bool) -> Kind {
    let mut writing = Writing::of(update.relation());
    writing.check(inside, "UPDATE");
    writing.refuse_if(update.with_clause().is_some(), "WITH");
    writing.refuse_if(!update.from_clause().is_empty(), "FROM");
    writing.refuse_if(update.returning_clause().is_some(), "RETURNING");
    for target in update.target_list().iter() {
        writing.set(target);
    }
    writing.conditions(update.where_clause());
    writing.call(UPDATE_CONFLICTS)
}

/// The call that a DELETE is.
pub(super) fn delete(delete: &nodes::DeleteStmt, inside: bool) -> Kind {
    let mut writing = Writing::of(delete.relation());
    writing.check(inside, "DELETE");
    writing.refuse_if(delete.with_clause().is_some(), "WITH");
    writing.refuse_if(!delete.using_clause().is_empty(), "USING");
    writing.refuse_if(delete.returning_clause().is_some(), "RETURNING");
    writing.conditions(delete.where_clause());
    writing.call(DELETE_CONFLICTS)
}

struct Writing<'a> {
    /// What the relation is called.
    called: &'a str,
    arguments: Vec<Argument>,
    refused: Option<String>,
}

impl<'a> Writing<'a> {
    fn of(relation: Option<&'a nodes::RangeVar>) -> Self {
        let alias = relation.and_then(|r| r.alias()).and_then(|a| a.aliasname());
        Self { called: alias.unwrap_or("conflicts"), arguments: Vec::new(), refused: None }
    }

    fn check(&mut self, inside: bool, what: &str) {
        self.refuse_if(inside, &format!("{what} as a part of another statement"));
    }

    fn refuse_if(&mut self, refused: bool, what: &str) {
        if refused && self.refused.is_none() {
            self.refused = Some(what.to_owned());
        }
    }

    fn argument(&mut self, verb: &str, column: &str, value: Constant) {
        self.arguments.push(Argument { name: Some(format!("{verb} {column}")), value });
    }

    fn set(&mut self, target: &nodes::ResTarget) {
        let Some(name) = target.name() else { return self.refuse_if(true, "this form of SET") };
        self.refuse_if(!target.indirection().is_empty(), "parts of values in SET");
        match (self.column(target.val()), constant(target.val())) {
            (Some(other), _) => self.argument("take", name, Constant::Text(other)),
            (None, Constant::Expression | Constant::Array(_)) => {
                self.refuse_if(true, "an expression in SET");
            }
            (None, value) => self.argument("set", name, value),
        }
    }

    /// All that AND joins.
    fn conditions(&mut self, node: Node<'_>) {
        match node {
            Node::None => {}
            Node::BoolExpr(b) if b.boolop == nodes::BoolExprType::AND_EXPR => {
                b.args().iter().for_each(|arg| self.conditions(arg));
            }
            Node::A_Expr(expr) if self.condition(expr).is_some() => {}
            _ => self.refuse_if(true, "this condition"),
        }
    }

    /// `column = constant`, `IN`, `= ANY`.
    fn condition(&mut self, expr: &nodes::A_Expr) -> Option<()> {
        use nodes::A_Expr_Kind as Of;
        if expr.name().len() != 1 || expr.name().first()?.as_str()? != "=" {
            return None;
        }
        let (left, right) = (expr.lexpr(), expr.rexpr());
        let (column, value) = match expr.kind {
            Of::AEXPR_OP => match self.column(left) {
                Some(column) => (column, one(right)?),
                None => (self.column(right)?, one(left)?),
            },
            Of::AEXPR_IN => (self.column(left)?, any_of(right)?),
            Of::AEXPR_OP_ANY => match constant(right) {
                // A parameter is an array in its text form; `where` takes it for one value.
                array @ Constant::Array(_) => (self.column(left)?, array),
                _ => return None,
            },
            _ => return None,
        };
        self.argument("where", &column, value);
        Some(())
    }

    fn column(&self, node: Node<'_>) -> Option<String> {
        let Node::ColumnRef(column) = node else { return None };
        let fields: Vec<&str> = column.fields().iter().map(|f| f.as_str()).collect::<Option<_>>()?;
        match fields.as_slice() {
            [name] => Some((*name).to_owned()),
            [called, name] if *called == self.called => Some((*name).to_owned()),
            _ => None,
        }
    }

    fn call(mut self, name: &str) -> Kind {
        if let Some(refused) = self.refused {
            let value = Constant::Text(refused);
            self.arguments = vec![Argument { name: Some("refused".to_owned()), value }];
        }
        Kind::Call {
            name: name.to_owned(),
            arguments: self.arguments,
            from: false,
            alias: None,
            columns: Vec::new(),
            chosen: Vec::new(),
        }
    }
}

/// A single value that is known.
fn one(node: Node<'_>) -> Option<Constant> {
    match constant(node) {
        Constant::Expression | Constant::Array(_) => None,
        value => Some(value),
    }
}

/// The values of a list, none of them a parameter unless it is the only one.
fn any_of(node: Node<'_>) -> Option<Constant> {
    let values: Vec<Constant> = node.as_node_list()?.iter().map(one).collect::<Option<_>>()?;
    if let [only] = values.as_slice() {
        return Some(only.clone());
    }
    let text = |value: &Constant| match value {
        Constant::Text(text) => Some(text.clone()),
        Constant::Int(number) => Some(number.to_string()),
        Constant::Bool(truth) => Some(if *truth { "t" } else { "f" }.to_owned()),
        _ => None,
    };
    values.iter().map(text).collect::<Option<_>>().map(Constant::Array)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;

    fn call(sql: &str) -> (String, Vec<(String, Constant)>) {
        match super::super::super::parse(sql).unwrap().statements[0].kind.clone() {
            Kind::Call { name, arguments, .. } => {
                (name, arguments.into_iter().map(|a| (a.name.unwrap(), a.value)).collect())
            }
            other => panic!("{sql}: {other:?}"),
        }
    }

    fn refused(sql: &str) -> String {
        let (_, arguments) = call(sql);
        match arguments.as_slice() {
            [(name, Constant::Text(what))] if name == "refused" => what.clone(),
            other => panic!("{sql}: {other:?}"),
        }
    }

    #[test]
    fn what_is_set_and_where() {
        let text = |t: &str| Constant::Text(t.to_owned());
        let sql = "UPDATE epoch.conflicts c SET our_n = their_n, our_a = $2 \
                   WHERE c.table_name = 't' AND 5 = conflict_id AND our_id IN (1, 2)";
        let expected = [
            ("take our_n", text("their_n")),
            ("set our_a", Constant::Param(1)),
            ("where table_name", text("t")),
            ("where conflict_id", Constant::Int(5)),
            ("where our_id", Constant::Array(vec!["1".to_owned(), "2".to_owned()])),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value)).to_vec();
        assert_eq!(call(sql), (UPDATE_CONFLICTS.to_owned(), expected));
        assert_eq!(call("DELETE FROM epoch.conflicts"), (DELETE_CONFLICTS.to_owned(), vec![]));
    }

    #[test]
    fn what_is_not_understood_is_named() {
        for (sql, what) in [
            ("UPDATE epoch.conflicts SET resolution = 'ours' RETURNING *", "RETURNING"),
            ("DELETE FROM epoch.conflicts RETURNING table_name", "RETURNING"),
            ("UPDATE epoch.conflicts SET our_n = our_n + 1", "an expression in SET"),
            ("UPDATE epoch.conflicts SET (our_n, our_a) = (SELECT 1, 2)", "an expression in SET"),
            ("UPDATE epoch.conflicts SET resolution = DEFAULT", "an expression in SET"),
            ("UPDATE epoch.conflicts SET resolution = 'ours' FROM t", "FROM"),
            ("DELETE FROM epoch.conflicts USING t", "USING"),
            ("DELETE FROM epoch.conflicts WHERE our_n > 5", "this condition"),
            ("DELETE FROM epoch.conflicts WHERE our_n = 5 OR our_n = 6", "this condition"),
            ("DELETE FROM epoch.conflicts WHERE our_n = (SELECT 1)", "this condition"),
            ("WITH x AS (SELECT 1) DELETE FROM epoch.conflicts", "WITH"),
            ("EXPLAIN DELETE FROM epoch.conflicts", "DELETE as a part of another statement"),
            ("PREPARE p AS DELETE FROM epoch.conflicts", "DELETE as a part of another statement"),
        ] {
            assert_eq!(refused(sql), what, "{sql}");
        }
    }
}
