//! What tests of data definition on branches do again and again.

use super::Conn;

/// Commits, whether there is anything or not: the commit's hash.
pub fn commit(conn: &mut Conn, message: &str) -> String {
    conn.one(&format!("SELECT hash FROM epoch_commit('--allow-empty', '-m', '{message}')"))
}

/// Tables, views and types with uncommitted changes.
pub fn status(conn: &mut Conn) -> Vec<String> {
    conn.lines("SELECT table_name, change FROM epoch.status ORDER BY 1")
}

/// What is left in the database of tables, views and types that branches made.
pub fn places(direct: &mut Conn) -> Vec<String> {
    direct.lines("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'epoch\\_%b%' AND nspname <> 'epoch_public' ORDER BY 1")
}

#[track_caller]
pub fn fails(conn: &mut Conn, sql: &str, code: &str, message: &str) {
    let error = conn.err(sql);
    assert_eq!((error.code(), error.message()), (code, message), "{sql}");
}
