//! What kind of statement it is, and where its clauses are.

mod clauses;
mod conflicts;
mod counting;
mod create_as;
mod keyed;
mod merge;
mod select;
mod utility;
mod width;

use std::ops::Range;

use pg_raw_parse::{Node, nodes};

use super::call::arguments;
use super::walk::{Role, TypeRef, Walker};
use super::{Argument, Constant, Listed, Statement, listed, relax};
use crate::Result;
use crate::query::lexer::Tokens;
pub(super) use clauses::{is_star, is_starred, item_names};
pub use conflicts::{DELETE_CONFLICTS, UPDATE_CONFLICTS};
pub use create_as::{CreateAs, Keys, Shown};
pub use keyed::Keyed;
pub use merge::{Merge, When};
pub use select::Select;
pub(super) use select::{clauses_of, cuts_of};
pub(super) use utility::is_temporary;
pub use width::Width;

/// How a transaction ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// COMMIT.
    Commit,
    /// PREPARE TRANSACTION.
    Prepare,
    /// It goes back, to its beginning or to a savepoint.
    Back,
}

/// What a statement is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// SELECT, VALUES, TABLE.
    Query,
    /// INSERT; its target is the first table.
    Insert(Insert),
    /// UPDATE; its target is the first table.
    Update(Modify),
    /// DELETE; its target is the first table.
    Delete(Modify),
    /// MERGE; its target is the first table.
    Merge(Merge),
    /// TRUNCATE of the tables.
    Truncate {
        /// CASCADE.
        cascade: bool,
        /// RESTART IDENTITY.
        restart: bool,
    },
    /// LOCK TABLE.
    Lock,
    /// COPY of a table; it is the only table.
    Copy {
        /// COPY … FROM.
        from: bool,
        /// The columns named.
        columns: Vec<String>,
        /// Whether there is a column list.
        listed: bool,
    },
    /// A lone call of one of our functions.
    Call {
        /// Its name.
        name: String,
        /// Its arguments.
        arguments: Vec<Argument>,
        /// `SELECT * FROM f()`; else `SELECT f()` or CALL.
        from: bool,
        /// The alias of the function or its result.
        alias: Option<String>,
        /// Column aliases.
        columns: Vec<String>,
        /// The columns asked for and what they are called; empty is all.
        chosen: Vec<(String, String)>,
    },
    /// Concerns a setting of ours, or all settings.
    Setting(Setting),
    /// SET CONSTRAINTS of these, by schema and name; of all, if there are none.
    Constraints(Vec<(Option<String>, String)>),
    /// Says how transactions are isolated.
    Isolation(Isolation),
    /// Concerns the session or the transaction only.
    Pass,
    /// Ends a transaction that was prepared, whoever did that.
    TwoPhase(&'static str),
    /// As [`Kind::Pass`], and changes what names mean.
    Names,
    /// Ends a transaction, or goes back in it: names mean again what they meant before.
    Ends(Ending),
    /// Data definition: of temporary tables the server's, of tables made on a branch ours.
    Define(Define),
    /// EXECUTE of a prepared statement.
    Execute {
        /// Its name.
        name: String,
        /// What it is given.
        arguments: Vec<Range<usize>>,
    },
    /// Has no rewrite; the construct's name.
    Refused(String),
}

/// What a statement says of how transactions are isolated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// BEGIN: whether SERIALIZABLE, if it says.
    Begin(Option<bool>),
    /// SET TRANSACTION: whether SERIALIZABLE.
    Set(bool),
    /// Something else that may change it, for the session too.
    Other,
}

/// Data definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Define {
    /// What it is called, and its command tag.
    pub what: &'static str,
    /// What it does.
    pub how: How,
}

