//! Walks a syntax tree and notes every table, function, operator and column in it, with CTE scopes.

use std::ops::{ControlFlow, Range};

use pg_raw_parse::walk::{Recurse, walk_manual};
use pg_raw_parse::{Node, nodes};

use super::asking::{self, Asking};
use super::call::{Argument, arguments};
use super::grouped::{self, Grouped, Marks};
use super::listed::Listed;
use super::locking::{self, Locking};
use super::relax::Relaxed;
use super::scope::{ColumnUse, Item, Scope};
use super::select_list::{self, SelectList};
use super::statement::{Nested, is_temporary, nested};
use crate::query::lexer::{TokenKind, Tokens};

/// What a statement does with a table that it names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// In FROM, USING or the like.
    Read,
    /// In FROM with TABLESAMPLE.
    Sampled,
    /// The target of INSERT, UPDATE, DELETE, MERGE, COPY … FROM.
    Target,
    /// Named by a utility statement.
    Named,
    /// The parent of a foreign key that is made.
    Parent,
}

/// A table's name in a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableRef {
    /// The database, if it is given.
    pub catalog: Option<String>,
    /// The schema, if it is given.
    pub schema: Option<String>,
    /// The name.
    pub name: String,
    /// The name's bytes, with schema, ONLY and `*`.
    pub range: Range<usize>,
    /// Where the name starts, in characters from 1.
    pub position: usize,
    /// The alias.
    pub alias: Option<String>,
    /// What happens to the table.
    pub role: Role,
    /// `TABLE t`: the range starts at TABLE.
    pub command: bool,
    /// The level of the query: 0 is the outermost.
    pub level: usize,
    /// ONLY.
    pub only: bool,
}

impl TableRef {
    /// The name by which the statement's expressions call it.
    pub fn called(&self) -> &str {
        self.alias.as_deref().unwrap_or(&self.name)
    }
}

/// Where a function is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Site {
    /// In an expression.
    Expression,
    /// The only function of a FROM item.
    From {
        /// Its alias.
        alias: Option<String>,
        /// Whether ROWS FROM, ORDINALITY or a column definition list is there.
        special: bool,
    },
}

/// A function call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FunctionRef {
    /// The schema, if it is given.
    pub schema: Option<String>,
    /// The name.
    pub name: String,
    /// The bytes from the name to the closing bracket; the name alone if there are no brackets.
    pub range: Range<usize>,
    /// Where it is.
    pub site: Site,
    /// Arguments, of functions that may concern us (`epoch_…`, `set_config`).
    pub arguments: Vec<Argument>,
}

impl FunctionRef {
    /// Its name as it is written, without quotes.
    pub fn shown(&self) -> String {
        self.schema.as_deref().map_or_else(|| self.name.clone(), |schema| format!("{schema}.{}", self.name))
    }
}

/// A name behind a dot: that of a column or, if there is none, of a function with one argument.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Attribute {
    /// The name.
    pub name: String,
    /// Whether what is before it is a row of a FROM item; else it is any expression.
    pub of_row: bool,
}

/// A query of the outermost WITH clause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cte {
    /// Its name.
    pub name: String,
    /// From its name to the bracket that closes its query.
    pub range: Range<usize>,
    /// It, or one that it reads, modifies data, or has no place of its own in the text.
    pub writes: bool,
}

/// The outermost WITH clause.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct With {
    /// WITH RECURSIVE.
    pub recursive: bool,
    /// Its queries.
    pub ctes: Vec<Cte>,
    /// The names of all CTEs of the statement, at any level.
    pub names: Vec<String>,
    /// Where any of a statement's CTEs are read.
    pub uses: Vec<CteUse>,
}

/// A type's name in a statement, but for the grammar's own words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TypeRef {
    /// The schema, if it is given.
    pub schema: Option<String>,
    /// The name.
    pub name: String,
    /// The name's bytes, with the schema; nothing if it has no place in the text.
    pub range: Range<usize>,
}

/// An item of a list that is named after the column or row that it shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unnamed {
    /// Where the column reference starts.
    pub column: usize,
    /// Where the item ends.
    pub end: usize,
}

