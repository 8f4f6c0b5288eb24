//! A PostgreSQL database per test.

use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use super::conn::{Conn, Target};

/// The server that tests may make databases on.
pub fn postgres_url() -> Option<String> {
    std::env::var("EPOCH_TEST_POSTGRES_URL").ok().filter(|u| !u.is_empty())
}

/// Created empty, dropped with the value.
pub struct Database {
    server: Target,
    pub target: Target,
}

impl Database {
    /// On the server of `EPOCH_TEST_POSTGRES_URL`.
    pub fn create() -> Self {
        Self::create_on(&Target::parse(&postgres_url().expect("EPOCH_TEST_POSTGRES_URL")))
    }

    pub fn create_on(server: &Target) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("epoch_t{}_{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let mut admin = server.connect();
        admin.exec(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"));
        admin.exec(&format!("CREATE DATABASE {name} TEMPLATE template0"));
        Self { server: server.clone(), target: server.database(&name) }
    }

    pub fn connect(&self) -> Conn {
        self.target.connect()
    }

    pub fn url(&self) -> String {
        self.target.url()
    }

    /// As [`dump`], read directly.
    pub fn dump(&self) -> String {
        dump(&self.target)
    }
}

/// A whole database as SQL text, without what differs from dump to dump.
pub fn dump(target: &Target) -> String {
    let output = Command::new(super::psql::tool("pg_dump"))
        .args(["--no-password", "-d", &target.conninfo()])
        .output()
        .expect("pg_dump runs");
    assert!(output.status.success(), "pg_dump: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().filter(|l| !l.starts_with("\\restrict") && !l.starts_with("\\unrestrict")).fold(
        String::new(),
        |mut all, line| {
            all.push_str(line);
            all.push('\n');
            all
        },
    )
}

impl Drop for Database {
    fn drop(&mut self) {
        if let Ok(mut admin) = self.server.try_connect() {
            admin.simple(&format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.target.dbname));
        }
    }
}

/// Every row of every table outside our schemas with its place and transaction, so that not even an
/// update to the same values goes unseen; `fingerprint` of catalogs beside it.
pub fn base_rows(conn: &mut Conn) -> Vec<String> {
    let tables = conn.rows(
        "SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.relkind IN ('r', 'm', 'p') AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast', 'epoch') \
         AND n.nspname NOT LIKE 'epoch\\_%' AND n.nspname NOT LIKE 'pg\\_temp%' AND n.nspname NOT LIKE 'pg\\_toast%' ORDER BY 1",
    );
    let one = |row: &Vec<Option<String>>| {
        let table = row[0].clone().unwrap();
        format!(
            "SELECT '{table}', count(*), md5(coalesce(string_agg(r, E'\\n' ORDER BY r), '')) FROM \
             (SELECT tableoid::regclass || ' ' || ctid::text || ' ' || xmin::text || ' ' || t::text AS r FROM {table} t) x",
        )
    };
    let all: Vec<_> = tables.iter().map(one).collect();
    // Parallel workers answer in any order.
    conn.lines(&format!("{} ORDER BY 1", all.join(" UNION ALL ")))
}

/// What exists outside our schemas: relations, columns, constraints, triggers, rules, functions,
/// types, roles, settings, comments, sizes of large objects.
pub fn catalog(conn: &mut Conn) -> Vec<String> {
    let ours = "n.nspname = 'epoch' OR n.nspname LIKE 'epoch\\_%' OR n.nspname LIKE 'pg\\_temp%' OR n.nspname LIKE 'pg\\_toast%'";
    let parts = [
        format!("SELECT 'class ' || n.nspname || '.' || c.relname || ' ' || c.relkind::text || ' ' || c.relowner || ' ' || coalesce(c.relacl::text, '') || coalesce(c.reloptions::text, '') || c.relrowsecurity || c.relfilenode FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE NOT ({ours}) AND n.nspname NOT IN ('pg_catalog', 'information_schema')"),
        format!("SELECT 'attribute ' || a.attrelid::regclass || '.' || a.attname || a.attnum || ' ' || a.atttypid || a.attnotnull || a.atthasdef || a.attstattarget || a.attstorage::text FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace WHERE NOT ({ours}) AND n.nspname NOT IN ('pg_catalog', 'information_schema')"),
        format!("SELECT 'constraint ' || k.conname || ' ' || pg_get_constraintdef(k.oid) FROM pg_constraint k JOIN pg_namespace n ON n.oid = k.connamespace WHERE NOT ({ours}) AND n.nspname NOT IN ('pg_catalog', 'information_schema')"),
        format!("SELECT 'trigger ' || pg_get_triggerdef(t.oid) || t.tgenabled::text FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace WHERE NOT t.tgisinternal AND NOT ({ours})"),
        format!("SELECT 'rule ' || pg_get_ruledef(r.oid) FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class JOIN pg_namespace n ON n.oid = c.relnamespace WHERE NOT ({ours}) AND n.nspname NOT IN ('pg_catalog', 'information_schema')"),
        format!("SELECT 'function ' || p.oid::regprocedure || md5(p.prosrc) || p.provolatile::text FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE NOT ({ours}) AND n.nspname NOT IN ('pg_catalog', 'information_schema')"),
        format!("SELECT 'type ' || n.nspname || '.' || t.typname FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace WHERE NOT ({ours}) AND n.nspname NOT IN ('pg_catalog', 'information_schema')"),
        "SELECT 'schema ' || nspname FROM pg_namespace WHERE nspname !~ '^(epoch|pg_temp|pg_toast_temp)'".to_owned(),
        "SELECT 'extension ' || extname FROM pg_extension".to_owned(),
        "SELECT 'policy ' || polname FROM pg_policy".to_owned(),
        "SELECT 'publication ' || pubname FROM pg_publication".to_owned(),
        "SELECT 'event trigger ' || evtname FROM pg_event_trigger".to_owned(),
        "SELECT 'setting ' || setconfig::text FROM pg_db_role_setting WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())".to_owned(),
        "SELECT 'comment ' || d.objoid || d.description FROM pg_description d WHERE d.objoid >= 16384 AND d.classoid = 'pg_class'::regclass AND d.objoid NOT IN (SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname ~ '^epoch')".to_owned(),
        "SELECT 'large object ' || oid FROM pg_largeobject_metadata".to_owned(),
        "SELECT 'statistics ' || stxname FROM pg_statistic_ext".to_owned(),
        "SELECT 'default acl ' || defaclacl::text FROM pg_default_acl".to_owned(),
        "SELECT 'prepared ' || gid FROM pg_prepared_xacts WHERE database = current_database()".to_owned(),
    ];
    conn.lines(&format!("SELECT * FROM ({}) x(line) ORDER BY 1", parts.join(" UNION ALL ")))
}

/// Sequences and where they stand.
pub fn sequences(conn: &mut Conn) -> Vec<(String, i64)> {
    let sql = "SELECT schemaname || '.' || sequencename, coalesce(last_value, 0) FROM pg_sequences \
               WHERE schemaname !~ '^(epoch|pg_temp)' ORDER BY 1";
    conn.rows(sql)
        .into_iter()
        .map(|r| (r[0].clone().unwrap(), r[1].as_ref().unwrap().parse().unwrap()))
        .collect()
}
