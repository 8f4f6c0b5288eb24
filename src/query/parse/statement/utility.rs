//! Utility statements: what is passed on, what carries a query inside, and what is refused.

use std::ops::Range;

use pg_raw_parse::list::NodeList;
use pg_raw_parse::{Node, nodes};

use super::super::call::{Constant, arguments, constant};
use super::super::walk::{Role, TypeRef};
use super::{Define, Describer, Ending, How, Isolation, Kind, Setting, TypeHow, ViewHow, Wrap, is_ours};

const OBJECT_COLUMN: u32 = nodes::ObjectType::OBJECT_COLUMN;
const OBJECT_INDEX: u32 = nodes::ObjectType::OBJECT_INDEX;
const OBJECT_SEQUENCE: u32 = nodes::ObjectType::OBJECT_SEQUENCE;
const OBJECT_TABLE: u32 = nodes::ObjectType::OBJECT_TABLE;
const OBJECT_TABCONSTRAINT: u32 = nodes::ObjectType::OBJECT_TABCONSTRAINT;
const OBJECT_TYPE: u32 = nodes::ObjectType::OBJECT_TYPE;
const OBJECT_VIEW: u32 = nodes::ObjectType::OBJECT_VIEW;

impl Describer<'_, '_> {
    pub(super) fn utility(&mut self, node: Node<'_>) -> Kind {
        match node {
            Node::TransactionStmt(transaction) => {
                ending(transaction.kind).map_or_else(|| begun(transaction), Kind::Ends)
            }
            Node::FetchStmt(_)
            | Node::ClosePortalStmt(_)
            | Node::ListenStmt(_)
            | Node::NotifyStmt(_)
            | Node::UnlistenStmt(_)
            | Node::DeallocateStmt(_) => Kind::Pass,
            Node::ConstraintsSetStmt(set) => {
                let name = |node: Node<'_>| match node {
                    Node::RangeVar(name) => {
                        Some((name.schemaname().map(str::to_owned), name.relname()?.to_owned()))
                    }
                    _ => None,
                };
                Kind::Constraints(set.constraints().iter().filter_map(name).collect())
            }
            Node::VariableSetStmt(set) => set_statement(set),
            Node::VariableShowStmt(show) => match show.name() {
                Some(name) if is_our_setting(name) => Kind::Setting(Setting::Show(name.to_ascii_lowercase())),
                _ => Kind::Pass,
            },
            Node::DiscardStmt(discard) if discard.target == nodes::DiscardMode::DISCARD_ALL => {
                Kind::Setting(Setting::DiscardAll)
            }
            Node::DiscardStmt(_) => Kind::Names,
            Node::ExecuteStmt(execute) => {
                self.walker.list(execute.params());
                let name = execute.name().unwrap_or_default().to_owned();
                Kind::Execute { name, arguments: self.execute_arguments(execute.params().len()) }
            }
            Node::ExplainStmt(explain) => self.explain(explain),
            Node::DeclareCursorStmt(cursor) => {
                let name = cursor.portalname().unwrap_or_default().to_owned();
                self.wrapped(Wrap::Cursor(name), cursor.query())
            }
            Node::PrepareStmt(prepare) => {
                prepare.argtypes().iter().for_each(|of| self.walker.type_name(of));
                self.wrapped(Wrap::Prepare(prepare.name().unwrap_or_default().to_owned()), prepare.query())
            }
            Node::CreateTableAsStmt(create) => self.create_as(create),
            Node::CopyStmt(copy) => self.copy(copy),
            Node::CallStmt(call) => self.call(call),
            node => self.data_definition(node),
        }
    }

    /// The texts of what EXECUTE is given; none if they weren't all found.
    fn execute_arguments(&self, count: usize) -> Vec<Range<usize>> {
        let tokens = &self.walker.tokens.list;
        let (first, last) = (self.walker.tokens.at(self.range.start), self.walker.tokens.at(self.range.end));
        let verb =
            (first..last).find(|&i| tokens.get(i).is_some_and(|t| t.is_word(self.walker.sql, "execute")));
        let Some(open) = verb.map(|verb| verb + 2).filter(|_| count > 0) else { return Vec::new() };
        let mut found = Vec::new();
        let mut start = open + 1;
        let Some(depth) = tokens.get(open).map(|t| t.depth) else { return found };
        for (i, token) in tokens.iter().enumerate().take(last).skip(start) {
            let closes = token.is_symbol(b')') && token.depth == depth;
            if closes || (token.is_symbol(b',') && token.depth == depth + 1) {
                let inside = tokens.get(start..i).unwrap_or_default();
                found.extend(inside.first().zip(inside.last()).map(|(a, b)| a.start..b.end));
                start = i + 1;
            }
            if closes {
                break;
            }
        }
        if found.len() == count { found } else { Vec::new() }
    }

    fn explain(&mut self, explain: &nodes::ExplainStmt) -> Kind {
        let analyze = explain
            .options()
            .iter()
            .any(|option| option.defname() == Some("analyze") && !is_off(option.arg()));
        self.wrapped(Wrap::Explain { analyze }, explain.query())
    }

    /// One level of wrapping is possible: EXPLAIN of DECLARE CURSOR and the like is refused.
    fn wrapped(&mut self, wrap: Wrap, query: Node<'_>) -> Kind {
        if self.wrap != Wrap::None {
            return Kind::Refused(self.construct());
        }
        self.wrap = wrap;
        match query {
            Node::SelectStmt(_)
            | Node::InsertStmt(_)
            | Node::UpdateStmt(_)
            | Node::DeleteStmt(_)
            | Node::MergeStmt(_)
            | Node::ExecuteStmt(_) => self.kind(query),
            _ => Kind::Refused(self.construct()),
        }
    }

    fn create_as(&mut self, create: &nodes::CreateTableAsStmt) -> Kind {
        let target = create.into().and_then(|i| i.rel());
        if create.objtype != OBJECT_TABLE {
            return Kind::Refused(self.construct());
        }
        if !target.is_some_and(is_temporary) {
            return self.create_table_as(create);
        }
        self.wrapped(Wrap::CreateTemp, create.query())
    }

    fn copy(&mut self, copy: &nodes::CopyStmt) -> Kind {
        let Some(table) = copy.relation() else {
            return self.wrapped(Wrap::CopyTo, copy.query());
        };
        self.walker.table(table, if copy.is_from { Role::Target } else { Role::Named });
        self.walker.node(copy.where_clause());
        let columns: Vec<String> = names(copy.attlist());
        Kind::Copy { from: copy.is_from, listed: !columns.is_empty(), columns }
    }

    fn call(&mut self, call: &nodes::CallStmt) -> Kind {
        let Some(function) = call.funccall() else { return Kind::Refused("CALL".to_owned()) };
        let names = names(function.funcname());
        match names.as_slice() {
            [name] if is_ours(None, name) => {
                let arguments = arguments(function);
                if arguments.iter().any(|a| a.value == Constant::Expression) {
                    return Kind::Refused("an expression as an argument of CALL".to_owned());
                }
                Kind::Call {
                    name: name.clone(),
                    arguments,
                    from: false,
                    alias: None,
                    columns: Vec::new(),
                    chosen: Vec::new(),
                }
            }
            _ => Kind::Refused("CALL".to_owned()),
        }
    }

    /// DDL is possible on temporary tables, and on those that are made on a branch.
    fn data_definition(&mut self, node: Node<'_>) -> Kind {
        match node {
            Node::CreateStmt(create) if create.relation().is_some_and(is_temporary) => {
                create.table_elts().iter().for_each(|e| self.walker.definition(e));
                if create.inh_relations().is_empty()
                    && create.partbound().is_none()
                    && create.of_typename().is_none()
                {
                    Kind::Names
                } else {
                    Kind::Refused("CREATE TEMP TABLE with INHERITS, OF or PARTITION OF".to_owned())
                }
            }
            Node::CreateSeqStmt(create) if create.sequence().is_some_and(is_temporary) => Kind::Names,
            Node::CreateStmt(create) => self.create_table(create),
            Node::IndexStmt(index) => {
                index.index_params().iter().for_each(|e| self.walker.node(e.expr()));
                self.walker.node(index.where_clause());
                let how = never(index.concurrent, "CREATE INDEX CONCURRENTLY");
                self.named(index.relation(), "CREATE INDEX", how)
            }
            Node::AlterTableStmt(alter) if alter.objtype == OBJECT_TABLE => self.alter_table(alter),
            Node::ViewStmt(view) if !view.view().is_some_and(is_temporary) => self.create_view(view),
            Node::RenameStmt(rename) if rename.rename_type == OBJECT_VIEW && !rename.missing_ok => {
                let how = ViewHow::Rename(rename.newname().unwrap_or_default().to_owned());
                self.named(rename.relation(), "ALTER VIEW", How::View(how))
            }
            Node::RenameStmt(rename)
                if rename.rename_type == OBJECT_COLUMN
                    && rename.relation_type == OBJECT_VIEW
                    && !rename.missing_ok =>
            {
                let how = ViewHow::Alter(rename.subname().map(str::to_owned));
                self.named(rename.relation(), "ALTER VIEW", How::View(how))
            }
            Node::AlterObjectSchemaStmt(alter) if alter.object_type == OBJECT_VIEW && !alter.missing_ok => {
                let how = ViewHow::Move(alter.newschema().unwrap_or_default().to_owned());
                self.named(alter.relation(), "ALTER VIEW", How::View(how))
            }
            Node::AlterTableStmt(alter)
                if alter.objtype == OBJECT_VIEW && !alter.missing_ok && sets_options(alter) =>
            {
                self.named(alter.relation(), "ALTER VIEW", How::View(ViewHow::Alter(None)))
            }
            Node::CommentStmt(comment) if comment.objtype == OBJECT_VIEW && self.commented(comment) => {
                let how = ViewHow::Comment(comment.comment().map(str::to_owned));
                Kind::Define(Define { what: "COMMENT", how: How::View(how) })
            }
            Node::RenameStmt(rename) if rename.rename_type == OBJECT_TABLE => {
                let name = rename.newname().map(str::to_owned);
                let how = How::Move { schema: None, name, if_exists: rename.missing_ok };
                self.named(rename.relation(), "ALTER TABLE", how)
            }
            Node::AlterObjectSchemaStmt(alter) if alter.object_type == OBJECT_TABLE => {
                let schema = alter.newschema().map(str::to_owned);
                let how = How::Move { schema, name: None, if_exists: alter.missing_ok };
                self.named(alter.relation(), "ALTER TABLE", how)
            }
            Node::RenameStmt(rename) if rename.rename_type == OBJECT_INDEX => {
                let name = rename.newname().unwrap_or_default().to_owned();
                let how = How::RenameIndex { name, if_exists: rename.missing_ok };
                self.named(rename.relation(), "ALTER INDEX", how)
            }
            Node::RenameStmt(rename) if rename.relation().is_some() => {
                let column = rename.rename_type == OBJECT_COLUMN && rename.relation_type == OBJECT_TABLE;
                let fits = column || rename.rename_type == OBJECT_TABCONSTRAINT;
                let how = never(!fits, "this form of ALTER … RENAME");
                self.named(rename.relation(), "ALTER TABLE", how)
            }
            Node::CommentStmt(comment)
                if matches!(comment.objtype, OBJECT_TABLE | OBJECT_COLUMN) && self.commented(comment) =>
            {
                Kind::Define(Define { what: "COMMENT", how: How::Alter })
            }
            Node::TruncateStmt(truncate) => {
                for table in truncate.relations().iter() {
                    if let Node::RangeVar(table) = table {
                        self.walker.table(table, Role::Target);
                    }
                }
                let cascade = truncate.behavior == nodes::DropBehavior::DROP_CASCADE;
                Kind::Truncate { cascade, restart: truncate.restart_seqs }
            }
            Node::LockStmt(lock) => {
                for table in lock.relations().iter() {
                    if let Node::RangeVar(table) = table {
                        self.walker.table(table, Role::Named);
                    }
                }
                Kind::Lock
            }
            Node::CreateEnumStmt(create) => self.create_enum(create),
            Node::DropStmt(drop) if drop.remove_type == OBJECT_TYPE => self.drop_types(drop),
            Node::DropStmt(drop) => self.drop_statement(drop),
            Node::VacuumStmt(vacuum) if !vacuum.is_vacuumcmd && vacuum.rels().is_empty() => Kind::Pass,
            _ => Kind::Refused(self.construct()),
        }
    }

    /// A table of the client's. (Temporary ones don't come here.)
    fn create_table(&mut self, create: &nodes::CreateStmt) -> Kind {
        let what = "CREATE TABLE";
        let plain = create.inh_relations().is_empty()
            && create.partbound().is_none()
            && create.partspec().is_none()
            && create.of_typename().is_none();
        if !plain {
            return Kind::Refused("CREATE TABLE with INHERITS, OF or PARTITION".to_owned());
        }
        let Some(table) = create.relation() else { return Kind::Refused(what.to_owned()) };
        self.walker.table(table, Role::Named);
        for element in create.table_elts().iter() {
            if let Node::TableLikeClause(like) = element
                && let Some(source) = like.relation()
            {
                self.walker.table(source, Role::Named);
            }
            self.parents(element);
            self.walker.definition(element);
        }
        Kind::Define(Define { what, how: How::Create { if_not_exists: create.if_not_exists } })
    }

    fn create_view(&mut self, create: &nodes::ViewStmt) -> Kind {
        let Some(view) = create.view() else { return Kind::Refused(self.construct()) };
        self.walker.table(view, Role::Named);
        self.walker.node(create.query());
        let how = How::View(ViewHow::Create { replace: create.replace });
        Kind::Define(Define { what: "CREATE VIEW", how })
    }

    fn alter_table(&mut self, alter: &nodes::AlterTableStmt) -> Kind {
        let mut how = How::Alter;
        for command in alter.cmds().iter() {
            let Node::AlterTableCmd(command) = command else { continue };
            if ties_tables(command.subtype) {
                // Of a temporary table too: the other one may be main's.
                return Kind::Refused("ALTER TABLE with INHERIT, ATTACH or DETACH".to_owned());
            }
            if command.subtype == nodes::AlterTableType::AT_SetIdentity && is_about_sequence(command.def()) {
                how = How::Never("ALTER TABLE of an identity column's sequence".to_owned());
            } else if is_alterable(command.subtype) {
                self.walker.definition(command.def());
            } else {
                // What these are about, the walk need not know.
                how = How::Never("this form of ALTER TABLE".to_owned());
            }
        }
        let kind = self.named(alter.relation(), "ALTER TABLE", how);
        for command in alter.cmds().iter() {
            if let Node::AlterTableCmd(command) = command {
                self.parents(command.def());
            }
        }
        kind
    }

    /// Notes the tables that the foreign keys of a column or constraint refer to.
    fn parents(&mut self, node: Node<'_>) {
        match node {
            Node::ColumnDef(column) => column.constraints().iter().for_each(|c| self.parents(c)),
            Node::Constraint(constraint) => {
                if let Some(parent) = constraint.pktable() {
                    self.walker.table(parent, Role::Parent);
                }
            }
            _ => {}
        }
    }

    /// Notes the table of COMMENT ON TABLE or COLUMN, whose name has no position in the tree.
    fn commented(&mut self, comment: &nodes::CommentStmt) -> bool {
        let (sql, tokens) = (self.walker.sql, self.walker.tokens);
        let on = tokens.at(self.range.start) + 1;
        let first = on + 2;
        let place = tokens.get(on).filter(|t| t.is_word(sql, "on")).and(self.walker.dotted(first));
        let Some(mut last) = place else { return false };
        let object = match comment.objtype {
            OBJECT_COLUMN => {
                // The column and its dot.
                last = last.saturating_sub(2);
                let mut parts = comment.object().as_node_list().map(names).unwrap_or_default();
                parts.pop();
                parts
            }
            _ => comment.object().as_node_list().map(names).unwrap_or_default(),
        };
        let (Some(start), Some(end)) = (tokens.get(first), tokens.get(last)) else { return false };
        self.note(object, start.start..end.end)
    }

    /// Notes a table by the parts of its name.
    fn note(&mut self, mut parts: Vec<String>, range: std::ops::Range<usize>) -> bool {
        let Some(name) = parts.pop() else { return false };
        self.walker.tables.push(super::super::TableRef {
            catalog: None,
            schema: parts.pop(),
            name,
            range,
            position: 1,
            alias: None,
            role: Role::Named,
            command: false,
            level: 0,
            only: false,
        });
        true
    }

    fn named(&mut self, table: Option<&nodes::RangeVar>, what: &'static str, how: How) -> Kind {
        match table {
            Some(table) => {
                self.walker.table(table, Role::Named);
                Kind::Define(Define { what, how })
            }
            None => Kind::Refused(what.to_owned()),
        }
    }

    /// The name in CREATE TYPE has no position in the tree.
    fn create_enum(&mut self, create: &nodes::CreateEnumStmt) -> Kind {
        let mut parts: Vec<String> =
            create.type_name().iter().filter_map(|n| n.sval()).map(str::to_owned).collect();
        let (sql, tokens) = (self.walker.sql, self.walker.tokens);
        let first = tokens.at(self.range.start) + 2;
        let words = tokens.get(first - 1).is_some_and(|t| t.is_word(sql, "type"));
        let last = self.walker.dotted(first).filter(|_| words);
        let place = last.and_then(|last| Some(tokens.get(first)?.start..tokens.get(last)?.end));
        let (Some(name), Some(range), true) = (parts.pop(), place, parts.len() < 2) else {
            return Kind::Refused(self.construct());
        };
        let name = TypeRef { schema: parts.pop(), name, range };
        let labels = create.vals().iter().filter_map(|n| n.sval()).map(str::to_owned).collect();
        Kind::Define(Define { what: "CREATE TYPE", how: How::Type(TypeHow::Create { name, labels }) })
    }

    fn drop_types(&mut self, drop: &nodes::DropStmt) -> Kind {
        if drop.behavior != nodes::DropBehavior::DROP_RESTRICT {
            return Kind::Refused("DROP TYPE … CASCADE".to_owned());
        }
        let mut found = Vec::new();
        for object in drop.objects().iter() {
            let Node::TypeName(name) = object else { return Kind::Refused(self.construct()) };
            let mut parts: Vec<String> =
                name.names().iter().filter_map(|n| n.sval()).map(str::to_owned).collect();
            let (Some(name), true) = (parts.pop(), parts.len() < 2) else {
                return Kind::Refused(self.construct());
            };
            found.push(TypeRef { schema: parts.pop(), name, range: 0..0 });
        }
        let how = TypeHow::Drop { names: found, if_exists: drop.missing_ok };
        Kind::Define(Define { what: "DROP TYPE", how: How::Type(how) })
    }

    /// The names in a DROP have no positions; they are noted without a place.
    fn drop_statement(&mut self, drop: &nodes::DropStmt) -> Kind {
        let relations = [OBJECT_TABLE, OBJECT_INDEX, OBJECT_SEQUENCE, OBJECT_VIEW];
        let cascade = drop.behavior != nodes::DropBehavior::DROP_RESTRICT;
        let cascades = matches!(drop.remove_type, OBJECT_TABLE | OBJECT_VIEW);
        if !relations.contains(&drop.remove_type) || (cascade && !cascades) {
            return Kind::Refused(self.construct());
        }
        for object in drop.objects().iter() {
            let parts = object.as_node_list().map(names).unwrap_or_default();
            if !self.note(parts, self.range.start..self.range.start) {
                return Kind::Refused(self.construct());
            }
        }
        let if_exists = drop.missing_ok;
        let (what, how) = match drop.remove_type {
            OBJECT_TABLE => ("DROP TABLE", How::DropTable { if_exists, cascade }),
            OBJECT_INDEX if drop.objects().len() == 1 && !drop.concurrent => {
                ("DROP INDEX", How::DropIndex { if_exists })
            }
            OBJECT_VIEW => ("DROP VIEW", How::View(ViewHow::Drop { if_exists, cascade })),
            _ => ("DROP", How::Never(self.construct())),
        };
        Kind::Define(Define { what, how })
    }

    /// The command as a person would name it: its first word, and the object's kind of DDL.
    fn construct(&self) -> String {
        let first = self.walker.tokens.at(self.range.start);
        let words = self.walker.tokens.list.get(first..).unwrap_or_default().iter();
        let words: Vec<String> =
            words.take(3).map(|t| t.text(self.walker.sql).to_ascii_uppercase()).collect();
        let take = match words.first().map(String::as_str) {
            Some("CREATE")
                if words.get(1).is_some_and(|w| matches!(w.as_str(), "OR" | "UNIQUE" | "MATERIALIZED")) =>
            {
                3
            }
            Some("CREATE" | "ALTER" | "DROP" | "REFRESH" | "SECURITY" | "IMPORT" | "REASSIGN") => 2,
            _ => 1,
        };
        words.into_iter().take(take).collect::<Vec<_>>().join(" ")
    }
}

