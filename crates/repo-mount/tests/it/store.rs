//! The object store of a snapshot answers as a store in memory that holds the same files.
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::ops::Range;
use std::os::unix::fs::symlink;
use std::path::Path as FilePath;
use std::sync::Arc;

use arrow_array::{Int64Array, RecordBatch, StringArray};
use futures::TryStreamExt as _;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    Error, GetOptions, GetRange, ObjectStore, ObjectStoreExt as _, PutMultipartOptions,
};
use parquet::arrow::{ArrowWriter, ParquetRecordBatchStreamBuilder};
use repo_core::Access;
use repo_mount::SnapshotStore;
use repo_testkit::data::random;

use crate::example::{self, Object};
use crate::fixture::Bench;

const FILES: [(&str, usize); 9] = [
    ("empty", 0),
    ("one", 1),
    ("large.bin", 5_000_001),
    ("dir/a", 10),
    ("dir/b", 300_000),
    ("dir/deep/er/c.parquet", 77),
    ("dir-beside/d", 5),
    ("part=2026-01-01/e", 6),
    ("with space/f g", 7),
];

/// The same files in a snapshot and in memory.
async fn both() -> (Bench, SnapshotStore, InMemory) {
    let (bench, memory) = (Bench::new().await, InMemory::new());
    for (seed, (name, len)) in FILES.into_iter().enumerate() {
        let bytes = random(seed as u64, len);
        let path = bench.source().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &bytes).unwrap();
        memory.put(&Path::from(name), bytes.into()).await.unwrap();
    }
    fs::create_dir_all(bench.source().join("empty-dir/below")).unwrap();
    symlink("one", bench.source().join("link")).unwrap();
    let view = bench.take().await;
    let store = SnapshotStore::new(bench.repository.reader(), &view);
    (bench, store, memory)
}

async fn read(store: &dyn ObjectStore, name: &str, range: Option<GetRange>) -> Option<Vec<u8>> {
    let options = GetOptions {
        range,
        ..GetOptions::default()
    };
    let got = store.get_opts(&Path::from(name), options).await.ok()?;
    let range = got.range.clone();
    let bytes = got.bytes().await.unwrap();
    assert_eq!(bytes.len() as u64, range.end - range.start);
    Some(bytes.to_vec())
}

#[tokio::test(flavor = "multi_thread")]
async fn ranges_are_those_of_other_stores() {
    let (_bench, store, memory) = both().await;
    for (name, len) in FILES
        .into_iter()
        .chain([("absent", 9), ("dir", 9), ("one/x", 9)])
    {
        let len = len as u64;
        let mut ranges = vec![None];
        for (from, to) in [
            (0, 1),
            (0, len),
            (len / 2, len / 2 + 100),
            (len, len + 1),
            (5, 5),
        ] {
            ranges.push(Some(GetRange::Bounded(from..to)));
            ranges.push(Some(GetRange::Offset(from)));
            ranges.push(Some(GetRange::Suffix(to)));
        }
        for range in ranges {
            let ours = read(&store, name, range.clone()).await;
            let theirs = read(&memory, name, range.clone()).await;
            assert!(ours == theirs, "{name} {range:?}");
        }
    }
    let ranges: Vec<Range<u64>> = vec![7..9, 1_000_000..3_000_000, 0..1, 4_999_999..5_000_001];
    let large = Path::from("large.bin");
    let ours = store.get_ranges(&large, &ranges).await.unwrap();
    let theirs = memory.get_ranges(&large, &ranges).await.unwrap();
    assert!(ours == theirs);
}

