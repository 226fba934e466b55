use super::Policy;

const BIG: u64 = 1 << 20;

fn postgres_page() -> Vec<u8> {
    let mut page = vec![0u8; 8192];
    page[12..20].copy_from_slice(&[0x28, 0, 0, 0x10, 0, 0x20, 0x04, 0x20]);
    page[100] = 7;
    page
}

fn innodb_page() -> Vec<u8> {
    let mut page = vec![0u8; 8192];
    page[0] = 9;
    page[25] = 8;
    page[34..42].copy_from_slice(&[0, 0, 0, 5, 0, 0, 0, 5]);
    page
}

#[track_caller]
fn check(path: &str, size: u64, head: &[u8], expect: Policy) {
    assert_eq!(
        Policy::detect(path.as_bytes(), size, head),
        expect,
        "{path}"
    );
}

#[test]
fn postgres_relations_are_pages() {
    for path in [
        "base/5/16384",
        "data/base/5/16384.1",
        "base/5/16384_fsm",
        "base/5/16384_vm.2",
        "base/5/16384_init",
        "global/1262",
        "pg_tblspc/16999/PG_16_202307071/5/16384.12",
        "PG_16_202307071/5/16384",
    ] {
        check(path, BIG, &postgres_page(), Policy::Pages);
        check(path, BIG, &[0; 8192], Policy::Pages);
        check(path, BIG, &[0xa5; 8192], Policy::Generic);
        check(path, BIG, &[], Policy::Generic);
        check(path, 8192, &postgres_page(), Policy::Generic);
    }
}

#[test]
fn other_names_are_not_postgres() {
    for path in [
        "",
        "16384",
        "5/16384",
        "other/5/16384",
        "base/x/16384",
        "base/5/pg_filenode.map",
        "base/5/16384_other",
        "base/5/16384.",
        "base/5/_fsm",
        "pg_wal/000000010000000000000001",
    ] {
        check(path, BIG, &postgres_page(), Policy::Generic);
    }
}

#[test]
fn magic_decides_for_single_file_databases() {
    check("a/b.db", BIG, b"SQLite format 3\0....", Policy::Pages);
    check(
        "b.duckdb",
        BIG,
        b"\x01\x02\x03\x04\x05\x06\x07\x08DUCK@",
        Policy::Pages,
    );
    check("c", BIG, b"PAR1\x15", Policy::Columnar);
    check("c.parquet", 100, b"PAR1\x15", Policy::Generic);
    check("c.parquet", BIG, b"PARE\x15", Policy::Generic);
    check("c.parquet", BIG, b"", Policy::Generic);
}

#[test]
fn innodb_needs_name_and_header() {
    check("shop/orders.ibd", BIG, &innodb_page(), Policy::Pages);
    check("ibdata1", BIG, &innodb_page(), Policy::Pages);
    check("shop/orders.bin", BIG, &innodb_page(), Policy::Generic);
    check("shop/orders.ibd", BIG, &[1; 8192], Policy::Generic);
    check(
        "shop/orders.ibd",
        BIG,
        &innodb_page()[..40],
        Policy::Generic,
    );
}

#[test]
fn codes_round_trip() {
    for policy in [Policy::Generic, Policy::Pages, Policy::Columnar] {
        assert_eq!(Policy::from_code(policy.code()), Some(policy));
    }
    assert_eq!(Policy::from_code(3), None);
}