/// Whether a form of ALTER TABLE changes another table than the one it names first.
fn ties_tables(form: nodes::AlterTableType::Type) -> bool {
    use nodes::AlterTableType as Form;
    matches!(
        form,
        Form::AT_AddInherit
            | Form::AT_DropInherit
            | Form::AT_AttachPartition
            | Form::AT_DetachPartition
            | Form::AT_DetachPartitionFinalize
    )
}

/// What can't be done, if it is asked for.
fn never(unfit: bool, what: &str) -> How {
    if unfit { How::Never(what.to_owned()) } else { How::Alter }
}

/// Whether an ALTER VIEW changes its options only.
fn sets_options(alter: &nodes::AlterTableStmt) -> bool {
    use nodes::AlterTableType as Form;
    let options = |node: Node<'_>| match node {
        Node::AlterTableCmd(command) => {
            matches!(command.subtype, Form::AT_SetRelOptions | Form::AT_ResetRelOptions)
        }
        _ => false,
    };
    alter.cmds().iter().all(options)
}

/// Whether options of an identity column are its sequence's, which main and all branches share.
fn is_about_sequence(options: Node<'_>) -> bool {
    let Node::NodeList(options) = options else { return true };
    options.iter().any(|option| !matches!(option, Node::DefElem(o) if o.defname() == Some("generated")))
}

