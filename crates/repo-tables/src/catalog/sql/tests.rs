use super::*;

const LAYOUT: &str =
    "CREATE TABLE iceberg_tables (catalog_name TEXT NOT NULL, table_namespace TEXT NOT NULL,
        table_name TEXT NOT NULL, metadata_location TEXT, previous_metadata_location TEXT,
        PRIMARY KEY (catalog_name, table_namespace, table_name));
    CREATE TABLE iceberg_namespace_properties (catalog_name TEXT NOT NULL, namespace TEXT NOT NULL,
        property_key TEXT NOT NULL, property_value TEXT NOT NULL,
        PRIMARY KEY (catalog_name, namespace, property_key));";

fn name(namespace: &str, name: &str) -> CatalogName {
    let namespace = namespace.split('.').map(str::to_owned).collect();
    CatalogName::new(namespace, name.to_owned()).expect("a name")
}

fn shown(sql: &Sql, part: &str) -> Vec<String> {
    let part = CatalogPart::parse(part).expect("a part");
    let names = sql.tables(&part).expect("tables");
    names.iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn a_table_is_registered_and_replaced_only_as_it_was() {
    let place = tempfile::tempdir().expect("a directory");
    let path = place.path().join("c.db");
    let text = format!("sqlite:///{}", path.display());
    let open = |name: Option<&str>| {
        Sql::new(Handle::current(), &text, name.map(str::to_owned)).expect("a catalog")
    };
    assert!(
        open(Some("c")).tables(&CatalogPart::default()).is_err(),
        "made from nothing"
    );
    assert!(!path.exists());
    let connection = Connection::open(&path).expect("a database");
    connection.execute_batch(LAYOUT).expect("tables");
    let unnamed = open(None)
        .tables(&CatalogPart::default())
        .expect_err("no name");
    assert!(unnamed.to_string().contains("option name"), "{unnamed}");

    let (sql, orders) = (open(Some("c")), name("a.b", "orders"));
    for _ in 0..2 {
        sql.make_namespace(&orders).expect("made");
    }
    sql.point(&orders, "/m1", None).expect("registered");
    assert!(sql.point(&orders, "/m2", None).is_err(), "added twice");
    sql.point(&orders, "/m2", Some("/m0")).expect("a query");
    assert_eq!(sql.load(&orders).expect("loaded").as_deref(), Some("/m1"));
    sql.point(&orders, "/m2", Some("/m1")).expect("replaced");
    assert_eq!(
        open(None).load(&orders).expect("loaded").as_deref(),
        Some("/m2")
    );
    sql.point(&name("a", "users"), "/m3", None)
        .expect("registered");
    assert_eq!(shown(&sql, ""), ["a.users", "a.b.orders"]);
    assert_eq!(shown(&sql, "a.b"), ["a.b.orders"]);

    // Layouts that tell views apart.
    let views = "ALTER TABLE iceberg_tables ADD COLUMN iceberg_type TEXT;
        UPDATE iceberg_tables SET iceberg_type = 'VIEW' WHERE table_name = 'users';";
    connection.execute_batch(views).expect("a column");
    assert_eq!(shown(&sql, ""), ["a.b.orders"]);
    open(Some("d"))
        .point(&orders, "/m4", None)
        .expect("registered");
    let several = open(None).load(&orders).expect_err("two catalogs");
    assert!(
        several.to_string().contains("c, d") || several.to_string().contains("d, c"),
        "{several}"
    );
}

#[tokio::test]
async fn what_is_no_database_is_refused_without_its_password() {
    for text in [
        "sqlite:",
        "mysql://u:geheim@h/d",
        "postgres://u:geheim@h:port/d",
    ] {
        let Err(error) = Sql::new(Handle::current(), text, None) else {
            panic!("{text} is taken");
        };
        assert!(!error.to_string().contains("geheim"), "{error}");
    }
}
