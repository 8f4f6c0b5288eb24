//! S3-compatible stores.

use std::fmt;
use std::sync::Arc;

use epoch_adapter::Result;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, AwsCredential};
use object_store::{ObjectStore, StaticCredentialProvider};

use crate::class::Classed;
use crate::role::Role;
use crate::store::{bad_setting, rooted};

/// An S3-compatible store. What isn't given is taken from the environment (`AWS_…`) or from the machine's role.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct S3 {
    /// The bucket.
    pub bucket: String,
    /// The folder in it that holds the tables.
    pub prefix: Option<String>,
    /// The region.
    pub region: Option<String>,
    /// The server, if it isn't Amazon's.
    pub endpoint: Option<String>,
    /// The access key.
    pub access_key: Option<String>,
    /// Its secret.
    pub secret_key: Option<String>,
    /// The role that is taken with what credentials there are.
    pub assume_role_arn: Option<String>,
    /// The server that gives roles, if it isn't Amazon's.
    pub sts_endpoint: Option<String>,
    /// The storage class of objects that are written.
    pub storage_class: Option<String>,
}

impl fmt::Debug for S3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3")
            .field("bucket", &self.bucket)
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

/// A bucket, or a folder of it.
pub(crate) fn open(name: &str, settings: &S3) -> Result<Arc<dyn ObjectStore>> {
    let mut builder = AmazonS3Builder::from_env().with_bucket_name(&settings.bucket);
    if let Some(region) = &settings.region {
        builder = builder.with_region(region);
    }
    if let Some(endpoint) = &settings.endpoint {
        builder = builder.with_endpoint(endpoint).with_allow_http(endpoint.starts_with("http://"));
    }
    match (&settings.access_key, &settings.secret_key) {
        (Some(key), Some(secret)) => {
            // A session's token in the environment belongs to another key.
            let (key_id, secret_key) = (key.clone(), secret.clone());
            let credential = AwsCredential { key_id, secret_key, token: None };
            builder = builder.with_credentials(Arc::new(StaticCredentialProvider::new(credential)));
        }
        (None, None) => {}
        _ => return Err(bad_setting(name, "access_key and secret_key need each other")),
    }
    if let Some(arn) = &settings.assume_role_arn {
        let base = builder.clone().build().map_err(|e| bad_setting(name, e))?;
        let region = builder.get_config_value(&AmazonS3ConfigKey::Region);
        let region = region.unwrap_or_else(|| "us-east-1".to_owned());
        let of_environment = || builder.get_config_value(&AmazonS3ConfigKey::StsEndpoint);
        let endpoint = settings.sts_endpoint.clone().or_else(of_environment);
        let endpoint = endpoint.unwrap_or_else(|| format!("https://sts.{region}.amazonaws.com"));
        let role = Role::new(arn, &region, &endpoint, Arc::clone(base.credentials()));
        builder = builder.with_credentials(Arc::new(role.map_err(|e| bad_setting(name, e))?));
    }
    let store = builder.build().map_err(|e| bad_setting(name, e))?;
    let prefix = settings.prefix.as_deref();
    match &settings.storage_class {
        None => rooted(name, store, prefix),
        Some(class) => rooted(name, Classed::new(store, class), prefix),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn settings() -> S3 {
        S3 {
            bucket: "tables".into(),
            region: Some("eu-central-1".into()),
            access_key: Some("AKIA0123456789".into()),
            secret_key: Some("very-secret".into()),
            ..S3::default()
        }
    }

    #[test]
    fn a_key_without_its_secret_is_refused() {
        let half = S3 { secret_key: None, ..settings() };
        let error = open("lake", &half).unwrap_err();
        assert_eq!(error.code(), "F0000");
        assert!(error.message().contains("access_key and secret_key"), "{error:?}");
    }

    #[test]
    fn secrets_are_not_shown() {
        let settings = settings();
        let store = open("lake", &settings).unwrap();
        let shown = format!("{settings:?} {store:?} {store}");
        assert!(!shown.contains("very-secret"), "{shown}");
    }
}