/// The forms of ALTER TABLE that concern one table's columns, constraints and indexes.
fn is_alterable(subtype: nodes::AlterTableType::Type) -> bool {
    use nodes::AlterTableType as Form;
    matches!(
        subtype,
        Form::AT_AddColumn
            | Form::AT_ColumnDefault
            | Form::AT_DropNotNull
            | Form::AT_SetNotNull
            | Form::AT_DropExpression
            | Form::AT_SetStatistics
            | Form::AT_SetStorage
            | Form::AT_DropColumn
            | Form::AT_AddConstraint
            | Form::AT_ValidateConstraint
            | Form::AT_DropConstraint
            | Form::AT_AlterColumnType
            | Form::AT_SetRelOptions
            | Form::AT_ResetRelOptions
            | Form::AT_AddIdentity
            | Form::AT_SetIdentity
            | Form::AT_DropIdentity
    )
}

/// Whether a statement ends a transaction (or a part of it).
fn ending(kind: nodes::TransactionStmtKind::Type) -> Option<Ending> {
    use nodes::TransactionStmtKind as Statement;
    match kind {
        Statement::TRANS_STMT_COMMIT => Some(Ending::Commit),
        Statement::TRANS_STMT_PREPARE => Some(Ending::Prepare),
        Statement::TRANS_STMT_ROLLBACK | Statement::TRANS_STMT_ROLLBACK_TO => Some(Ending::Back),
        _ => None,
    }
}

