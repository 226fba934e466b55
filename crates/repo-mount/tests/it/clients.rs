//! Programs that know nothing of repositories read a mount as they read the source.
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, UNIX_EPOCH};

use repo_testkit::data::{random, text};
use repo_testkit::tool;
use rustix::fs::{FileType, Mode, XattrFlags};

use crate::fixture::{Bench, blocking, run};

/// One of everything that a file system of Linux holds.
pub(crate) fn write_tree(root: &Path) {
    fs::create_dir_all(root.join("dir/deep/er")).unwrap();
    fs::create_dir(root.join("many")).unwrap();
    for number in 0..700_u64 {
        let path = root.join(format!("many/file {number}"));
        fs::write(path, text(number, usize::try_from(number * 37).unwrap())).unwrap();
    }
    fs::write(root.join("large"), random(1, 20_000_003)).unwrap();
    fs::write(root.join("dir/text"), text(2, 3_000_000)).unwrap();
    fs::write(root.join("dir/deep/er/empty"), "").unwrap();
    let sparse = File::create(root.join("dir/sparse")).unwrap();
    sparse.set_len(40 << 20).unwrap();
    sparse.write_all_at(&random(3, 10_000), 17 << 20).unwrap();
    fs::hard_link(root.join("large"), root.join("dir/deep/linked")).unwrap();
    symlink("../large", root.join("dir/to-large")).unwrap();
    symlink("nowhere", root.join("dangling")).unwrap();
    let set = |name: &str, attribute: &str, value: &[u8]| {
        rustix::fs::setxattr(root.join(name), attribute, value, XattrFlags::empty()).unwrap();
    };
    set("large", "user.comment", b"a large file");
    set("large", "user.empty", b"");
    set("dir", "user.of-a-directory", &random(4, 500));
    let node = |name: &str, kind, device| {
        let place = rustix::fs::CWD;
        rustix::fs::mknodat(
            place,
            root.join(name),
            kind,
            Mode::from_raw_mode(0o640),
            device,
        )
    };
    node("fifo", FileType::Fifo, 0).unwrap();
    node("null", FileType::CharacterDevice, rustix::fs::makedev(1, 3)).unwrap();
    node(
        "disk",
        FileType::BlockDevice,
        rustix::fs::makedev(259, 70_000),
    )
    .unwrap();
    fs::write(root.join("run"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(root.join("run"), PermissionsExt::from_mode(0o4751)).unwrap();
    std::os::unix::fs::chown(root.join("run"), Some(1234), Some(5678)).unwrap();
    fs::set_permissions(root.join("run"), PermissionsExt::from_mode(0o4751)).unwrap();
    let dated = File::options().write(true).open(root.join("run")).unwrap();
    let before_the_epoch = UNIX_EPOCH - Duration::from_nanos(1_000_000_001);
    dated.set_modified(before_the_epoch).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn diff_rsync_and_checksums_see_the_source() {
    let bench = Bench::new().await;
    write_tree(&bench.source());
    bench.take().await;
    let mounted = bench.mount().await;
    let (source, shown) = (bench.source(), mounted.path().join("snapshots/latest"));
    blocking(move || {
        // Special files are for rsync: diff compares their content.
        let mut diff = Command::new("diff");
        diff.args([
            "-r",
            "--no-dereference",
            "-x",
            "fifo",
            "-x",
            "null",
            "-x",
            "disk",
        ]);
        assert_eq!(run(diff.arg(&source).arg(shown.join("."))), "");
        let mut rsync = Command::new(tool("bin/rsync"));
        rsync.args(["-aHXn", "--checksum", "--delete", "--itemize-changes"]);
        let slash = |path: &Path| format!("{}/", path.display());
        assert_eq!(run(rsync.arg(slash(&source)).arg(slash(&shown))), "");
        let sums = "find . -type f -print0 | sort -z | xargs -0 sha256sum";
        let sum = |at: &Path| run(Command::new("sh").args(["-c", sums]).current_dir(at));
        assert_eq!(sum(&source), sum(&shown));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_answers_from_a_mounted_database() {
    let bench = Bench::new().await;
    let database = bench.source().join("app.db");
    let sqlite = tool("bin/sqlite3");
    let fill = "create table t (id integer primary key, name text);
        with recursive n (i) as (select 1 union all select i + 1 from n where i < 200000)
        insert into t select i, 'name ' || i from n;
        create index by_name on t (name);";
    run(Command::new(&sqlite).arg(&database).arg(fill));
    bench.take().await;
    fs::remove_file(database).unwrap();
    let mounted = bench.mount().await;
    let shown = mounted.path().join("snapshots/latest/app.db");
    blocking(move || {
        let ask = |question: &str| {
            let name = format!("file:{}?immutable=1", shown.display());
            let answer = run(Command::new(&sqlite).arg(name).arg(question));
            answer.trim().to_owned()
        };
        assert_eq!(ask("pragma integrity_check"), "ok");
        assert_eq!(ask("select id from t where name = 'name 123456'"), "123456");
        assert_eq!(ask("select count(*), sum(id) from t"), "200000|20000100000");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn duckdb_queries_a_mounted_parquet_file() {
    let bench = Bench::new().await;
    let duckdb = |program: &str| {
        let mut python = Command::new(tool("venv-clients/bin/python"));
        python.args(["-c", program]);
        python
    };
    let write = "import duckdb, sys
duckdb.sql(\"copy (select range as id, 'name ' || range as name from range(500000)) \
 to '\" + sys.argv[1] + \"' (format parquet)\")";
    run(duckdb(write).arg(bench.source().join("t.parquet")));
    bench.take().await;
    let mounted = bench.mount().await;
    let shown = mounted.path().join("snapshots/latest/t.parquet");
    let read = "import duckdb, sys
print(duckdb.sql(\"select count(*), sum(id), max(name) from '\" + sys.argv[1] + \"'\").fetchone())";
    let answer = blocking(move || run(duckdb(read).arg(shown))).await;
    assert_eq!(answer.trim(), "(500000, 124999750000, 'name 99999')");
}