/// What data definition does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum How {
    /// CREATE TABLE of the first table.
    Create {
        /// IF NOT EXISTS.
        if_not_exists: bool,
    },
    /// CREATE TABLE AS, or SELECT INTO.
    CreateAs(CreateAs),
    /// Changes the only table.
    Alter,
    /// ALTER TABLE … RENAME TO and SET SCHEMA of the only table.
    Move {
        /// The schema that it gets.
        schema: Option<String>,
        /// The name that it gets.
        name: Option<String>,
        /// IF EXISTS.
        if_exists: bool,
    },
    /// ALTER INDEX … RENAME TO of the only relation.
    RenameIndex {
        /// The name that it gets.
        name: String,
        /// IF EXISTS.
        if_exists: bool,
    },
    /// Makes, changes or drops views.
    View(ViewHow),
    /// Makes or drops types.
    Type(TypeHow),
    /// DROP TABLE.
    DropTable {
        /// IF EXISTS.
        if_exists: bool,
        /// CASCADE.
        cascade: bool,
    },
    /// DROP INDEX of the only relation.
    DropIndex {
        /// IF EXISTS.
        if_exists: bool,
    },
    /// Something that a branch can't do to its own tables, by name.
    Never(String),
}

/// What is done to views.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ViewHow {
    /// CREATE VIEW of the first relation.
    Create {
        /// OR REPLACE.
        replace: bool,
    },
    /// ALTER VIEW … RENAME TO.
    Rename(String),
    /// ALTER VIEW … SET SCHEMA.
    Move(String),
    /// ALTER VIEW … RENAME COLUMN of this one, SET and RESET.
    Alter(Option<String>),
    /// COMMENT ON VIEW.
    Comment(Option<String>),
    /// DROP VIEW.
    Drop {
        /// IF EXISTS.
        if_exists: bool,
        /// CASCADE.
        cascade: bool,
    },
}

/// What is done to types. Their names aren't among the statement's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TypeHow {
    /// CREATE TYPE … AS ENUM.
    Create {
        /// The name, and its place.
        name: TypeRef,
        /// The values.
        labels: Vec<String>,
    },
    /// DROP TYPE.
    Drop {
        /// The names.
        names: Vec<TypeRef>,
        /// IF EXISTS.
        if_exists: bool,
    },
}

/// A statement about settings that the session answers itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Setting {
    /// `SET [LOCAL] epoch.x = value`
    Set {
        /// `epoch.x`
        name: String,
        /// The value as text.
        value: String,
        /// SET LOCAL.
        local: bool,
    },
    /// `RESET epoch.x`, `SET epoch.x TO DEFAULT`
    Reset(String),
    /// `SHOW epoch.x`
    Show(String),
    /// DISCARD ALL: also to be sent to the server.
    DiscardAll,
    /// RESET ALL: also to be sent to the server.
    ResetAll,
}

/// A data-modifying query of the outermost WITH.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nested {
    /// INSERT, UPDATE, DELETE or MERGE.
    pub kind: Kind,
    /// The index of its target among the statement's tables.
    pub target: usize,
}

/// What is around a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wrap {
    /// Nothing.
    None,
    /// EXPLAIN, with ANALYZE or without.
    Explain {
        /// Whether the statement is run.
        analyze: bool,
    },
    /// DECLARE name CURSOR FOR.
    Cursor(String),
    /// PREPARE name AS.
    Prepare(String),
    /// CREATE TEMP TABLE … AS, SELECT INTO TEMP.
    CreateTemp,
    /// COPY (…) TO.
    CopyTo,
}

/// The clauses of an INSERT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Insert {
    /// The columns named.
    pub columns: Vec<String>,
    /// Where a column list is to be put if there is none.
    pub list_at: Option<usize>,
    /// The column list with its brackets, if there is one.
    pub list: Option<Range<usize>>,
    /// Whose values identity columns get.
    pub overriding: Overriding,
    /// Where the rows come from.
    pub source: Source,
    /// ON CONFLICT.
    pub conflict: Option<Conflict>,
    /// Stars in RETURNING.
    pub stars: Vec<Star>,
}

/// OVERRIDING … VALUE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overriding {
    /// Not said.
    None,
    /// Identity columns get the values of their sequences.
    User,
    /// Identity columns get the values that are given.
    System,
}

