//! Buckets and containers on the servers that the environment names, and what another engine does there: delta-rs, by a
//! client and a path of its own.

use std::sync::Arc;

use deltalake_core::DeltaTable;
use deltalake_core::logstore::{StorageConfig, default_logstore};
use epoch_adapter_delta::{Azure, DeltaAdapter, Gcs, S3};
use object_store::aws::{AmazonS3Builder, AwsAuthorizer, AwsCredential};
use object_store::azure::{AzureAccessKey, AzureAuthorizer, AzureCredential, MicrosoftAzureBuilder};
use object_store::client::{HttpConnector, HttpRequest, HttpRequestBody, HttpResponse, ReqwestConnector};
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{ClientOptions, HeaderValue, ObjectStore};
use url::Url;

/// The account that scripts/servers.sh gives Azurite, and its key.
const ACCOUNT: &str = "epochtest";
const KEY: &str = "ZXBvY2gtdGVzdC1rZXk=";
/// The folder with the tables.
const PREFIX: &str = "lake";

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Server {
    S3,
    Azure,
    Gcs,
}

#[derive(Clone)]
pub enum Settings {
    S3(S3),
    Azure(Azure),
    Gcs(Gcs),
}

/// A bucket of its own.
#[derive(Clone)]
pub struct Bucket {
    pub settings: Settings,
    /// The folder with the tables.
    pub store: Arc<dyn ObjectStore>,
}

impl Server {
    pub fn scheme(self) -> &'static str {
        match self {
            Self::S3 => "s3",
            Self::Azure => "azure",
            Self::Gcs => "gcs",
        }
    }

    /// Where it is; `None` if there is none.
    fn url(self) -> Option<String> {
        let variable = format!("EPOCH_TEST_{}_URL", self.scheme().to_uppercase());
        let url = std::env::var(&variable).ok().filter(|url| !url.is_empty());
        if url.is_none() {
            println!("skipped: set {variable} or run make test");
        }
        url
    }

    /// A bucket whose name begins with `kind`; `None` if there is no server.
    pub async fn bucket(self, kind: &str) -> Option<Bucket> {
        let url = self.url()?;
        let name = format!("{kind}-{}", uuid::Uuid::new_v4().simple());
        self.make(&url, &name).await;
        let prefix = Some(PREFIX.to_owned());
        let text = |text: &str| Some(text.to_owned());
        let endpoint = text(&url);
        let (settings, store): (_, Box<dyn ObjectStore>) = match self {
            Self::S3 => {
                let client = AmazonS3Builder::new().with_bucket_name(&name).with_region("us-east-1");
                let client = client.with_access_key_id("key").with_secret_access_key("secret");
                let client = client.with_endpoint(&url).with_allow_http(true).build().unwrap();
                let (region, access_key, secret_key) = (text("us-east-1"), text("key"), text("secret"));
                let s3 =
                    S3 { bucket: name, prefix, region, endpoint, access_key, secret_key, ..S3::default() };
                (Settings::S3(s3), Box::new(client))
            }
            Self::Azure => {
                let client = MicrosoftAzureBuilder::new().with_account(ACCOUNT).with_access_key(KEY);
                let client = client.with_container_name(&name).with_endpoint(url.clone());
                let client = client.with_allow_http(true).build().unwrap();
                let (account, access_key) = (text(ACCOUNT), text(KEY));
                let azure =
                    Azure { account, container: name, prefix, endpoint, access_key, ..Azure::default() };
                (Settings::Azure(azure), Box::new(client))
            }
            Self::Gcs => {
                let key =
                    r#"{"disable_oauth": true, "client_email": "", "private_key": "", "private_key_id": ""}"#;
                let client = GoogleCloudStorageBuilder::new().with_bucket_name(&name).with_base_url(&url);
                // The stand-in tells us from others by that.
                let options = ClientOptions::new().with_allow_http(true);
                let options = options.with_user_agent(HeaderValue::from_static("foreign"));
                let client =
                    client.with_service_account_key(key).with_client_options(options).build().unwrap();
                (Settings::Gcs(Gcs { bucket: name, prefix, endpoint, ..Gcs::default() }), Box::new(client))
            }
        };
        Some(Bucket { settings, store: Arc::new(PrefixStore::new(store, Path::from(PREFIX))) })
    }

    async fn make(self, url: &str, name: &str) {
        let query = if self == Self::Azure { "?restype=container" } else { "" };
        let mut request = HttpRequest::new(HttpRequestBody::empty());
        *request.method_mut() = "PUT".parse().unwrap();
        *request.uri_mut() = format!("{url}/{name}{query}").parse().unwrap();
        request.headers_mut().insert("content-length", HeaderValue::from_static("0"));
        if self == Self::Azure {
            let credential = AzureCredential::AccessKey(AzureAccessKey::try_new(KEY).unwrap());
            AzureAuthorizer::new(&credential, ACCOUNT).authorize(&mut request);
        }
        send(request).await;
    }
}

