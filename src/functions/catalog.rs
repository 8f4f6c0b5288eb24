//! Every function: name, arguments, flags and fixed columns. `epoch_help()`, `\df`, the command line,
//! error hints and `docs/sql-reference.md` all come from here.

use super::SqlType;

/// A function of the SQL surface.
#[derive(Debug)]
pub struct Function {
    /// `epoch_commit`.
    pub name: &'static str,
    /// One line for people.
    pub summary: &'static str,
    /// How it is called.
    pub usage: &'static str,
    /// What it does to the repository.
    pub kind: Kind,
    /// Positional arguments, in order; each may be given by its name as well.
    pub parameters: &'static [Parameter],
    /// Takes any number of texts after the parameters.
    pub variadic: bool,
    /// Flags, written as on the command line or as `name => value`.
    pub flags: &'static [Flag],
    /// The result's columns; empty if they depend on the arguments.
    pub columns: &'static [(&'static str, SqlType)],
    /// The name of its relation in schema `epoch`, if it works without arguments.
    pub relation: Option<&'static str>,
}

/// What a function does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Changes the repository or the session.
    Mutating,
    /// Returns rows; may be joined and filtered.
    Reading,
    /// Returns one value.
    Scalar,
}

impl Function {
    /// The result's type as `\df` shows it.
    pub fn result_type(&self) -> String {
        let columns: Vec<_> = self.columns.iter().map(|(name, ty)| format!("{name} {}", ty.name())).collect();
        match (self.kind, self.columns) {
            (Kind::Scalar, [(_, ty)]) => ty.name().to_owned(),
            (_, []) => "SETOF record".to_owned(),
            _ => format!("TABLE({})", columns.join(", ")),
        }
    }

    /// The arguments as `\df` shows them.
    pub fn argument_types(&self) -> String {
        let parameter = |p: &Parameter| {
            let default = if p.required { "" } else { " DEFAULT NULL" };
            format!("{} {}{default}", p.name, p.takes.sql_type().name())
        };
        let mut all: Vec<_> = self.parameters.iter().map(parameter).collect();
        if self.variadic || !self.flags.is_empty() {
            all.push("VARIADIC text[]".to_owned());
        }
        all.join(", ")
    }
}

impl Kind {
    /// As in the `kind` column of `epoch_help()`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mutating => "mutating",
            Self::Reading => "reading",
            Self::Scalar => "scalar",
        }
    }
}

/// A positional argument.
#[derive(Debug)]
pub struct Parameter {
    /// Name.
    pub name: &'static str,
    /// Type.
    pub takes: Takes,
    /// Whether a call without it can mean something.
    pub required: bool,
    /// For people.
    pub help: &'static str,
}

/// A flag.
#[derive(Debug)]
pub struct Flag {
    /// `-m`.
    pub short: Option<char>,
    /// `--message`, without the dashes; empty if there is only the short form.
    pub long: &'static str,
    /// What follows it.
    pub takes: Takes,
    /// For people.
    pub help: &'static str,
}

impl Flag {
    /// Its one name in parsed arguments.
    pub fn name(&self) -> &'static str {
        match (self.long, self.short) {
            ("", Some('b')) => "b",
            (long, _) => long,
        }
    }

    /// `-m/--message`.
    pub fn spelling(&self) -> String {
        match (self.short, self.long) {
            (Some(short), "") => format!("-{short}"),
            (Some(short), long) => format!("-{short}/--{long}"),
            (None, long) => format!("--{long}"),
        }
    }
}

/// What an argument is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// A switch.
    Nothing,
    /// One text.
    Text,
    /// One number.
    Count,
    /// An array of texts, or one text.
    List,
}

impl Takes {
    pub(super) fn describe(self) -> &'static str {
        match self {
            Self::Nothing => "a boolean",
            Self::Text => "a text",
            Self::Count => "a number",
            Self::List => "an array of texts",
        }
    }

    /// The PostgreSQL type, for parameters of prepared statements and `\df`.
    pub fn sql_type(self) -> SqlType {
        match self {
            Self::Nothing => SqlType::Bool,
            Self::Text => SqlType::Text,
            Self::Count => SqlType::Int8,
            Self::List => SqlType::TextArray,
        }
    }
}