/// Whether a name that is about to be created is a temporary one.
pub(in crate::query::parse) fn is_temporary(table: &nodes::RangeVar) -> bool {
    let persistence = u8::try_from(i32::from(table.relpersistence)).unwrap_or(0);
    persistence == b't' || table.schemaname().is_some_and(|s| s == "pg_temp" || s.starts_with("pg_temp_"))
}

fn names(list: &NodeList) -> Vec<String> {
    list.iter().filter_map(|n| n.as_str()).map(str::to_owned).collect()
}

fn is_our_setting(name: &str) -> bool {
    name.get(..6).is_some_and(|prefix| prefix.eq_ignore_ascii_case("epoch."))
}

fn is_off(arg: Node<'_>) -> bool {
    match arg {
        Node::None => false,
        Node::Integer(i) => i.ival == 0,
        Node::Boolean(b) => !b.boolval,
        Node::String(s) => {
            s.sval().is_some_and(|s| s.eq_ignore_ascii_case("off") || s.eq_ignore_ascii_case("false"))
        }
        _ => false,
    }
}

fn set_statement(set: &nodes::VariableSetStmt) -> Kind {
    use nodes::VariableSetKind as How;
    if set.kind == How::VAR_RESET_ALL {
        return Kind::Setting(Setting::ResetAll);
    }
    let name = set.name().unwrap_or_default().to_ascii_lowercase();
    if is_our_setting(&name) {
        return our_setting(set, name);
    }
    match name.as_str() {
        "search_path" => match values(set.args()).iter().find(|v| is_our_schema(v)) {
            Some(schema) => Kind::Refused(format!("a search_path with \"{schema}\"")),
            None => Kind::Names,
        },
        // A capture trigger or a check of ours must not be switched off, and bytes and quotes must mean what
        // the lexer takes them for.
        "session_replication_role" => Kind::Refused("SET session_replication_role".to_owned()),
        "standard_conforming_strings" if set.kind != How::VAR_SET_VALUE || !is_on(set) => {
            Kind::Refused("standard_conforming_strings other than on".to_owned())
        }
        "client_encoding" if set.kind != How::VAR_SET_VALUE || !is_utf8(set) => {
            Kind::Refused("client_encoding other than UTF8".to_owned())
        }
        "role" | "session_authorization" => Kind::Names,
        "transaction" if set.kind == How::VAR_SET_MULTI => {
            serializable(set.args()).map_or(Kind::Pass, |level| Kind::Isolation(Isolation::Set(level)))
        }
        "transaction_isolation" | "default_transaction_isolation" | "session characteristics" => {
            Kind::Isolation(Isolation::Other)
        }
        _ => Kind::Pass,
    }
}

