#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeSet;
use std::path::Path;

use super::*;
use crate::Result;

struct Place(tempfile::TempDir);

impl Place {
    fn with(file: &str, text: &str) -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        let path = place.0.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        place
    }
    fn load<'a>(
        &self,
        variables: impl IntoIterator<Item = (&'a str, &'a str)>,
        flags: &[(&str, &str)],
    ) -> Result<Loaded> {
        let environment = Environment::for_tests(self.0.path(), variables);
        let settings = flags.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned(), "--flag")).collect();
        load(&environment, &Overrides { file: None, settings })
    }
}

fn loaded(text: &str) -> Result<Loaded> {
    Place::with("epoch.toml", text).load([], &[])
}

fn refused(text: &str, expect: &[&str]) {
    let error = loaded(text).unwrap_err();
    assert_eq!(error.code(), "F0000");
    let all = format!("{} {}", error.message(), error.hint().unwrap_or_default());
    for part in expect {
        assert!(all.contains(part), "{all:?} lacks {part:?}");
    }
    assert!(!all.contains("very-secret"), "{all:?}");
}

#[test]
fn nothing_at_all_gives_the_defaults() {
    let place = Place(tempfile::tempdir().unwrap());
    let loaded = place.load([], &[]).unwrap();
    let config = loaded.config;
    assert_eq!((config.name.as_str(), config.listen.to_string().as_str()), ("epoch", "127.0.0.1:6543"));
    assert!(matches!(config.auth, Auth::Trust));
    let metadata = format!("sqlite://{}/.epoch/epoch.db", place.0.path().display());
    assert_eq!(config.metadata_url.expose(), metadata);
}

#[test]
fn flags_beat_environment_beats_file() {
    let place = Place::with("epoch.toml", "[proxy]\nlisten = \"127.0.0.1:1\"\nmax_connections = 7\n");
    let listen = |loaded: Loaded| loaded.config.listen.port();
    assert_eq!(listen(place.load([], &[]).unwrap()), 1);
    let environment = [("EPOCH_PROXY_LISTEN", "127.0.0.1:2")];
    assert_eq!(listen(place.load(environment, &[]).unwrap()), 2);
    let loaded = place.load(environment, &[("proxy.listen", "localhost:3")]).unwrap();
    assert_eq!(loaded.config.max_connections, 7);
    assert_eq!(listen(loaded), 3);
}

#[test]
fn the_environment_reaches_named_backends_as_the_file_spells_them() {
    let text = "[storage.postgres.Crm-EU]\nurl = \"postgresql://a/b\"\npool_size = 3\n";
    let place = Place::with("epoch.toml", text);
    let environment = [
        ("EPOCH_STORAGE_POSTGRES_CRM_EU_URL", "postgresql://c/d"),
        ("EPOCH_STORAGE_SQLITE_SHOP_PATH", "s.db"),
    ];
    let config = place.load(environment, &[]).unwrap().config;
    assert_eq!(config.postgres["Crm-EU"].url.expose(), "postgresql://c/d");
    assert_eq!(config.postgres["Crm-EU"].pool_size, 3);
    assert_eq!(config.sqlite["shop"].path, place.0.path().join("s.db"));
    let error = place.load([("EPOCH_PROXY_LISSTEN", "x")], &[]).unwrap_err();
    assert!(error.hint().unwrap().contains("EPOCH_PROXY_LISTEN"));
    assert!(place.load([("EPOCH_TEST_POSTGRES_URL", "x")], &[]).is_ok());
}

#[test]
fn merging_into_a_server_that_may_lose_commits_is_off_by_default() {
    let text = "[storage.postgres.a]\nurl = \"postgresql://h/d\"\n[storage.postgres.b]\nurl = \"postgresql://h/e\"\n\
        allow_unsafe_source = true\n[storage.mysql.m]\nurl = \"mysql://h/d\"\n";
    let place = Place::with("epoch.toml", text);
    let config = place.load([("EPOCH_STORAGE_MYSQL_M_ALLOW_UNSAFE_SOURCE", "true")], &[]).unwrap().config;
    let allowed = ["a", "b"].map(|name| config.postgres[name].allow_unsafe_source);
    assert_eq!((allowed, config.mysql["m"].allow_unsafe_source), ([false, true], true));
    let set =
        |value: &str| format!("[storage.mysql.m]\nurl = \"mysql://h/d\"\nallow_unsafe_source = {value}\n");
    refused(&set("1"), &["storage.mysql.m.allow_unsafe_source: bad value 1", "true or false"]);
    refused(&set("\"yes\""), &["allow_unsafe_source: bad value"]);
    refused("[storage.mysql.m]\nallow_unsafe_source = true\n", &["storage.mysql.m", "but no url"]);
}

