//! A role of Amazon's, taken with other credentials and taken anew before it ends.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use object_store::aws::{AwsAuthorizer, AwsCredential, AwsCredentialProvider};
use object_store::client::{HttpClient, HttpConnector, HttpRequest, HttpRequestBody, ReqwestConnector};
use object_store::{ClientOptions, CredentialProvider, HeaderValue};
use serde::Deserialize;
use url::form_urlencoded;

/// A credential that ends sooner is replaced.
const SPARE: chrono::TimeDelta = chrono::TimeDelta::minutes(5);
/// Whoever waits for a credential waits for a statement's answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// A role, and the credential that it gave last.
pub(crate) struct Role {
    arn: String,
    region: String,
    endpoint: String,
    base: AwsCredentialProvider,
    client: HttpClient,
    last: tokio::sync::Mutex<Option<(Arc<AwsCredential>, DateTime<Utc>)>>,
}

impl fmt::Debug for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Role").field("arn", &self.arn).finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct Answer {
    #[serde(rename = "AssumeRoleResult")]
    result: Given,
}

#[derive(Deserialize)]
struct Given {
    #[serde(rename = "Credentials")]
    credentials: Credentials,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Credentials {
    access_key_id: String,
    secret_access_key: String,
    session_token: String,
    expiration: DateTime<Utc>,
}

#[derive(Deserialize)]
struct Refusal {
    #[serde(rename = "Error")]
    error: Reason,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Reason {
    code: String,
    #[serde(default)]
    message: String,
}

type Failed = Box<dyn StdError + Send + Sync>;

impl Role {
    /// `base`: what the role is taken with. Nothing connects yet.
    pub(crate) fn new(
        arn: &str,
        region: &str,
        endpoint: &str,
        base: AwsCredentialProvider,
    ) -> object_store::Result<Self> {
        let options = ClientOptions::new().with_timeout(PATIENCE);
        let options = options.with_allow_http(endpoint.starts_with("http://"));
        Ok(Self {
            arn: arn.to_owned(),
            region: region.to_owned(),
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            base,
            client: ReqwestConnector::default().connect(&options)?,
            last: tokio::sync::Mutex::default(),
        })
    }