#[tokio::test(flavor = "multi_thread")]
async fn listings_are_those_of_other_stores() {
    let (_bench, store, memory) = both().await;
    for prefix in ["", "dir", "dir/deep", "one", "absent", "dir/a", "link"] {
        let prefix = Some(Path::from(prefix)).filter(|prefix| !prefix.as_ref().is_empty());
        let mut listings = Vec::new();
        for store in [&store as &dyn ObjectStore, &memory] {
            let all: Vec<_> = store.list(prefix.as_ref()).try_collect().await.unwrap();
            let all: BTreeMap<_, _> = all.into_iter().map(|m| (m.location, m.size)).collect();
            let one = store.list_with_delimiter(prefix.as_ref()).await.unwrap();
            let mut below = one.common_prefixes;
            below.sort();
            let here: BTreeMap<_, _> = one
                .objects
                .into_iter()
                .map(|m| (m.location, m.size))
                .collect();
            let offset = Path::from("dir/b");
            let after = store.list_with_offset(prefix.as_ref(), &offset);
            let after: Vec<_> = after.try_collect().await.unwrap();
            listings.push((all, below, here, after.len()));
        }
        assert_eq!(listings[0], listings[1], "{prefix:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_is_that_of_the_files() {
    let (bench, store, _) = both().await;
    let meta = store.head(&Path::from("dir/b")).await.unwrap();
    let file = bench.source().join("dir/b").metadata().unwrap();
    let modified: std::time::SystemTime = meta.last_modified.into();
    assert_eq!((meta.size, modified), (300_000, file.modified().unwrap()));
    let tag = meta.e_tag.unwrap();
    let get = |options: GetOptions| {
        let store = store.clone();
        async move { store.get_opts(&Path::from("dir/b"), options).await }
    };
    let same = GetOptions::default().with_if_match(Some(&tag));
    assert!(get(same).await.is_ok());
    let other = GetOptions::default().with_if_match(Some("other"));
    assert!(matches!(get(other).await, Err(Error::Precondition { .. })));
    let unless = GetOptions::default().with_if_none_match(Some(&tag));
    assert!(matches!(get(unless).await, Err(Error::NotModified { .. })));
    for absent in ["absent", "dir", "link", ""] {
        let missing = store.head(&Path::from(absent)).await;
        assert!(matches!(missing, Err(Error::NotFound { .. })), "{absent}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_are_refused_and_change_nothing() {
    let (_bench, store, _) = both().await;
    let (one, two) = (Path::from("one"), Path::from("two"));
    let options = PutMultipartOptions::default();
    let refusals = [
        store.put(&two, "x".into()).await.err(),
        store.put_multipart_opts(&two, options).await.err(),
        store.delete(&one).await.err(),
        store.copy(&one, &two).await.err(),
        store.rename(&one, &two).await.err(),
    ];
    for refusal in refusals {
        let refusal = refusal.expect("a refusal");
        assert!(matches!(refusal, Error::NotSupported { .. }), "{refusal}");
        assert!(refusal.to_string().contains("a snapshot cannot be changed"));
    }
    assert_eq!(store.head(&one).await.unwrap().size, 1);
    assert!(store.head(&two).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn names_of_any_bytes_are_listed_and_read() {
    use std::os::unix::ffi::OsStrExt as _;
    let bench = Bench::new().await;
    let names: [&[u8]; 5] = [b"caf\xe9", b"new\nline", b"50% {x} ~#", b"%41", b"A"];
    for name in names {
        let path = bench
            .source()
            .join(FilePath::new(std::ffi::OsStr::from_bytes(name)));
        fs::write(path, name).unwrap();
    }
    let view = bench.take().await;
    let store = SnapshotStore::new(bench.repository.reader(), &view);
    let listed: Vec<_> = store.list(None).try_collect().await.unwrap();
    let mut read = Vec::new();
    for object in &listed {
        let bytes = store
            .get(&object.location)
            .await
            .unwrap()
            .bytes()
            .await
            .unwrap();
        read.push(bytes.to_vec());
    }
    read.sort();
    let mut expected: Vec<Vec<u8>> = names.iter().map(|name| name.to_vec()).collect();
    expected.sort();
    assert_eq!(read, expected);
}

/// A table as programs that write Parquet leave it.
fn write_parquet(path: &FilePath, rows: i64) -> RecordBatch {
    let ids = Int64Array::from_iter_values(0..rows);
    let names = StringArray::from_iter_values((0..rows).map(|id| format!("name {}", id % 977)));
    let columns: [(&str, arrow_array::ArrayRef); 2] =
        [("id", Arc::new(ids)), ("name", Arc::new(names))];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let file = File::create(path).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), None).unwrap();
    for start in (0..batch.num_rows()).step_by(100_000) {
        let len = (batch.num_rows() - start).min(100_000);
        writer.write(&batch.slice(start, len)).unwrap();
        writer.flush().unwrap();
    }
    writer.close().unwrap();
    batch
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parquet_file_is_read_where_it_lies() {
    let bench = Bench::new().await;
    fs::create_dir(bench.source().join("table")).unwrap();
    let written = write_parquet(&bench.source().join("table/part-0.parquet"), 300_000);
    let view = bench.take().await;
    let store = Arc::new(SnapshotStore::new(bench.repository.reader(), &view));
    let reader = Object {
        store,
        path: Path::from("table/part-0.parquet"),
    };
    let builder = ParquetRecordBatchStreamBuilder::new(reader).await.unwrap();
    assert_eq!(builder.metadata().num_row_groups(), 3);
    let batches: Vec<_> = builder.build().unwrap().try_collect().await.unwrap();
    let mut row = 0;
    for batch in batches {
        let len = batch.num_rows();
        assert_eq!(batch.columns(), written.slice(row, len).columns());
        row += len;
    }
    assert_eq!(row, written.num_rows());

    // The example does the same.
    let location = bench.place.path().join("repository");
    let (location, mut out) = (location.to_str().unwrap(), Vec::new());
    let path = "table/part-0.parquet";
    let described = example::describe(location, &Access::Plain, "latest", path, &mut out);
    described.await.unwrap();
    let text = String::from_utf8(out).unwrap();
    assert_eq!(text, "id: Int64\nname: Utf8\n300000 rows\n");
}
