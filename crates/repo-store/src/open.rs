//! From a location and options to a [`Store`].
//!
//! Owns which schemes there are, the client's defaults, and what of a location may be shown.
//! Options are the provider's own keys (`aws_endpoint`, `google_service_account`, ...) plus
//! `retry_timeout_s`; reading the environment is left to the caller. Unknown keys are ignored,
//! as the caller may pass a whole family of variables on.

use std::error::Error as StdError;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::MicrosoftAzureBuilder;
use object_store::client::{HttpClient, HttpConnector as _, ReqwestConnector};
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::prefix::PrefixStore;
use object_store::{BackoffConfig, ClientOptions, ObjectStore, ObjectStoreScheme, RetryConfig};
use url::Url;

use crate::classify::cause;
use crate::error::{BoxError, Error};
use crate::limits::{
    CLIENT_RETRIES_MAX, CONNECT_TIMEOUT, RETRY_DELAY_MAX, RETRY_DELAY_MIN, RETRY_TIMEOUT,
};
use crate::local::LocalRoot;
use crate::lock::{Locks, S3Locks};
use crate::store::Store;

/// Schemes that are told apart from a relative path with a colon in it.
const SCHEMES: [&str; 12] = [
    "file", "memory", "s3", "s3a", "gs", "az", "adl", "azure", "abfs", "abfss", "http", "https",
];

impl Store {
    /// Opens a location: a local path, or a `file:`, `memory:`, `s3:`, `gs:` or `az:` URL.
    ///
    /// Makes no request and creates nothing. A missing local directory is made by the first put;
    /// until then reads find nothing. Each `memory:` store is fresh and empty.
    pub fn open(location: &str, options: &[(String, String)]) -> Result<Self, Error> {
        let scheme = location.split_once(':').map(|(scheme, _)| scheme);
        let known = scheme.is_some_and(|s| SCHEMES.contains(&s.to_ascii_lowercase().as_str()));
        if !known && location.contains("://") {
            // A mistyped URL must not become a directory of that name.
            let scheme = format!("{}://", scheme.unwrap_or_default());
            return Err(refused(&scheme, "not a known kind of store", None));
        }
        if !known {
            return open_local(Path::new(location), location);
        }
        let url = Url::parse(location).map_err(|e| Error::Location {
            // Not parsed, so nothing tells its secrets from the rest.
            location: scheme.unwrap_or_default().into(),
            reason: "not a URL".to_owned(),
            source: Some(e.into()),
        })?;
        let shown = shown(&url);
        if url.scheme() == "file" {
            let path = url.to_file_path();
            let path = path.map_err(|()| refused(&shown, "not a local path", None))?;
            return open_local(&path, &shown);
        }
        let (scheme, prefix) = ObjectStoreScheme::parse(&url)
            .map_err(|e| refused(&shown, "not a known kind of store", Some(e.into())))?;
        let retry_timeout = retry_timeout(options, &shown)?;
        if scheme == ObjectStoreScheme::Memory {
            return Ok(Self::new(Arc::new(InMemory::new()), shown));
        }
        let (inner, locks) = build_client(&scheme, &url, &prefix, options, retry_timeout)
            .map_err(|e| refused(&shown, "no usable client", Some(e)))?;
        let inner: Arc<dyn ObjectStore> = match prefix.as_ref() {
            "" => inner,
            _ => Arc::new(PrefixStore::new(inner, prefix)),
        };
        let mut store = Self::new(inner, shown).with_retry(retry_timeout);
        store.locks = locks;
        // Directory buckets are the one S3 kind whose listing has no order.
        let unordered = url.host_str().is_some_and(|host| host.ends_with("--x-s3"));
        Ok(if unordered {
            store.with_walked_listing()
        } else {
            store
        })
    }
}