/// Where a CTE is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CteUse {
    /// Its name.
    pub name: String,
    /// Where.
    pub at: usize,
    /// Where it is defined, if that isn't in the outermost WITH clause.
    pub inner: Option<usize>,
}

pub(super) struct Walker<'s> {
    pub sql: &'s str,
    pub tokens: &'s Tokens,
    pub tables: Vec<TableRef>,
    pub functions: Vec<FunctionRef>,
    pub operators: Vec<String>,
    pub attributes: Vec<Attribute>,
    pub types: Vec<(Option<String>, String)>,
    pub type_refs: Vec<TypeRef>,
    pub columns: Vec<ColumnUse>,
    pub aliases: Vec<String>,
    pub refused: Option<String>,
    pub locking: Vec<Locking>,
    pub relaxed: Relaxed,
    pub stars: Vec<usize>,
    pub unnamed: Vec<Unnamed>,
    pub select_lists: Vec<SelectList>,
    /// Where CTEs are read whose having more rows would do no harm.
    pub relaxed_uses: Vec<usize>,
    pub nested: Vec<Nested>,
    pub grouped: Vec<Grouped>,
    pub asking: Vec<Asking>,
    /// What the statement returns.
    pub listed: Option<Listed>,
    pub outer: With,
    pub scopes: Vec<Scope>,
    /// Which scope is a query's.
    queries: Vec<*const nodes::SelectStmt>,
    scope: Option<usize>,
    ctes: Vec<Ctes>,
    level: usize,
    site: Option<Site>,
    sampled: bool,
}

/// The names that a WITH clause defines.
struct Ctes {
    /// With where they are defined.
    names: Vec<(String, usize)>,
    outermost: bool,
}

impl<'s> Walker<'s> {
    pub fn new(sql: &'s str, tokens: &'s Tokens) -> Self {
        Self {
            sql,
            tokens,
            tables: Vec::new(),
            functions: Vec::new(),
            operators: Vec::new(),
            attributes: Vec::new(),
            types: Vec::new(),
            type_refs: Vec::new(),
            columns: Vec::new(),
            aliases: Vec::new(),
            refused: None,
            locking: Vec::new(),
            relaxed: Relaxed::default(),
            stars: Vec::new(),
            unnamed: Vec::new(),
            select_lists: Vec::new(),
            relaxed_uses: Vec::new(),
            nested: Vec::new(),
            grouped: Vec::new(),
            asking: Vec::new(),
            listed: None,
            outer: With::default(),
            scopes: Vec::new(),
            queries: Vec::new(),
            scope: None,
            ctes: Vec::new(),
            level: 0,
            site: None,
            sampled: false,
        }
    }

    pub fn refuse(&mut self, what: impl Into<String>) {
        self.refused.get_or_insert_with(|| what.into());
    }

