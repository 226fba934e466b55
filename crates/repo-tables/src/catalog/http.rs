//! Requests with JSON answers, with a token that is asked for when it is needed.

use futures::TryStreamExt;
use object_store::client::{HttpClient, HttpRequest, HttpRequestBody};
use reqwest::Method;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use serde::Deserialize;
use serde_json::Value;
use tokio::runtime::Handle;
use tokio::sync::Mutex;
use url::Url;

use super::failed;
use crate::error::{Error, Result};
use crate::limits::{ANSWER_TIMEOUT, ATTEMPTS_MAX, CATALOG_ANSWER_MAX, RETRY_DELAY};

/// Of what a server says about a failure, as much as is shown, in characters.
const SAID_MAX: usize = 300;

/// What proves who asks.
pub(super) enum Access {
    /// Nothing.
    Open,
    /// A token that was given.
    Token(String),
    /// A token that a server gives for an id and a secret.
    Credential {
        server: Url,
        id: String,
        secret: String,
        scope: String,
    },
}

/// A client of one server.
pub(super) struct Http {
    runtime: Handle,
    client: HttpClient,
    access: Access,
    token: Mutex<Option<String>>,
}

/// What a server said.
pub(super) struct Answer {
    pub(super) status: u16,
    body: Vec<u8>,
}

impl Answer {
    pub(super) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// Reads an answer that must be one.
    pub(super) fn json<'a, T: Deserialize<'a>>(
        &'a self,
        operation: &'static str,
        url: &Url,
    ) -> Result<T> {
        if !self.is_success() {
            return Err(self.refusal(operation, url));
        }
        serde_json::from_slice(&self.body)
            .map_err(|error| Error::undecodable(url, "its answer is none of a catalog", error))
    }

    /// What it means when it is no success.
    pub(super) fn refusal(&self, operation: &'static str, url: &Url) -> Error {
        #[derive(Deserialize)]
        struct Said {
            error: Inner,
        }
        #[derive(Deserialize)]
        struct Inner {
            message: String,
        }
        let said = serde_json::from_slice::<Said>(&self.body).map(|said| said.error.message);
        let said: String = said.unwrap_or_default().chars().take(SAID_MAX).collect();
        let status = self.status;
        failed(
            operation,
            url,
            format!("the catalog says {status} {said}")
                .trim_end()
                .to_owned(),
        )
    }
}

impl Http {
    pub(super) fn new(runtime: Handle, access: Access) -> Result<Self> {
        let client = repo_store::open_http().map_err(|error| failed("open", "a catalog", error))?;
        Ok(Self {
            runtime,
            client,
            access,
            token: Mutex::new(None),
        })
    }

    /// Makes a request and waits for its answer.
    pub(super) fn ask(&self, method: &Method, url: &Url, body: Option<&Value>) -> Result<Answer> {
        self.runtime.block_on(async {
            let answer = self.with_token(method, url, body, false).await?;
            // It may have ended; a new one is asked for once.
            match (&self.access, answer.status) {
                (Access::Credential { .. }, 401 | 419) => {
                    self.with_token(method, url, body, true).await
                }
                _ => Ok(answer),
            }
        })
    }

    async fn with_token(
        &self,
        method: &Method,
        url: &Url,
        body: Option<&Value>,
        renew: bool,
    ) -> Result<Answer> {
        let token = self.token(renew).await?;
        let json = body.map(Value::to_string);
        let body = json.as_deref().map(|text| ("application/json", text));
        self.send(method, url, body, token.as_deref()).await
    }

    async fn token(&self, renew: bool) -> Result<Option<String>> {
        let (server, id, secret, scope) = match &self.access {
            Access::Open => return Ok(None),
            Access::Token(token) => return Ok(Some(token.clone())),
            Access::Credential {
                server,
                id,
                secret,
                scope,
            } => (server, id, secret, scope),
        };
        let mut known = self.token.lock().await;
        if let Some(token) = known.as_ref().filter(|_| !renew) {
            return Ok(Some(token.clone()));
        }
        #[derive(Deserialize)]
        struct Granted {
            access_token: String,
        }
        let form = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("grant_type", "client_credentials")
            .append_pair("client_id", id)
            .append_pair("client_secret", secret)
            .append_pair("scope", scope)
            .finish();
        let body = ("application/x-www-form-urlencoded", form.as_str());
        let answer = self.send(&Method::POST, server, Some(body), None).await?;
        let granted: Granted = answer.json("get a token from", server)?;
        *known = Some(granted.access_token.clone());
        Ok(Some(granted.access_token))
    }

    /// Sends a request; one that changes nothing again, when the server does not answer.
    async fn send(
        &self,
        method: &Method,
        url: &Url,
        body: Option<(&'static str, &str)>,
        token: Option<&str>,
    ) -> Result<Answer> {
        let mut attempt = 1;
        loop {
            let source = match self.once(method, url, body, token).await {
                Ok(answer) if answer.status < 500 => return Ok(answer),
                Ok(answer) if *method != Method::GET || attempt == ATTEMPTS_MAX => {
                    return Ok(answer);
                }
                Ok(answer) => format!("it answers {}", answer.status),
                Err(source) => source,
            };
            if *method != Method::GET || attempt == ATTEMPTS_MAX {
                return Err(failed("ask", url, source));
            }
            tokio::time::sleep(RETRY_DELAY * (1 << attempt)).await;
            attempt += 1;
        }
    }

    async fn once(
        &self,
        method: &Method,
        url: &Url,
        body: Option<(&'static str, &str)>,
        token: Option<&str>,
    ) -> Result<Answer, String> {
        let text = body.map_or("", |(_, text)| text);
        let mut request = HttpRequest::new(HttpRequestBody::from(text.to_owned()));
        *request.method_mut() = method.clone();
        *request.uri_mut() = url
            .as_str()
            .parse()
            .map_err(|_| "it is no URL".to_owned())?;
        let headers = request.headers_mut();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        if let Some((kind, _)) = body {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        }
        if let Some(token) = token {
            let value = HeaderValue::from_str(&format!("Bearer {token}"));
            let mut value = value.map_err(|_| "the token is no header".to_owned())?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let answered = tokio::time::timeout(ANSWER_TIMEOUT, async {
            let answer = self.client.execute(request).await;
            let answer = answer.map_err(|error| format!("no answer: {error}"))?;
            let status = answer.status().as_u16();
            let mut body = Vec::new();
            let mut parts = answer.into_body().bytes_stream();
            while let Some(part) = parts.try_next().await.map_err(|error| error.to_string())? {
                if body.len() + part.len() > CATALOG_ANSWER_MAX {
                    return Err("its answer is too long".to_owned());
                }
                body.extend_from_slice(&part);
            }
            Ok(Answer { status, body })
        });
        let silent = |_| format!("no answer within {} s", ANSWER_TIMEOUT.as_secs());
        answered.await.map_err(silent)?
    }
}
