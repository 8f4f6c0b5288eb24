//! `pg_catalog`'s tables about the objects of a repository.

use std::sync::Arc;

use datafusion::catalog::TableProvider;
use epoch_adapter::Result;

use super::build::{Row, row, table};
use super::objects::{DATABASE, Objects, Relation, USER};
use crate::federation::planner::Planner;
use crate::federation::types;

/// A table of `pg_catalog` that shows our objects.
pub(super) fn find(planner: &Planner, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
    let objects = || Objects::new(planner);
    Ok(Some(match name {
        "pg_class" => table(PG_CLASS, &classes(&objects()))?,
        "pg_attribute" => table(PG_ATTRIBUTE, &attributes(&objects()))?,
        "pg_attrdef" => table(PG_ATTRDEF, &defaults(&objects()))?,
        "pg_index" => table(PG_INDEX, &indexes(&objects()))?,
        "pg_constraint" => table(PG_CONSTRAINT, &constraints(&objects()))?,
        "pg_namespace" => table(PG_NAMESPACE, &namespaces(&objects()))?,
        "pg_database" => table(PG_DATABASE, &databases(&objects()))?,
        "pg_roles" => table(PG_ROLES, &roles(&objects()))?,
        "pg_authid" => table(PG_ROLES, &roles(&objects()))?,
        "pg_user" => table(PG_USER, &users(&objects()))?,
        "pg_tables" => table(PG_TABLES, &tables(&objects()))?,
        "pg_views" => table(PG_VIEWS, &views(&objects()))?,
        "pg_indexes" => table(PG_INDEXES, &index_list(&objects()))?,
        "pg_settings" => table(PG_SETTINGS, &settings(planner))?,
        "pg_description" => table("objoid:oid classoid:oid objsubid:int4 description:text", &[])?,
        "pg_sequence" => table("seqrelid:oid seqtypid:oid seqstart:int8 seqincrement:int8", &[])?,
        "pg_sequences" => table("schemaname:name sequencename:name sequenceowner:name", &[])?,
        "pg_matviews" => table("schemaname:name matviewname:name matviewowner:name", &[])?,
        "pg_trigger" => {
            table("oid:oid tgrelid:oid tgname:name tgenabled:char tgisinternal:bool tgparentid:oid", &[])?
        }
        "pg_rewrite" => {
            table("oid:oid rulename:name ev_class:oid ev_type:char ev_enabled:char is_instead:bool", &[])?
        }
        "pg_stat_activity" => table(PG_STAT_ACTIVITY, &activity(planner))?,
        "pg_stat_user_tables" => table("relid:oid schemaname:name relname:name n_live_tup:int8=0", &[])?,
        _ => return Ok(None),
    }))
}

const PG_CLASS: &str = "oid:oid relname:name relnamespace:oid reltype:oid=0 reloftype:oid=0 relowner:oid=10 \
    relam:oid=0 relfilenode:oid=0 reltablespace:oid=0 relpages:int4=0 reltuples:float4=-1 relallvisible:int4=0 \
    reltoastrelid:oid=0 relhasindex:bool=f relisshared:bool=f relpersistence:char=p relkind:char relnatts:int2 \
    relchecks:int2=0 relhasrules:bool=f relhastriggers:bool=f relhassubclass:bool=f relrowsecurity:bool=f \
    relforcerowsecurity:bool=f relispopulated:bool=t relreplident:char=d relispartition:bool=f relrewrite:oid=0 \
    relfrozenxid:oid=0 relminmxid:oid=0 relacl:text[] reloptions:text[] relpartbound:text";

fn classes(objects: &Objects) -> Vec<Row> {
    let mut rows = Vec::new();
    for relation in &objects.relations {
        let namespace = objects.schema_oid(&relation.schema).to_string();
        rows.push(row([
            ("oid", relation.oid.to_string()),
            ("relname", relation.name.clone()),
            ("relnamespace", namespace.clone()),
            ("relam", if relation.view { "0" } else { "2" }.to_owned()),
            ("relhasindex", if relation.key.is_empty() { "f" } else { "t" }.to_owned()),
            ("relkind", if relation.view { "v" } else { "r" }.to_owned()),
            ("relnatts", relation.attributes.len().to_string()),
        ]));
        if !relation.key.is_empty() {
            rows.push(row([
                ("oid", relation.index_oid().to_string()),
                ("relname", relation.index_name()),
                ("relnamespace", namespace),
                ("relam", "403".to_owned()),
                ("relkind", "i".to_owned()),
                ("relnatts", relation.key.len().to_string()),
            ]));
        }
    }
    rows
}

