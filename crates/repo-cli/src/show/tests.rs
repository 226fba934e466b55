use super::*;

#[test]
fn sizes_have_binary_units_and_one_decimal() {
    for (count, text) in [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        ((1 << 20) - 1, "1.0 MiB"),
        (1 << 20, "1.0 MiB"),
        (1_288_490_189, "1.2 GiB"),
        (u64::MAX, "16.0 EiB"),
    ] {
        assert_eq!(bytes(count), text);
    }
}

#[test]
fn counts_are_grouped_and_agree_with_their_noun() {
    assert_eq!(count(1, "file"), "1 file");
    assert_eq!(count(0, "file"), "0 files");
    assert_eq!(count(1_234_567, "index"), "1,234,567 indexes");
    assert_eq!(grouped(999), "999");
    assert_eq!(grouped(1000), "1,000");
}

#[test]
fn durations_lose_precision_as_they_grow() {
    for (ms, text) in [
        (0, "0.00 s"),
        (310, "0.31 s"),
        (12_549, "12.5 s"),
        (185_000, "3:05 min"),
        (7_385_000, "2:03:05 h"),
    ] {
        assert_eq!(duration(Duration::from_millis(ms)), text);
    }
}

#[test]
fn times_are_readable_even_when_absurd() {
    assert_eq!(utc_time(1_700_000_000_123), "2023-11-14T22:13:20.123Z");
    assert_eq!(local_time(i64::MAX), format!("{} ms", i64::MAX));
}

#[test]
fn paths_show_what_they_hold_without_acting_on_the_terminal() {
    for (bytes, text) in [
        (&b"/home/me/a b.txt"[..], "/home/me/a b.txt"),
        (b"new\nline\x1b[31m", "new\\nline\\u{1b}[31m"),
        (b"latin-\xe9\xff", "latin-\\xe9\\xff"),
        (b"back\\slash", "back\\\\slash"),
        ("caf\u{e9}".as_bytes(), "caf\u{e9}"),
        ("a\u{202e}b".as_bytes(), "a\\u{202e}b"),
    ] {
        assert_eq!(path(bytes), text);
    }
}

#[test]
fn modes_look_as_ls_writes_them() {
    for (kind, bits, text) in [
        (EntryType::File, 0o644, "-rw-r--r--"),
        (EntryType::Directory, 0o1777, "drwxrwxrwt"),
        (EntryType::File, 0o4755, "-rwsr-xr-x"),
        (EntryType::File, 0o2644, "-rw-r-Sr--"),
        (EntryType::Symlink, 0o777, "lrwxrwxrwx"),
        (EntryType::Directory, 0o1000, "d--------T"),
    ] {
        assert_eq!(mode(kind, bits), text);
    }
}

#[test]
fn tables_are_aligned_without_trailing_space() {
    let rows = [
        vec!["a".to_owned(), "100".to_owned(), String::new()],
        vec!["long".to_owned(), "1".to_owned(), "x".to_owned()],
    ];
    let lines = table(&["ID", "SIZE", "TAGS"], &["SIZE"], &rows);
    assert_eq!(lines, ["ID    SIZE  TAGS", "a      100", "long     1  x"]);
}
