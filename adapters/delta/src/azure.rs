//! Azure Blob Storage.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use epoch_adapter::Result;
use object_store::ObjectStore;
use object_store::azure::{AzureAccessKey, AzureConfigKey, MicrosoftAzureBuilder};

use crate::store::{bad_setting, rooted};

/// A container of Azure Blob Storage. What isn't given is taken from the environment (`AZURE_…`), or from the machine's
/// managed identity.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Azure {
    /// The storage account.
    pub account: Option<String>,
    /// The container.
    pub container: String,
    /// The folder in it that holds the tables.
    pub prefix: Option<String>,
    /// The server, with the account if that isn't a part of its name.
    pub endpoint: Option<String>,
    /// The account's key.
    pub access_key: Option<String>,
    /// A shared access signature.
    pub sas_token: Option<String>,
    /// The tenant of an application.
    pub tenant_id: Option<String>,
    /// The id of an application, or of a managed identity.
    pub client_id: Option<String>,
    /// The application's secret.
    pub client_secret: Option<String>,
    /// The file with the token of a workload's identity.
    pub federated_token_file: Option<PathBuf>,
    /// Whether `az` is asked for a token.
    pub use_azure_cli: bool,
}

impl fmt::Debug for Azure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Azure")
            .field("account", &self.account)
            .field("container", &self.container)
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

impl Azure {
    /// What says who we are, by the names of the settings.
    fn ways(&self) -> Vec<(&'static str, AzureConfigKey)> {
        let all = [
            ("access_key", AzureConfigKey::AccessKey, self.access_key.is_some()),
            ("sas_token", AzureConfigKey::SasKey, self.sas_token.is_some()),
            ("client_secret", AzureConfigKey::ClientSecret, self.client_secret.is_some()),
            ("federated_token_file", AzureConfigKey::FederatedTokenFile, self.federated_token_file.is_some()),
            ("use_azure_cli", AzureConfigKey::UseAzureCli, self.use_azure_cli),
        ];
        all.into_iter().filter(|(.., given)| *given).map(|(name, key, _)| (name, key)).collect()
    }

    /// Whether the settings say who we are in one way at most.
    ///
    /// # Errors
    /// What is wrong, by the names of the settings.
    pub fn check_credentials(&self) -> std::result::Result<(), String> {
        let whole = self.tenant_id.is_some() && self.client_id.is_some();
        match self.ways().as_slice() {
            [(first, _), (second, _), ..] => {
                Err(format!("{first} and {second} are two ways to log in, of which there can be one"))
            }
            [(name @ ("client_secret" | "federated_token_file"), _)] if !whole => {
                Err(format!("{name} needs tenant_id and client_id"))
            }
            _ => Ok(()),
        }
    }
}