async fn send(request: HttpRequest) -> HttpResponse {
    let options = ClientOptions::new().with_allow_http(true);
    let client = ReqwestConnector::default().connect(&options).unwrap();
    let response = client.execute(request).await.unwrap();
    assert!(response.status().is_success(), "{}", response.status());
    response
}

/// The objects of a bucket of S3 with their storage classes, which the client doesn't tell.
pub async fn classes_on_s3(bucket: &str) -> Vec<(String, String)> {
    let mut request = HttpRequest::new(HttpRequestBody::empty());
    let url = format!("{}/{bucket}?list-type=2", Server::S3.url().unwrap());
    *request.uri_mut() = url.parse().unwrap();
    let credential = AwsCredential { key_id: "key".into(), secret_key: "secret".into(), token: None };
    AwsAuthorizer::new(&credential, "s3", "us-east-1").authorize(&mut request, None);
    let body = send(request).await.into_body().bytes().await.unwrap();
    let body = String::from_utf8(body.to_vec()).unwrap();
    let inside = |text: &str, tag: &str| {
        let (_, rest) = text.split_once(&format!("<{tag}>")).unwrap();
        rest.split_once("</").unwrap().0.to_owned()
    };
    body.split("<Contents>").skip(1).map(|o| (inside(o, "Key"), inside(o, "StorageClass"))).collect()
}

impl Bucket {
    pub fn adapter(&self) -> DeltaAdapter {
        let opened = match &self.settings {
            Settings::S3(s3) => DeltaAdapter::s3(PREFIX, s3),
            Settings::Azure(azure) => DeltaAdapter::azure(PREFIX, azure),
            Settings::Gcs(gcs) => DeltaAdapter::gcs(PREFIX, gcs),
        };
        opened.unwrap()
    }

    /// The section of the configuration for a backend.
    pub fn toml(&self, backend: &str) -> String {
        let quoted = |text: &Option<String>| format!("{:?}", text.as_deref().unwrap_or_default());
        match &self.settings {
            Settings::S3(s) => format!(
                "[storage.s3.{backend}]\nbucket = {:?}\nprefix = {}\nregion = {}\nendpoint = {}\naccess_key = {}\nsecret_key = {}\n",
                s.bucket,
                quoted(&s.prefix),
                quoted(&s.region),
                quoted(&s.endpoint),
                quoted(&s.access_key),
                quoted(&s.secret_key),
            ),
            Settings::Azure(s) => format!(
                "[storage.azure.{backend}]\naccount = {}\ncontainer = {:?}\nprefix = {}\nendpoint = {}\naccess_key = {}\n",
                quoted(&s.account),
                s.container,
                quoted(&s.prefix),
                quoted(&s.endpoint),
                quoted(&s.access_key),
            ),
            Settings::Gcs(s) => format!(
                "[storage.gcs.{backend}]\nbucket = {:?}\nprefix = {}\nendpoint = {}\n",
                s.bucket,
                quoted(&s.prefix),
                quoted(&s.endpoint),
            ),
        }
    }

    /// A table as another engine opens it; it needn't be there.
    pub fn table(&self, path: &str) -> DeltaTable {
        let store: Arc<dyn ObjectStore> =
            Arc::new(PrefixStore::new(Arc::clone(&self.store), Path::from(path)));
        // The engine keeps stores by URL.
        let url = Url::parse(&format!("foreign://{}/", uuid::Uuid::new_v4().simple())).unwrap();
        DeltaTable::new(default_logstore(Arc::clone(&store), store, &url, &StorageConfig::default()))
    }
}
