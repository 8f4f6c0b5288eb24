//! The query that asks the server's catalog about names.

use epoch_adapter_postgres::layout;

/// Names to look up.
#[derive(Default)]
pub(super) struct Asked {
    pub(super) tables: Vec<(Option<String>, String)>,
    pub(super) functions: Vec<(Option<String>, String)>,
    pub(super) operators: Vec<String>,
    pub(super) types: Vec<(Option<String>, String)>,
    /// Names behind a row and a dot.
    pub(super) attributes: Vec<String>,
}

/// What makes a function one that may read or write anything: it isn't PostgreSQL's or an
/// extension's, is written in a language that can run SQL, and isn't declared immutable. `p` is its
/// row in pg_proc.
const UNSAFE: &str = "(p.oid >= 16384 \
     AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend e WHERE e.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass \
         AND e.objid = p.oid AND e.deptype = 'e') \
     AND ((p.provolatile <> 'i' AND l.lanname NOT IN ('internal', 'c')) \
         OR (p.prokind = 'a' AND EXISTS (SELECT FROM pg_catalog.pg_aggregate a \
             JOIN pg_catalog.pg_proc s ON s.oid IN (a.aggtransfn, a.aggfinalfn, a.aggcombinefn, a.aggmtransfn, a.aggminvtransfn, a.aggmfinalfn) JOIN pg_catalog.pg_language sl ON sl.oid = s.prolang \
             WHERE a.aggfnoid = p.oid AND s.provolatile <> 'i' AND sl.lanname NOT IN ('internal', 'c')))))";

/// What isn't PostgreSQL's or an extension's.
const OWN: &str = "(p.oid >= 16384 AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend e \
     WHERE e.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND e.objid = p.oid AND e.deptype = 'e'))";

/// What else a call of a user's function may evaluate.
const DEFAULTS: &str = "(p.oid >= 16384 AND p.pronargdefaults > 0 \
     AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend e WHERE e.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass \
         AND e.objid = p.oid AND e.deptype = 'e'))";

/// Whether schema `s` is where a name `n` is looked for.
const VISIBLE: &str = "CASE WHEN n.schema IS NULL THEN s.nspname = ANY (pg_catalog.current_schemas(true)) \
     WHEN n.schema = 'pg_temp' THEN s.oid = pg_catalog.pg_my_temp_schema() ELSE s.nspname = n.schema END";

/// Rows of number, schema or NULL, and name.
fn qualified(names: &[(Option<String>, String)]) -> String {
    let text = |s: &Option<String>| s.as_deref().map_or_else(|| "NULL::text".to_owned(), layout::literal);
    let row = |(i, (schema, name)): (usize, &(Option<String>, String))| {
        format!("({i}, {}, {})", text(schema), layout::literal(name))
    };
    names.iter().enumerate().map(row).collect::<Vec<_>>().join(", ")
}

impl Asked {
    pub(super) fn is_empty(&self) -> bool {
        self.tables.is_empty()
            && self.functions.is_empty()
            && self.operators.is_empty()
            && self.types.is_empty()
            && self.attributes.is_empty()
    }

    /// Without repetitions.
    pub(super) fn dedup(&mut self) {
        self.functions.sort();
        self.functions.dedup();
        self.operators.sort();
        self.operators.dedup();
        self.types.sort();
        self.types.dedup();
    }

    /// One query for all of them. The first column says what a row is about, the second the index of the
    /// name in its list. `path`: whether to ask for the search path, too.
    pub(super) fn sql(&self, path: bool) -> String {
        let mut parts = Vec::new();
        if path && !self.tables.is_empty() {
            parts.push(
                "SELECT 's', '0', pg_catalog.to_json(pg_catalog.current_schemas(true))::text, NULL, NULL, NULL, NULL, NULL, NULL, NULL"
                    .to_owned(),
            );
        }
        if !self.tables.is_empty() {
            parts.push(self.tables_sql());
        }
        if !self.functions.is_empty() {
            parts.push(self.functions_sql());
        }
        if !self.operators.is_empty() {
            parts.push(self.operators_sql("NULL", ""));
        }
        if !self.types.is_empty() {
            parts.push(self.types_sql());
        }
        if !self.attributes.is_empty() {
            parts.push(self.attributes_sql());
        }
        parts.join(" UNION ALL ")
    }

    /// One query for what [`Asked::sql`] leaves out of tables and operators, as it is long to plan and most have none of it:
    /// what relations read and call, and their definitions; which operators call what isn't harmless.
    pub(super) fn more_sql(&self) -> String {
        let mut parts = Vec::new();
        if !self.tables.is_empty() {
            parts.push(self.relations_sql());
        }
        if !self.operators.is_empty() {
            parts.push(self.operators_sql(
                &format!("min(p.proname::text) FILTER (WHERE {UNSAFE})"),
                "JOIN pg_catalog.pg_proc p ON p.oid = o.oprcode JOIN pg_catalog.pg_language l ON l.oid = p.prolang",
            ));
        }
        parts.join(" UNION ALL ")
    }