impl Overriding {
    fn new(kind: nodes::OverridingKind::Type) -> Self {
        match kind {
            nodes::OverridingKind::OVERRIDING_USER_VALUE => Self::User,
            nodes::OverridingKind::OVERRIDING_SYSTEM_VALUE => Self::System,
            _ => Self::None,
        }
    }
}

/// Where inserted rows come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// DEFAULT VALUES
    Default,
    /// The expressions of each row.
    Values(Vec<Vec<Range<usize>>>),
    /// A query, and how many columns it returns if that can be told.
    Query(Range<usize>, Option<Width>),
}

/// ON CONFLICT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// After the bracket that opens the arbiter's columns.
    pub open: Option<usize>,
    /// The arbiter's columns.
    pub columns: Vec<String>,
    /// Whether the arbiter has expressions.
    pub expressions: bool,
    /// ON CONSTRAINT.
    pub constraint: Option<String>,
    /// The columns that DO UPDATE sets.
    pub sets: Vec<String>,
    /// Where the names of these columns are.
    pub set_at: Vec<usize>,
    /// Those of them that it sets to DEFAULT.
    pub defaults: Vec<String>,
}

/// The clauses of an UPDATE or DELETE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Modify {
    /// What follows FROM or USING.
    pub from: Option<Range<usize>>,
    /// What follows WHERE.
    pub condition: Option<Range<usize>>,
    /// The parts of the condition that AND joins, if they could be told apart.
    pub conjuncts: Vec<Range<usize>>,
    /// Where a WHERE is to be put if there is none.
    pub end: usize,
    /// The columns that are set.
    pub sets: Vec<String>,
    /// Where the names of these columns are, and where SET ends.
    pub set_at: (Vec<usize>, Option<usize>),
    /// Those of them that are set to DEFAULT.
    pub defaults: Vec<String>,
    /// The cursor of WHERE CURRENT OF.
    pub cursor: Option<String>,
    /// Where it compares columns of the target with what queries return that lock rows.
    pub keyed: Vec<Keyed>,
    /// Stars in RETURNING.
    pub stars: Vec<Star>,
    /// Whether every FROM item can be starred by its alias (no USING, NATURAL, unnamed items).
    pub starrable: Option<Vec<String>>,
}

/// A star in RETURNING.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Star {
    /// Its bytes, with the qualifier.
    pub range: Range<usize>,
    /// Its qualifier.
    pub qualifier: Option<String>,
}

pub(super) fn describe(sql: &str, tokens: &Tokens, range: Range<usize>, node: Node<'_>) -> Result<Statement> {
    let mut walker = Walker::new(sql, tokens);
    let mut describer =
        Describer { walker: &mut walker, range: range.clone(), target: 0, nested: false, wrap: Wrap::None };
    let kind = describer.kind(node);
    let wrap = describer.wrap;
    Ok(Statement {
        range,
        kind,
        wrap,
        tables: walker.tables,
        functions: walker.functions,
        operators: walker.operators,
        attributes: walker.attributes,
        types: walker.types,
        type_refs: walker.type_refs,
        columns: walker.columns,
        aliases: walker.aliases,
        refused: walker.refused,
        scopes: walker.scopes,
        locking: walker.locking,
        relaxed: walker.relaxed,
        stars: walker.stars,
        unnamed: walker.unnamed,
        select_lists: walker.select_lists,
        with: walker.outer,
        nested: walker.nested,
        grouped: walker.grouped,
        asking: walker.asking,
        listed: walker.listed,
    })
}

/// Notes a data-modifying query inside of WITH.
pub(super) fn nested(walker: &mut Walker<'_>, node: Node<'_>) {
    let target = walker.tables.len();
    let range = 0..walker.sql.len();
    let mut describer = Describer { walker, range, target, nested: true, wrap: Wrap::None };
    match describer.kind(node) {
        Kind::Refused(what) => walker.refuse(what),
        kind => walker.nested.push(Nested { kind, target }),
    }
}

struct Describer<'w, 's> {
    walker: &'w mut Walker<'s>,
    range: Range<usize>,
    /// The index of the target among the tables.
    target: usize,
    /// It is a query of WITH.
    nested: bool,
    wrap: Wrap,
}

