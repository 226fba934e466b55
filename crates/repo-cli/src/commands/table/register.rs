//! `--register`: makes restored tables known to a catalog.

use repo_core::SnapshotView;
use repo_tables::catalog::{
    Catalog, CatalogName, CatalogPart, ScriptKind, prepare, register, script,
};
use repo_tables::{Error, Lake, RestoredTable, TableRecord};

use crate::exit::Failure;
use crate::message::RegisteredMessage;

/// Where restored tables are made known.
pub(super) enum Registry {
    Catalog(Catalog, CatalogPart),
    Script(ScriptKind, String, Vec<String>),
}

impl Registry {
    pub(super) fn open(text: &str, options: &[(String, String)]) -> Result<Self, Failure> {
        let (place, namespace) = text.split_once('#').unwrap_or((text, ""));
        if let Some(kind) = ScriptKind::parse(place) {
            let names = namespace.split('.').filter(|name| !name.is_empty());
            let names = names.map(str::to_owned).collect();
            return Ok(Self::Script(kind, place.to_owned(), names));
        }
        let (catalog, part) = Catalog::open(text, options)?;
        Ok(Self::Catalog(catalog, part))
    }

    /// What a table is called there: by its path, whose directories are namespaces.
    fn name(&self, table: &TableRecord) -> Result<CatalogName, Failure> {
        let mut path: Vec<String> = table.path.split('/').map(str::to_owned).collect();
        let name = path.pop().unwrap_or_default();
        let namespace = match self {
            Self::Catalog(_, part) if !part.is_all() => part.names().to_vec(),
            Self::Script(_, _, names) if !names.is_empty() => names.clone(),
            _ => path,
        };
        if namespace.is_empty() {
            let message = format!("table {} is in no namespace", table.name);
            return Err(Failure::usage(message).hint("name one: --register CATALOG#NAMESPACE"));
        }
        Ok(CatalogName::new(namespace, name)?)
    }

    /// Makes ready what must be before a table is restored.
    pub(super) async fn prepare(&self, table: &TableRecord) -> Result<(), Failure> {
        let name = self.name(table)?;
        match self {
            Self::Catalog(catalog, _) => Ok(prepare(catalog, &name).await?),
            Self::Script(..) => Ok(()),
        }
    }

    /// Makes a restored table known; nothing for one that has no metadata to point to.
    pub(super) async fn enter(
        &self,
        view: &SnapshotView,
        lake: &Lake,
        table: &TableRecord,
        restored: &RestoredTable,
        replace: bool,
    ) -> Result<Option<RegisteredMessage>, Failure> {
        let Some(metadata) = &restored.metadata_location else {
            return Ok(None);
        };
        let name = self.name(table)?;
        let catalog = match self {
            Self::Catalog(catalog, _) => catalog,
            Self::Script(kind, shown, _) => {
                return Ok(Some(RegisteredMessage {
                    script: Some(script(*kind, &name, &restored.target, metadata)),
                    name: name.to_string(),
                    catalog: shown.clone(),
                    metadata_location: metadata.to_string(),
                    version: None,
                    files: None,
                    data_rows: None,
                }));
            }
        };
        let registering = register(view, lake, catalog, name, table, metadata, replace);
        let registered = registering.await.map_err(|error| {
            let occupied = matches!(error, Error::Occupied { .. });
            match occupied {
                true => Failure::from(error).hint("--force replaces it in the catalog, too"),
                false => Failure::from(error),
            }
        })?;
        Ok(Some(RegisteredMessage {
            name: registered.name.to_string(),
            catalog: catalog.to_string(),
            metadata_location: registered.metadata_location,
            version: Some(registered.version),
            files: Some(registered.files),
            data_rows: Some(registered.rows),
            script: None,
        }))
    }
}
