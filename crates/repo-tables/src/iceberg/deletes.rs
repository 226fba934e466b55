//! Position deletes: files whose rows name data files by their whole path.
//!
//! In Parquet the column of paths is written anew and every other column chunk is copied as it is encoded;
//! in Avro the paths are spliced. Rows stay in their order unless the move changes how paths sort.

use bytes::Bytes;
use parquet::basic::{Compression, Type as Physical};
use parquet::column::reader::ColumnReader;
use parquet::column::writer::{ColumnCloseResult, ColumnWriter};
use parquet::data_type::{ByteArray, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};
use parquet::file::properties::WriterProperties;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::types::ColumnDescriptor;

use crate::avro::{self, Step};

use super::limits::SORTED_ROWS_MAX;
use super::location::Prefixes;
use super::manifest::{FILE_PATH_COLUMN, Fault, text};
use super::{Error, Result};

/// The column that holds positions.
const POSITION_COLUMN: i32 = 2_147_483_545;
/// Rows decoded at once.
const ROWS: usize = 8192;

/// A file that was rewritten, and what manifests tell about its inside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rewritten {
    pub(super) bytes: Vec<u8>,
    pub(super) layout: Option<Layout>,
}

/// Where the row groups of a Parquet file begin, and how long its columns are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) offsets: Vec<i64>,
    pub(super) column_sizes: Vec<(i32, i64)>,
}

/// The bytes of a file of position deletes with its paths moved; none if nothing moves. The format is the one
/// that the manifest gives it.
pub fn rewrite_position_deletes(
    file: &Bytes,
    format: &str,
    location: &str,
    prefixes: &Prefixes,
) -> Result<Option<Vec<u8>>> {
    Ok(rewrite(file, format, location, prefixes)?.map(|rewritten| rewritten.bytes))
}

pub(super) fn rewrite(
    file: &Bytes,
    format: &str,
    location: &str,
    prefixes: &Prefixes,
) -> Result<Option<Rewritten>> {
    match format.to_ascii_lowercase().as_str() {
        "parquet" => Parquet::open(file, location, prefixes)?.rewrite(),
        "avro" => Ok(
            rewrite_avro(file, location, prefixes)?.map(|bytes| Rewritten {
                bytes,
                layout: None,
            }),
        ),
        _ => Err(Error::DeletesFormat {
            location: location.to_owned(),
            format: format.to_ascii_lowercase(),
        }),
    }
}

fn rewrite_avro(file: &[u8], location: &str, prefixes: &Prefixes) -> Result<Option<Vec<u8>>> {
    let fields = avro::Selection::new(&[&[Step::new(FILE_PATH_COLUMN, "file_path")]]);
    avro::rewrite(file, &fields, |record, edits| {
        let Some((path, found)) = record.bytes(0).zip(record.get(0)) else {
            return Err(Error::malformed(location, "a position delete without a path").into());
        };
        let moved = prefixes.map(text(path, location)?, location)?;
        Ok::<(), Fault>(edits.set_bytes(found, moved.as_bytes())?)
    })
    .map_err(|fault| fault.at(location))
}

struct Parquet<'a> {
    file: &'a Bytes,
    reader: SerializedFileReader<Bytes>,
    location: &'a str,
    prefixes: &'a Prefixes,
    /// The place of the column of paths among the leaves.
    path: usize,
}

/// What a first look at the paths says.
struct Look {
    moves: bool,
    /// Paths ascend in the file and would not when moved.
    unsorts: bool,
}

fn is_column(column: &ColumnDescriptor, id: i32, name: &str) -> bool {
    let info = column.self_type().get_basic_info();
    if info.has_id() {
        info.id() == id
    } else {
        column.path().string() == name
    }
}

impl<'a> Parquet<'a> {
    fn open(file: &'a Bytes, location: &'a str, prefixes: &'a Prefixes) -> Result<Self> {
        let reader =
            SerializedFileReader::new(file.clone()).map_err(|error| malformed(location, &error))?;
        let schema = reader.metadata().file_metadata().schema_descr();
        let path = (0..schema.num_columns())
            .find(|leaf| is_column(&schema.column(*leaf), FILE_PATH_COLUMN, "file_path"))
            .ok_or_else(|| Error::malformed(location, "position deletes without file_path"))?;
        let column = schema.column(path);
        if column.physical_type() != Physical::BYTE_ARRAY || column.max_rep_level() != 0 {
            return Err(Error::malformed(location, "file_path is no text"));
        }
        Ok(Self {
            file,
            reader,
            location,
            prefixes,
            path,
        })
    }

    fn metadata(&self) -> &ParquetMetaData {
        self.reader.metadata()
    }

    fn rewrite(&self) -> Result<Option<Rewritten>> {
        let look = self.look()?;
        if !look.moves {
            return Ok(None);
        }
        let mut out = Vec::new();
        let written = if look.unsorts {
            self.write_sorted(&mut out)?
        } else {
            self.write(&mut out)?
        };
        let groups = written.row_groups();
        let layout = Layout {
            offsets: groups.iter().filter_map(start_of).collect(),
            column_sizes: column_sizes(groups),
        };
        Ok(Some(Rewritten {
            bytes: out,
            layout: Some(layout),
        }))
    }