/// A container, or a folder of it.
pub(crate) fn open(name: &str, settings: &Azure) -> Result<Arc<dyn ObjectStore>> {
    settings.check_credentials().map_err(|what| bad_setting(name, what))?;
    let environment = MicrosoftAzureBuilder::from_env();
    // The environment's credentials would come before what is set here.
    let way = settings.ways().first().map(|(_, key)| *key);
    let mut builder = match way {
        None => environment.clone(),
        Some(_) => {
            let of_environment =
                [AzureConfigKey::AccountName, AzureConfigKey::Endpoint, AzureConfigKey::AuthorityHost];
            of_environment.into_iter().fold(MicrosoftAzureBuilder::new(), |builder, key| {
                match environment.get_config_value(&key) {
                    Some(value) => builder.with_config(key, value),
                    None => builder,
                }
            })
        }
    };
    if let Some(key) = &settings.access_key {
        // The library's message names a part of the key.
        AzureAccessKey::try_new(key).map_err(|_| bad_setting(name, "access_key is not in base64"))?;
    }
    let federated = settings.federated_token_file.as_ref().map(|path| path.display().to_string());
    let given = [
        (AzureConfigKey::AccountName, settings.account.clone()),
        (AzureConfigKey::ContainerName, Some(settings.container.clone())),
        (AzureConfigKey::Endpoint, settings.endpoint.clone()),
        (AzureConfigKey::AccessKey, settings.access_key.clone()),
        (AzureConfigKey::SasKey, settings.sas_token.clone()),
        (AzureConfigKey::AuthorityId, settings.tenant_id.clone()),
        (AzureConfigKey::ClientId, settings.client_id.clone()),
        (AzureConfigKey::ClientSecret, settings.client_secret.clone()),
        (AzureConfigKey::FederatedTokenFile, federated),
        (AzureConfigKey::UseAzureCli, settings.use_azure_cli.then(|| "true".to_owned())),
    ];
    for (key, value) in given {
        if let Some(value) = value {
            builder = builder.with_config(key, value);
        }
    }
    if let Some(endpoint) = &settings.endpoint {
        builder = builder.with_allow_http(endpoint.starts_with("http://"));
    }
    if builder.get_config_value(&AzureConfigKey::AccountName).is_none() {
        return Err(bad_setting(name, "no account is set, nor AZURE_STORAGE_ACCOUNT_NAME"));
    }
    let store = builder.build().map_err(|e| match way {
        // What the library says of a signature that it can't read may hold it.
        Some(AzureConfigKey::SasKey) => bad_setting(name, "sas_token or endpoint can't be used"),
        _ => bad_setting(name, e),
    })?;
    rooted(name, store, settings.prefix.as_deref())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use futures::TryStreamExt;

    use super::*;
    use crate::error;

    fn settings() -> Azure {
        Azure { account: Some("acme".into()), container: "tables".into(), ..Azure::default() }
    }

    #[test]
    fn every_way_to_log_in_is_taken() {
        let text = |text: &str| Some(text.to_owned());
        let ids = || Azure { tenant_id: text("t"), client_id: text("c"), ..settings() };
        let ways = [
            (Azure { access_key: text("c2VjcmV0"), ..settings() }, "AccessKey"),
            (Azure { sas_token: text("?sv=2024-01-01&sig=abc%3D"), ..settings() }, "SASToken"),
            (Azure { client_secret: text("very-secret"), ..ids() }, "ClientSecret"),
            (Azure { federated_token_file: Some("/nowhere/token".into()), ..ids() }, "WorkloadIdentity"),
            (Azure { use_azure_cli: true, ..settings() }, "AzureCli"),
            (settings(), "ManagedIdentity"),
        ];
        for (settings, way) in ways {
            let store = open("lake", &settings).map_err(|e| format!("{way}: {e:?}")).unwrap();
            let shown = format!("{settings:?} {store}");
            assert!(!shown.contains("secret") && !shown.contains("abc"), "{shown}");
        }
    }

    #[test]
    fn two_ways_and_half_a_way_to_log_in_are_refused() {
        let text = |text: &str| Some(text.to_owned());
        let two = Azure { access_key: text("c2VjcmV0"), sas_token: text("sig=abc"), ..settings() };
        let half = Azure { client_secret: text("very-secret"), client_id: text("c"), ..settings() };
        let key = Azure { access_key: text("very-secret!"), ..settings() };
        let sas = Azure { sas_token: text("very-secret"), ..settings() };
        let expected =
            ["access_key and sas_token", "needs tenant_id and client_id", "not in base64", "sas_token"];
        for (settings, part) in [two, half, key, sas].iter().zip(expected) {
            let error = open("lake", settings).unwrap_err();
            assert_eq!(error.code(), "F0000");
            assert!(error.message().contains(part), "{error:?}");
            assert!(!format!("{error:?}").contains("very-secret"), "{error:?}");
        }
    }

    #[tokio::test]
    async fn what_a_failed_request_says_holds_no_signature() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}/acme", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            use std::io::{Read, Write};
            while let Ok((mut stream, _)) = listener.accept() {
                let _ = stream.read(&mut [0; 4096]);
                let _ =
                    stream.write_all(b"HTTP/1.1 403 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            }
        });
        let settings = Azure {
            sas_token: Some("sv=2024-01-01&sig=very-secret".into()),
            endpoint: Some(endpoint),
            ..settings()
        };
        let store = open("lake", &settings).unwrap();
        let failed = store.list(None).try_next().await.unwrap_err();
        let error = error::store(failed);
        assert_eq!(error.code(), "58030");
        assert!(!format!("{error:?}").contains("very-secret"), "{error:?}");
        assert!(format!("{error:?}").contains("403"), "{error:?}");
    }
}
