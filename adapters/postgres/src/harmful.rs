//! Functions of the server's own that reach past what a statement names.

/// Whether a function of PostgreSQL or an extension runs SQL that it gets as text, reads tables by
/// their name, or writes what no branch holds.
pub fn runs_text(name: &str) -> bool {
    const NAMES: &[&str] = &[
        "query_to_xml",
        "query_to_xmlschema",
        "query_to_xml_and_xmlschema",
        "cursor_to_xml",
        "cursor_to_xmlschema",
        "table_to_xml",
        "table_to_xmlschema",
        "table_to_xml_and_xmlschema",
        "schema_to_xml",
        "schema_to_xmlschema",
        "schema_to_xml_and_xmlschema",
        "database_to_xml",
        "database_to_xmlschema",
        "database_to_xml_and_xmlschema",
        "ts_rewrite",
        "ts_stat",
        "connectby",
        "xpath_table",
        "lo_import",
        "lo_create",
        "lo_creat",
        "lo_from_bytea",
        "lo_put",
        "lo_unlink",
        "lowrite",
        "lo_truncate",
        "lo_truncate64",
    ];
    NAMES.contains(&name) || name.starts_with("dblink") || name.starts_with("crosstab")
}
