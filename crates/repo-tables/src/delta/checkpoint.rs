//! Checkpoints in Parquet: of each row only the columns that say which files there are.
//!
//! A row is one action, and the columns of all others are null in it. Columns are read side by side, so
//! many rows at once as [`CHECKPOINT_ROWS`]; the file is read in windows, which adjacent pages share.

use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::{ByteArray, DataType};
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, RowGroupReader};

use super::action::{Action, Add, Metadata, Protocol, Sidecar, Vector};
use crate::error::{Error, Result};
use crate::lake::{Lake, ObjectInfo};
use crate::limits::{CHECKPOINT_MAX, CHECKPOINT_ROWS};
use crate::windows;

/// What is wanted of a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    All,
    /// The names of its sidecars.
    Sidecars,
}

/// Calls `take` with the actions of a file.
pub(crate) fn read(
    lake: &Lake,
    object: &ObjectInfo,
    wanted: Wanted,
    take: &mut dyn FnMut(Action) -> Result<()>,
) -> Result<()> {
    let place = &object.location;
    if object.size > CHECKPOINT_MAX {
        return Err(Error::malformed(place, "it is too large"));
    }
    let undecodable =
        |error: ParquetError| Error::undecodable(place, "it cannot be read as Parquet", error);
    let file = windows::open(lake, place, object.size)?;
    for number in 0..file.num_row_groups() {
        let group = file.get_row_group(number).map_err(undecodable)?;
        let mut rows = Rows::open(group.as_ref(), wanted).map_err(undecodable)?;
        if wanted == Wanted::Sidecars && rows.sidecar_path.source.is_none() {
            continue;
        }
        let mut left = u64::try_from(group.metadata().num_rows()).unwrap_or(0);
        while left > 0 {
            let count =
                usize::try_from(left).map_or(CHECKPOINT_ROWS, |left| left.min(CHECKPOINT_ROWS));
            rows.next(count).map_err(undecodable)?;
            for row in 0..count {
                for action in rows.actions(row) {
                    take(action)?;
                }
            }
            left -= count as u64;
        }
    }
    Ok(())
}

/// The columns of a row group that matter.
#[derive(Default)]
struct Rows {
    add_path: Column<String>,
    add_size: Column<i64>,
    add_stats: Column<String>,
    add_records: Column<i64>,
    vector_type: Column<String>,
    vector_path: Column<String>,
    vector_offset: Column<i64>,
    vector_rows: Column<i64>,
    table_id: Column<String>,
    table_name: Column<String>,
    schema: Column<String>,
    reader_version: Column<i64>,
    reader_features: Column<String>,
    writer_features: Column<String>,
    sidecar_path: Column<String>,
    sidecar_size: Column<i64>,
}

impl Rows {
    fn open(group: &dyn RowGroupReader, wanted: Wanted) -> Result<Self, ParquetError> {
        let vector = |name| ["add", "deletionVector", name];
        let sidecar_path = Column::open(group, &["sidecar", "path"])?;
        let sidecar_size = Column::open(group, &["sidecar", "sizeInBytes"])?;
        if wanted == Wanted::Sidecars {
            return Ok(Self {
                sidecar_path,
                sidecar_size,
                ..Self::default()
            });
        }
        Ok(Self {
            add_path: Column::open(group, &["add", "path"])?,
            add_size: Column::open(group, &["add", "size"])?,
            add_stats: Column::open(group, &["add", "stats"])?,
            add_records: Column::open(group, &["add", "stats_parsed", "numRecords"])?,
            vector_type: Column::open(group, &vector("storageType"))?,
            vector_path: Column::open(group, &vector("pathOrInlineDv"))?,
            vector_offset: Column::open(group, &vector("offset"))?,
            vector_rows: Column::open(group, &vector("cardinality"))?,
            table_id: Column::open(group, &["metaData", "id"])?,
            table_name: Column::open(group, &["metaData", "name"])?,
            schema: Column::open(group, &["metaData", "schemaString"])?,
            reader_version: Column::open(group, &["protocol", "minReaderVersion"])?,
            reader_features: Column::open(group, &["protocol", "readerFeatures"])?,
            writer_features: Column::open(group, &["protocol", "writerFeatures"])?,
            sidecar_path,
            sidecar_size,
        })
    }

    fn next(&mut self, count: usize) -> Result<(), ParquetError> {
        for column in [
            &mut self.add_path,
            &mut self.add_stats,
            &mut self.vector_type,
            &mut self.vector_path,
            &mut self.table_id,
            &mut self.table_name,
            &mut self.schema,
            &mut self.reader_features,
            &mut self.writer_features,
            &mut self.sidecar_path,
        ] {
            column.next(count)?;
        }
        for column in [
            &mut self.add_size,
            &mut self.add_records,
            &mut self.vector_offset,
            &mut self.vector_rows,
            &mut self.reader_version,
            &mut self.sidecar_size,
        ] {
            column.next(count)?;
        }
        Ok(())
    }

    /// What the row says; one action in a sound checkpoint.
    fn actions(&mut self, row: usize) -> Vec<Action> {
        let mut actions = Vec::new();
        if let Some(path) = self.add_path.one(row) {
            let records = self.add_records.one(row);
            let records = records.map(|count| format!("{{\"numRecords\":{count}}}"));
            let vector = self.vector_type.one(row).map(|storage_type| Vector {
                storage_type,
                path_or_inline_dv: self.vector_path.one(row).unwrap_or_default(),
                offset: self.vector_offset.one(row),
                cardinality: self.vector_rows.one(row),
            });
            actions.push(Action::Add(Add {
                path,
                size: self.add_size.one(row),
                stats: self.add_stats.one(row).or(records),
                deletion_vector: vector,
            }));
        }
        if let Some(id) = self.table_id.one(row) {
            actions.push(Action::Metadata(Metadata {
                id,
                name: self.table_name.one(row),
                schema: self.schema.one(row).unwrap_or_default(),
            }));
        }
        if let Some(reader_version) = self.reader_version.one(row) {
            actions.push(Action::Protocol(Protocol {
                reader_version,
                reader_features: self.reader_features.all(row),
                writer_features: self.writer_features.all(row),
            }));
        }
        if let Some(path) = self.sidecar_path.one(row) {
            actions.push(Action::Sidecar(Sidecar {
                path,
                size_in_bytes: self.sidecar_size.one(row),
            }));
        }
        actions
    }
}