/// All functions, mutating ones first, each group in the order of a working day.
pub fn catalog() -> &'static [Function] {
    CATALOG
}

/// A function by its name (`epoch_log`) or its relation's name (`epoch.log`).
pub fn find(name: &str) -> Option<&'static Function> {
    let relation = name.strip_prefix("epoch.");
    CATALOG.iter().find(|f| f.name == name || (relation.is_some() && f.relation == relation))
}

/// The relations of schema `epoch` with the function behind each.
pub fn relations() -> impl Iterator<Item = (&'static str, &'static Function)> {
    CATALOG.iter().filter_map(|function| Some((function.relation?, function)))
}

const fn need(name: &'static str, help: &'static str) -> Parameter {
    Parameter { name, takes: Takes::Text, required: true, help }
}

const fn may(name: &'static str, help: &'static str) -> Parameter {
    Parameter { name, takes: Takes::Text, required: false, help }
}

const fn list(name: &'static str, help: &'static str) -> Parameter {
    Parameter { name, takes: Takes::List, required: false, help }
}

const fn switch(short: Option<char>, long: &'static str, help: &'static str) -> Flag {
    Flag { short, long, takes: Takes::Nothing, help }
}

const fn text(short: Option<char>, long: &'static str, help: &'static str) -> Flag {
    Flag { short, long, takes: Takes::Text, help }
}

/// The parts that most functions leave empty.
const BLANK: Function = Function {
    name: "",
    summary: "",
    usage: "",
    kind: Kind::Reading,
    parameters: &[],
    variadic: false,
    flags: &[],
    columns: &[],
    relation: None,
};

const MUTATING: Function = Function { kind: Kind::Mutating, ..BLANK };
const SCALAR: Function = Function { kind: Kind::Scalar, ..BLANK };

use SqlType::{Bool, Int8, Jsonb, Text, TextArray, TimestampTz};

