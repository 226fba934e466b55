//! Object Lock of S3: retention of versions, by requests that `object_store` does not make.
//!
//! It signs the URLs, so endpoint, region, credentials and their renewal are those of every other
//! request; the body is bound to the signature by its MD5, which S3 wants with a lock anyway.

use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use futures::TryStreamExt;
use md5::{Digest as _, Md5};
use object_store::aws::AmazonS3;
use object_store::client::{HttpClient, HttpRequest, HttpRequestBody};
use object_store::path::Path;
use object_store::signer::{SignedUrlOptions, Signer as _};
use object_store::{Error, Result};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, StatusCode};
use tokio::sync::OnceCell;

use super::{LockMode, Locks, Retention};
use crate::limits::{CAUSE_LEN_MAX, LOCK_ANSWER_MAX};

const STORE: &str = "S3";
/// A signed URL is used at once; clocks may differ a little.
const URL_LIFE: Duration = Duration::from_secs(300);

/// Locks in one bucket, for keys below `prefix`.
#[derive(Debug)]
pub(crate) struct S3Locks {
    s3: AmazonS3,
    http: HttpClient,
    prefix: Path,
    enabled: OnceCell<bool>,
}

struct Answer {
    status: StatusCode,
    text: String,
}

impl S3Locks {
    pub(crate) fn new(s3: AmazonS3, http: HttpClient, prefix: Path) -> Self {
        Self {
            s3,
            http,
            prefix,
            enabled: OnceCell::new(),
        }
    }

    fn full(&self, path: &Path) -> Path {
        self.prefix.parts().chain(path.parts()).collect()
    }

    async fn ask(
        &self,
        method: Method,
        path: &Path,
        query: &[(&str, &str)],
        body: String,
    ) -> Result<Answer> {
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| Error::Generic {
            store: STORE,
            source,
        };
        let mut headers = HeaderMap::new();
        let mut options = SignedUrlOptions::new().with_query(query.iter().copied());
        if !body.is_empty() {
            let name = HeaderName::from_static("content-md5");
            let digest = BASE64_STANDARD.encode(Md5::digest(body.as_bytes()));
            let digest = HeaderValue::from_str(&digest).map_err(|e| failed(e.into()))?;
            options = options.with_signed_header(name.clone(), digest.clone());
            headers.insert(name, digest);
        }
        let url = self
            .s3
            .signed_url_opts(method.clone(), path, URL_LIFE, &options)
            .await?;
        let mut request = HttpRequest::new(HttpRequestBody::from(body));
        *request.method_mut() = method;
        *request.uri_mut() = url
            .as_str()
            .parse()
            .map_err(|_| failed("not a URI".into()))?;
        *request.headers_mut() = headers;
        // Its message may show the URL, and with it the signature.
        let sent = self.http.execute(request).await;
        let answer = sent.map_err(|e| failed(format!("no answer: {:?}", e.kind()).into()))?;
        let status = answer.status();
        let mut bytes = Vec::new();
        let mut parts = answer.into_body().bytes_stream();
        while let Some(part) = parts.try_next().await.map_err(|e| failed(e.into()))? {
            bytes.extend_from_slice(&part);
            if bytes.len() > LOCK_ANSWER_MAX {
                return Err(failed("the answer is too long".into()));
            }
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        Ok(Answer { status, text })
    }
}

impl Answer {
    fn says(&self, code: &str) -> bool {
        self.text.contains(code)
    }

    /// What an answer without success means.
    fn error(&self, path: &Path) -> Error {
        let mut text: String = self.text.chars().take(CAUSE_LEN_MAX).collect();
        text.insert_str(0, &format!("status code: {} ", self.status.as_u16()));
        match self.status {
            StatusCode::NOT_FOUND => Error::NotFound {
                path: path.to_string(),
                source: text.into(),
            },
            // "Bucket is missing Object Lock Configuration", and servers without the feature.
            StatusCode::BAD_REQUEST | StatusCode::NOT_IMPLEMENTED => Error::NotSupported {
                source: text.into(),
            },
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Error::PermissionDenied {
                path: path.to_string(),
                source: text.into(),
            },
            _ => Error::Generic {
                store: STORE,
                source: text.into(),
            },
        }
    }
}

#[async_trait]
impl Locks for S3Locks {
    async fn enabled(&self) -> Result<bool> {
        let ask = || async {
            let path = Path::default();
            let query = [("object-lock", "")];
            let answer = self.ask(Method::GET, &path, &query, String::new()).await?;
            match answer.status {
                StatusCode::OK => Ok(answer.says("<ObjectLockEnabled>Enabled<")),
                StatusCode::NOT_FOUND if !answer.says("NoSuchBucket") => Ok(false),
                StatusCode::BAD_REQUEST
                | StatusCode::METHOD_NOT_ALLOWED
                | StatusCode::NOT_IMPLEMENTED => Ok(false),
                _ => Err(answer.error(&path)),
            }
        };
        self.enabled.get_or_try_init(ask).await.copied()
    }