    pub fn node(&mut self, node: Node<'_>) {
        match node {
            Node::None => {}
            Node::NodeList(list) => list.iter().for_each(|n| self.node(n)),
            Node::SelectStmt(select) => {
                self.level += 1;
                self.select(select);
                self.level -= 1;
            }
            Node::InsertStmt(_) | Node::UpdateStmt(_) | Node::DeleteStmt(_) | Node::MergeStmt(_) => {
                // The server accepts it in the outermost WITH only.
                if self.level == 1 && self.ctes.len() == 1 {
                    nested(self, node);
                } else {
                    self.refuse("a data-modifying statement in a WITH that isn't the outermost");
                }
            }
            Node::RangeVar(table) => {
                let role = if self.sampled { Role::Sampled } else { Role::Read };
                self.table(table, role);
            }
            Node::RangeTableSample(sample) => {
                self.sampled = true;
                self.node(sample.relation());
                self.sampled = false;
                self.list(sample.args());
                self.node(sample.repeatable());
            }
            Node::RangeSubselect(sub) => {
                if let Some(alias) = sub.alias() {
                    self.node(Node::Alias(alias));
                }
                let here = self.scope;
                if !sub.lateral {
                    self.scope = here.and_then(|i| self.scopes.get(i)).and_then(|scope| scope.outer);
                }
                self.node(sub.subquery());
                self.scope = here;
            }
            Node::RangeFunction(function) => self.range_function(function),
            Node::FuncCall(call) => self.function(call),
            Node::ColumnRef(column) => self.column(column),
            Node::TypeName(name) => self.type_name(name),
            Node::A_Expr(expr) => {
                self.operator(expr.name());
                self.implied(expr.kind);
                self.children(node);
            }
            Node::CaseExpr(case) => {
                if !matches!(case.arg(), Node::None) {
                    self.operators_named(&["="]);
                }
                self.children(node);
            }
            Node::JoinExpr(join) => {
                if join.is_natural || !join.using_clause().is_empty() {
                    self.operators_named(&["="]);
                }
                self.children(node);
            }
            Node::RangeTableFuncCol(column) => {
                if let Some(name) = column.type_name() {
                    self.type_name(name);
                }
                self.children(node);
            }
            Node::SubLink(link) => {
                self.operator(link.oper_name());
                self.node(link.testexpr());
                self.node(link.subselect());
            }
            Node::SortBy(sort) => {
                self.operator(sort.use_op());
                self.node(sort.node());
            }
            // To older servers they are calls of whatever has the name.
            Node::JsonFuncExpr(_) => self.word_function(&["json_exists", "json_query", "json_value"], node),
            Node::JsonScalarExpr(_) => self.word_function(&["json_scalar"], node),
            Node::JsonSerializeExpr(_) => self.word_function(&["json_serialize"], node),
            Node::JsonParseExpr(_) => self.word_function(&["json"], node),
            Node::JsonObjectConstructor(_) => self.word_function(&["json_object"], node),
            Node::JsonArrayConstructor(_) | Node::JsonArrayQueryConstructor(_) => {
                self.word_function(&["json_array"], node);
            }
            Node::JsonObjectAgg(_) => self.word_function(&["json_objectagg"], node),
            Node::JsonArrayAgg(_) => self.word_function(&["json_arrayagg"], node),
            Node::MergeSupportFunc(_) => self.word_function(&["merge_action"], node),
            Node::A_Indirection(indirection) => {
                indirection
                    .indirection()
                    .iter()
                    .filter_map(|n| n.as_str())
                    .for_each(|name| self.attribute(name, false));
                self.children(node);
            }
            Node::CurrentOfExpr(_) => self.refuse("WHERE CURRENT OF"),
            Node::Alias(alias) => {
                if let Some(name) = alias.aliasname() {
                    self.aliases.push(name.to_owned());
                    self.item(name, None);
                }
            }
            _ => self.children(node),
        }
    }

    fn children(&mut self, node: Node<'_>) {
        walk_manual::<()>(node, |child| {
            self.node(child);
            ControlFlow::Continue(Recurse::No)
        });
    }

    pub fn list(&mut self, list: &pg_raw_parse::list::NodeList) {
        list.iter().for_each(|n| self.node(n));
    }

    /// A query at the current level, its WITH first.
    pub fn select(&mut self, select: &nodes::SelectStmt) {
        self.with(select.with_clause());
        if let Some(into) = select.into_clause() {
            let temporary = into.rel().is_some_and(is_temporary);
            if !temporary {
                self.refuse("SELECT INTO a permanent table");
            }
        }
        let around = self.enter();
        self.queries.resize(self.scopes.len(), std::ptr::null());
        if let Some(last) = self.queries.last_mut() {
            *last = select;
        }
        for side in [select.larg(), select.rarg()].into_iter().flatten() {
            self.node(Node::SelectStmt(side));
        }
        self.list(select.from_clause());
        let from = self.columns.len();
        for target in select.target_list().iter() {
            self.listed(target);
            self.node(target.val());
        }
        let list = self.columns.len();
        self.node(select.where_clause());
        let condition = self.columns.len();
        for node in [select.having_clause(), select.limit_offset(), select.limit_count()] {
            self.node(node);
        }
        for list in
            [select.distinct_clause(), select.group_clause(), select.window_clause(), select.values_lists()]
        {
            self.list(list);
        }
        select.sort_clause().iter().for_each(|s| self.node(Node::SortBy(s)));
        select_list::note(self, select);
        locking::note(self, select);
        grouped::note(self, select, Marks { from, list, condition });
        asking::note(self, select);
        self.exit(around);
        self.leave(select.with_clause());
    }

