//! Pins Iceberg tables. Metadata that the base has, and that did not change since, is read from the base, so
//! that an unchanged table costs a listing and no more.

use bytes::Bytes;
use repo_core::EntryType;

use super::Taking;
use super::store::Base;
use crate::discover::Found;
use crate::error::{Error, Result};
use crate::iceberg::engine::{self, LakeFetch, Objects};
use crate::iceberg::{AccessError, Fetch, Metadata};
use crate::location::Location;
use crate::record::TABLES;
use crate::table::Table;

impl Taking<'_> {
    /// Pins a table at the version that was asked for, and says how its current metadata was found.
    pub(super) fn pin_iceberg(&self, found: &Found) -> Result<Table> {
        let root = format!("{TABLES}/{}", found.name);
        let base = match self.force {
            true => None,
            false => self.base(&found.name, &root)?,
        };
        let named = self.metadata_of(found)?;
        let directory = match &named {
            Some(metadata) => engine::directory_of(metadata)?,
            None => found.location.join("metadata")?,
        };
        let objects = engine::objects(self.lake, &directory)?;
        let source = BaseFetch {
            taking: self,
            root: &root,
            base: base.as_ref(),
            objects: &objects,
        };
        let current = match named {
            Some(metadata) => metadata.to_string(),
            None => {
                let choice = engine::current(self.lake, &found.location, &objects, &source)?;
                self.builder.note(root.as_bytes(), choice.to_string());
                choice.location
            }
        };
        let newest = Metadata::fetch(&current, &source)?;
        let (metadata, content) = engine::at(newest, &self.options.at)?;
        engine::table(&found.location, &metadata, content, &objects, &source)
    }

    /// Where a catalog says that the current metadata of a table is.
    fn metadata_of(&self, found: &Found) -> Result<Option<Location>> {
        let Some((number, name)) = &found.catalog else {
            return Ok(None);
        };
        let missing = || Error::NoTable {
            url: name.to_string(),
        };
        let source = self.options.catalogs.get(*number).ok_or_else(missing)?;
        let metadata = source.catalog.load(name)?.ok_or_else(missing)?;
        Location::parse(&metadata).map(Some)
    }
}

/// Reads metadata from the base where it is known to be the same, and from its store otherwise.
struct BaseFetch<'a> {
    taking: &'a Taking<'a>,
    root: &'a str,
    base: Option<&'a Base>,
    objects: &'a Objects,
}

impl BaseFetch<'_> {
    fn known(&self, place: &Location, max: u64) -> Result<Option<Bytes>> {
        let object = self.objects.get(place);
        let record = self
            .base
            .and_then(|base| base.files.get(&place.to_string()));
        let (Some(object), Some(record)) = (object, record) else {
            return Ok(None);
        };
        if !record.is_same(object) || object.size > max {
            return Ok(None);
        }
        let path = format!("{}/{}", self.root, record.path);
        let builder = self.taking.builder;
        match builder.before(path.as_bytes())? {
            Some(entry) if entry.kind == EntryType::File && entry.size == object.size => {
                Ok(Some(builder.read_before(&entry, 0..entry.size)?.into()))
            }
            _ => Ok(None),
        }
    }
}

impl Fetch for BaseFetch<'_> {
    fn fetch(&self, location: &str, max: u64) -> Result<Bytes, AccessError> {
        if self.taking.builder.cancelled() {
            return Err(AccessError::failed(Error::cancelled()));
        }
        let place = Location::parse(location).map_err(AccessError::failed)?;
        match self.known(&place, max) {
            Ok(Some(bytes)) => Ok(bytes),
            Ok(None) => LakeFetch(self.taking.lake).fetch(location, max),
            Err(error) => Err(AccessError::failed(error)),
        }
    }
}