impl Describer<'_, '_> {
    fn kind(&mut self, node: Node<'_>) -> Kind {
        match node {
            Node::SelectStmt(select) => self.select(select),
            Node::InsertStmt(insert) => self.insert(insert),
            Node::UpdateStmt(update) if conflicts::is_target(update.relation()) => {
                conflicts::update(update, self.is_inside())
            }
            Node::DeleteStmt(delete) if conflicts::is_target(delete.relation()) => {
                conflicts::delete(delete, self.is_inside())
            }
            Node::UpdateStmt(update) => self.update(update),
            Node::DeleteStmt(delete) => self.delete(delete),
            Node::MergeStmt(merge) => self.merge(merge),
            node => self.utility(node),
        }
    }

    /// Whether this is a part of another statement.
    fn is_inside(&self) -> bool {
        self.nested || self.wrap != Wrap::None
    }

    fn select(&mut self, select: &nodes::SelectStmt) -> Kind {
        if self.wrap == Wrap::None
            && let Some(call) = lone_call(select).or_else(|| counting::of_branches(select))
        {
            return call;
        }
        let into = select.into_clause().filter(|_| self.wrap == Wrap::None);
        let permanent = into.and_then(|i| i.rel()).is_some_and(|t| !is_temporary(t));
        if into.is_some() && !permanent {
            self.wrap = Wrap::CreateTemp;
        }
        self.walker.select(select);
        relax::common(self.walker, select.with_clause());
        if self.wrap == Wrap::None {
            self.walker.listed = listed::of_query(self.walker, select);
        }
        match into.filter(|_| permanent) {
            Some(into) => self.select_into(select, into),
            None => Kind::Query,
        }
    }

    fn target(&mut self, table: Option<&nodes::RangeVar>) {
        match table {
            Some(table) => self.walker.table(table, Role::Target),
            None => self.walker.refuse("a statement without a target"),
        }
    }

    /// The target and the WITH clause of a data-modifying statement; the scope around it is returned. The
    /// target comes first among the tables; WITH doesn't see it.
    fn begin(&mut self, target: Option<&nodes::RangeVar>, with: Option<&nodes::WithClause>) -> Option<usize> {
        let around = self.walker.enter();
        self.target(target);
        let own = self.walker.exit(around);
        self.with(with);
        self.walker.exit(own);
        around
    }

    /// Ends what [`Describer::begin`] began.
    fn end(&mut self, around: Option<usize>, with: Option<&nodes::WithClause>) {
        self.walker.exit(around);
        self.walker.leave(with);
        if !self.nested {
            relax::common(self.walker, with);
        }
    }

    /// The WITH clause of a data-modifying statement. (The server takes its own of one inside of WITH.)
    fn with(&mut self, with: Option<&nodes::WithClause>) {
        if with.is_some() && self.nested {
            self.walker.refuse("WITH inside of a data-modifying statement in WITH");
        }
        self.walker.with(with);
    }

    /// What follows WHERE; the cursor of CURRENT OF.
    fn condition(&mut self, condition: Node<'_>) -> Option<String> {
        if let Node::CurrentOfExpr(current) = condition {
            return current.cursor_name().map(str::to_owned);
        }
        self.walker.node(condition);
        None
    }

    fn returning(&mut self, returning: Option<&nodes::ReturningClause>) -> Vec<Star> {
        let Some(returning) = returning else { return Vec::new() };
        if !returning.options().is_empty() {
            self.walker.refuse("RETURNING WITH");
        }
        if !self.nested && self.wrap == Wrap::None {
            let items = returning.exprs().iter().map(|item| match item {
                Node::ResTarget(target) => listed::item(target),
                _ => None,
            });
            let items = items.collect::<Option<Vec<_>>>();
            let scope = self.walker.here();
            self.walker.listed =
                items.zip(scope).map(|(items, scope)| Listed { scope, items, starrable: None });
        }
        let mut stars = Vec::new();
        for item in returning.exprs().iter() {
            let Node::ResTarget(target) = item else { continue };
            self.walker.listed(target);
            match clauses::star(self.walker, target.val()) {
                Some(star) => stars.push(star),
                None => self.walker.node(target.val()),
            }
        }
        stars
    }