    fn bad(&self, error: &ParquetError) -> Error {
        malformed(self.location, error)
    }

    /// Reads every path once.
    fn look(&self) -> Result<Look> {
        let mut moves = false;
        let (mut ascend, mut ascend_moved) = (true, true);
        let mut last: Option<(ByteArray, ByteArray)> = None;
        for group in 0..self.metadata().num_row_groups() {
            self.paths(group, |path, moved| {
                moves |= path != moved;
                if let Some((last, last_moved)) = &last {
                    ascend &= last.data() <= path.data();
                    ascend_moved &= last_moved.data() <= moved.data();
                }
                last = Some((path.clone(), moved.clone()));
                Ok(())
            })?;
        }
        Ok(Look {
            moves,
            unsorts: ascend && !ascend_moved,
        })
    }

    /// Shows each path of a row group as it is and moved.
    fn paths(
        &self,
        group: usize,
        mut visit: impl FnMut(&ByteArray, &ByteArray) -> Result<()>,
    ) -> Result<()> {
        let group = self.reader.get_row_group(group).map_err(|e| self.bad(&e))?;
        let reader = group
            .get_column_reader(self.path)
            .map_err(|e| self.bad(&e))?;
        let ColumnReader::ByteArrayColumnReader(mut reader) = reader else {
            return Err(Error::malformed(self.location, "file_path is no text"));
        };
        let mut values = Vec::new();
        let mut levels = Vec::new();
        let mut last: Option<(ByteArray, ByteArray)> = None;
        loop {
            values.clear();
            levels.clear();
            let (rows, found, _) = reader
                .read_records(ROWS, Some(&mut levels), None, &mut values)
                .map_err(|e| self.bad(&e))?;
            if rows == 0 {
                return Ok(());
            }
            if found != rows {
                let what = "a position delete without a path";
                return Err(Error::malformed(self.location, what));
            }
            for path in &values {
                // Paths come in runs.
                let known = last.as_ref().filter(|(known, _)| known == path);
                if known.is_none() {
                    let text = text(path.data(), self.location)?;
                    let moved = self.prefixes.map(text, self.location)?;
                    let moved = ByteArray::from(moved.as_ref());
                    last = Some((path.clone(), moved));
                }
                if let Some((path, moved)) = &last {
                    visit(path, moved)?;
                }
            }
        }
    }

    fn properties(&self) -> WriterProperties {
        let metadata = self.metadata();
        let groups = metadata.row_groups();
        let compression = groups
            .first()
            .map(|group| group.column(self.path).compression());
        let sorting = groups.first().and_then(|group| group.sorting_columns());
        WriterProperties::builder()
            .set_compression(compression.unwrap_or(Compression::UNCOMPRESSED))
            .set_max_row_group_row_count(None)
            .set_key_value_metadata(metadata.file_metadata().key_value_metadata().cloned())
            .set_sorting_columns(sorting.cloned())
            .build()
    }