/// A column as it is being read; without a source when the file does not have it.
struct Column<T> {
    source: Option<Source>,
    /// Values of each of the current rows.
    rows: Vec<Vec<T>>,
}

impl<T> Default for Column<T> {
    fn default() -> Self {
        Self {
            source: None,
            rows: Vec::new(),
        }
    }
}

struct Source {
    reader: ColumnReader,
    /// The level at which a value is there.
    defined: i16,
    repeated: bool,
}

impl<T: Value> Column<T> {
    /// Opens the column at `path`, or the only one below it, as of a list.
    fn open(group: &dyn RowGroupReader, path: &[&str]) -> Result<Self, ParquetError> {
        let schema = group.metadata().schema_descr();
        let found = schema.columns().iter().position(|column| {
            let parts = column.path().parts();
            let fits = parts.len() == path.len() || column.max_rep_level() == 1;
            fits && parts.iter().zip(path).all(|(part, wanted)| part == wanted)
                && parts.len() >= path.len()
        });
        let source = match found {
            None => None,
            Some(at) => {
                let descriptor = schema.column(at);
                Some(Source {
                    reader: group.get_column_reader(at)?,
                    defined: descriptor.max_def_level(),
                    repeated: descriptor.max_rep_level() > 0,
                })
            }
        };
        Ok(Self {
            source,
            rows: Vec::new(),
        })
    }

    /// Reads the next `count` rows.
    fn next(&mut self, count: usize) -> Result<(), ParquetError> {
        self.rows.clear();
        if let Some(source) = &mut self.source {
            T::read(
                &mut source.reader,
                source.defined,
                source.repeated,
                count,
                &mut self.rows,
            )?;
        }
        Ok(())
    }

    fn one(&mut self, row: usize) -> Option<T> {
        self.rows.get_mut(row)?.pop()
    }

    fn all(&mut self, row: usize) -> Vec<T> {
        self.rows
            .get_mut(row)
            .map(std::mem::take)
            .unwrap_or_default()
    }
}

/// What a column can hold.
trait Value: Sized {
    fn read(
        reader: &mut ColumnReader,
        defined: i16,
        repeated: bool,
        count: usize,
        rows: &mut Vec<Vec<Self>>,
    ) -> Result<(), ParquetError>;
}

impl Value for String {
    fn read(
        reader: &mut ColumnReader,
        defined: i16,
        repeated: bool,
        count: usize,
        rows: &mut Vec<Vec<Self>>,
    ) -> Result<(), ParquetError> {
        let ColumnReader::ByteArrayColumnReader(reader) = reader else {
            return Err(ParquetError::General("a text is no text".to_owned()));
        };
        records(
            reader,
            defined,
            repeated,
            count,
            rows,
            |value: ByteArray| {
                Self::from_utf8(value.data().to_vec())
                    .map_err(|_| ParquetError::General("a text is not UTF-8".to_owned()))
            },
        )
    }
}

impl Value for i64 {
    fn read(
        reader: &mut ColumnReader,
        defined: i16,
        repeated: bool,
        count: usize,
        rows: &mut Vec<Vec<Self>>,
    ) -> Result<(), ParquetError> {
        match reader {
            ColumnReader::Int64ColumnReader(reader) => {
                records(reader, defined, repeated, count, rows, Ok)
            }
            ColumnReader::Int32ColumnReader(reader) => {
                records(reader, defined, repeated, count, rows, |value| {
                    Ok(Self::from(value))
                })
            }
            _ => Err(ParquetError::General("a number is no number".to_owned())),
        }
    }
}

/// Reads `count` rows of a column and sorts the values to their rows.
fn records<D: DataType, T>(
    reader: &mut ColumnReaderImpl<D>,
    defined: i16,
    repeated: bool,
    count: usize,
    rows: &mut Vec<Vec<T>>,
    convert: impl Fn(D::T) -> Result<T, ParquetError>,
) -> Result<(), ParquetError> {
    let mut read = 0;
    while read < count {
        let (mut definitions, mut repetitions, mut values) = (Vec::new(), Vec::new(), Vec::new());
        let (records, found, levels) = reader.read_records(
            count - read,
            Some(&mut definitions),
            Some(&mut repetitions),
            &mut values,
        )?;
        if records == 0 {
            return Err(ParquetError::General("a column is too short".to_owned()));
        }
        read += records;
        let mut values = values.into_iter().take(found);
        let levels = if defined == 0 { records } else { levels };
        for level in 0..levels {
            let new = !repeated || repetitions.get(level).is_none_or(|level| *level == 0);
            if new || rows.is_empty() {
                rows.push(Vec::new());
            }
            let is = definitions.get(level).is_none_or(|level| *level == defined);
            if let (true, Some(row)) = (is, rows.last_mut()) {
                let value = values.next();
                let value = value
                    .ok_or_else(|| ParquetError::General("a column lacks values".to_owned()))?;
                row.push(convert(value)?);
            }
        }
    }
    Ok(())
}