    /// Notes what `*` in RETURNING shows: the target's columns, then those of `others`.
    fn starrable(&mut self, others: Option<Vec<String>>) {
        let target = self.walker.tables.get(self.target).map(|t| t.called().to_owned());
        if let Some(listed) = self.walker.listed.as_mut().filter(|_| !self.nested) {
            let all = target.zip(others).map(|(target, others)| [target].into_iter().chain(others).collect());
            listed.starrable = all;
        }
    }

    fn insert(&mut self, insert: &nodes::InsertStmt) -> Kind {
        let around = self.begin(insert.relation(), insert.with_clause());
        // The rows' query doesn't see the target.
        let own = self.walker.exit(around);
        self.walker.node(insert.select_stmt());
        self.walker.exit(own);
        let mut conflict = None;
        if let Some(on) = insert.on_conflict_clause() {
            conflict = Some(clauses::conflict(self.walker, on));
            if let Some(infer) = on.infer() {
                for element in infer.index_elems().iter() {
                    if let Node::IndexElem(element) = element {
                        self.walker.node(element.expr());
                    }
                }
                self.walker.node(infer.where_clause());
            }
            on.target_list().iter().for_each(|t| self.walker.node(t.val()));
            self.walker.node(on.where_clause());
        }
        let stars = self.returning(insert.returning_clause());
        self.starrable(Some(Vec::new()));
        if let Node::SelectStmt(source) = insert.select_stmt() {
            relax::select(self.walker, source);
        }
        self.end(around, insert.with_clause());
        match clauses::insert(self.walker, &self.range, self.target, insert, conflict, stars) {
            Some(found) => Kind::Insert(found),
            None => Kind::Refused("this form of INSERT".to_owned()),
        }
    }

    fn update(&mut self, update: &nodes::UpdateStmt) -> Kind {
        let around = self.begin(update.relation(), update.with_clause());
        update.target_list().iter().for_each(|t| self.walker.node(t.val()));
        self.walker.list(update.from_clause());
        let cursor = self.condition(update.where_clause());
        let stars = self.returning(update.returning_clause());
        self.starrable(clauses::starrable(update.from_clause()));
        relax::clauses(self.walker, update.from_clause(), update.where_clause());
        self.end(around, update.with_clause());
        let sets = update.target_list().iter().filter_map(|t| t.name()).map(str::to_owned).collect();
        let parts = clauses::Parts {
            from: update.from_clause(),
            condition: update.where_clause(),
            cursor,
            keyed: keyed::keyed(
                self.walker,
                update.from_clause(),
                update.with_clause(),
                update.where_clause(),
            ),
            word: "from",
            sets,
            set_at: clauses::places(update.target_list().iter()),
            defaults: clauses::defaults(update.target_list().iter()),
            stars,
        };
        match clauses::modify(self.walker, &self.range, self.target, parts) {
            Some(found) => Kind::Update(found),
            None => Kind::Refused("this form of UPDATE".to_owned()),
        }
    }

    fn delete(&mut self, delete: &nodes::DeleteStmt) -> Kind {
        let around = self.begin(delete.relation(), delete.with_clause());
        self.walker.list(delete.using_clause());
        let cursor = self.condition(delete.where_clause());
        let stars = self.returning(delete.returning_clause());
        self.starrable(clauses::starrable(delete.using_clause()));
        relax::clauses(self.walker, delete.using_clause(), delete.where_clause());
        self.end(around, delete.with_clause());
        let parts = clauses::Parts {
            from: delete.using_clause(),
            condition: delete.where_clause(),
            cursor,
            keyed: keyed::keyed(
                self.walker,
                delete.using_clause(),
                delete.with_clause(),
                delete.where_clause(),
            ),
            word: "using",
            sets: Vec::new(),
            set_at: Vec::new(),
            defaults: Vec::new(),
            stars,
        };
        match clauses::modify(self.walker, &self.range, self.target, parts) {
            Some(found) => Kind::Delete(found),
            None => Kind::Refused("this form of DELETE".to_owned()),
        }
    }
}