#[test]
fn a_sql_server_has_a_url_and_a_pool() {
    let text = "[storage.sqlserver.erp]\nurl = \"sqlserver://sa@h/d?encrypt=strict\"\npool_size = 4\n";
    let place = Place::with("epoch.toml", text);
    let config =
        place.load([("EPOCH_STORAGE_SQLSERVER_ERP_ALLOW_UNSAFE_SOURCE", "true")], &[]).unwrap().config;
    let erp = &config.sqlserver["erp"];
    assert_eq!(
        (erp.url.expose(), erp.pool_size, erp.allow_unsafe_source),
        ("sqlserver://sa@h/d?encrypt=strict", 4, true)
    );
    assert_eq!(config.default_backend.as_deref(), Some("erp"));
    assert!(config.has_backends());
    refused("[storage.sqlserver.a]\npool_size = 4\n", &["storage.sqlserver.a", "but no url"]);
    refused(
        "[storage.sqlserver.a]\nurl = \"postgresql://h/d\"\n",
        &["storage.sqlserver.a.url", "sqlserver://"],
    );
    let both = "[storage.sqlite.a]\npath = \"x\"\n[storage.sqlserver.a]\nurl = \"sqlserver://sa@h/d\"\n";
    refused(both, &["two backends"]);
}

#[test]
fn unknown_keys_are_named_with_what_is_allowed() {
    refused(
        "[proxy]\nlissten = \"x\"\n",
        &["epoch.toml: unknown key proxy.lissten", "Did you mean listen?", "max_connections"],
    );
    refused("[prxy]\nlisten = \"x\"\n", &["unknown key prxy", "Did you mean proxy?", "routing"]);
    refused(
        "[storage.oracle.a]\nurl = \"x\"\n",
        &["unknown key storage.oracle", "postgres, sqlite, mysql, sqlserver"],
    );
    refused(
        "[storage.postgres.a]\nurl = \"postgresql://h/d\"\nsize = 3\n",
        &["storage.postgres.a.size", "pool_size"],
    );
    refused("colour = 1\n", &["unknown key colour"]);
    refused("proxy = 1\n", &["proxy must be a table"]);
    refused("[proxy.listen]\nhost = \"x\"\n", &["proxy.listen.host", "holds a value"]);
}

#[test]
fn bad_values_are_named_with_what_is_allowed() {
    refused("[proxy]\nlisten = \"here\"\n", &["proxy.listen: bad value \"here\"", "127.0.0.1:6543"]);
    refused("[proxy]\nmax_connections = 0\n", &["max_connections: bad value 0", "from 1 to"]);
    refused("[auth]\nmethod = \"md5\"\n", &["auth.method", "\"scram-sha-256\""]);
    refused("[repository]\nname = \"a/b\"\n", &["repository.name"]);
    refused("[routing]\n\"x_*\" = \"crm\"\n", &["routing", "no backend is named \"crm\""]);
    refused(
        "[proxy.tls]\ncert = \"none.pem\"\nkey = \"none.pem\"\n",
        &["proxy.tls.cert", "there is no file"],
    );
    refused("[logging]\nfilter = \"epoch=loud\"\n", &["logging.filter"]);
    refused("[proxy]\nlisten = \n", &["epoch.toml line 2"]);
    refused("[defaults]\nauthor = \"${NOBODY_SET_THIS}\"\n", &["defaults.author", "NOBODY_SET_THIS"]);
    let both = "[storage.sqlite.a]\npath = \"x\"\n[storage.postgres.a]\nurl = \"postgresql://h/d\"\n";
    refused(both, &["two backends"]);
}

