//! Connections that go wrong, against a server of our own: our errors, without a panic and without a password.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod tds;

use epoch_adapter::{Adapter, Error, Result};
use epoch_adapter_sqlserver::SqlServerAdapter;
use tds::{Answer, Script, Server, certificate, done, error, failed, login_ack, prelogin, routed, rows};

const PLAIN: &str = "encrypt=no";

fn adapter(url: &str) -> SqlServerAdapter {
    SqlServerAdapter::new("erp", url, 2).unwrap()
}

/// The error of what must fail, in which nothing secret is.
fn refused<T: std::fmt::Debug>(result: Result<T>) -> Error {
    let error = result.unwrap_err();
    let shown = format!("{error:?} {error}");
    assert!(!shown.contains("hunter2") && !shown.contains("sqlserver://"), "{shown}");
    error
}

fn version(text: &'static str) -> Script {
    Script {
        statements: vec![("ProductVersion", Answer::Tokens(rows(&[""], &[&[Some(text)]])))],
        ..Script::default()
    }
}

#[tokio::test]
async fn a_server_tells_its_version_and_gets_our_settings_first() {
    let server = Server::start(version("15.0.4000.1")).await;
    let adapter = adapter(&server.url(PLAIN));
    let health = adapter.health().await.unwrap();
    assert_eq!((health.version.as_str(), health.connections), ("SQL Server 15.0.4000.1", (1, 2)));
    let heard = server.heard();
    for setting in [
        "QUOTED_IDENTIFIER ON",
        "XACT_ABORT, IMPLICIT_TRANSACTIONS OFF",
        "SET DATEFORMAT ymd",
        "SET LANGUAGE us_english",
        "LOCK_TIMEOUT 10000",
    ] {
        assert!(heard[0].contains(setting), "{setting} in {}", heard[0]);
    }
    assert!(!format!("{adapter:?}").contains("hunter2"));
}

#[tokio::test]
async fn logins_that_are_refused_say_so() {
    let cases = [
        (18_456, "Login failed for user 'sa'.", "28P01"),
        (4060, "Cannot open database \"shop\" requested by the login. The login failed.", "3D000"),
        (10_928, "Resource ID : 1. The request limit for the database is 200 and has been reached.", "53300"),
        (6005, "SHUTDOWN is in progress.", "57P01"),
    ];
    for (number, text, code) in cases {
        let login = Answer::Tokens([error(number, 14, text), failed()].concat());
        let server = Server::start(Script { login, ..Script::default() }).await;
        let e = refused(adapter(&server.url(PLAIN)).health().await);
        assert_eq!(e.code(), code, "{e:?}");
        assert!(e.message().starts_with("sqlserver: ") && !e.message().ends_with('.'), "{e:?}");
    }
}

#[tokio::test]
async fn a_server_without_encryption_is_not_spoken_to_in_the_clear() {
    for encryption in [0, 2] {
        let server = Server::start(Script { encryption, ..version("15") }).await;
        for url in [server.url(""), server.url("encrypt=yes"), server.url("trust_server_certificate=true")] {
            let e = refused(adapter(&url).health().await);
            assert_eq!(e.code(), "08001", "{encryption}: {e:?}");
            assert_eq!(e.message(), "could not connect to backend \"erp\"");
        }
        assert_eq!(server.heard(), Vec::<String>::new(), "the login must not have been sent");
    }
    // One that says nothing of it.
    let silent = Script { prelogin: Some(Answer::Tokens(vec![0xff])), ..version("15") };
    let server = Server::start(silent).await;
    assert_eq!(refused(adapter(&server.url("")).health().await).code(), "08001");
    assert_eq!(server.heard(), Vec::<String>::new());
    // One that wants it, of a client that must not.
    let server = Server::start(Script { encryption: 3, ..version("15") }).await;
    assert_eq!(refused(adapter(&server.url(PLAIN)).health().await).code(), "08001");
}

