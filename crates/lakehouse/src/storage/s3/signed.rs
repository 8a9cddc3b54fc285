//! Requests that the store's client does not have, signed as its own are.

use super::options::Reached;
use super::words::between;
use super::{ATTEMPTS, Bucket, PAUSE, ended, wait};
use axum::http::{Method, Request, StatusCode};
use object_store::aws::AwsAuthorizer;
use object_store::client::HttpRequestBody;
use std::collections::BTreeMap;
use std::io;

impl Bucket {
    /// The text of `GET bucket?query`, asked again where the store is not well.
    pub(super) async fn ask(&self, query: &str) -> io::Result<String> {
        let mut pause = PAUSE;
        for _ in 1..ATTEMPTS {
            match self.ask_once(query).await {
                Err(error) if error.kind() == ended().kind() => wait(pause).await,
                other => return other,
            }
            pause *= 2;
        }
        self.ask_once(query).await
    }

    async fn ask_once(&self, query: &str) -> io::Result<String> {
        let Reached { url, region, .. } = &self.reached;
        let request = Request::builder()
            .method(Method::GET)
            .uri(format!("{url}/?{query}"));
        let request = request.body(HttpRequestBody::empty());
        let mut request = request.map_err(io::Error::other)?;
        let keys = self.keys().await?;
        AwsAuthorizer::new(&keys, "s3", region).authorize(&mut request, None);
        let answer = self.client.execute(request).await;
        let answer = answer.map_err(|error| self.unanswered(&error.to_string()))?;
        let status = answer.status();
        let body = answer.into_body().bytes().await;
        let body = body.map_err(|error| self.unanswered(&error.to_string()))?;
        let text = String::from_utf8_lossy(&body).into_owned();
        match status {
            StatusCode::OK => Ok(text),
            _ => {
                let code = between(&text, "<Code>", "</Code>").unwrap_or(status.as_str());
                let error = self.unanswered(&format!("the store says {code}"));
                Err(match status.is_client_error() {
                    true => io::Error::new(io::ErrorKind::PermissionDenied, error.to_string()),
                    false => error,
                })
            }
        }
    }

    /// What clients need to read with our keys.
    pub(super) async fn lent(&self) -> io::Result<BTreeMap<String, String>> {
        let keys = self.keys().await?;
        let mut properties = self.reached.client_properties();
        properties.insert("s3.access-key-id".to_owned(), keys.key_id.clone());
        properties.insert("s3.secret-access-key".to_owned(), keys.secret_key.clone());
        if let Some(token) = &keys.token {
            properties.insert("s3.session-token".to_owned(), token.clone());
        }
        Ok(properties)
    }

    async fn keys(&self) -> io::Result<std::sync::Arc<object_store::aws::AwsCredential>> {
        let keys = self.store.credentials().get_credential().await;
        keys.map_err(|_| self.unanswered("no credentials are found for it"))
    }

    fn unanswered(&self, why: &str) -> io::Error {
        let ended = ended();
        io::Error::new(
            ended.kind(),
            format!("cannot list s3://{}: {why}", self.name),
        )
    }
}