    fn writer<'o>(&self, out: &'o mut Vec<u8>) -> Result<SerializedFileWriter<&'o mut Vec<u8>>> {
        let schema = self.metadata().file_metadata().schema_descr();
        let schema = schema.root_schema_ptr();
        SerializedFileWriter::new(out, schema, self.properties().into()).map_err(|e| self.bad(&e))
    }

    /// Row group by row group, other columns as they are encoded.
    fn write(&self, out: &mut Vec<u8>) -> Result<ParquetMetaData> {
        let mut writer = self.writer(out)?;
        for (number, group) in self.metadata().row_groups().iter().enumerate() {
            let mut to = writer.next_row_group().map_err(|e| self.bad(&e))?;
            for (leaf, column) in group.columns().iter().enumerate() {
                if leaf == self.path {
                    self.write_paths(number, &mut to)?;
                    continue;
                }
                let close = ColumnCloseResult {
                    bytes_written: column.compressed_size().unsigned_abs(),
                    rows_written: group.num_rows().unsigned_abs(),
                    metadata: column.clone(),
                    bloom_filter: None,
                    column_index: None,
                    offset_index: None,
                };
                to.append_column(self.file, close)
                    .map_err(|e| self.bad(&e))?;
            }
            to.close().map_err(|e| self.bad(&e))?;
        }
        writer.finish().map_err(|e| self.bad(&e))
    }

    fn write_paths(
        &self,
        group: usize,
        to: &mut SerializedRowGroupWriter<'_, &mut Vec<u8>>,
    ) -> Result<()> {
        let column = to.next_column().map_err(|e| self.bad(&e))?;
        let mut column = column.ok_or_else(|| Error::malformed(self.location, "columns differ"))?;
        let mut batch = Vec::with_capacity(ROWS);
        self.paths(group, |_, moved| {
            batch.push(moved.clone());
            if batch.len() == ROWS {
                self.put_paths(column.untyped(), &batch)?;
                batch.clear();
            }
            Ok(())
        })?;
        self.put_paths(column.untyped(), &batch)?;
        column.close().map_err(|e| self.bad(&e))
    }

    fn levels(&self, leaf: usize, rows: usize) -> Vec<i16> {
        let schema = self.metadata().file_metadata().schema_descr();
        vec![schema.column(leaf).max_def_level(); rows]
    }

    fn put_paths(&self, column: &mut ColumnWriter<'_>, paths: &[ByteArray]) -> Result<()> {
        let ColumnWriter::ByteArrayColumnWriter(writer) = column else {
            return Err(Error::malformed(self.location, "file_path is no text"));
        };
        let levels = self.levels(self.path, paths.len());
        let put = writer.write_batch(paths, Some(&levels), None);
        put.map(drop).map_err(|e| self.bad(&e))
    }

    /// One row group with all rows in the order that moved paths have.
    fn write_sorted(&self, out: &mut Vec<u8>) -> Result<ParquetMetaData> {
        let rows = self.sorted_rows()?;
        let mut writer = self.writer(out)?;
        let mut to = writer.next_row_group().map_err(|e| self.bad(&e))?;
        let mut leaf = 0;
        while let Some(mut column) = to.next_column().map_err(|e| self.bad(&e))? {
            for rows in rows.chunks(ROWS) {
                let levels = self.levels(leaf, rows.len());
                if leaf == self.path {
                    let paths: Vec<ByteArray> = rows.iter().map(|(path, _)| path.clone()).collect();
                    self.put_paths(column.untyped(), &paths)?;
                } else {
                    let positions: Vec<i64> = rows.iter().map(|(_, position)| *position).collect();
                    column
                        .typed::<Int64Type>()
                        .write_batch(&positions, Some(&levels), None)
                        .map_err(|e| self.bad(&e))?;
                }
            }
            column.close().map_err(|e| self.bad(&e))?;
            leaf += 1;
        }
        to.close().map_err(|e| self.bad(&e))?;
        writer.finish().map_err(|e| self.bad(&e))
    }

    fn sorted_rows(&self) -> Result<Vec<(ByteArray, i64)>> {
        let refuse = |what: &str| Err(Error::malformed(self.location, what));
        let metadata = self.metadata();
        let schema = metadata.file_metadata().schema_descr();
        let position = (0..schema.num_columns()).find(|leaf| *leaf != self.path);
        let plain = position.is_some_and(|leaf| {
            let column = schema.column(leaf);
            column.physical_type() == Physical::INT64 && column.max_rep_level() == 0
        });
        let (2, true, Some(position)) = (schema.num_columns(), plain, position) else {
            return refuse(
                "moved paths sort otherwise, and rows with further columns are not sorted",
            );
        };
        let count = metadata.file_metadata().num_rows();
        if usize::try_from(count).is_ok_and(|count| count > SORTED_ROWS_MAX) {
            return refuse("moved paths sort otherwise, and there are too many rows to sort");
        }
        let mut rows = Vec::new();
        for number in 0..metadata.num_row_groups() {
            let mut paths = Vec::new();
            self.paths(number, |_, moved| {
                paths.push(moved.clone());
                Ok(())
            })?;
            let group = self
                .reader
                .get_row_group(number)
                .map_err(|e| self.bad(&e))?;
            let reader = group
                .get_column_reader(position)
                .map_err(|e| self.bad(&e))?;
            let ColumnReader::Int64ColumnReader(mut reader) = reader else {
                return refuse("positions are no numbers");
            };
            let mut positions = Vec::new();
            let mut levels = Vec::new();
            while positions.len() < paths.len() {
                let read = reader.read_records(ROWS, Some(&mut levels), None, &mut positions);
                if read.map_err(|e| self.bad(&e))?.0 == 0 {
                    break;
                }
            }
            if positions.len() != paths.len() {
                return refuse("position deletes without positions");
            }
            rows.extend(paths.into_iter().zip(positions));
        }
        rows.sort_by(|(path, at), (other, other_at)| {
            path.data().cmp(other.data()).then(at.cmp(other_at))
        });
        Ok(rows)
    }
}

fn malformed(location: &str, error: &ParquetError) -> Error {
    Error::malformed(location, format!("position deletes: {error}"))
}

fn start_of(group: &RowGroupMetaData) -> Option<i64> {
    let first = group.columns().first()?;
    let data = first.data_page_offset();
    Some(
        first
            .dictionary_page_offset()
            .map_or(data, |at| at.min(data)),
    )
}

/// Lengths of the columns that position deletes always have.
fn column_sizes(groups: &[RowGroupMetaData]) -> Vec<(i32, i64)> {
    let size = |id: i32, name: &str| {
        let columns = groups.iter().flat_map(RowGroupMetaData::columns);
        columns
            .filter(|column| is_column(column.column_descr(), id, name))
            .map(|column| column.compressed_size())
            .sum()
    };
    vec![
        (FILE_PATH_COLUMN, size(FILE_PATH_COLUMN, "file_path")),
        (POSITION_COLUMN, size(POSITION_COLUMN, "pos")),
    ]
}