#[test]
fn secrets_never_show() {
    for text in [
        "[storage.postgres.a]\nurl = \"mysql://u:hunter2@h/d\"\n",
        "[storage.sqlserver.a]\nurl = \"mysql://u:hunter2@h/d\"\n",
        "[metadata]\nurl = \"mysql://u:hunter2@h/d\"\n",
        "[auth.users]\nann = \"hunter2\"\n",
        "[storage.postgres.a]\nurl = postgresql://u:hunter2@h/d\n",
    ] {
        let error = format!("{:?}", loaded(text).unwrap_err());
        assert!(!error.contains("hunter2"), "{error}");
    }
    let config = loaded("[storage.postgres.a]\nurl = \"postgresql://u:hunter2@h/d\"\n").unwrap();
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[test]
fn trust_stays_on_loopback() {
    refused("[proxy]\nlisten = \"0.0.0.0:6543\"\n", &["0.0.0.0:6543", "trust", "scram-sha-256"]);
    let scram = "[proxy]\nlisten = \"0.0.0.0:6543\"\n[auth]\nmethod = \"scram-sha-256\"\n";
    assert!(matches!(loaded(scram).unwrap().config.auth, Auth::Scram(_)));
    assert!(loaded("[proxy]\nlisten = \"[::1]:6543\"\n").is_ok());
}

#[test]
fn the_default_backend_is_the_only_postgresql_one_or_the_only_one() {
    let default = |text: &str| loaded(text).unwrap().config.default_backend;
    let (a, b) = ("[storage.sqlite.a]\npath = \"a\"\n", "[storage.sqlite.b]\npath = \"b\"\n");
    let p = "[storage.postgres.p]\nurl = \"postgresql://h/d\"\n";
    assert_eq!(default(a).unwrap(), "a");
    assert_eq!(default(&format!("{a}{b}")), None);
    assert_eq!(default(&format!("{a}{b}{p}")).unwrap(), "p");
    assert_eq!(default(&format!("{a}{p}[defaults]\nbackend = \"a\"\n")).unwrap(), "a");
}

#[test]
fn files_are_searched_in_order_and_paths_are_relative_to_the_file() {
    let place = Place::with("config/epoch.toml", "[storage.sqlite.a]\npath = \"a.db\"\n");
    let loaded = place.load([], &[]).unwrap();
    assert_eq!(loaded.config.sqlite["a"].path, place.0.path().join("config/a.db"));
    std::fs::write(place.0.path().join("epoch.toml"), "[repository]\nname = \"first\"\n").unwrap();
    assert_eq!(place.load([], &[]).unwrap().config.name, "first");
    let named = place.load([("EPOCH_CONFIG_FILE", "config/epoch.toml")], &[]).unwrap();
    assert_eq!(named.config.name, "epoch");
    assert!(
        place.load([("EPOCH_CONFIG_FILE", "none.toml")], &[]).unwrap_err().message().contains("none.toml")
    );
}

/// The example with its commented options (`#key = …`) switched on.
fn example() -> String {
    let text =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("epoch.toml.example")).unwrap();
    let on = |line: &str| match line.strip_prefix('#') {
        Some(rest) if !rest.starts_with(' ') => rest.to_owned(),
        _ => line.to_owned(),
    };
    text.lines().map(on).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_example_is_valid_as_it_is_and_with_everything_on() {
    let as_it_is = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("epoch.toml.example"));
    let secret = [
        ("CRM_PASSWORD", "x"),
        ("WEB_PASSWORD", "x"),
        ("ERP_PASSWORD", "x"),
        ("S3_SECRET_KEY", "x"),
        ("AZURE_KEY", "x"),
        ("AZURE_SAS", "x"),
        ("AZURE_CLIENT_SECRET", "x"),
        ("GOOGLE_KEY", "x"),
    ];
    Place::with("epoch.toml", &as_it_is.unwrap()).load(secret, &[]).unwrap();
    let place = Place::with("epoch.toml", &example());
    for file in ["server.crt", "server.key", "service-account.json"] {
        std::fs::write(place.0.path().join(file), "").unwrap();
    }
    place.load(secret, &[]).unwrap();
}

#[test]
fn the_example_shows_every_option() {
    let table: toml::Table = example().parse().unwrap();
    let mut shown = BTreeSet::new();
    collect(&mut Vec::new(), &table, &mut shown);
    let known: BTreeSet<String> = options().iter().map(|option| option.key.to_owned()).collect();
    assert_eq!(shown, known);
}

fn collect(prefix: &mut Vec<String>, table: &toml::Table, shown: &mut BTreeSet<String>) {
    for (key, value) in table {
        prefix.push(key.clone());
        match value {
            toml::Value::Table(inner) => collect(prefix, inner, shown),
            _ => {
                let option = super::options::find(prefix).unwrap_or_else(|| panic!("{prefix:?}"));
                shown.insert(option.key.to_owned());
            }
        }
        prefix.pop();
    }
}

