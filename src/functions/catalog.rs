//! Every function: name, arguments, flags and fixed columns. `epoch_help()`, `\df`, the command line,
//! error hints and `docs/sql-reference.md` all come from here.

pub use super::definition::{Flag, Function, Kind, Parameter, Takes};
use super::{SqlType, rights, upkeep};

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

pub(super) const fn may(name: &'static str, help: &'static str) -> Parameter {
    Parameter { name, takes: Takes::Text, required: false, help }
}

const fn list(name: &'static str, help: &'static str) -> Parameter {
    Parameter { name, takes: Takes::List, required: false, help }
}

pub(super) const fn switch(short: Option<char>, long: &'static str, help: &'static str) -> Flag {
    Flag { short, long, takes: Takes::Nothing, help }
}

const fn text(short: Option<char>, long: &'static str, help: &'static str) -> Flag {
    Flag { short, long, takes: Takes::Text, help }
}

/// The parts that most functions leave empty.
pub(super) const BLANK: Function = Function {
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

pub(super) const MUTATING: Function = Function { kind: Kind::Mutating, ..BLANK };
const SCALAR: Function = Function { kind: Kind::Scalar, ..BLANK };

use SqlType::{Bool, Int8, Text, TextArray, TimestampTz};

static CATALOG: &[Function] = &[
    Function {
        name: "epoch_register",
        summary: "Start to version tables",
        usage: "epoch_register(pattern [, location] [, key => array] [, triggers => 'on'|'off']), epoch_register(pattern, '--accept')",
        parameters: &[
            need("pattern", "Table, pattern or location: users, public.*, sqlite://NAME/*"),
            may(
                "location",
                "Where the rows live: postgresql://NAME/schema.table, sqlite://NAME/table, mysql://NAME/table, sqlserver://NAME/schema.table, or local://NAME/path, s3://NAME/path, azure://NAME/path and gcs://NAME/path of a Delta table",
            ),
        ],
        flags: &[
            Flag {
                short: None,
                long: "key",
                takes: Takes::List,
                help: "Key columns, for a table without a primary key",
            },
            text(
                None,
                "triggers",
                "on: the table's row triggers, as they are now, run on branches too; off: on main only. Also of registered tables",
            ),
            switch(None, "accept", "Go on with a table whose rows were written anew: no value changed"),
        ],
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
        usage: "epoch_branch(name [, start] [, ttl => '7 days'] [, protect => 'all']), epoch_branch('-d'|'-D', name…), epoch_branch('-m'|'-c', [old,] new)",
        variadic: true,
        flags: &[
            switch(Some('d'), "delete", "Delete; refused if commits would be lost or a session is on it"),
            switch(Some('D'), "delete-force", "Delete in any case"),
            switch(Some('m'), "move", "Rename"),
            switch(Some('c'), "copy", "Copy"),
            switch(Some('f'), "force", "Move the branch if it exists"),
            text(None, "ttl", "Delete the new branch after this time, e.g. 7 days"),
            text(None, "protect", "Protect the new branch: all, no-writes or merge-only (see epoch_protect)"),
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
            switch(None, "no-commit", "Stop before the commit, which --continue makes"),
            switch(None, "abort", "Drop the merge that waits"),
            switch(None, "continue", "Finish the merge whose conflicts are resolved"),
            switch(None, "dry-run", "Compute and report only"),
            text(Some('m'), "message", "The merge commit's message"),
            text(None, "strategy", "field (default), row, ours or theirs"),
        ],
        columns: &[("hash", Text), ("fast_forward", Bool), ("conflicts", Int8), ("message", Text)],
        ..MUTATING
    },
    Function {
        name: "epoch_cherry_pick",
        summary: "Apply commits of another branch to the session's, with their authors and messages",
        usage: "epoch_cherry_pick(ref…), epoch_cherry_pick('--continue'), epoch_cherry_pick('--abort')",
        variadic: true,
        flags: PICK_FLAGS,
        columns: PICKED,
        ..MUTATING
    },
    Function {
        name: "epoch_revert",
        summary: "Take commits back by new commits",
        usage: "epoch_revert(ref…), epoch_revert('--continue'), epoch_revert('--abort')",
        variadic: true,
        flags: PICK_FLAGS,
        columns: PICKED,
        ..MUTATING
    },
    Function {
        name: "epoch_rebase",
        summary: "Apply the commits that only the session's branch has on top of another commit",
        usage: "epoch_rebase(upstream), epoch_rebase('-i', upstream), epoch_rebase('--continue'), epoch_rebase('--abort')",
        parameters: &[may("upstream", "What the branch stands on afterwards")],
        flags: &[
            switch(Some('i'), "interactive", "Stop first, so that epoch.rebase_plan can be edited"),
            switch(None, "continue", "Begin with the plan, or go on after conflicts are resolved"),
            switch(None, "abort", "Leave the branch as it was before"),
            text(None, "message", "With --continue: the message of the commit that stopped"),
            text(None, "strategy", "field (default), row, ours or theirs"),
        ],
        columns: &[("hash", Text), ("status", Text), ("message", Text)],
        ..MUTATING
    },
    Function {
        name: "epoch_rebase_edit",
        summary: "Change a step of the plan of an interactive rebase",
        usage: "epoch_rebase_edit(order, action [, message]), epoch_rebase_edit(order, '--to', place)",
        parameters: &[
            Parameter {
                name: "order",
                takes: Takes::Count,
                required: true,
                help: "The step, as epoch.rebase_plan counts",
            },
            may("action", "pick, reword, squash, fixup or drop"),
            may("message", "The commit's message"),
        ],
        flags: &[Flag { short: None, long: "to", takes: Takes::Count, help: "The step's new place" }],
        columns: PLAN,
        ..MUTATING
    },
    Function {
        name: "epoch_stash",
        summary: "Put working changes aside (push), bring them back (pop), or drop, list and clear stashes",
        usage: "epoch_stash('push'|'pop'|'drop' [, name]), epoch_stash('list'|'clear'), epoch_stash('--continue'), epoch_stash('--abort')",
        parameters: &[
            may("action", "push, pop, drop, list or clear"),
            may("name", "The stash; the newest if not given"),
        ],
        flags: &[
            switch(None, "continue", "Finish the pop whose conflicts are resolved"),
            switch(None, "abort", "Drop the pop that waits; the stash stays"),
            text(None, "strategy", "With pop: field (default), row, ours or theirs"),
        ],
        columns: &[("name", Text), ("hash", Text), ("status", Text)],
        ..MUTATING
    },
    Function {
        name: "epoch_squash_history",
        summary: "Make one commit of all after a ref on the session's branch",
        usage: "epoch_squash_history(ref [, '-m', message])",
        parameters: &[need("ref", "The commit before the new one")],
        flags: &[text(Some('m'), "message", "The message; those of the commits if not given")],
        columns: &[("hash", Text)],
        ..MUTATING
    },
    Function {
        name: "epoch_promote",
        summary: "Fast-forward or merge a ref into a branch and tag the result: all, or nothing if there are conflicts",
        usage: "epoch_promote(source, target [, '--tag', name])",
        parameters: &[need("source", "Branch, tag or commit"), need("target", "The branch that moves")],
        flags: &[text(None, "tag", "The tag's name; promote/TARGET/TIME if not given")],
        columns: &[("hash", Text), ("tag", Text), ("fast_forward", Bool)],
        ..MUTATING
    },
    Function {
        name: "epoch_undrop",
        summary: "Bring a deleted branch back, with its uncommitted rows",
        usage: "epoch_undrop(branch)",
        parameters: &[need("branch", "The branch's name")],
        columns: &[("name", Text), ("hash", Text), ("status", Text)],
        ..MUTATING
    },
    upkeep::GC,
    Function {
        name: "epoch_merge_rule",
        summary: "Say what merges make of a column that both sides changed",
        usage: "epoch_merge_rule(table, column, 'sum'|'max'|'min'|'latest'|'union'), epoch_merge_rule('-d', table, column)",
        parameters: &[
            need("table", "Table"),
            need("column", "Column"),
            may(
                "rule",
                "sum (of both changes), max, min, latest (who committed to the table last), or union (of parts of JSON)",
            ),
        ],
        flags: &[switch(Some('d'), "delete", "Forget the column's rule")],
        columns: RULES,
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
        name: "epoch_grant",
        summary: "Give a user, a role or public a right on branches and tables, or make a user a member of a role (--to)",
        usage: "epoch_grant(role, 'read'|'write'|'merge'|'admin' [, pattern] [, tables => array]), epoch_grant(role, '--to', member)",
        parameters: RIGHT,
        flags: &[OF_TABLES, text(None, "to", "The user or role that becomes a member")],
        columns: STATUS,
        ..MUTATING
    },
    Function {
        name: "epoch_revoke",
        summary: "Take a right back, given on just these patterns, or end a membership (--from)",
        usage: "epoch_revoke(role, 'read'|'write'|'merge'|'admin'|'all' [, pattern] [, tables => array]), epoch_revoke(role, '--from', member)",
        parameters: RIGHT,
        flags: &[OF_TABLES, text(None, "from", "The user or role that is no member any more")],
        columns: STATUS,
        ..MUTATING
    },
    Function {
        name: "epoch_protect",
        summary: "Keep branches from being deleted and rewritten, and from direct writes and commits; -d ends it",
        usage: "epoch_protect(pattern [, '--no-writes'] [, '--merge-only'] [, '--check', sql]), epoch_protect('-d', pattern)",
        parameters: &[need("pattern", "Branches and tags: main, release/*")],
        flags: &[
            switch(None, "no-writes", "No direct writes to tables"),
            switch(None, "merge-only", "Commits come by merges alone"),
            text(
                None,
                "check",
                "A query of one boolean that must yield true for what is merged or committed",
            ),
            switch(Some('d'), "delete", "End the protection by this pattern"),
        ],
        columns: STATUS,
        ..MUTATING
    },
    Function {
        name: "epoch_discover",
        summary: "Tables of a backend that could be registered",
        usage: "epoch_discover([location])",
        parameters: &[may(
            "location",
            "A backend, or postgresql://NAME/schema.*, sqlite://NAME/*, mysql://NAME/*, sqlserver://NAME/schema.*, local://NAME/*, s3://NAME/*, azure://NAME/*, gcs://NAME/*; all backends if not given",
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
        name: "epoch_triggers",
        summary: "The triggers of registered tables, whether they run on branches, and why they can't",
        usage: "epoch_triggers([table])",
        parameters: &[may("table", "Table or pattern")],
        columns: &[
            ("table_name", Text),
            ("trigger_name", Text),
            ("function_name", Text),
            ("on_branches", Bool),
            ("reason", Text),
        ],
        relation: Some("triggers"),
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
            ("first_change", TimestampTz),
            ("last_change", TimestampTz),
            ("changed_by", TextArray),
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
        name: "epoch_reflog",
        summary: "Where the head of a branch was, newest first",
        usage: "epoch_reflog([branch])",
        parameters: &[may("ref", "Branch; the session's if not given")],
        columns: &[
            ("selector", Text),
            ("commit_hash", Text),
            ("previous_hash", Text),
            ("author", Text),
            ("date", TimestampTz),
            ("action", Text),
        ],
        relation: Some("reflog"),
        ..BLANK
    },
    Function {
        name: "epoch_history",
        summary: "The commits that changed a table's rows, newest first, with the rows",
        usage: "epoch_history(table [, key…])",
        parameters: &[need("table", "Table")],
        variadic: true,
        flags: &[text(None, "ref", "As of this ref instead of HEAD")],
        ..BLANK
    },
    Function {
        name: "epoch_blame",
        summary: "The commit that changed each row of a table last; NULL for rows older than the first commit",
        usage: "epoch_blame(table [, ref])",
        parameters: &[need("table", "Table"), may("ref", "As of this ref; HEAD if not given")],
        ..BLANK
    },
    Function {
        name: "epoch_all_branches",
        summary: "A table on every branch, with uncommitted changes",
        usage: "epoch_all_branches(table [, '--count' [, '--total' | '--present']])",
        parameters: &[need("table", "Table")],
        flags: &[
            switch(None, "count", "How many rows each branch shows, instead of the rows"),
            switch(None, "total", "With --count: of all branches together"),
            switch(None, "present", "With --count: without branches that have no rows"),
        ],
        ..BLANK
    },
    Function {
        name: "epoch_preview_merge",
        summary: "What a merge would do: counts per table, or the rows of one table on all sides",
        usage: "epoch_preview_merge(source [, target] [, table])",
        parameters: &[
            need("source", "Branch, tag or commit"),
            may("target", "Branch; the session's if not given"),
            may("table", "Only this table, with its own columns"),
        ],
        flags: &[text(None, "strategy", "field (default), row, ours or theirs")],
        ..BLANK
    },
    Function {
        name: "epoch_rebase_plan",
        summary: "What the rebase that waits on the session's branch has still to do",
        usage: "epoch_rebase_plan()",
        columns: PLAN,
        relation: Some("rebase_plan"),
        ..BLANK
    },
    Function {
        name: "epoch_stashes",
        summary: "Working changes that were put aside, newest first",
        usage: "epoch_stashes()",
        columns: &[("name", Text), ("hash", Text), ("branch", Text), ("date", TimestampTz)],
        relation: Some("stashes"),
        ..BLANK
    },
    Function {
        name: "epoch_merge_rules",
        summary: "The rules of columns for merges",
        usage: "epoch_merge_rules()",
        columns: RULES,
        relation: Some("merge_rules"),
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
        name: "epoch_grants",
        summary: "Rights that were given; without the right to administer all branches, the session's own",
        usage: "epoch_grants()",
        columns: rights::GRANTS,
        relation: Some("grants"),
        ..BLANK
    },
    Function {
        name: "epoch_members",
        summary: "Who is a member of which role",
        usage: "epoch_members()",
        columns: &[("role", Text), ("member", Text)],
        relation: Some("members"),
        ..BLANK
    },
    Function {
        name: "epoch_protections",
        summary: "What protects branches",
        usage: "epoch_protections()",
        columns: &[("branches", Text), ("no_writes", Bool), ("merge_only", Bool), ("checks", TextArray)],
        relation: Some("protections"),
        ..BLANK
    },
    Function {
        name: "epoch_audit",
        summary: "What was done or tried, by whom and from where, newest first; for admins of all branches",
        usage: "epoch_audit(['-n', count])",
        flags: &[Flag { short: Some('n'), long: "limit", takes: Takes::Count, help: "At most this many" }],
        columns: rights::AUDIT,
        relation: Some("audit"),
        ..BLANK
    },
    Function {
        name: "epoch_hook_runs",
        summary: "Which hooks were run and sent, and what they said, newest first; for admins of all branches",
        usage: "epoch_hook_runs(['-n', count])",
        flags: &[Flag { short: Some('n'), long: "limit", takes: Takes::Count, help: "At most this many" }],
        columns: rights::RUNS,
        relation: Some("hook_runs"),
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
    upkeep::SCHEMA_DIFF,
    upkeep::VERIFY,
    upkeep::VIOLATIONS,
    Function {
        name: "epoch_bisect",
        summary: "The first commit at which an assertion, a query of one boolean, does not hold any more",
        usage: "epoch_bisect(good, bad, sql)",
        parameters: &[
            need("good", "A ref at which the assertion holds"),
            need("bad", "A ref at which it does not"),
            need("sql", "The assertion: SELECT count(*) = 3 FROM users"),
        ],
        columns: &[
            ("commit_hash", Text),
            ("author", Text),
            ("date", TimestampTz),
            ("message", Text),
            ("tested", Int8),
        ],
        ..BLANK
    },
    Function {
        name: "epoch_patch",
        summary: "Statements that make one ref's rows into another's, in the dialect of each table's backend",
        usage: "epoch_patch(from, to [, table]), epoch_patch('a..b' [, table])",
        parameters: &[
            may("from", "Ref, a..b, or a...b (since the merge base); HEAD if not given"),
            may("to", "Ref; WORKING if not given"),
            may("table", "Only this table"),
        ],
        columns: &[("statement_order", Int8), ("table_name", Text), ("diff_type", Text), ("statement", Text)],
        ..BLANK
    },
    Function {
        name: "epoch_at",
        summary: "A table as a ref shows it",
        usage: "epoch_at(table, ref)",
        parameters: &[
            need("table", "Table"),
            need("ref", "Tag or commit, HEAD for the session's; or a branch, with what is uncommitted on it"),
        ],
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
        name: "epoch_hashof_table",
        summary: "A hash of a table's rows: the same for the same columns and rows, on any branch and backend of one kind",
        usage: "epoch_hashof_table(table [, ref])",
        parameters: &[need("table", "Table"), may("ref", "Ref; WORKING if not given")],
        columns: &[("epoch_hashof_table", Text)],
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

const STATUS: &[(&str, SqlType)] = &[("status", Text)];

const RIGHT: &[Parameter] = &[
    need("role", "A user, a role, or public for everybody"),
    may("right", "read, write, merge or admin"),
    may("pattern", "Branches and tags: main, dev/*; all if not given"),
];

const OF_TABLES: Flag =
    Flag { short: None, long: "tables", takes: Takes::List, help: "Only on these tables: orders, sales.*" };

const PICK_FLAGS: &[Flag] = &[
    Flag {
        short: Some('m'),
        long: "mainline",
        takes: Takes::Count,
        help: "Of a merge: the parent to compare with, counted from 1",
    },
    switch(None, "continue", "Go on after conflicts are resolved"),
    switch(None, "abort", "Leave the branch as it was before"),
    text(None, "message", "With --continue: the message of the commit that stopped"),
    text(None, "strategy", "field (default), row, ours or theirs"),
];

const PICKED: &[(&str, SqlType)] =
    &[("hash", Text), ("data_conflicts", Int8), ("schema_conflicts", Int8), ("constraint_violations", Int8)];

const PLAN: &[(&str, SqlType)] =
    &[("rebase_order", Int8), ("action", Text), ("commit_hash", Text), ("commit_message", Text)];

const RULES: &[(&str, SqlType)] = &[("table_name", Text), ("column_name", Text), ("rule", Text)];