static CATALOG: &[Function] = &[
    Function {
        name: "epoch_register",
        summary: "Start to version tables",
        usage: "epoch_register(pattern [, location] [, key => array])",
        parameters: &[
            need("pattern", "Table or pattern: users, public.*"),
            may("location", "Where the rows live: postgresql://NAME/schema.table, sqlite://NAME/table"),
        ],
        flags: &[Flag {
            short: None,
            long: "key",
            takes: Takes::List,
            help: "Key columns, for a table without a primary key",
        }],
        columns: &[("table_name", Text), ("location", Text), ("key", TextArray), ("rows_estimate", Int8)],
        ..MUTATING
    },
    Function {
        name: "epoch_unregister",
        summary: "Stop to version a table and remove everything of ours from its database",
        usage: "epoch_unregister(table [, '-f'])",
        parameters: &[need("table", "Table")],
        flags: &[switch(Some('f'), "force", "Also if an unmerged branch holds changes to it")],
        columns: &[("table_name", Text), ("status", Text)],
        ..MUTATING
    },
    Function {
        name: "epoch_branch",
        summary: "Create, delete (-d), rename (-m), copy (-c) or list branches",
        usage: "epoch_branch(name [, start]), epoch_branch('-d'|'-D', name…), epoch_branch('-m'|'-c', [old,] new)",
        variadic: true,
        flags: &[
            switch(Some('d'), "delete", "Delete; refused if commits would be lost or a session is on it"),
            switch(Some('D'), "delete-force", "Delete in any case"),
            switch(Some('m'), "move", "Rename"),
            switch(Some('c'), "copy", "Copy"),
            switch(Some('f'), "force", "Move the branch if it exists"),
        ],
        columns: &[("name", Text), ("hash", Text), ("status", Text)],
        ..MUTATING
    },
    Function {
        name: "epoch_checkout",
        summary: "Switch the session to a branch, tag or commit; -b creates the branch",
        usage: "epoch_checkout(ref), epoch_checkout('-b', name [, start])",
        parameters: &[need("ref", "Branch, tag or commit"), may("start", "With -b: where the branch starts")],
        flags: &[switch(Some('b'), "", "Create the branch first")],
        columns: &[("branch", Text), ("hash", Text), ("status", Text)],
        ..MUTATING
    },
    Function {
        name: "epoch_commit",
        summary: "Commit the working changes of the session's branch, on all backends",
        usage: "epoch_commit(message), epoch_commit('-m', message, …)",
        parameters: &[may("message", "What was done and why")],
        flags: &[
            text(Some('m'), "message", "The message"),
            switch(Some('a'), "all", "All tables; the default"),
            text(None, "author", "Name <email>"),
            text(None, "date", "Instead of now, e.g. 2026-11-01 12:00"),
            switch(None, "allow-empty", "Commit even if nothing changed"),
            switch(None, "skip-empty", "No error if nothing changed"),
            switch(None, "amend", "Replace the last commit"),
            Flag { short: None, long: "tables", takes: Takes::List, help: "Only these tables" },
        ],
        columns: &[
            ("hash", Text),
            ("tables_changed", Int8),
            ("rows_added", Int8),
            ("rows_modified", Int8),
            ("rows_deleted", Int8),
        ],
        ..MUTATING
    },
    Function {
        name: "epoch_merge",
        summary: "Merge a branch, tag or commit into the session's branch",
        usage: "epoch_merge(ref), epoch_merge('--abort'), epoch_merge('--continue')",
        parameters: &[may("ref", "What to merge")],
        flags: &[
            switch(None, "no-ff", "A merge commit even where a fast-forward is possible"),
            switch(None, "ff-only", "Refuse unless it is a fast-forward"),
            switch(None, "squash", "One commit with the changes, without the other branch as a parent"),
            switch(None, "no-commit", "Not supported yet"),
            switch(None, "abort", "Drop the merge that waits for its conflicts"),
            switch(None, "continue", "Finish the merge whose conflicts are resolved"),
            switch(None, "dry-run", "Compute and report only"),
            text(Some('m'), "message", "The merge commit's message"),
            text(None, "strategy", "field (default), row, ours or theirs"),
        ],
        columns: &[("hash", Text), ("fast_forward", Bool), ("conflicts", Int8), ("message", Text)],
        ..MUTATING
    },
    Function {
        name: "epoch_conflicts_resolve",
        summary: "Resolve conflicts of the merge that waits: all, of a table, a key or a column",
        usage: "epoch_conflicts_resolve('ours'|'theirs'|'base'|'value' [, table] [, key] [, column] [, value])",
        parameters: &[
            may("side", "ours, theirs, base or value"),
            may("table", "Only conflicts of this table"),
            list("key", "Only this key"),
            may("column", "Only this column"),
            may("value", "With side 'value': what the column becomes"),
        ],
        flags: &[
            switch(None, "ours", "The session's branch wins"),
            switch(None, "theirs", "The merged branch wins"),
            switch(None, "base", "Back to the merge base"),
        ],
        columns: &[("resolved", Int8), ("remaining", Int8)],
        ..MUTATING
    },
    Function {
        name: "epoch_reset",
        summary: "Move the branch (--soft), also drop working changes (--hard), or drop those of one table",
        usage: "epoch_reset('--soft'|'--hard' [, ref]), epoch_reset(table…)",
        variadic: true,
        flags: &[
            switch(None, "soft", "Only the head moves; the rows become working changes"),
            switch(None, "hard", "Rows move too; commits that are left are kept by a safety branch"),
        ],
        columns: &[("hash", Text), ("safety_branch", Text), ("status", Text)],
        ..MUTATING
    },
    Function {
        name: "epoch_tag",
        summary: "Tag a commit, delete a tag (-d) or list tags",
        usage: "epoch_tag(name [, ref] [, '-m', message]), epoch_tag('-d', name)",
        parameters: &[may("name", "The tag"), may("ref", "What to tag; HEAD if not given")],
        flags: &[
            text(Some('m'), "message", "Makes an annotated tag"),
            switch(Some('d'), "delete", "Delete the tag"),
        ],
        columns: &[("tag", Text), ("hash", Text)],
        ..MUTATING
    },
    Function {
        name: "epoch_discover",
        summary: "Tables of a backend that could be registered",
        usage: "epoch_discover([location])",
        parameters: &[may(
            "location",
            "A backend, or postgresql://NAME/schema.*, sqlite://NAME/*; all backends if not given",
        )],
        columns: &[
            ("table_name", Text),
            ("location", Text),
            ("key", TextArray),
            ("registered", Bool),
            ("reason", Text),
        ],
        ..BLANK
    },
    Function {
        name: "epoch_status",
        summary: "Uncommitted changes of the session's branch, and tables that were changed past us",
        usage: "epoch_status()",
        columns: &[
            ("table_name", Text),
            ("location", Text),
            ("change", Text),
            ("rows_added", Int8),
            ("rows_modified", Int8),
            ("rows_deleted", Int8),
            ("conflicts", Int8),
        ],
        relation: Some("status"),
        ..BLANK
    },
    Function {
        name: "epoch_log",
        summary: "Commits, newest first; a..b, ^x and several refs as git log takes them",
        usage: "epoch_log([ref…] [, '--all'] [, '-n', count] [, tables => array])",
        variadic: true,
        flags: &[
            switch(None, "all", "From every branch and tag"),
            Flag { short: Some('n'), long: "limit", takes: Takes::Count, help: "At most this many" },
            Flag {
                short: None,
                long: "tables",
                takes: Takes::List,
                help: "Only commits that changed these tables",
            },
        ],
        columns: &[
            ("commit_hash", Text),
            ("parents", TextArray),
            ("author", Text),
            ("email", Text),
            ("date", TimestampTz),
            ("message", Text),
            ("refs", TextArray),
            ("commit_order", Int8),
        ],
        relation: Some("log"),
        ..BLANK
    },
    Function {
        name: "epoch_branches",
        summary: "All branches",
        usage: "epoch_branches()",
        columns: &[
            ("name", Text),
            ("hash", Text),
            ("parent_branch", Text),
            ("latest_author", Text),
            ("latest_date", TimestampTz),
            ("latest_message", Text),
            ("dirty", Bool),
            ("ahead", Int8),
            ("behind", Int8),
            ("protected", Bool),
            ("expires_at", TimestampTz),
            ("overlay_bytes", Int8),
        ],
        relation: Some("branches"),
        ..BLANK
    },
    Function {
        name: "epoch_tags",
        summary: "All tags",
        usage: "epoch_tags()",
        columns: &[
            ("name", Text),
            ("hash", Text),
            ("tagger", Text),
            ("date", TimestampTz),
            ("message", Text),
        ],
        relation: Some("tags"),
        ..BLANK
    },
    Function {
        name: "epoch_tables",
        summary: "The registered tables",
        usage: "epoch_tables()",
        columns: &[("table_name", Text), ("location", Text), ("key", TextArray), ("columns", TextArray)],
        relation: Some("tables"),
        ..BLANK
    },
    Function {
        name: "epoch_backends",
        summary: "The configured backends and how they feel",
        usage: "epoch_backends()",
        columns: &[
            ("name", Text),
            ("kind", Text),
            ("status", Text),
            ("version", Text),
            ("connections", Int8),
            ("max_connections", Int8),
            ("tables", Int8),
            ("error", Text),
        ],
        relation: Some("backends"),
        ..BLANK
    },
    Function {
        name: "epoch_diff",
        summary: "Rows that differ between two refs, of one table or of all",
        usage: "epoch_diff(from, to [, table]), epoch_diff('a..b' | 'a...b' [, table])",
        parameters: &[
            may("from", "Ref, a..b, or a...b (since the merge base); HEAD if not given"),
            may("to", "Ref; WORKING if not given"),
            may("table", "Only this table, with its own columns"),
        ],
        ..BLANK
    },
    Function {
        name: "epoch_diff_stat",
        summary: "How much differs between two refs, per table",
        usage: "epoch_diff_stat(from, to [, table]), epoch_diff_stat('a..b' [, table])",
        parameters: &[
            may("from", "Ref, a..b, or a...b (since the merge base); HEAD if not given"),
            may("to", "Ref; WORKING if not given"),
            may("table", "Only this table"),
        ],
        columns: &[
            ("table_name", Text),
            ("location", Text),
            ("rows_unmodified", Int8),
            ("rows_added", Int8),
            ("rows_deleted", Int8),
            ("rows_modified", Int8),
            ("cells_modified", Int8),
        ],
        ..BLANK
    },
    Function {
        name: "epoch_diff_summary",
        summary: "Which tables differ between two refs",
        usage: "epoch_diff_summary(from, to), epoch_diff_summary('a..b')",
        parameters: &[
            may("from", "Ref, a..b, or a...b (since the merge base); HEAD if not given"),
            may("to", "Ref; WORKING if not given"),
        ],
        columns: &[
            ("table_name", Text),
            ("location", Text),
            ("diff_type", Text),
            ("data_change", Bool),
            ("schema_change", Bool),
        ],
        ..BLANK
    },
    Function {
        name: "epoch_at",
        summary: "A table as a ref shows it",
        usage: "epoch_at(table, ref)",
        parameters: &[need("table", "Table"), need("ref", "Branch, tag or commit")],
        ..BLANK
    },
    Function {
        name: "epoch_conflicts",
        summary: "Conflicts of the merge that waits: counts per table, or the rows of one table",
        usage: "epoch_conflicts([table])",
        parameters: &[may("table", "Only this table, with its own columns")],
        relation: Some("conflicts"),
        ..BLANK
    },
    Function {
        name: "epoch_merge_base",
        summary: "The best common ancestor of two refs",
        usage: "epoch_merge_base(a, b)",
        parameters: &[need("a", "Ref"), need("b", "Ref")],
        columns: &[("epoch_merge_base", Text)],
        ..SCALAR
    },
    Function {
        name: "epoch_has_ancestor",
        summary: "Whether the second ref is the first or an ancestor of it",
        usage: "epoch_has_ancestor(ref, ancestor)",
        parameters: &[need("ref", "Ref"), need("ancestor", "Ref")],
        columns: &[("epoch_has_ancestor", Bool)],
        ..SCALAR
    },
    Function {
        name: "epoch_count_commits",
        summary: "Commits that the second ref has and the first one has not",
        usage: "epoch_count_commits(from, to)",
        parameters: &[need("from", "Ref"), need("to", "Ref")],
        columns: &[("epoch_count_commits", Int8)],
        ..SCALAR
    },
    Function {
        name: "epoch_hashof",
        summary: "The full hash of a ref's commit",
        usage: "epoch_hashof(ref)",
        parameters: &[need("ref", "Ref")],
        columns: &[("epoch_hashof", Text)],
        ..SCALAR
    },
    Function {
        name: "epoch_active_branch",
        summary: "The session's branch; NULL on a tag or commit",
        usage: "epoch_active_branch()",
        columns: &[("epoch_active_branch", Text)],
        ..SCALAR
    },
    Function {
        name: "epoch_version",
        summary: "The version of Horizon Epoch",
        usage: "epoch_version()",
        columns: &[("epoch_version", Text)],
        ..SCALAR
    },
    Function {
        name: "epoch_explain",
        summary: "What a statement would run where: route, backend and the rewritten SQL",
        usage: "epoch_explain(sql)",
        parameters: &[need("sql", "The statement")],
        columns: &[("route", Text), ("backend", Text), ("sql", Text)],
        ..BLANK
    },
    Function {
        name: "epoch_help",
        summary: "All functions, or one of them with its arguments",
        usage: "epoch_help([function])",
        parameters: &[may("function", "Only this one")],
        columns: &[("name", Text), ("kind", Text), ("usage", Text), ("description", Text)],
        relation: Some("help"),
        ..BLANK
    },
];

// Named here so that the list of columns of a whole diff has one home.
pub(super) static DIFF_OF_ALL: &[(&str, SqlType)] = &[
    ("table_name", Text),
    ("location", Text),
    ("diff_type", Text),
    ("key", Jsonb),
    ("from_row", Jsonb),
    ("to_row", Jsonb),
    ("changed_columns", TextArray),
];

pub(super) static CONFLICTS_OF_ALL: &[(&str, SqlType)] = &[("table_name", Text), ("num_conflicts", Int8)];