#[test]
fn retention_is_read_in_the_order_of_the_file() {
    let text =
        "[retention]\n\"tmp/*\" = \"12 hours\"\n\"main\" = \"forever\"\n\"a*\" = \"none\"\n\"*\" = \"2w\"\n";
    let retention = loaded(text).unwrap().config.retention;
    let hours: Vec<_> =
        retention.iter().map(|(pattern, time)| (pattern.as_str(), time.map(|t| t.num_hours()))).collect();
    assert_eq!(hours, [("tmp/*", Some(12)), ("main", None), ("a*", Some(0)), ("*", Some(336))]);
    for value in ["\"soon\"", "\"\"", "7", "\"-1 days\""] {
        refused(&format!("[retention]\n\"*\" = {value}\n"), &["retention", "bad value", "forever"]);
    }
}

#[test]
fn stores_are_read_and_what_does_not_fit_is_refused() {
    let config = loaded(
        "[storage.azure.blobs]\naccount = \"acme\"\ncontainer = \"tables\"\nsas_token = \"very-secret\"\n\
         [storage.gcs.google]\nbucket = \"tables\"\nprefix = \"lake\"\n\
         [storage.s3.amazon]\nbucket = \"tables\"\nstorage_class = \"STANDARD_IA\"\n",
    )
    .unwrap()
    .config;
    assert!(config.has_backends());
    assert_eq!(config.azure["blobs"].sas_token.as_deref(), Some("very-secret"));
    assert_eq!(config.gcs["google"].prefix.as_deref(), Some("lake"));
    assert_eq!(config.s3["amazon"].storage_class.as_deref(), Some("STANDARD_IA"));
    assert!(!format!("{config:?}").contains("very-secret"));

    let azure = "[storage.azure.a]\naccount = \"acme\"\ncontainer = \"c\"\n";
    let refusals: [(&str, &str, &[&str]); 14] = [
        ("[storage.azure.a]\naccount = \"acme\"\n", "", &["storage.azure.a", "no container"]),
        ("[storage.gcs.a]\nprefix = \"x\"\n", "", &["storage.gcs.a", "no bucket"]),
        ("[storage.s3.a]\nprefix = \"x\"\n", "", &["storage.s3.a", "no bucket"]),
        (azure, "access_key = \"x\"\nsas_token = \"y\"", &["access_key and sas_token"]),
        (azure, "client_secret = \"x\"", &["tenant_id and client_id"]),
        (azure, "use_azure_cli = 1", &["epoch.toml", "storage.azure.a.use_azure_cli", "true or false"]),
        (azure, "acess_key = \"x\"", &["epoch.toml", "acess_key", "Did you mean access_key"]),
        (
            azure,
            "endpoint = \"https://u:very-secret@h\"",
            &["epoch.toml", "storage.azure.a.endpoint", "without"],
        ),
        (azure, "endpoint = \"https://h/?sig=very-secret\"", &["storage.azure.a.endpoint", "without"]),
        ("[storage.s3.a]\nbucket = \"b\"\n", "storage_class = \"GLACIER\"", &["storage_class", "GLACIER_IR"]),
        ("[storage.s3.a]\nbucket = \"b\"\n", "access_key = \"x\"", &["no secret_key"]),
        ("[storage.s3.a]\nbucket = \"b\"\n", "sts_endpoint = \"http://h\"", &["no assume_role_arn"]),
        // Metadata isn't cached for a time: whoever else writes is seen at once.
        (
            "[storage.s3.a]\nbucket = \"b\"\n",
            "cache_ttl = \"5m\"",
            &["unknown key storage.s3.a.cache_ttl", "Allowed"],
        ),
        (
            "[storage.gcs.a]\nbucket = \"b\"\n",
            "service_account_file = \"none.json\"",
            &["there is no file", "none.json"],
        ),
    ];
    for (section, line, parts) in refusals {
        refused(&format!("{section}{line}\n"), parts);
    }
    refused(
        "[storage.azure.a]\ncontainer = \"c\"\n[storage.gcs.a]\nbucket = \"b\"\n",
        &["storage.azure.a", "storage.gcs.a", "one name"],
    );
}
