//! Google Cloud Storage.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use epoch_adapter::Result;
use object_store::gcp::{GcpCredential, GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::{ObjectStore, StaticCredentialProvider};

use crate::store::{bad_setting, rooted};

/// A bucket of Google Cloud Storage. What isn't given is taken from the environment (`GOOGLE_…`), from the application
/// default credentials, or from the machine's service account.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Gcs {
    /// The bucket.
    pub bucket: String,
    /// The folder in it that holds the tables.
    pub prefix: Option<String>,
    /// The server, if it isn't Google's. An `http://` one is an emulator: no credential is sent to it.
    pub endpoint: Option<String>,
    /// The file with a service account's key.
    pub service_account_file: Option<PathBuf>,
    /// A service account's key in JSON.
    pub service_account_key: Option<String>,
}

impl fmt::Debug for Gcs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gcs")
            .field("bucket", &self.bucket)
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

impl Gcs {
    fn is_emulator(&self) -> bool {
        self.endpoint.as_ref().is_some_and(|e| e.starts_with("http://"))
    }

    /// Whether the settings say who we are in one way at most.
    ///
    /// # Errors
    /// What is wrong, by the names of the settings.
    pub fn check_credentials(&self) -> std::result::Result<(), String> {
        match (&self.service_account_file, &self.service_account_key) {
            (Some(_), Some(_)) => {
                Err("service_account_file and service_account_key are two keys, of which there can be one"
                    .into())
            }
            (None, None) => Ok(()),
            _ if self.is_emulator() => Err("a service account needs an endpoint that is https://".into()),
            _ => Ok(()),
        }
    }
}

/// A bucket, or a folder of it.
pub(crate) fn open(name: &str, settings: &Gcs) -> Result<Arc<dyn ObjectStore>> {
    settings.check_credentials().map_err(|what| bad_setting(name, what))?;
    let (file, key) = (&settings.service_account_file, &settings.service_account_key);
    let mut builder = match (file, key) {
        _ if settings.is_emulator() => {
            let nothing = GcpCredential { bearer: String::new() };
            GoogleCloudStorageBuilder::new()
                .with_credentials(Arc::new(StaticCredentialProvider::new(nothing)))
        }
        // The environment's key would be a second one.
        (Some(file), _) => {
            GoogleCloudStorageBuilder::new().with_service_account_path(file.display().to_string())
        }
        (None, Some(key)) => GoogleCloudStorageBuilder::new().with_service_account_key(key),
        (None, None) => GoogleCloudStorageBuilder::from_env(),
    };
    builder = builder.with_bucket_name(&settings.bucket);
    if let Some(endpoint) = &settings.endpoint {
        builder = builder.with_base_url(endpoint.trim_end_matches('/'));
    }
    let of_environment = builder.get_config_value(&GoogleConfigKey::ServiceAccountKey).is_some();
    let store = builder.build().map_err(|e| {
        // What the library says of a key that it can't read may hold a part of it.
        let key = match (file, key) {
            (Some(file), _) => file.display().to_string(),
            (_, Some(_)) => "service_account_key".to_owned(),
            _ if of_environment => "GOOGLE_SERVICE_ACCOUNT_KEY".to_owned(),
            _ => return bad_setting(name, e),
        };
        bad_setting(name, format!("{key} is not the key of a service account"))
    })?;
    rooted(name, store, settings.prefix.as_deref())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn settings() -> Gcs {
        Gcs { bucket: "tables".into(), ..Gcs::default() }
    }

    #[test]
    fn a_key_that_can_t_be_read_is_not_shown() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key.json");
        for text in ["\"very-secret\"", "very-secret", r#"{"private_key": "very-secret"}"#] {
            std::fs::write(&file, text).unwrap();
            let by_file = Gcs { service_account_file: Some(file.clone()), ..settings() };
            let by_key = Gcs { service_account_key: Some(text.into()), ..settings() };
            for settings in [by_file, by_key] {
                let error = open("lake", &settings).unwrap_err();
                assert_eq!(error.code(), "F0000");
                assert!(error.message().contains("is not the key of a service account"), "{error:?}");
                assert!(!format!("{error:?} {settings:?}").contains("very-secret"), "{error:?}");
            }
        }
    }

    #[test]
    fn two_keys_are_refused_and_one_is_not_sent_in_the_clear() {
        let key = Some(r#"{"private_key": "very-secret"}"#.to_owned());
        let both =
            Gcs { service_account_file: Some("x".into()), service_account_key: key.clone(), ..settings() };
        let endpoint = Some("http://127.0.0.1:1".to_owned());
        let plain = Gcs { service_account_key: key, endpoint: endpoint.clone(), ..settings() };
        for (settings, part) in [(both, "two keys"), (plain, "https://")] {
            let error = open("lake", &settings).unwrap_err();
            assert!(error.message().contains(part), "{error:?}");
            assert!(!format!("{error:?}").contains("very-secret"));
        }
        assert!(open("lake", &Gcs { endpoint, ..settings() }).is_ok());
    }
}
