//! Checkpoints in Parquet for tests: rows of adds, then of sidecars, then one with the table.
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::ops::Range;
use std::sync::Arc;

use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;

use crate::fixture::SCHEMA;

const COLUMNS: &str = "message m {
    optional group add { required binary path (UTF8); required int64 size;
        optional binary stats (UTF8); }
    optional group metaData { required binary id (UTF8); required binary schemaString (UTF8); }
    optional group protocol { required int64 minReaderVersion;
        optional group readerFeatures (LIST) { repeated group list { optional binary element (UTF8); } } }
    optional group sidecar { required binary path (UTF8); required int64 sizeInBytes; } }";

/// Which rows are what.
struct Rows {
    adds: Range<usize>,
    sides: Range<usize>,
    tables: Range<usize>,
}

/// The row group being written.
struct Group<'w> {
    columns: SerializedRowGroupWriter<'w, Vec<u8>>,
    rows: usize,
}

impl Group<'_> {
    /// Levels of a column that is there, at `level`, in the rows of `range`.
    fn levels(&self, range: &Range<usize>, level: i16) -> Vec<i16> {
        let row = |row| if range.contains(&row) { level } else { 0 };
        (0..self.rows).map(row).collect()
    }

    fn numbers(&mut self, values: &[i64], range: &Range<usize>) {
        let levels = self.levels(range, 1);
        let mut column = self.columns.next_column().unwrap().unwrap();
        let typed = column.typed::<Int64Type>();
        typed.write_batch(values, Some(&levels), None).unwrap();
        column.close().unwrap();
    }

    fn texts(&mut self, values: &[&str], range: &Range<usize>, level: i16) {
        let levels = self.levels(range, level);
        self.put(values, &levels, None);
    }

    fn put(&mut self, values: &[&str], levels: &[i16], repeated: Option<&[i16]>) {
        let values: Vec<ByteArray> = values.iter().map(|value| ByteArray::from(*value)).collect();
        let mut column = self.columns.next_column().unwrap().unwrap();
        let typed = column.typed::<ByteArrayType>();
        typed.write_batch(&values, Some(levels), repeated).unwrap();
        column.close().unwrap();
    }

    /// Writes all columns: adds, then sidecars, then a row with the table and its protocol.
    fn fill(&mut self, paths: &[&str], sidecars: &[(&str, i64)], at: &Rows) {
        let Rows {
            adds,
            sides,
            tables,
        } = at;
        let table = tables.len();
        self.texts(paths, adds, 1);
        self.numbers(&vec![5; paths.len()], adds);
        self.texts(&vec!["{\"numRecords\":10}"; paths.len()], adds, 2);
        self.texts(&["m"][..table], tables, 1);
        self.texts(&[SCHEMA][..table], tables, 1);
        self.numbers(&vec![3; table], tables);
        // The last row has two features.
        let mut levels = self.levels(tables, 4);
        let mut repeated = vec![0; self.rows];
        if table == 1 {
            levels.push(4);
            repeated.push(1);
        }
        let features = ["v2Checkpoint", "deletionVectors"];
        self.put(&features[..2 * table], &levels, Some(&repeated));
        let names: Vec<&str> = sidecars.iter().map(|(path, _)| *path).collect();
        let sizes: Vec<i64> = sidecars.iter().map(|(_, size)| *size).collect();
        self.texts(&names, sides, 1);
        self.numbers(&sizes, sides);
    }
}

/// A checkpoint with these adds; of a table when it is `whole`, or with sidecars.
pub(crate) fn checkpoint(paths: &[&str], whole: bool, sidecars: &[(&str, i64)]) -> Vec<u8> {
    let schema = Arc::new(parse_message_type(COLUMNS).unwrap());
    let properties = Arc::new(WriterProperties::builder().build());
    let mut file = SerializedFileWriter::new(Vec::new(), schema, properties).unwrap();
    let sides = paths.len()..paths.len() + sidecars.len();
    let at = Rows {
        adds: 0..paths.len(),
        tables: sides.end..sides.end + usize::from(whole),
        sides,
    };
    {
        let mut group = Group {
            columns: file.next_row_group().unwrap(),
            rows: at.tables.end,
        };
        group.fill(paths, sidecars, &at);
        group.columns.close().unwrap();
    }
    file.into_inner().unwrap()
}