    async fn ask(&self) -> Result<(Arc<AwsCredential>, DateTime<Utc>), Failed> {
        let form = form_urlencoded::Serializer::new(String::new())
            .append_pair("Action", "AssumeRole")
            .append_pair("Version", "2011-06-15")
            .append_pair("RoleArn", &self.arn)
            .append_pair("RoleSessionName", "horizon-epoch")
            .finish();
        let mut request = HttpRequest::new(HttpRequestBody::from(form));
        *request.method_mut() = "POST".parse()?;
        *request.uri_mut() = format!("{}/", self.endpoint).parse()?;
        let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
        request.headers_mut().insert("content-type", kind);
        let base = self.base.get_credential().await?;
        AwsAuthorizer::new(&base, "sts", &self.region).authorize(&mut request, None);
        let response = self.client.execute(request).await?;
        let status = response.status();
        let body = response.into_body().bytes().await?;
        if !status.is_success() {
            // The body as a whole stays here: nobody knows what it repeats.
            return Err(match quick_xml::de::from_reader::<_, Refusal>(body.as_ref()) {
                Ok(Refusal { error }) => format!("{}: {}", error.code, error.message).into(),
                Err(_) => format!("the server answers {status}").into(),
            });
        }
        let answer: Answer = quick_xml::de::from_reader(body.as_ref())
            .map_err(|_| "the server's answer is not one to AssumeRole")?;
        let Credentials { access_key_id, secret_access_key, session_token, expiration } =
            answer.result.credentials;
        let credential = AwsCredential {
            key_id: access_key_id,
            secret_key: secret_access_key,
            token: Some(session_token),
        };
        Ok((Arc::new(credential), expiration))
    }
}

#[async_trait]
impl CredentialProvider for Role {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        let mut last = self.last.lock().await;
        let now = Utc::now();
        if let Some((credential, until)) = last.as_ref()
            && *until > now + SPARE
        {
            return Ok(Arc::clone(credential));
        }
        match self.ask().await {
            Ok((credential, until)) => {
                *last = Some((Arc::clone(&credential), until));
                Ok(credential)
            }
            Err(source) => {
                // One that still holds for some minutes is better than none.
                if let Some((credential, until)) = last.as_ref()
                    && *until > now
                {
                    return Ok(Arc::clone(credential));
                }
                let source = format!("role {} can't be taken: {source}", self.arn).into();
                Err(object_store::Error::Generic { store: "S3", source })
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::sync::mpsc;

    use object_store::StaticCredentialProvider;

    use super::*;

    /// Answers each request with the next answer, and tells what was asked.
    fn server(answers: Vec<(u16, String)>) -> (String, mpsc::Receiver<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (asked, seen) = mpsc::channel();
        std::thread::spawn(move || {
            for (status, body) in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let (mut text, mut buffer) = (String::new(), [0; 4096]);
                while !text.contains("RoleSessionName=horizon-epoch") {
                    let n = stream.read(&mut buffer).unwrap();
                    assert!(n > 0, "{text}");
                    text.push_str(&String::from_utf8_lossy(&buffer[..n]));
                }
                let length = body.len();
                let head =
                    format!("HTTP/1.1 {status} X\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
                stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
                asked.send(text).unwrap();
            }
        });
        (url, seen)
    }

    fn given(key: &str, minutes: i64) -> (u16, String) {
        let until = (Utc::now() + chrono::TimeDelta::minutes(minutes)).to_rfc3339();
        let body = format!(
            "<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleResult>\
             <AssumedRoleUser><Arn>x</Arn></AssumedRoleUser><Credentials><AccessKeyId>{key}</AccessKeyId>\
             <SecretAccessKey>inner-secret</SecretAccessKey><SessionToken>token of {key}</SessionToken>\
             <Expiration>{until}</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>"
        );
        (200, body)
    }

    fn role(endpoint: &str) -> Role {
        let credential =
            AwsCredential { key_id: "AKIABASE".into(), secret_key: "outer-secret".into(), token: None };
        let base = Arc::new(StaticCredentialProvider::new(credential));
        Role::new("arn:aws:iam::1:role/lake", "eu-central-1", endpoint, base).unwrap()
    }

    #[tokio::test]
    async fn a_role_is_kept_until_it_is_about_to_end() {
        let (url, asked) = server(vec![given("ASIA1", 60), given("ASIA2", 4), given("ASIA3", 60)]);
        let role = role(&url);
        for _ in 0..3 {
            let got = role.get_credential().await.unwrap();
            assert_eq!((got.key_id.as_str(), got.token.as_deref()), ("ASIA1", Some("token of ASIA1")));
        }
        let request = asked.recv().unwrap();
        assert!(request.starts_with("POST / HTTP/1.1"), "{request}");
        assert!(request.contains("Credential=AKIABASE/"), "{request}");
        assert!(request.contains("/eu-central-1/sts/aws4_request"), "{request}");
        assert!(request.contains("RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Flake"), "{request}");
        *role.last.lock().await = None;
        assert_eq!(role.get_credential().await.unwrap().key_id, "ASIA2");
        assert_eq!(role.get_credential().await.unwrap().key_id, "ASIA3");
        // Nobody answers any more: what holds is used.
        let ending = Utc::now() + chrono::TimeDelta::minutes(2);
        role.last.lock().await.as_mut().unwrap().1 = ending;
        assert_eq!(role.get_credential().await.unwrap().key_id, "ASIA3");
    }

    #[tokio::test]
    async fn a_refusal_says_why_and_shows_no_secret() {
        let body = "<ErrorResponse xmlns=\"x\"><Error><Type>Sender</Type><Code>AccessDenied</Code>\
                    <Message>not you</Message></Error><RequestId>1</RequestId></ErrorResponse>";
        let (url, _asked) = server(vec![(403, body.to_owned()), (500, "outer-secret".to_owned())]);
        let role = role(&url);
        let error = role.get_credential().await.unwrap_err().to_string();
        assert!(error.contains("role/lake can't be taken: AccessDenied: not you"), "{error}");
        let error = role.get_credential().await.unwrap_err().to_string();
        assert!(error.contains("answers 500") && !error.contains("secret"), "{error}");
        assert!(!format!("{role:?}").contains("secret"));
    }
}