const PG_ATTRIBUTE: &str = "attrelid:oid attname:name atttypid:oid attstattarget:int4=-1 attlen:int2 attnum:int2 \
    attndims:int4=0 attcacheoff:int4=-1 atttypmod:int4=-1 attbyval:bool=f attalign:char=i attstorage:char=p \
    attcompression:char= attnotnull:bool=f atthasdef:bool=f atthasmissing:bool=f attidentity:char= \
    attgenerated:char= attisdropped:bool=f attislocal:bool=t attinhcount:int4=0 attcollation:oid=0 attacl:text[] \
    attoptions:text[] attfdwoptions:text[] attmissingval:text[]";

fn attributes(objects: &Objects) -> Vec<Row> {
    let of = |relation: &Relation| {
        let oid = relation.oid.to_string();
        let one = |(index, a): (usize, &super::objects::Attribute)| {
            row([
                ("attrelid", oid.clone()),
                ("attname", a.name.clone()),
                ("atttypid", a.pg_type.oid().to_string()),
                ("attlen", types::type_length(&a.pg_type).to_string()),
                ("attnum", (index + 1).to_string()),
                ("atttypmod", a.modifier.to_string()),
                ("attnotnull", flag(a.not_null)),
                ("atthasdef", flag(a.default.is_some())),
                ("attgenerated", if a.generated { "s" } else { "" }.to_owned()),
            ])
        };
        relation.attributes.iter().enumerate().map(one).collect::<Vec<_>>()
    };
    objects.relations.iter().flat_map(of).collect()
}

fn flag(value: bool) -> String {
    if value { "t" } else { "f" }.to_owned()
}

const PG_ATTRDEF: &str = "oid:oid adrelid:oid adnum:int2 adbin:text";

fn defaults(objects: &Objects) -> Vec<Row> {
    let mut rows = Vec::new();
    for relation in &objects.relations {
        for (index, attribute) in relation.attributes.iter().enumerate() {
            let Some(default) = &attribute.default else { continue };
            rows.push(row([
                ("oid", (1_000_000 + relation.oid * 8).to_string()),
                ("adrelid", relation.oid.to_string()),
                ("adnum", (index + 1).to_string()),
                ("adbin", default.clone()),
            ]));
        }
    }
    rows
}

const PG_INDEX: &str = "indexrelid:oid indrelid:oid indnatts:int2 indnkeyatts:int2 indisunique:bool=t \
    indnullsnotdistinct:bool=f indisprimary:bool=t indisexclusion:bool=f indimmediate:bool=t indisclustered:bool=f \
    indisvalid:bool=t indcheckxmin:bool=f indisready:bool=t indislive:bool=t indisreplident:bool=f indkey:int2[] \
    indcollation:oid[] indclass:oid[] indoption:int2[] indexprs:text indpred:text";

fn keyed(objects: &Objects) -> impl Iterator<Item = &Relation> {
    objects.relations.iter().filter(|r| !r.key.is_empty())
}

fn numbers(key: &[usize]) -> String {
    format!("{{{}}}", key.iter().map(ToString::to_string).collect::<Vec<_>>().join(","))
}

fn indexes(objects: &Objects) -> Vec<Row> {
    let one = |r: &Relation| {
        row([
            ("indexrelid", r.index_oid().to_string()),
            ("indrelid", r.oid.to_string()),
            ("indnatts", r.key.len().to_string()),
            ("indnkeyatts", r.key.len().to_string()),
            ("indkey", numbers(&r.key)),
            ("indoption", numbers(&vec![0; r.key.len()])),
        ])
    };
    keyed(objects).map(one).collect()
}

const PG_CONSTRAINT: &str = "oid:oid conname:name connamespace:oid contype:char=p condeferrable:bool=f \
    condeferred:bool=f convalidated:bool=t conrelid:oid contypid:oid=0 conindid:oid conparentid:oid=0 confrelid:oid=0 \
    confupdtype:char= confdeltype:char= confmatchtype:char= conislocal:bool=t coninhcount:int4=0 connoinherit:bool=t \
    conkey:int2[] confkey:int2[] conpfeqop:oid[] conppeqop:oid[] conffeqop:oid[] confdelsetcols:int2[] conexclop:oid[] \
    conbin:text";

fn constraints(objects: &Objects) -> Vec<Row> {
    let one = |r: &Relation| {
        row([
            ("oid", r.constraint_oid().to_string()),
            ("conname", r.index_name()),
            ("connamespace", objects.schema_oid(&r.schema).to_string()),
            ("conrelid", r.oid.to_string()),
            ("conindid", r.index_oid().to_string()),
            ("conkey", numbers(&r.key)),
        ])
    };
    keyed(objects).map(one).collect()
}

const PG_NAMESPACE: &str = "oid:oid nspname:name nspowner:oid=10 nspacl:text[]";

fn namespaces(objects: &Objects) -> Vec<Row> {
    let one = |(oid, name): &(i64, String)| row([("oid", oid.to_string()), ("nspname", name.clone())]);
    objects.schemas.iter().map(one).collect()
}