    /// Begins a query or a data-modifying statement; what it returns is to be put back as the scope
    /// at its end.
    pub fn enter(&mut self) -> Option<usize> {
        let around = self.scope;
        self.scope = Some(self.scopes.len());
        self.scopes.push(Scope { outer: around, items: Vec::new() });
        around
    }

    /// Goes to another scope; returns the one that was left.
    pub fn exit(&mut self, around: Option<usize>) -> Option<usize> {
        std::mem::replace(&mut self.scope, around)
    }

    /// The scope that is being walked.
    pub fn here(&self) -> Option<usize> {
        self.scope
    }

    /// The scope of a query that was walked.
    pub fn scope_of(&self, select: &nodes::SelectStmt) -> Option<usize> {
        self.queries.iter().position(|&q| std::ptr::eq(q, select))
    }

    /// Something that FROM, USING or a target names.
    fn item(&mut self, name: &str, table: Option<usize>) {
        if let Some(scope) = self.scope.and_then(|i| self.scopes.get_mut(i)) {
            scope.items.push(Item { name: name.to_owned(), table });
        }
    }

    /// Opens the scope of a WITH clause; [`Walker::leave`] closes it.
    pub fn with(&mut self, with: Option<&nodes::WithClause>) {
        let Some(with) = with else { return };
        let names = |c: &nodes::CommonTableExpr| c.ctename().unwrap_or_default().to_owned();
        let all: Vec<String> = with.ctes().iter().map(names).collect();
        self.aliases.extend(all.iter().cloned());
        self.outer.names.extend(all.iter().cloned());
        let outermost = self.level == 0 && self.ctes.is_empty();
        let place = |c: &nodes::CommonTableExpr| (names(c), usize::try_from(c.location).unwrap_or(0));
        let names_now = if with.recursive { with.ctes().iter().map(place).collect() } else { Vec::new() };
        self.ctes.push(Ctes { names: names_now, outermost });
        self.outer.recursive |= outermost && with.recursive;
        for cte in with.ctes().iter() {
            let before = self.nested.len();
            self.level += 1;
            self.node(cte.ctequery());
            self.level -= 1;
            if outermost {
                self.outer_cte(cte, before);
            }
            if !with.recursive
                && let Some(scope) = self.ctes.last_mut()
            {
                scope.names.push(place(cte));
            }
        }
        if outermost {
            self.spread_writes();
        }
    }

    /// Notes a query of the outermost WITH; `before`: how many of them that modify data came before it.
    fn outer_cte(&mut self, cte: &nodes::CommonTableExpr, before: usize) {
        let name = cte.ctename().unwrap_or_default().to_owned();
        let start = usize::try_from(cte.location).unwrap_or(0);
        let found = self.cte_range(start);
        let writes = self.nested.len() > before
            || found.is_none()
            || cte.search_clause().is_some()
            || cte.cycle_clause().is_some();
        self.outer.ctes.push(Cte { name, range: found.unwrap_or(start..start), writes });
    }

    /// Those that read one that writes, which in WITH RECURSIVE may come later.
    fn spread_writes(&mut self) {
        loop {
            let writing: Vec<&str> =
                self.outer.ctes.iter().filter(|c| c.writes).map(|c| c.name.as_str()).collect();
            let reads = |c: &Cte| {
                self.outer.uses.iter().any(|u| c.range.contains(&u.at) && writing.contains(&u.name.as_str()))
            };
            let found = self.outer.ctes.iter().position(|c| !c.writes && reads(c));
            match found.and_then(|i| self.outer.ctes.get_mut(i)) {
                Some(cte) => cte.writes = true,
                None => return,
            }
        }
    }