/// BEGIN says how the transaction is isolated, or leaves it to the session's default.
fn begun(transaction: &nodes::TransactionStmt) -> Kind {
    use nodes::TransactionStmtKind as What;
    match transaction.kind {
        What::TRANS_STMT_BEGIN | What::TRANS_STMT_START => {
            Kind::Isolation(Isolation::Begin(serializable(transaction.options())))
        }
        What::TRANS_STMT_COMMIT_PREPARED => Kind::TwoPhase("COMMIT PREPARED"),
        What::TRANS_STMT_ROLLBACK_PREPARED => Kind::TwoPhase("ROLLBACK PREPARED"),
        _ => Kind::Pass,
    }
}

/// Whether the modes of a transaction name SERIALIZABLE; `None` if they name no level.
fn serializable(options: &NodeList) -> Option<bool> {
    options.iter().find_map(|option| match option {
        Node::DefElem(option) if option.defname() == Some("transaction_isolation") => {
            match constant(option.arg()) {
                Constant::Text(level) => Some(level.eq_ignore_ascii_case("serializable")),
                _ => None,
            }
        }
        _ => None,
    })
}

fn is_on(set: &nodes::VariableSetStmt) -> bool {
    values(set.args())
        .iter()
        .any(|v| matches!(v.to_ascii_lowercase().as_str(), "on" | "true" | "1" | "yes" | "t" | "y"))
}