    /// Of the operators, those that aren't PostgreSQL's or an extension's.
    fn operators_sql(&self, verdict: &str, joins: &str) -> String {
        let items = self.operators.iter().enumerate();
        let values: Vec<String> = items.map(|(i, o)| format!("({i}, {})", layout::literal(o))).collect();
        format!(
            "SELECT 'o', n.i::text, {verdict}, NULL, NULL, NULL, NULL, NULL, NULL, NULL FROM (VALUES {}) n(i, name) \
             JOIN pg_catalog.pg_operator o ON o.oprname = n.name {joins} WHERE o.oid >= 16384 AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend e \
                 WHERE e.classid = 'pg_catalog.pg_operator'::pg_catalog.regclass AND e.objid = o.oid AND e.deptype = 'e') GROUP BY n.i",
            values.join(", ")
        )
    }

    /// Rows of number and name as SQL.
    fn table_values(&self) -> String {
        let name = |(schema, name): &(Option<String>, String)| match schema {
            Some(schema) => format!("{}.{}", layout::quote(schema), layout::quote(name)),
            None => layout::quote(name),
        };
        let items = self.tables.iter().enumerate();
        let values: Vec<String> =
            items.map(|(i, t)| format!("({i}, {})", layout::literal(&name(t)))).collect();
        values.join(", ")
    }

    fn tables_sql(&self) -> String {
        let facts = super::facts::JSON;
        format!(
            "SELECT 't', n.i::text, s.nspname::text, c.relname::text, c.relkind::text, c.relpersistence::text, NULL, NULL, NULL, \
             CASE WHEN c.oid >= 16384 AND c.relkind IN ('r', 'p') AND c.relpersistence <> 't' THEN {facts} END \
             FROM (VALUES {}) n(i, name) LEFT JOIN pg_catalog.pg_class c ON c.oid = pg_catalog.to_regclass(n.name) \
             LEFT JOIN pg_catalog.pg_namespace s ON s.oid = c.relnamespace",
            self.table_values()
        )
    }

    fn relations_sql(&self) -> String {
        // What a view reads, and what is above or below a table in an inheritance tree.
        let steps = "SELECT d.refobjid FROM pg_catalog.pg_rewrite r JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass \
             AND d.objid = r.oid AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass WHERE r.ev_class = w.oid AND d.refobjid <> w.oid \
             UNION ALL SELECT h.inhrelid FROM pg_catalog.pg_inherits h WHERE h.inhparent = w.oid \
             UNION ALL SELECT h.inhparent FROM pg_catalog.pg_inherits h WHERE h.inhrelid = w.oid";
        let reach = |what: &str| {
            format!(
                "(WITH RECURSIVE w(oid) AS (SELECT c.oid UNION SELECT s.oid FROM w CROSS JOIN LATERAL ({steps}) s(oid) WHERE s.oid >= 16384) {what})"
            )
        };
        let reads = reach(
            "SELECT pg_catalog.json_agg(pg_catalog.json_build_array(rn.nspname, rc.relname)) FROM w \
             JOIN pg_catalog.pg_class rc ON rc.oid = w.oid JOIN pg_catalog.pg_namespace rn ON rn.oid = rc.relnamespace WHERE w.oid <> c.oid",
        );
        let calls = reach(&format!(
            "SELECT min(p.proname::text) FROM w JOIN pg_catalog.pg_rewrite r ON r.ev_class = w.oid \
             JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND d.objid = r.oid \
             AND d.refclassid = 'pg_catalog.pg_proc'::pg_catalog.regclass JOIN pg_catalog.pg_proc p ON p.oid = d.refobjid \
             JOIN pg_catalog.pg_language l ON l.oid = p.prolang WHERE {UNSAFE}"
        ));
        // What a security barrier hides from the conditions around it, a query in its place would not.
        let barrier = "EXISTS (SELECT FROM pg_catalog.unnest(c.reloptions) o(o) WHERE o LIKE 'security_barrier=%' AND o <> 'security_barrier=false')";
        format!(
            "SELECT 't', n.i::text, s.nspname::text, c.relname::text, c.relkind::text, c.relpersistence::text, \
             CASE WHEN c.oid >= 16384 AND (c.relpersistence <> 't' OR c.relkind = 'v') THEN {reads}::text END, \
             CASE WHEN c.oid >= 16384 AND c.relkind IN ('v', 'm') THEN {calls} END, \
             CASE WHEN c.oid >= 16384 AND c.relkind = 'v' AND NOT {barrier} THEN pg_catalog.pg_get_viewdef(c.oid) END, NULL \
             FROM (VALUES {}) n(i, name) LEFT JOIN pg_catalog.pg_class c ON c.oid = pg_catalog.to_regclass(n.name) \
             LEFT JOIN pg_catalog.pg_namespace s ON s.oid = c.relnamespace",
            self.table_values()
        )
    }

