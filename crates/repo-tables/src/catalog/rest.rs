//! Catalogs that speak the REST protocol of Iceberg.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use reqwest::Method;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use tokio::runtime::Handle;
use url::Url;

use super::Pointer;
use super::http::{Access, Http};
use super::names::{CatalogName, CatalogPart};
use crate::error::{Error, Result};
use crate::limits::{CATALOG_DEPTH_MAX, CATALOG_TABLES_MAX};

/// What separates the names of nested namespaces in a URL.
const SEPARATOR: &str = "\u{1f}";

pub(super) struct Rest {
    base: Url,
    warehouse: Option<String>,
    prefix: Option<String>,
    http: Http,
    /// What the server wants in front of paths.
    configured: OnceLock<Option<String>>,
}

#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    defaults: BTreeMap<String, String>,
    #[serde(default)]
    overrides: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Namespaces {
    #[serde(default)]
    namespaces: Vec<Vec<String>>,
    #[serde(alias = "nextPageToken")]
    next_page_token: Option<String>,
}

#[derive(Deserialize)]
struct Identifier {
    namespace: Vec<String>,
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Identifiers {
    #[serde(default)]
    identifiers: Vec<Identifier>,
    #[serde(alias = "nextPageToken")]
    next_page_token: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Loaded<'a> {
    metadata_location: Option<String>,
    #[serde(borrow)]
    metadata: Option<&'a RawValue>,
}

fn refused(text: &str, reason: &'static str) -> Error {
    Error::Location {
        location: text.chars().take(200).collect(),
        reason,
    }
}

fn read_url(text: &str) -> Result<Url> {
    let url = Url::parse(text).map_err(|_| refused("a catalog", "not a URL"))?;
    let secret = !url.username().is_empty() || url.password().is_some();
    match (url.scheme(), secret) {
        ("http" | "https", false) => Ok(url),
        (_, true) => Err(refused(
            url.host_str().unwrap_or_default(),
            "a password in a URL is seen by all; give it as the option credential",
        )),
        _ => Err(refused(text, "a REST catalog is an http or https URL")),
    }
}

impl Rest {
    pub(super) fn new(
        runtime: Handle,
        url: &str,
        option: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self> {
        let mut base = read_url(url.trim_end_matches('/'))?;
        // Some give the URL of the protocol's version, some the one above it.
        let path = base.path().trim_end_matches('/').to_owned();
        base.set_path(path.strip_suffix("/v1").unwrap_or(&path));
        let access = match (option("token"), option("credential")) {
            (Some(token), _) => Access::Token(token),
            (None, None) => Access::Open,
            (None, Some(credential)) => {
                let (id, secret) = credential.split_once(':').unwrap_or(("", &credential));
                let server = match option("oauth2-server-uri") {
                    Some(server) => read_url(&server)?,
                    None => below(&base, &["v1", "oauth", "tokens"]),
                };
                Access::Credential {
                    server,
                    id: id.to_owned(),
                    secret: secret.to_owned(),
                    scope: option("scope").unwrap_or_else(|| "catalog".to_owned()),
                }
            }
        };
        Ok(Self {
            base,
            warehouse: option("warehouse"),
            prefix: option("prefix"),
            http: Http::new(runtime, access)?,
            configured: OnceLock::new(),
        })
    }

    pub(super) fn shown(&self) -> &str {
        self.base.as_str()
    }

    /// A URL below what the server wants in front of paths.
    fn url(&self, parts: &[&str]) -> Result<Url> {
        let prefix = match self.configured.get() {
            Some(prefix) => prefix.clone(),
            None => {
                let prefix = self.configure()?;
                self.configured.get_or_init(|| prefix).clone()
            }
        };
        let mut path = vec!["v1"];
        path.extend(prefix.iter().flat_map(|prefix| prefix.split('/')));
        path.extend_from_slice(parts);
        Ok(below(&self.base, &path))
    }

    fn configure(&self) -> Result<Option<String>> {
        let mut url = below(&self.base, &["v1", "config"]);
        if let Some(warehouse) = &self.warehouse {
            url.query_pairs_mut().append_pair("warehouse", warehouse);
        }
        let answer = self.http.ask(&Method::GET, &url, None)?;
        // Servers before the protocol had it.
        if answer.status == 404 {
            return Ok(self.prefix.clone());
        }
        let mut config: Config = answer.json("read", &url)?;
        let overridden = config.overrides.remove("prefix");
        let default = || config.defaults.remove("prefix");
        let prefix = overridden.or_else(|| self.prefix.clone()).or_else(default);
        Ok(prefix.filter(|prefix| !prefix.is_empty()))
    }

    pub(super) fn tables(&self, part: &CatalogPart) -> Result<Vec<CatalogName>> {
        if let Some(table) = part.as_table()
            && self.load(&table)?.is_some()
        {
            return Ok(vec![table]);
        }
        let mut names = Vec::new();
        let mut open = match part.is_all() {
            true => self.namespaces(&[])?,
            false => vec![part.names().to_vec()],
        };
        while let Some(namespace) = open.pop() {
            if namespace.is_empty() || namespace.len() > CATALOG_DEPTH_MAX {
                return Err(Error::malformed(
                    &self.base,
                    "its namespaces are nested too deep",
                ));
            }
            self.tables_of(&namespace, &mut names)?;
            if names.len() + open.len() > CATALOG_TABLES_MAX {
                return Err(Error::malformed(&self.base, "it has too many tables"));
            }
            let nested = self.namespaces(&namespace)?.into_iter();
            // Servers that know no nesting answer with all, or with the same one.
            open.extend(
                nested.filter(|one| one.len() > namespace.len() && one.starts_with(&namespace)),
            );
        }
        Ok(names)
    }

    fn namespaces(&self, parent: &[String]) -> Result<Vec<Vec<String>>> {
        let mut found = Vec::new();
        let mut page = None;
        loop {
            let mut url = self.url(&["namespaces"])?;
            if !parent.is_empty() {
                url.query_pairs_mut()
                    .append_pair("parent", &parent.join(SEPARATOR));
            }
            let next = self.page(&mut url, page.take(), |answer: Namespaces| {
                found.extend(answer.namespaces);
                answer.next_page_token
            });
            match next {
                Ok(Some(next)) if found.len() < CATALOG_TABLES_MAX => page = Some(next),
                Ok(_) => return Ok(found),
                // A namespace that cannot be asked for what is below it has nothing there.
                Err(Error::NotFound { .. }) if !parent.is_empty() => return Ok(Vec::new()),
                Err(error) => return Err(error),
            }
        }
    }

    fn tables_of(&self, namespace: &[String], names: &mut Vec<CatalogName>) -> Result<()> {
        let joined = namespace.join(SEPARATOR);
        let mut page = None;
        loop {
            let mut url = self.url(&["namespaces", &joined, "tables"])?;
            let mut listed = Vec::new();
            let next = self.page(&mut url, page.take(), |answer: Identifiers| {
                listed.extend(answer.identifiers);
                answer.next_page_token
            })?;
            for one in listed {
                names.push(CatalogName::new(one.namespace, one.name)?);
            }
            match next {
                Some(next) if names.len() <= CATALOG_TABLES_MAX => page = Some(next),
                _ => return Ok(()),
            }
        }
    }

    /// One page of a listing; the token of the next one, unless it is the last.
    fn page<T: for<'a> Deserialize<'a>>(
        &self,
        url: &mut Url,
        token: Option<String>,
        take: impl FnOnce(T) -> Option<String>,
    ) -> Result<Option<String>> {
        if let Some(token) = token {
            url.query_pairs_mut().append_pair("pageToken", &token);
        }
        let answer = self.http.ask(&Method::GET, url, None)?;
        if answer.status == 404 {
            return Err(Error::NotFound {
                url: url.to_string(),
            });
        }
        let next = take(answer.json("list", url)?);
        Ok(next.filter(|next| !next.is_empty()))
    }

    pub(super) fn load(&self, name: &CatalogName) -> Result<Option<Pointer>> {
        let namespace = name.namespace.join(SEPARATOR);
        let url = self.url(&["namespaces", &namespace, "tables", &name.name])?;
        let answer = self.http.ask(&Method::GET, &url, None)?;
        if answer.status == 404 {
            return Ok(None);
        }
        let loaded: Loaded<'_> = answer.json("load", &url)?;
        let Some(metadata_location) = loaded.metadata_location else {
            return Err(Error::malformed(&url, "the table has no metadata yet"));
        };
        let told = loaded.metadata.map(|text| text.get().to_owned().into());
        Ok(Some(Pointer {
            metadata_location,
            told,
        }))
    }

    pub(super) fn point(&self, name: &CatalogName, metadata: &str, replace: bool) -> Result<()> {
        let namespace = name.namespace.join(SEPARATOR);
        let url = self.url(&["namespaces", &namespace, "register"])?;
        let mut body = json!({"name": name.name, "metadata-location": metadata});
        if replace {
            body["overwrite"] = true.into();
        }
        let answer = self.http.ask(&Method::POST, &url, Some(&body))?;
        match answer.is_success() {
            true => Ok(()),
            false => Err(answer.refusal("register a table at", &url)),
        }
    }

    pub(super) fn make_namespace(&self, namespace: &[String]) -> Result<()> {
        let url = self.url(&["namespaces", &namespace.join(SEPARATOR)])?;
        if self.http.ask(&Method::GET, &url, None)?.is_success() {
            return Ok(());
        }
        let url = self.url(&["namespaces"])?;
        let body = json!({"namespace": namespace, "properties": {}});
        let answer = self.http.ask(&Method::POST, &url, Some(&body))?;
        // Somebody else may have been first.
        match answer.is_success() || answer.status == 409 {
            true => Ok(()),
            false => Err(answer.refusal("make a namespace at", &url)),
        }
    }
}

fn below(base: &Url, parts: &[&str]) -> Url {
    let mut url = base.clone();
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().extend(parts);
    }
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_paths_are_encoded() {
        let base = read_url("http://h:1/catalog").expect("a URL");
        let url = below(&base, &["v1", "namespaces", "a\u{1f}b", "tables", "t/x y"]);
        assert_eq!(
            url.as_str(),
            "http://h:1/catalog/v1/namespaces/a%1Fb/tables/t%2Fx%20y"
        );
    }

    #[test]
    fn passwords_in_urls_are_refused_and_not_shown() {
        for text in ["http://u:geheim@h/", "ftp://h/", "h"] {
            let error = read_url(text).expect_err("refused");
            assert!(!error.to_string().contains("geheim"), "{error}");
        }
    }
}