    /// `name (columns) AS MATERIALIZED (query)`.
    fn cte_range(&self, start: usize) -> Option<Range<usize>> {
        let first = self.tokens.at(start);
        let rest = self.tokens.list.get(first..)?;
        let depth = rest.first()?.depth;
        let verb = rest.iter().position(|t| t.depth == depth && t.is_word(self.sql, "as"))?;
        let query = rest.get(verb..)?;
        let open = query.iter().position(|t| t.depth == depth && t.is_symbol(b'('))?;
        let close = query.get(open..)?.iter().find(|t| t.depth == depth && t.is_symbol(b')'))?;
        Some(start..close.end)
    }

    pub fn leave(&mut self, with: Option<&nodes::WithClause>) {
        if with.is_some() {
            self.ctes.pop();
        }
    }

    /// The CTE that a table's name means: where it is defined, if that isn't in the outermost WITH.
    fn cte(&self, table: &nodes::RangeVar) -> Option<Option<usize>> {
        let name = table.relname().filter(|_| table.schemaname().is_none())?;
        self.ctes.iter().rev().find_map(|scope| {
            let (_, place) = scope.names.iter().find(|(cte, _)| cte == name)?;
            Some(if scope.outermost { None } else { Some(*place) })
        })
    }

    pub fn table(&mut self, table: &nodes::RangeVar, role: Role) {
        let alias = table.alias().and_then(|a| a.aliasname()).map(str::to_owned);
        let called = alias.as_deref().or(table.relname()).unwrap_or_default().to_owned();
        if matches!(role, Role::Read | Role::Sampled)
            && let Some(inner) = self.cte(table)
        {
            self.aliases.extend(alias);
            self.item(&called, None);
            let name = table.relname().unwrap_or_default().to_owned();
            self.outer.uses.push(CteUse { name, at: usize::try_from(table.location).unwrap_or(0), inner });
            return;
        }
        self.aliases.extend(alias.clone());
        self.item(&called, Some(self.tables.len()));
        let Some((range, command)) = self.name_range(table) else {
            self.refuse("a table reference that has no place in the text");
            return;
        };
        self.tables.push(TableRef {
            catalog: table.catalogname().map(str::to_owned),
            schema: table.schemaname().map(str::to_owned),
            name: table.relname().unwrap_or_default().to_owned(),
            range,
            position: self.position(table.location),
            alias,
            role,
            command,
            level: self.level,
            only: !table.inh,
        });
    }

    fn position(&self, location: i32) -> usize {
        let before = usize::try_from(location).ok().and_then(|at| self.sql.get(..at));
        before.map_or(0, |text| text.chars().count()) + 1
    }

    /// The bytes of a name with ONLY, brackets of ONLY, `*`, or TABLE before it.
    fn name_range(&self, table: &nodes::RangeVar) -> Option<(Range<usize>, bool)> {
        let tokens = &self.tokens.list;
        let mut first = self.tokens.at(usize::try_from(table.location).ok()?);
        let mut last = self.dotted(first)?;
        let word =
            |i: Option<usize>, w: &str| i.and_then(|i| tokens.get(i)).is_some_and(|t| t.is_word(self.sql, w));
        if !table.inh {
            let bracket = first.checked_sub(1).and_then(|i| tokens.get(i)).is_some_and(|t| t.is_symbol(b'('));
            let only = first.checked_sub(if bracket { 2 } else { 1 });
            if !word(only, "only") {
                return None;
            }
            first = only?;
            if bracket {
                last += 1;
            }
        } else if tokens
            .get(last + 1)
            .is_some_and(|t| t.kind == TokenKind::Operator && t.text(self.sql) == "*")
        {
            last += 1;
        }
        let command = word(first.checked_sub(1), "table") && !self.is_word_part(first.checked_sub(2));
        if command {
            first -= 1;
        }
        Some((tokens.get(first)?.start..tokens.get(last)?.end, command))
    }