/// Whether a schema and name are those of one of our functions; others that start like them are the
/// user's.
pub(super) fn is_ours(schema: Option<&str>, name: &str) -> bool {
    schema.is_none() && name.starts_with("epoch_") && crate::functions::find(name).is_some()
}

/// Whether a query has nothing but a select list, FROM and GROUP BY.
fn is_bare(select: &nodes::SelectStmt) -> bool {
    select.op == 0
        && select.distinct_clause().is_empty()
        && select.into_clause().is_none()
        && matches!(select.where_clause(), Node::None)
        && matches!(select.having_clause(), Node::None)
        && select.window_clause().is_empty()
        && select.values_lists().is_empty()
        && select.sort_clause().is_empty()
        && matches!(select.limit_offset(), Node::None)
        && matches!(select.limit_count(), Node::None)
        && select.locking_clause().is_empty()
        && select.with_clause().is_none()
}

/// `SELECT epoch_x(…)`, `SELECT * FROM epoch_x(…)` with nothing else.
fn lone_call(select: &nodes::SelectStmt) -> Option<Kind> {
    let target = select.target_list().first()?;
    if !is_bare(select) || !select.group_clause().is_empty() {
        return None;
    }
    let single = select.target_list().len() == 1;
    match (select.from_clause().len(), target.val()) {
        (0, Node::FuncCall(call)) if single => {
            let alias = target.name().map(str::to_owned);
            call_of(call, false, alias, Vec::new(), Vec::new())
        }
        (1, Node::ColumnRef(column)) => {
            let chosen = match single && clauses::is_star(column) {
                true => Vec::new(),
                false => chosen_columns(select)?,
            };
            let Some(Node::RangeFunction(item)) = select.from_clause().first() else { return None };
            if item.ordinality || item.is_rowsfrom || !item.coldeflist().is_empty() {
                return None;
            }
            let call = item.functions().first()?.as_node_list()?.first()?;
            let Node::FuncCall(call) = call else { return None };
            let alias = item.alias().and_then(|a| a.aliasname()).map(str::to_owned);
            let names = item
                .alias()
                .map(|a| a.colnames().iter().filter_map(|n| n.as_str()).map(str::to_owned).collect());
            call_of(call, true, alias, names.unwrap_or_default(), chosen)
        }
        _ => None,
    }
}

/// A select list of plain columns: their names, and what they are called in the result.
fn chosen_columns(select: &nodes::SelectStmt) -> Option<Vec<(String, String)>> {
    let one = |target: &nodes::ResTarget| {
        let Node::ColumnRef(column) = target.val() else { return None };
        let fields = column.fields();
        let name = fields.first().filter(|_| fields.len() == 1)?.as_str()?.to_owned();
        let called = target.name().map_or_else(|| name.clone(), str::to_owned);
        Some((name, called))
    };
    select.target_list().iter().map(one).collect()
}

pub(super) fn call_of(
    call: &nodes::FuncCall,
    from: bool,
    alias: Option<String>,
    columns: Vec<String>,
    chosen: Vec<(String, String)>,
) -> Option<Kind> {
    let names: Vec<&str> = call.funcname().iter().filter_map(|n| n.as_str()).collect();
    let [name] = names.as_slice() else { return None };
    let plain = !call.agg_star && !call.agg_distinct && !call.func_variadic && call.over().is_none();
    let plain = plain && call.agg_order().is_empty() && matches!(call.agg_filter(), Node::None);
    if !is_ours(None, name) || !plain {
        return None;
    }
    let arguments = arguments(call);
    if arguments.iter().any(|a| a.value == Constant::Expression) {
        return None;
    }
    Some(Kind::Call { name: (*name).to_owned(), arguments, from, alias, columns, chosen })
}
