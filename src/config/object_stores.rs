//! Backends that are buckets or containers with Delta tables.

use std::collections::BTreeMap;

use epoch_adapter_delta::{Azure, Gcs, S3};

use super::file::error;
use super::source::Setting;
use crate::{Error, Result};

/// Storage classes whose objects are read at once; from the others they must be asked back first.
const CLASSES: [&str; 7] = [
    "STANDARD",
    "STANDARD_IA",
    "ONEZONE_IA",
    "INTELLIGENT_TIERING",
    "GLACIER_IR",
    "REDUCED_REDUNDANCY",
    "EXPRESS_ONEZONE",
];

/// What was set of them.
#[derive(Debug, Default)]
pub(super) struct ObjectStores {
    pub s3: BTreeMap<String, S3>,
    pub azure: BTreeMap<String, Azure>,
    pub gcs: BTreeMap<String, Gcs>,
}

impl ObjectStores {
    /// Whether a key is of one of these.
    pub(super) fn are_meant(key: &str) -> bool {
        ["storage.s3.", "storage.azure.", "storage.gcs."].iter().any(|kind| key.starts_with(kind))
    }

    pub(super) fn take(&mut self, setting: &Setting, key: &str) -> Result<()> {
        let name = setting.backend_name()?;
        let unread = || Err(Error::internal(format!("option {key} is listed but not read")));
        if let Some(key) = key.strip_prefix("storage.s3.NAME.") {
            return take_s3(self.s3.entry(name).or_default(), setting, key).unwrap_or_else(unread);
        }
        if let Some(key) = key.strip_prefix("storage.azure.NAME.") {
            return take_azure(self.azure.entry(name).or_default(), setting, key).unwrap_or_else(unread);
        }
        match key.strip_prefix("storage.gcs.NAME.") {
            Some(key) => take_gcs(self.gcs.entry(name).or_default(), setting, key).unwrap_or_else(unread),
            None => unread(),
        }
    }

    /// What depends on several settings.
    pub(super) fn check(&self) -> Result<()> {
        for (name, s3) in &self.s3 {
            let bad = |what: &str| Err(error(format!("storage.s3.{name} has {what}")));
            match s3 {
                S3 { bucket, .. } if bucket.is_empty() => return bad("no bucket"),
                S3 { access_key: Some(_), secret_key: None, .. } => {
                    return bad("an access_key, but no secret_key");
                }
                S3 { access_key: None, secret_key: Some(_), .. } => {
                    return bad("a secret_key, but no access_key");
                }
                S3 { sts_endpoint: Some(_), assume_role_arn: None, .. } => {
                    return bad("an sts_endpoint, but no assume_role_arn");
                }
                _ => {}
            }
        }
        for (name, azure) in &self.azure {
            if azure.container.is_empty() {
                return Err(error(format!("storage.azure.{name} has no container")));
            }
            azure.check_credentials().map_err(|what| error(format!("storage.azure.{name}: {what}")))?;
        }
        for (name, gcs) in &self.gcs {
            if gcs.bucket.is_empty() {
                return Err(error(format!("storage.gcs.{name} has no bucket")));
            }
            gcs.check_credentials().map_err(|what| error(format!("storage.gcs.{name}: {what}")))?;
        }
        Ok(())
    }
}

/// `None` for an unknown key.
fn take_s3(backend: &mut S3, setting: &Setting, key: &str) -> Option<Result<()>> {
    let place = match key {
        "bucket" => return Some(setting.not_empty().map(|text| backend.bucket = text)),
        "endpoint" => return Some(setting.endpoint().map(|url| backend.endpoint = Some(url))),
        "sts_endpoint" => return Some(setting.endpoint().map(|url| backend.sts_endpoint = Some(url))),
        "storage_class" => return Some(class(setting).map(|class| backend.storage_class = Some(class))),
        "prefix" => &mut backend.prefix,
        "region" => &mut backend.region,
        "access_key" => &mut backend.access_key,
        "secret_key" => &mut backend.secret_key,
        "assume_role_arn" => &mut backend.assume_role_arn,
        _ => return None,
    };
    Some(setting.not_empty().map(|text| *place = Some(text)))
}

fn class(setting: &Setting) -> Result<String> {
    let text = setting.not_empty()?;
    if CLASSES.contains(&text.as_str()) { Ok(text) } else { Err(setting.bad()) }
}

fn take_azure(backend: &mut Azure, setting: &Setting, key: &str) -> Option<Result<()>> {
    let place = match key {
        "container" => return Some(setting.not_empty().map(|text| backend.container = text)),
        "endpoint" => return Some(setting.endpoint().map(|url| backend.endpoint = Some(url))),
        "federated_token_file" => {
            return Some(setting.path().map(|path| backend.federated_token_file = Some(path)));
        }
        "use_azure_cli" => return Some(setting.flag().map(|flag| backend.use_azure_cli = flag)),
        "account" => &mut backend.account,
        "prefix" => &mut backend.prefix,
        "access_key" => &mut backend.access_key,
        "sas_token" => &mut backend.sas_token,
        "tenant_id" => &mut backend.tenant_id,
        "client_id" => &mut backend.client_id,
        "client_secret" => &mut backend.client_secret,
        _ => return None,
    };
    Some(setting.not_empty().map(|text| *place = Some(text)))
}

fn take_gcs(backend: &mut Gcs, setting: &Setting, key: &str) -> Option<Result<()>> {
    let place = match key {
        "bucket" => return Some(setting.not_empty().map(|text| backend.bucket = text)),
        "endpoint" => return Some(setting.endpoint().map(|url| backend.endpoint = Some(url))),
        "service_account_file" => {
            return Some(setting.existing_file().map(|path| backend.service_account_file = Some(path)));
        }
        "prefix" => &mut backend.prefix,
        "service_account_key" => &mut backend.service_account_key,
        _ => return None,
    };
    Some(setting.not_empty().map(|text| *place = Some(text)))
}