    /// Whether the token is one after which TABLE isn't a query (`LOCK TABLE`, `CREATE TABLE` …).
    fn is_word_part(&self, index: Option<usize>) -> bool {
        const BEFORE: &[&str] = &[
            "lock",
            "create",
            "alter",
            "drop",
            "truncate",
            "temp",
            "temporary",
            "unlogged",
            "local",
            "global",
            "foreign",
            "exists",
            "on",
            "into",
            "reindex",
            "comment",
        ];
        let token = index.and_then(|i| self.tokens.get(i));
        token.is_some_and(|t| BEFORE.iter().any(|w| t.is_word(self.sql, w)))
    }

    /// The index of the last token of `a.b.c` that starts at token `first`.
    pub fn dotted(&self, first: usize) -> Option<usize> {
        let tokens = &self.tokens.list;
        tokens.get(first).filter(|t| t.is_name())?;
        let mut last = first;
        while tokens.get(last + 1).is_some_and(|t| t.is_symbol(b'.'))
            && tokens.get(last + 2).is_some_and(|t| t.is_name())
        {
            last += 2;
        }
        Some(last)
    }

    fn range_function(&mut self, item: &nodes::RangeFunction) {
        if let Some(alias) = item.alias() {
            self.node(Node::Alias(alias));
        }
        let special = item.ordinality || item.is_rowsfrom || !item.coldeflist().is_empty();
        let alias = item.alias().and_then(|a| a.aliasname()).map(str::to_owned);
        for column in item.coldeflist().iter() {
            self.definition(Node::ColumnDef(column));
        }
        for function in item.functions().iter() {
            // Each is a list of the call and its column definitions.
            for part in function.as_node_list().into_iter().flat_map(|l| l.iter()) {
                self.site = Some(Site::From { alias: alias.clone(), special });
                self.node(part);
                self.site = None;
            }
        }
    }

    fn function(&mut self, call: &nodes::FuncCall) {
        let site = self.site.take().unwrap_or(Site::Expression);
        let mut names: Vec<&str> = call.funcname().iter().filter_map(|n| n.as_str()).collect();
        let name = names.pop().unwrap_or_default().to_owned();
        let schema = names.pop().map(str::to_owned);
        let ours = name.starts_with("epoch") || name == "set_config";
        let arguments = if ours { arguments(call) } else { Vec::new() };
        let range = self.call_range(call.location);
        self.functions.push(FunctionRef { schema, name, range, site, arguments });
        self.list(call.args());
        call.agg_order().iter().for_each(|s| self.node(Node::SortBy(s)));
        self.node(call.agg_filter());
        if let Some(over) = call.over() {
            self.node(Node::WindowDef(over));
        }
    }

    /// A call by a name that newer grammars know as a word of their own.
    fn word_function(&mut self, names: &[&str], node: Node<'_>) {
        for name in names {
            let (name, site) = ((*name).to_owned(), Site::Expression);
            self.functions.push(FunctionRef { schema: None, name, range: 0..0, site, arguments: Vec::new() });
        }
        self.children(node);
    }

    fn call_range(&self, location: i32) -> Range<usize> {
        let start = usize::try_from(location).unwrap_or(0);
        let first = self.tokens.at(start);
        let Some(last) = self.dotted(first) else { return start..start };
        let end = self.tokens.get(last).map_or(start, |t| t.end);
        match self.tokens.get(last + 1) {
            Some(open) if open.is_symbol(b'(') => {
                let rest = self.tokens.list.get(last + 2..).unwrap_or_default();
                let close = rest.iter().find(|t| t.is_symbol(b')') && t.depth == open.depth);
                start..close.map_or(end, |t| t.end)
            }
            _ => start..end,
        }
    }

