//! Every key that the configuration knows.

/// One key.
#[derive(Debug)]
pub struct Opt {
    /// Dotted; `NAME` stands for a name that the user chooses.
    pub key: &'static str,
    /// What it may hold, for errors.
    pub allowed: &'static str,
    /// Its value must not be printed.
    pub secret: bool,
    /// Whether `EPOCH_…` may set it.
    pub from_environment: bool,
}

const fn opt(key: &'static str, allowed: &'static str) -> Opt {
    Opt { key, allowed, secret: false, from_environment: true }
}

const fn secret(key: &'static str, allowed: &'static str) -> Opt {
    Opt { secret: true, ..opt(key, allowed) }
}

/// Names of hooks have dashes, which variables can't have.
const fn hook(key: &'static str, allowed: &'static str) -> Opt {
    Opt { from_environment: false, ..opt(key, allowed) }
}

static OPTIONS: &[Opt] = &[
    opt("repository.name", "a name of letters, digits, - and _"),
    opt("proxy.listen", "an address and port, e.g. \"127.0.0.1:6543\""),
    opt("proxy.max_connections", "a number from 1 to 100000"),
    opt("proxy.busy_poll", "a number from 0 to 1000"),
    opt("proxy.memory_limit", "a number of megabytes from 16 to 1000000"),
    opt("proxy.tls.cert", "the path of a PEM file"),
    opt("proxy.tls.key", "the path of a PEM file"),
    opt("auth.method", "\"trust\" or \"scram-sha-256\""),
    secret("auth.users.NAME", "a SCRAM-SHA-256 verifier as `epoch user add` prints it"),
    secret("metadata.url", "\"sqlite://PATH\" or \"postgresql://…\""),
    secret("storage.postgres.NAME.url", "\"postgresql://user:password@host:port/database\""),
    opt("storage.postgres.NAME.pool_size", "a number from 1 to 1000"),
    opt("storage.postgres.NAME.allow_unsafe_source", "true or false"),
    opt("storage.sqlite.NAME.path", "the path of a SQLite database file"),
    secret("storage.mysql.NAME.url", "\"mysql://user:password@host:port/database\""),
    opt("storage.mysql.NAME.pool_size", "a number from 1 to 1000"),
    opt("storage.mysql.NAME.allow_unsafe_source", "true or false"),
    secret("storage.sqlserver.NAME.url", "\"sqlserver://user:password@host:port/database\""),
    opt("storage.sqlserver.NAME.pool_size", "a number from 1 to 1000"),
    opt("storage.sqlserver.NAME.allow_unsafe_source", "true or false"),
    opt("storage.local.NAME.path", "the path of a folder with Delta tables"),
    opt("storage.s3.NAME.bucket", "the name of a bucket"),
    opt("storage.s3.NAME.prefix", "a folder of the bucket"),
    opt("storage.s3.NAME.region", "the name of a region"),
    opt("storage.s3.NAME.endpoint", "\"http://…\" or \"https://…\""),
    opt("storage.s3.NAME.access_key", "the id of an access key"),
    secret("storage.s3.NAME.secret_key", "the secret of the access key"),
    opt("storage.s3.NAME.assume_role_arn", "the ARN of a role"),
    opt("storage.s3.NAME.sts_endpoint", "\"http://…\" or \"https://…\""),
    opt(
        "storage.s3.NAME.storage_class",
        "STANDARD, STANDARD_IA, ONEZONE_IA, INTELLIGENT_TIERING, GLACIER_IR, REDUCED_REDUNDANCY or EXPRESS_ONEZONE",
    ),
    opt("storage.azure.NAME.account", "the name of a storage account"),
    opt("storage.azure.NAME.container", "the name of a container"),
    opt("storage.azure.NAME.prefix", "a folder of the container"),
    opt("storage.azure.NAME.endpoint", "\"http://…\" or \"https://…\""),
    secret("storage.azure.NAME.access_key", "a key of the account, in base64"),
    secret("storage.azure.NAME.sas_token", "a shared access signature"),
    opt("storage.azure.NAME.tenant_id", "the id of a tenant"),
    opt("storage.azure.NAME.client_id", "the id of an application or of a managed identity"),
    secret("storage.azure.NAME.client_secret", "the secret of the application"),
    opt("storage.azure.NAME.federated_token_file", "the path of a file with a token"),
    opt("storage.azure.NAME.use_azure_cli", "true or false"),
    opt("storage.gcs.NAME.bucket", "the name of a bucket"),
    opt("storage.gcs.NAME.prefix", "a folder of the bucket"),
    opt("storage.gcs.NAME.endpoint", "\"http://…\" or \"https://…\""),
    opt("storage.gcs.NAME.service_account_file", "the path of a service account's key in JSON"),
    secret("storage.gcs.NAME.service_account_key", "a service account's key in JSON"),
    Opt { from_environment: false, ..opt("routing.NAME", "the name of a backend") },
    opt("defaults.backend", "the name of a backend"),
    opt("defaults.author", "a name"),
    opt("defaults.email", "an email address"),
    Opt {
        from_environment: false,
        ..opt("retention.NAME", "a time, e.g. \"90 days\", \"forever\" or \"none\"")
    },
    hook("hooks.NAME.event", "\"pre-commit\", \"post-commit\" and the same of merge, branch and tag"),
    hook("hooks.NAME.branches", "a pattern of branches and tags, e.g. \"release/*\""),
    hook("hooks.NAME.sql", "a query of one boolean"),
    hook("hooks.NAME.command", "a command line"),
    Opt { secret: true, ..hook("hooks.NAME.url", "\"http://…\" or \"https://…\"") },
    Opt { secret: true, ..hook("hooks.NAME.secret", "the key of the signature, at least 16 characters") },
    hook("hooks.NAME.root_cert", "the path of a PEM file"),
    hook("hooks.NAME.timeout", "a number from 1 to 600"),
    hook("hooks.NAME.retries", "a number from 0 to 10"),
    opt("logging.filter", "a filter, e.g. \"info\" or \"warn,epoch=debug\""),
    opt("logging.format", "\"text\" or \"json\""),
];

/// All keys.
pub fn options() -> &'static [Opt] {
    OPTIONS
}

/// The option that a key of the file is, if it is one.
pub(super) fn find(path: &[String]) -> Option<&'static Opt> {
    OPTIONS.iter().find(|option| {
        let parts: Vec<&str> = option.key.split('.').collect();
        parts.len() == path.len()
            && parts.iter().zip(path).all(|(part, given)| *part == "NAME" || part == given)
    })
}

/// The names that may stand where the first unknown part of `path` stands, and that part's index.
/// Empty names: any name may stand there, so the key is too long or too short.
pub(super) fn alternatives(path: &[String]) -> (usize, Vec<&'static str>) {
    let mut fitting: Vec<Vec<&'static str>> = OPTIONS.iter().map(|o| o.key.split('.').collect()).collect();
    for (index, given) in path.iter().enumerate() {
        let matches =
            |key: &Vec<&'static str>| key.get(index).is_some_and(|part| *part == "NAME" || part == given);
        if !fitting.iter().any(matches) {
            return (index, names_at(&fitting, index));
        }
        fitting.retain(matches);
    }
    (path.len(), names_at(&fitting, path.len()))
}

fn names_at(fitting: &[Vec<&'static str>], index: usize) -> Vec<&'static str> {
    let mut names: Vec<&str> = fitting.iter().filter_map(|key| key.get(index).copied()).collect();
    names.dedup();
    names
}