/// A client for the bucket or container that `url` is in, or for the whole local file system, for
/// reading and writing objects of others.
///
/// It has none of the [`Store`]'s guarantees, and keys may be any. Makes no request. `url` is a
/// `file:`, `memory:`, `s3:`, `gs:` or `az:` URL; each `memory:` client is fresh and empty.
pub fn open_client(url: &str, options: &[(String, String)]) -> Result<Arc<dyn ObjectStore>, Error> {
    let scheme = url.split_once(':').map_or("", |(scheme, _)| scheme);
    let url = Url::parse(url).map_err(|e| refused(scheme, "not a URL", Some(e.into())))?;
    let shown = shown(&url);
    let (scheme, prefix) = ObjectStoreScheme::parse(&url)
        .map_err(|e| refused(&shown, "not a known kind of store", Some(e.into())))?;
    match scheme {
        ObjectStoreScheme::Local => Ok(Arc::new(LocalFileSystem::new().with_fsync(true))),
        ObjectStoreScheme::Memory => Ok(Arc::new(InMemory::new())),
        scheme => {
            let retry_timeout = retry_timeout(options, &shown)?;
            let client = build_client(&scheme, &url, &prefix, options, retry_timeout);
            let (client, _) = client.map_err(|e| refused(&shown, "no usable client", Some(e)))?;
            Ok(client)
        }
    }
}

/// A client for requests that are no object store's, with the TLS of all others. Plain http is allowed: who
/// makes a request names the scheme.
pub fn open_http() -> Result<HttpClient, Error> {
    let options = client_options(&[]).map(|options| options.with_allow_http(true));
    let client = options.and_then(|options| Ok(ReqwestConnector::default().connect(&options)?));
    client.map_err(|e| refused("http", "no usable client", Some(e)))
}

fn open_local(path: &Path, given: &str) -> Result<Store, Error> {
    let path = resolve(path).map_err(|e| refused(given, "not a usable path", Some(e.into())))?;
    let text = path.to_str();
    let text = text.ok_or_else(|| refused(given, "the path is not UTF-8", None))?;
    // Rooted at `/` with a prefix, because a store rooted at the directory itself must exist.
    let prefix = object_store::path::Path::parse(text)
        .map_err(|e| refused(given, "not a usable path", Some(e.into())))?;
    let files = LocalFileSystem::new().with_fsync(true);
    let inner: Arc<dyn ObjectStore> = Arc::new(PrefixStore::new(files, prefix));
    let mut store = Store::new(inner, text).with_walked_listing();
    store.local = Some(Arc::new(LocalRoot::new(path)));
    Ok(store)
}

