//! Queries that lock rows (FOR UPDATE and its kin), at any level of a statement.

use pg_raw_parse::list::NodeList;
use pg_raw_parse::{Node, nodes};

use super::relax;
use super::statement::{Select, clauses_of, is_star};
use super::walk::{Role, Walker};

/// What a query does about a row that another transaction has locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wait {
    /// It waits.
    Block,
    /// SKIP LOCKED
    Skip,
    /// NOWAIT
    Error,
}

/// A query that locks rows of tables in its FROM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Locking {
    /// The indices of these tables among the statement's.
    pub tables: Vec<usize>,
    /// What its expressions can name.
    pub scope: usize,
    /// What it does about rows that are locked.
    pub wait: Wait,
    /// Its clauses, if they were found.
    pub select: Option<Select>,
    /// Whether its FROM is one table.
    pub single: bool,
    /// Whether it groups rows or the like, which the server refuses together with locks.
    pub impossible: bool,
    /// The columns that it returns.
    pub outputs: Vec<Output>,
    /// Whether a part of the statement with this query in it may be evaluated with more rows.
    pub relaxed: bool,
}

/// A column that a query returns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// `*`
    Star,
    /// A column of a table, and by what name it is returned.
    Column {
        /// The table, if it is named.
        table: Option<String>,
        /// The column.
        column: String,
        /// Its name in the result.
        name: String,
    },
    /// Something else.
    Other,
}

/// Notes the tables that a query's locking clauses reach: its own, and those of sub-selects in its FROM.
/// Those that a sub-select locks itself have been noted already.
pub(super) fn note(walker: &mut Walker<'_>, select: &nodes::SelectStmt) {
    for clause in select.locking_clause().iter() {
        let named = |n: Node<'_>| match n {
            Node::RangeVar(table) => table.relname().map(str::to_owned),
            _ => None,
        };
        let names: Vec<String> = clause.locked_rels().iter().filter_map(named).collect();
        let wait = match clause.wait_policy {
            nodes::LockWaitPolicy::LockWaitSkip => Wait::Skip,
            nodes::LockWaitPolicy::LockWaitError => Wait::Error,
            _ => Wait::Block,
        };
        reach(walker, select, &names, wait);
    }
}

/// `names`: those that are locked; none: all.
fn reach(walker: &mut Walker<'_>, select: &nodes::SelectStmt, names: &[String], wait: Wait) {
    let mut found = Found { names, tables: Vec::new(), queries: Vec::new() };
    found.list(select.from_clause());
    let Found { tables: found, queries, .. } = found;
    let at = |location: i32| {
        let at = usize::try_from(location).ok()?;
        let read = |role: Role| matches!(role, Role::Read | Role::Sampled);
        walker.tables.iter().position(|t| read(t.role) && t.range.contains(&at))
    };
    let tables: Vec<usize> = found.into_iter().filter_map(at).collect();
    add(walker, select, tables, wait);
    for query in queries {
        reach(walker, query, &[], wait);
    }
}

fn add(walker: &mut Walker<'_>, select: &nodes::SelectStmt, tables: Vec<usize>, wait: Wait) {
    let Some(scope) = walker.scope_of(select) else { return walker.refuse("FOR UPDATE in this place") };
    let (known, new): (Vec<usize>, Vec<usize>) =
        tables.into_iter().partition(|t| walker.locking.iter().any(|l| l.tables.contains(t)));
    // The strictest of several clauses counts.
    for locking in walker.locking.iter_mut().filter(|l| l.tables.iter().any(|t| known.contains(t))) {
        locking.wait = locking.wait.max(wait);
    }
    if let Some(same) = walker.locking.iter_mut().find(|l| l.scope == scope) {
        same.tables.extend(new);
        same.wait = same.wait.max(wait);
        return;
    }
    relax::clauses(walker, select.from_clause(), select.where_clause());
    let grouped = select.group_clause().len() + select.window_clause().len() + select.distinct_clause().len();
    let single = select.from_clause().len() == 1
        && matches!(select.from_clause().first(), Some(Node::RangeVar(_)))
        && new.len() == 1;
    let impossible = select.op != 0 || grouped > 0 || !matches!(select.having_clause(), Node::None);
    let select_clauses = if impossible { None } else { clauses_of(walker, select) };
    let outputs = outputs(select);
    walker.locking.push(Locking {
        tables: new,
        scope,
        wait,
        select: select_clauses,
        single,
        impossible,
        outputs,
        relaxed: false,
    });
}

/// What a query returns.
pub(super) fn outputs(select: &nodes::SelectStmt) -> Vec<Output> {
    let one = |target: &nodes::ResTarget| {
        let Node::ColumnRef(column) = target.val() else { return Output::Other };
        if is_star(column) {
            return Output::Star;
        }
        let fields: Option<Vec<String>> =
            column.fields().iter().map(|f| f.as_str().map(str::to_owned)).collect();
        let Some(mut fields) = fields else { return Output::Other };
        let Some(column) = fields.pop() else { return Output::Other };
        let name = target.name().map_or_else(|| column.clone(), str::to_owned);
        Output::Column { table: fields.pop(), column, name }
    };
    select.target_list().iter().map(one).collect()
}

/// What a locking clause reaches in FROM.
struct Found<'n, 'a> {
    names: &'n [String],
    /// Where the tables' names are.
    tables: Vec<i32>,
    queries: Vec<&'a nodes::SelectStmt>,
}

impl<'a> Found<'_, 'a> {
    fn list(&mut self, items: &'a NodeList) {
        items.iter().for_each(|item| self.item(item));
    }

    fn is_meant(&self, name: Option<&str>) -> bool {
        self.names.is_empty() || name.is_some_and(|name| self.names.iter().any(|n| n == name))
    }

    fn item(&mut self, item: Node<'a>) {
        match item {
            Node::RangeVar(table)
                if self.is_meant(table.alias().and_then(|a| a.aliasname()).or(table.relname())) =>
            {
                self.tables.push(table.location);
            }
            Node::RangeTableSample(sample) => self.item(sample.relation()),
            Node::RangeSubselect(sub) => {
                if let Node::SelectStmt(select) = sub.subquery()
                    && self.is_meant(sub.alias().and_then(|a| a.aliasname()))
                {
                    self.queries.push(select);
                }
            }
            Node::JoinExpr(join) => {
                self.item(join.larg());
                self.item(join.rarg());
            }
            _ => {}
        }
    }
}