/// Whether an encoding is UTF8, by any of its names.
fn is_utf8(set: &nodes::VariableSetStmt) -> bool {
    let plain = |v: &String| -> String {
        v.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
    };
    matches!(values(set.args()).iter().map(plain).collect::<Vec<_>>().as_slice(), [one] if one == "utf8" || one == "unicode")
}

/// Whether a schema holds objects of ours.
pub(super) fn is_our_schema(name: &str) -> bool {
    name == "epoch" || name.starts_with("epoch_")
}

fn our_setting(set: &nodes::VariableSetStmt, name: String) -> Kind {
    use nodes::VariableSetKind as How;
    match set.kind {
        How::VAR_SET_VALUE => {
            Kind::Setting(Setting::Set { name, value: values(set.args()).join(", "), local: set.is_local })
        }
        How::VAR_SET_DEFAULT | How::VAR_RESET => Kind::Setting(Setting::Reset(name)),
        _ => Kind::Refused(format!("SET {name} FROM CURRENT")),
    }
}

fn values(args: &NodeList) -> Vec<String> {
    let one = |node| match constant(node) {
        Constant::Text(text) => text,
        Constant::Int(number) => number.to_string(),
        Constant::Bool(b) => if b { "on" } else { "off" }.to_owned(),
        _ => String::new(),
    };
    args.iter().map(one).collect()
}