/// The absolute path without links or `..`, whether or not its last parts exist.
fn resolve(path: &Path) -> std::io::Result<PathBuf> {
    let absolute = std::path::absolute(path)?;
    for existing in absolute.ancestors() {
        match existing.canonicalize() {
            Ok(mut resolved) => {
                let rest = absolute.strip_prefix(existing).unwrap_or(Path::new(""));
                if rest
                    .components()
                    .any(|c| !matches!(c, Component::Normal(_)))
                {
                    return Err(std::io::ErrorKind::InvalidInput.into());
                }
                if !rest.as_os_str().is_empty() {
                    resolved.push(rest);
                }
                return Ok(resolved);
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(e),
        }
    }
    Ok(absolute)
}

/// Applies our defaults, then the options; the builders are alike, but share no trait.
macro_rules! build {
    ($builder:expr, $url:expr, $options:expr, $retry_timeout:expr) => {{
        let builder = $builder
            .with_url($url.as_str())
            .with_client_options(client_options($options)?)
            .with_retry(retry_config($retry_timeout));
        let builder = $options.iter().fold(builder, |builder, (key, value)| {
            match key.to_ascii_lowercase().parse() {
                Ok(key) => builder.with_config(key, value),
                Err(_) => builder,
            }
        });
        builder.build().map_err(|e| cause(&e))?
    }};
}

/// A client, and its way to lock objects where it has one.
type Client = (Arc<dyn ObjectStore>, Option<Arc<dyn Locks>>);

fn build_client(
    scheme: &ObjectStoreScheme,
    url: &Url,
    prefix: &object_store::path::Path,
    options: &[(String, String)],
    retry_timeout: Duration,
) -> Result<Client, BoxError> {
    match scheme {
        ObjectStoreScheme::AmazonS3 => {
            // One DELETE per object: its refusal has a status, and every server knows it.
            let single = AmazonS3ConfigKey::DisableBulkDelete;
            let builder = AmazonS3Builder::new().with_config(single, "true");
            let s3 = build!(builder, url, options, retry_timeout);
            let http = ReqwestConnector::default().connect(&lock_client_options(options)?)?;
            let locks = S3Locks::new(s3.clone(), http, prefix.clone());
            Ok((Arc::new(s3), Some(Arc::new(locks))))
        }
        ObjectStoreScheme::GoogleCloudStorage => {
            let builder = GoogleCloudStorageBuilder::new();
            Ok((Arc::new(build!(builder, url, options, retry_timeout)), None))
        }
        ObjectStoreScheme::MicrosoftAzure => {
            let builder = MicrosoftAzureBuilder::new();
            Ok((Arc::new(build!(builder, url, options, retry_timeout)), None))
        }
        other => Err(format!("no client for {other:?}").into()),
    }
}

/// The HTTP client's defaults, which options may still override.
///
/// Its whole-request timeout is off: it would cut a large upload on a slow line, and every wait
/// of ours has a deadline of its own.
fn client_options(options: &[(String, String)]) -> Result<ClientOptions, BoxError> {
    // A second installation is refused, which is as good.
    drop(rustls::crypto::ring::default_provider().install_default());
    let client = ClientOptions::new()
        .with_connect_timeout(CONNECT_TIMEOUT)
        .with_timeout_disabled();
    let plain = options.iter().any(|(key, value)| {
        key.to_ascii_lowercase().contains("endpoint") && value.starts_with("http://")
    });
    if !plain {
        return Ok(client);
    }
    let allowed = options.iter().any(|(key, value)| {
        key.to_ascii_lowercase().ends_with("allow_http") && value.eq_ignore_ascii_case("true")
    });
    if !allowed {
        return Err("the endpoint is plain http, which needs the option allow_http=true".into());
    }
    // Without TLS there is no need for the system's certificates, which a bare image lacks.
    Ok(client.with_no_system_certificates(true))
}

/// The same client for the requests of locks, which are made beside `object_store`.
fn lock_client_options(options: &[(String, String)]) -> Result<ClientOptions, BoxError> {
    let client = client_options(options)?;
    Ok(options.iter().fold(client, |client, (key, value)| {
        match key.to_ascii_lowercase().parse() {
            Ok(AmazonS3ConfigKey::Client(key)) => client.with_config(key, value),
            _ => client,
        }
    }))
}

fn retry_config(timeout: Duration) -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig {
            init_backoff: RETRY_DELAY_MIN,
            max_backoff: RETRY_DELAY_MAX,
            base: 2.0,
        },
        max_retries: match timeout.is_zero() {
            true => 0,
            false => CLIENT_RETRIES_MAX,
        },
        retry_timeout: timeout,
    }
}

fn retry_timeout(options: &[(String, String)], shown: &str) -> Result<Duration, Error> {
    let given = options
        .iter()
        .rev()
        .find(|(key, _)| key.eq_ignore_ascii_case("retry_timeout_s"));
    match given {
        None => Ok(RETRY_TIMEOUT),
        Some((_, value)) => match value.parse() {
            Ok(seconds) => Ok(Duration::from_secs(seconds)),
            Err(e) => Err(refused(
                shown,
                "retry_timeout_s is not a number of seconds",
                Some(e.into()),
            )),
        },
    }
}

/// The URL without password, query and fragment, where secrets are.
fn shown(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    // A URL that cannot have a password has none to hide.
    let _no_authority = url.set_password(None);
    url.into()
}

fn refused(location: &str, reason: &str, source: Option<Box<dyn StdError + Send + Sync>>) -> Error {
    Error::Location {
        location: location.into(),
        reason: reason.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests;