    async fn retain(&self, path: &Path, version: Option<&str>, retention: Retention) -> Result<()> {
        let path = self.full(path);
        let mut query = vec![("retention", "")];
        query.extend(version.map(|version| ("versionId", version)));
        let body = encode(retention).ok_or_else(|| Error::NotSupported {
            source: "the lock would end at no date".into(),
        })?;
        let answer = self.ask(Method::PUT, &path, &query, body).await?;
        match answer.status {
            status if status.is_success() => Ok(()),
            _ => Err(answer.error(&path)),
        }
    }

    async fn retention(&self, path: &Path) -> Result<Option<Retention>> {
        let path = self.full(path);
        let query = [("retention", "")];
        let answer = self.ask(Method::GET, &path, &query, String::new()).await?;
        match answer.status {
            StatusCode::OK => match decode(&answer.text) {
                Some(retention) => Ok(Some(retention)),
                None => Err(Error::Generic {
                    store: STORE,
                    source: "the answer names no lock".into(),
                }),
            },
            // No lock on the object; or none possible in this bucket.
            StatusCode::NOT_FOUND | StatusCode::BAD_REQUEST
                if answer.says("ObjectLockConfiguration") || answer.says("InvalidRequest") =>
            {
                Ok(None)
            }
            _ => Err(answer.error(&path)),
        }
    }

    async fn delete(&self, path: &Path, version: Option<&str>) -> Result<()> {
        let path = self.full(path);
        let query: Vec<_> = version.iter().map(|v| ("versionId", *v)).collect();
        let answer = self.ask(Method::DELETE, &path, &query, String::new());
        match answer.await? {
            answer if answer.status.is_success() => Ok(()),
            answer => Err(answer.error(&path)),
        }
    }
}

/// The body of the request, with the time rounded up to a second, which every server reads.
fn encode(retention: Retention) -> Option<String> {
    let mode = match retention.mode {
        LockMode::Governance => "GOVERNANCE",
        LockMode::Compliance => "COMPLIANCE",
    };
    let seconds = retention.until_ms.checked_add(999)?.div_euclid(1000);
    let until = jiff::Timestamp::from_second(seconds).ok()?;
    Some(format!(
        "<Retention xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Mode>{mode}</Mode>\
         <RetainUntilDate>{until}</RetainUntilDate></Retention>"
    ))
}

fn decode(text: &str) -> Option<Retention> {
    let within = |tag: &str| {
        let (_, rest) = text.split_once(&format!("<{tag}>"))?;
        rest.split_once("</").map(|(inner, _)| inner.trim())
    };
    let mode = match within("Mode")? {
        "GOVERNANCE" => LockMode::Governance,
        "COMPLIANCE" => LockMode::Compliance,
        _ => return None,
    };
    let until: jiff::Timestamp = within("RetainUntilDate")?.parse().ok()?;
    Some(Retention {
        mode,
        until_ms: until.as_millisecond(),
    })
}

#[cfg(test)]
mod tests {
    use super::{decode, encode};
    use crate::lock::{LockMode, Retention};

    #[test]
    fn a_lock_is_written_and_read_in_whole_seconds() {
        for (mode, until_ms, read_ms) in [
            (LockMode::Governance, 1_795_000_000_000, 1_795_000_000_000),
            (LockMode::Compliance, 1_795_000_000_001, 1_795_000_001_000),
        ] {
            let text = encode(Retention { mode, until_ms }).unwrap();
            let until_ms = read_ms;
            assert_eq!(decode(&text), Some(Retention { mode, until_ms }));
        }
        assert!(
            encode(Retention {
                mode: LockMode::Governance,
                until_ms: i64::MAX
            })
            .is_none()
        );
    }

    #[test]
    fn answers_of_other_servers_are_read_or_refused() {
        let answer = |mode, until| {
            format!(
                "<?xml version=\"1.0\"?><Retention><Mode>{mode}</Mode><RetainUntilDate>{until}</RetainUntilDate></Retention>"
            )
        };
        let read = |mode, until| decode(&answer(mode, until)).map(|found| found.until_ms);
        assert_eq!(
            read("GOVERNANCE", "2026-11-22T10:12:17Z"),
            Some(1_795_342_337_000)
        );
        assert_eq!(
            read("COMPLIANCE", "2026-11-22T10:12:17.000Z"),
            Some(1_795_342_337_000)
        );
        assert_eq!(
            read("COMPLIANCE", "2026-11-22T12:12:17+02:00"),
            Some(1_795_342_337_000)
        );
        assert_eq!(read("OFF", "2026-11-22T10:12:17Z"), None);
        assert_eq!(read("GOVERNANCE", "tomorrow"), None);
        assert_eq!(decode("<Retention><Mode>GOVERNANCE</Mode>"), None);
    }
}