    /// Notes an item of RETURNING or a select list.
    pub fn listed(&mut self, target: &nodes::ResTarget) {
        let mut value = target.val();
        while let Node::TypeCast(cast) = value {
            value = cast.arg();
        }
        let (Node::ColumnRef(column), None) = (value, target.name()) else { return };
        let (Ok(start), Ok(first)) = (usize::try_from(column.location), usize::try_from(target.location))
        else {
            return;
        };
        if matches!(column.fields().iter().next_back(), Some(Node::A_Star(_))) {
            self.stars.push(start);
            return;
        }
        let first = self.tokens.at(first);
        let Some(depth) = self.tokens.get(first).map(|t| t.depth) else { return };
        const ENDS: &[&str] = &["from", "into", "where", "order", "limit", "for", "union", "as"];
        let rest = self.tokens.list.get(first..).unwrap_or_default();
        let ends = |t: &crate::query::lexer::Token| {
            let word = ENDS.iter().any(|w| t.is_word(self.sql, w));
            t.depth < depth || (t.depth == depth && (word || t.is_symbol(b',') || t.is_symbol(b';')))
        };
        let last = rest.iter().take_while(|t| !ends(t)).last();
        self.unnamed.extend(last.map(|t| Unnamed { column: start, end: t.end }));
    }

    fn column(&mut self, column: &nodes::ColumnRef) {
        let fields = column.fields().iter().map(|f| f.as_str().map(str::to_owned)).collect();
        if column.fields().len() > 1
            && let Some(name) = column.fields().iter().next_back().and_then(|f| f.as_str())
        {
            self.attribute(name, true);
        }
        let start = usize::try_from(column.location).unwrap_or(0);
        self.columns.push(ColumnUse { fields, start, scope: self.scope });
    }

    fn attribute(&mut self, name: &str, of_row: bool) {
        let attribute = Attribute { name: name.to_owned(), of_row };
        if !self.attributes.contains(&attribute) {
            self.attributes.push(attribute);
        }
    }

    /// A column or a constraint in a definition: its type, and what is computed for it.
    pub fn definition(&mut self, node: Node<'_>) {
        match node {
            Node::ColumnDef(column) => {
                if let Some(name) = column.type_name() {
                    self.type_name(name);
                }
                self.node(column.raw_default());
                column.constraints().iter().for_each(|c| self.definition(c));
            }
            Node::Constraint(constraint) => self.node(constraint.raw_expr()),
            Node::TableLikeClause(_) | Node::NodeList(_) => {}
            node => self.node(node),
        }
    }

    pub fn type_name(&mut self, name: &nodes::TypeName) {
        let mut names: Vec<&str> = name.names().iter().filter_map(|n| n.sval()).collect();
        let Some(last) = names.pop() else { return };
        let named = (names.pop().map(str::to_owned), last.to_owned());
        // The grammar's own words for types (`int`, `timestamp`) come with this schema.
        if named.0.as_deref() == Some("pg_catalog") {
            return;
        }
        let range = self.dotted_range(name.location);
        self.type_refs.push(TypeRef { schema: named.0.clone(), name: named.1.clone(), range });
        if !self.types.contains(&named) {
            self.types.push(named);
        }
    }

    /// The bytes of `a.b` that starts at a place; nothing if there is no name.
    fn dotted_range(&self, location: i32) -> Range<usize> {
        let first = usize::try_from(location).ok().map(|at| self.tokens.at(at));
        let last = first.and_then(|first| self.dotted(first));
        match (first.and_then(|i| self.tokens.get(i)), last.and_then(|i| self.tokens.get(i))) {
            (Some(first), Some(last)) => first.start..last.end,
            _ => 0..0,
        }
    }

    /// Operators that the grammar doesn't name.
    fn implied(&mut self, kind: nodes::A_Expr_Kind::Type) {
        use nodes::A_Expr_Kind as Kind;
        match kind {
            Kind::AEXPR_BETWEEN
            | Kind::AEXPR_NOT_BETWEEN
            | Kind::AEXPR_BETWEEN_SYM
            | Kind::AEXPR_NOT_BETWEEN_SYM => self.operators_named(&["<", "<=", ">", ">="]),
            _ => {}
        }
    }

    fn operators_named(&mut self, names: &[&str]) {
        for name in names {
            if !self.operators.iter().any(|o| o == name) {
                self.operators.push((*name).to_owned());
            }
        }
    }

    fn operator(&mut self, name: &pg_raw_parse::list::NodeList) {
        if let Some(name) = name.iter().next_back().and_then(|n| n.as_str())
            && !self.operators.iter().any(|o| o == name)
        {
            self.operators.push(name.to_owned());
        }
    }
}