    /// The types that each name may stand for, with what they are made of; then the functions in checks
    /// and defaults of domains among them and in casts from or to them.
    fn types_sql(&self) -> String {
        let values = qualified(&self.types);
        format!(
            "SELECT 'y', f.i::text, min(p.proname::text), NULL, NULL, NULL, NULL, NULL, NULL, NULL FROM \
             (WITH RECURSIVE w(i, oid) AS (SELECT n.i, t.oid FROM (VALUES {values}) n(i, schema, name) \
                 JOIN pg_catalog.pg_type t ON t.typname = n.name JOIN pg_catalog.pg_namespace s ON s.oid = t.typnamespace \
                 WHERE {VISIBLE} \
               UNION SELECT w.i, r.oid FROM w JOIN pg_catalog.pg_type t ON t.oid = w.oid CROSS JOIN LATERAL \
                 (SELECT t.typbasetype UNION ALL SELECT t.typelem UNION ALL SELECT a.atttypid FROM pg_catalog.pg_attribute a \
                  WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped) r(oid) WHERE r.oid >= 16384) \
              SELECT w.i, d.refobjid FROM w JOIN pg_catalog.pg_constraint k ON k.contypid = w.oid \
                 JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_constraint'::pg_catalog.regclass AND d.objid = k.oid \
                 AND d.refclassid = 'pg_catalog.pg_proc'::pg_catalog.regclass \
              UNION SELECT w.i, d.refobjid FROM w JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_type'::pg_catalog.regclass AND d.objid = w.oid \
                 AND d.refclassid = 'pg_catalog.pg_proc'::pg_catalog.regclass \
              UNION SELECT w.i, c.castfunc FROM w JOIN pg_catalog.pg_cast c ON w.oid IN (c.castsource, c.casttarget) WHERE c.oid >= 16384) f(i, oid) \
             JOIN pg_catalog.pg_proc p ON p.oid = f.oid JOIN pg_catalog.pg_language l ON l.oid = p.prolang WHERE {UNSAFE} GROUP BY f.i"
        )
    }

    /// Of the names, those of functions of a row (or of anything) that aren't harmless.
    fn attributes_sql(&self) -> String {
        let items = self.attributes.iter().enumerate();
        let values: Vec<String> = items.map(|(i, a)| format!("({i}, {})", layout::literal(a))).collect();
        format!(
            "SELECT 'a', n.i::text, min(l.lanname::text), NULL, NULL, NULL, NULL, NULL, NULL, NULL FROM (VALUES {}) n(i, name) \
             JOIN pg_catalog.pg_proc p ON p.proname = n.name JOIN pg_catalog.pg_namespace s ON s.oid = p.pronamespace \
             JOIN pg_catalog.pg_language l ON l.oid = p.prolang JOIN pg_catalog.pg_type t ON t.oid = p.proargtypes[0] \
             WHERE p.pronargs - p.pronargdefaults <= 1 AND t.typtype IN ('c', 'd', 'p') \
             AND s.nspname = ANY (pg_catalog.current_schemas(true)) AND {UNSAFE} GROUP BY n.i",
            values.join(", ")
        )
    }

    fn functions_sql(&self) -> String {
        let values = qualified(&self.functions);
        format!(
            "SELECT 'f', n.i::text, p.provolatile::text, CASE WHEN {UNSAFE} THEN l.lanname::text WHEN {DEFAULTS} THEN 'sql' END, \
             CASE WHEN NOT {UNSAFE} THEN '' \
                 WHEN p.prokind = 'f' AND p.proconfig IS NULL AND p.prosqlbody IS NULL AND NOT p.prosecdef THEN p.prosrc END, \
             CASE WHEN {UNSAFE} THEN (SELECT pg_catalog.json_agg(pg_catalog.json_build_array(tn.nspname, t.typname)) FROM pg_catalog.pg_type t \
                 JOIN pg_catalog.pg_namespace tn ON tn.oid = t.typnamespace \
                 WHERE t.oid >= 16384 AND t.oid = ANY (p.proargtypes::pg_catalog.oid[] || coalesce(p.proallargtypes, '{{}}') || p.prorettype))::text END, \
             CASE WHEN {UNSAFE} OR {DEFAULTS} THEN pg_catalog.pg_get_expr(p.proargdefaults, 0) END, \
             CASE WHEN p.proretset OR p.prokind IN ('a', 'w') THEN 't' END, CASE WHEN {OWN} THEN 't' END, NULL \
             FROM (VALUES {values}) n(i, schema, name) JOIN pg_catalog.pg_proc p ON p.proname = n.name \
             JOIN pg_catalog.pg_namespace s ON s.oid = p.pronamespace JOIN pg_catalog.pg_language l ON l.oid = p.prolang \
             WHERE {VISIBLE}"
        )
    }
}