#[tokio::test]
async fn certificates_are_checked() {
    let (tls, pem) = certificate("localhost");
    let server = Server::start(Script { tls: Some(tls), ..version("16.0") }).await;
    let e = refused(adapter(&server.url("encrypt=strict")).health().await);
    assert_eq!(e.code(), "08001");
    let detail = e.detail().unwrap_or_default().to_owned();
    assert!(detail.starts_with("TLS: ") && !detail.contains("Config::"), "{detail}");
    let folder = std::env::temp_dir().join(format!("epoch-tds-{}", uuid::Uuid::new_v4().simple()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("ca.pem");
    std::fs::write(&file, pem).unwrap();
    let strict = format!("encrypt=strict&ca={}", file.display());
    // Known, but another's: the url's host is an address.
    let e = refused(adapter(&server.url(&strict)).health().await);
    assert!(e.code() == "08001" && e.detail().is_some_and(|d| d.starts_with("TLS: ")), "{e:?}");
    let named = format!("{strict}&host_name_in_certificate=localhost");
    assert_eq!(adapter(&server.url(&named)).health().await.unwrap().version, "SQL Server 16.0");
    // A file that isn't there.
    let e = refused(adapter(&server.url("encrypt=strict&ca=/nothing/here.pem")).health().await);
    assert_eq!(e.code(), "08001");
    std::fs::remove_dir_all(&folder).unwrap();
}

#[tokio::test]
async fn connections_that_break_before_they_are_there_are_errors() {
    let hello = prelogin(2);
    let ack = [login_ack(), done()].concat();
    let mut scripts = vec![
        Script { prelogin: Some(Answer::Gone), ..Script::default() },
        Script { login: Answer::Gone, ..Script::default() },
    ];
    for at in [1, 7, 8, 12, hello.len() + 7] {
        scripts.push(Script { prelogin: Some(Answer::Cut(hello.clone(), at)), ..Script::default() });
    }
    for at in [3, 8, 15, ack.len() + 7] {
        scripts.push(Script { login: Answer::Cut(ack.clone(), at), ..Script::default() });
    }
    for script in scripts {
        let server = Server::start(script).await;
        assert_eq!(refused(adapter(&server.url(PLAIN)).health().await).code(), "08001");
    }
}

#[tokio::test]
async fn nonsense_is_an_error() {
    let all: Vec<u8> = (0..=255).collect();
    for nonsense in [vec![0_u8; 40], vec![0xff; 40], b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), all] {
        // And then nothing more.
        let answer = Answer::Cut(nonsense.clone(), nonsense.len() + 8);
        let scripts = [
            Script { prelogin: Some(answer.clone()), ..Script::default() },
            Script { login: answer.clone(), ..Script::default() },
            Script { statements: vec![("ProductVersion", answer)], ..Script::default() },
        ];
        for (n, script) in scripts.into_iter().enumerate() {
            let server = Server::start(script).await;
            let e = refused(adapter(&server.url(PLAIN)).health().await);
            // Some of it might be tokens, which tell nothing.
            assert!(["08001", "08006", "08P01", "XX000"].contains(&e.code()), "{n} {e:?}: {nonsense:?}");
        }
    }
}

#[tokio::test]
async fn an_answer_that_is_cut_off_is_a_lost_connection_and_the_next_one_is_new() {
    let whole = rows(&[""], &[&[Some("15.0")], &[Some("more")]]);
    for at in [0, 4, 9, 20, whole.len() / 2, whole.len() + 7] {
        let statements = vec![("ProductVersion", Answer::Cut(whole.clone(), at))];
        let server = Server::start(Script { statements, ..Script::default() }).await;
        let adapter = adapter(&server.url(PLAIN));
        for _ in 0..2 {
            let e = refused(adapter.health().await);
            assert_eq!(
                (e.code(), e.message()),
                ("08006", "the connection to the SQL Server was lost"),
                "{at}"
            );
        }
    }
}

#[tokio::test]
async fn errors_of_the_server_have_postgresqls_codes() {
    let cases = [
        (1222, 16, "Lock request time out period exceeded.", "55P03"),
        (1205, 13, "Transaction (Process ID 52) was deadlocked on lock resources.", "40P01"),
        (3960, 16, "Snapshot isolation transaction aborted due to update conflict.", "40001"),
        (3952, 16, "Snapshot isolation transaction failed accessing database 'shop'.", "55000"),
        (208, 16, "Invalid object name 'x'.", "42P01"),
        (229, 14, "The SELECT permission was denied on the object 'x'.", "42501"),
        (8134, 16, "Divide by zero error encountered.", "22012"),
        (8115, 16, "Arithmetic overflow error converting expression to data type int.", "22003"),
        (
            2628,
            16,
            "String or binary data would be truncated in table 't', column 'c'. Truncated value: 'secret'.",
            "22001",
        ),
        (9002, 17, "The transaction log for database 'shop' is full.", "53100"),
        (50_000, 16, "a rule of the user's own.", "P0001"),
        (50_000, 16, "epoch: locked by a commit of this table", "55P03"),
        (
            50_000,
            16,
            "epoch: a MERGE that puts a row in the place of one that it removes is not supported",
            "0A000",
        ),
        (102, 15, "Incorrect syntax near 'x'.", "XX000"),
    ];
    for (number, class, text, code) in cases {
        let answer = Answer::Tokens([error(number, class, text), failed()].concat());
        let server =
            Server::start(Script { statements: vec![("ProductVersion", answer)], ..Script::default() }).await;
        let e = refused(adapter(&server.url(PLAIN)).health().await);
        assert_eq!(e.code(), code, "{number}: {e:?}");
        assert!(!e.message().contains("secret") && !e.message().ends_with('.'), "{e:?}");
    }
}

#[tokio::test]
async fn a_server_that_sends_elsewhere_is_refused() {
    let login = Answer::Tokens([login_ack(), routed("other.example.com", 1433), done()].concat());
    let server = Server::start(Script { login, ..Script::default() }).await;
    let e = refused(adapter(&server.url(PLAIN)).health().await);
    assert_eq!(e.code(), "0A000", "{e:?}");
    assert!(e.hint().is_some());
}

#[tokio::test]
async fn a_connection_that_the_server_closed_meanwhile_is_not_used_again() {
    let server = Server::start(Script {
        statements: vec![
            ("ProductVersion", Answer::Tokens(rows(&[""], &[&[Some("15.0")]]))),
            ("delayed_durability", Answer::Gone),
        ],
        ..Script::default()
    })
    .await;
    let adapter = adapter(&server.url(PLAIN));
    adapter.health().await.unwrap();
    assert_eq!(refused(adapter.risks().await).code(), "08006");
    assert_eq!(adapter.health().await.unwrap().version, "SQL Server 15.0");
    // The one that is gone isn't counted; that of the call before may not be back yet.
    assert!(adapter.health().await.unwrap().connections.0 <= 2);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_said_to_be_so() {
    let adapter = adapter("sqlserver://sa:hunter2@127.0.0.1:1/shop");
    let e = refused(adapter.health().await);
    assert_eq!((e.code(), e.message()), ("08001", "could not connect to backend \"erp\""));
    assert!(e.detail().is_some_and(|d| d.contains("refused")), "{e:?}");
}

#[tokio::test]
async fn a_database_without_snapshots_is_not_registered_in() {
    // NULLs in place of numbers: not even the setting is known.
    let server = Server::start(Script {
        statements: vec![
            ("sp_getapplock", Answer::Tokens(int_row(0))),
            ("snapshot_isolation_state", Answer::Tokens(rows(&["a", "b"], &[&[None, None]]))),
        ],
        ..Script::default()
    })
    .await;
    let adapter = adapter(&server.url(PLAIN));
    let e = refused(adapter.install(&table()).await);
    assert_eq!(e.code(), "55000", "{e:?}");
    assert!(e.hint().is_some_and(|h| h.contains("ALLOW_SNAPSHOT_ISOLATION ON")), "{e:?}");
    assert!(server.heard().iter().all(|sql| !sql.contains("CREATE TABLE")));
}

/// A row with an `int`.
fn int_row(v: i32) -> Vec<u8> {
    let mut out = vec![0x81, 1, 0, 0, 0, 0, 0, 0, 0, 0x38, 0, 0xd1];
    out.extend(v.to_le_bytes());
    out.extend(tds::done_with(0x10, 1));
    out
}

fn table() -> epoch_adapter::TableDef {
    use epoch_adapter::{BackendKind, Column, Location, TableDef, TableId, TableName, TableSchema};
    let column = Column {
        name: "id".into(),
        type_name: "int".into(),
        pg_type: "integer".into(),
        data_type: arrow::datatypes::DataType::Int32,
        nullable: false,
        generated: false,
        default: None,
        equality: None,
    };
    TableDef::new(
        TableId(1),
        TableName::public("t"),
        Location {
            kind: BackendKind::SqlServer,
            backend: "erp".into(),
            schema: Some("dbo".into()),
            table: "t".into(),
        },
        TableSchema { columns: vec![column], key: vec![0] },
    )
}