const PG_DATABASE: &str = "oid:oid datname:name datdba:oid=10 encoding:int4=6 datlocprovider:char=c \
    datistemplate:bool=f datallowconn:bool=t datconnlimit:int4=-1 datfrozenxid:oid=0 datminmxid:oid=0 \
    dattablespace:oid=1663 datcollate:text=C datctype:text=C daticulocale:text datcollversion:text datacl:text[]";

/// The oids of branches among the databases.
const FIRST_BRANCH: i64 = 1_000_000_000;

fn databases(objects: &Objects) -> Vec<Row> {
    let own = row([("oid", DATABASE.to_string()), ("datname", objects.database.clone())]);
    let branches = (FIRST_BRANCH..)
        .zip(&objects.databases)
        .map(|(oid, name)| row([("oid", oid.to_string()), ("datname", name.clone())]));
    std::iter::once(own).chain(branches).collect()
}

const PG_ROLES: &str = "rolname:name rolsuper:bool=f rolinherit:bool=t rolcreaterole:bool=f rolcreatedb:bool=f \
    rolcanlogin:bool=t rolreplication:bool=f rolconnlimit:int4=-1 rolpassword:text rolvaliduntil:text \
    rolbypassrls:bool=f rolconfig:text[] oid:oid";

fn roles(objects: &Objects) -> Vec<Row> {
    vec![row([("oid", USER.to_string()), ("rolname", objects.user.clone())])]
}

const PG_USER: &str = "usename:name usesysid:oid usecreatedb:bool=f usesuper:bool=f userepl:bool=f usebypassrls:bool=f \
    passwd:text valuntil:text useconfig:text[]";

fn users(objects: &Objects) -> Vec<Row> {
    vec![row([("usesysid", USER.to_string()), ("usename", objects.user.clone())])]
}

const PG_TABLES: &str = "schemaname:name tablename:name tableowner:name tablespace:name hasindexes:bool=t \
    hasrules:bool=f hastriggers:bool=f rowsecurity:bool=f";

fn tables(objects: &Objects) -> Vec<Row> {
    let one = |r: &Relation| {
        row([
            ("schemaname", r.schema.clone()),
            ("tablename", r.name.clone()),
            ("tableowner", objects.user.clone()),
        ])
    };
    objects.relations.iter().filter(|r| !r.view).map(one).collect()
}

const PG_VIEWS: &str = "schemaname:name viewname:name viewowner:name definition:text";

fn views(objects: &Objects) -> Vec<Row> {
    let one = |r: &Relation| {
        row([
            ("schemaname", r.schema.clone()),
            ("viewname", r.name.clone()),
            ("viewowner", objects.user.clone()),
        ])
    };
    objects.relations.iter().filter(|r| r.view).map(one).collect()
}

const PG_INDEXES: &str = "schemaname:name tablename:name indexname:name tablespace:name indexdef:text";

fn index_list(objects: &Objects) -> Vec<Row> {
    let one = |r: &Relation| {
        row([
            ("schemaname", r.schema.clone()),
            ("tablename", r.name.clone()),
            ("indexname", r.index_name()),
            ("indexdef", index_definition(r)),
        ])
    };
    keyed(objects).map(one).collect()
}

/// `CREATE UNIQUE INDEX users_pkey ON public.users USING btree (id)`
pub(super) fn index_definition(r: &Relation) -> String {
    let quote = crate::federation::functions::quote_ident;
    let columns: Vec<_> = r.key_names().into_iter().map(quote).collect();
    format!(
        "CREATE UNIQUE INDEX {} ON {}.{} USING btree ({})",
        quote(&r.index_name()),
        quote(&r.schema),
        quote(&r.name),
        columns.join(", ")
    )
}

/// `PRIMARY KEY (id)`
pub(super) fn constraint_definition(r: &Relation) -> String {
    let quote = crate::federation::functions::quote_ident;
    format!("PRIMARY KEY ({})", r.key_names().into_iter().map(quote).collect::<Vec<_>>().join(", "))
}

const PG_SETTINGS: &str = "name:text setting:text unit:text category:text=Settings short_desc:text= extra_desc:text \
    context:text=user vartype:text=string source:text=session min_val:text max_val:text enumvals:text[] boot_val:text \
    reset_val:text sourcefile:text sourceline:int4 pending_restart:bool=f";

fn settings(planner: &Planner) -> Vec<Row> {
    let all = planner.session.settings.all().into_iter();
    all.map(|(name, setting)| row([("name", name), ("setting", setting)])).collect()
}

const PG_STAT_ACTIVITY: &str = "datid:oid datname:name pid:int4 usesysid:oid usename:name application_name:text \
    client_addr:text client_port:int4 state:text=active query:text= backend_type:text=client\u{a0}backend";

fn activity(planner: &Planner) -> Vec<Row> {
    let session = &planner.session;
    vec![row([
        ("datid", DATABASE.to_string()),
        ("datname", session.database.clone()),
        ("pid", session.pid.to_string()),
        ("usesysid", USER.to_string()),
        ("usename", session.user.clone()),
    ])]
}
