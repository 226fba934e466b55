use std::path::Path;

use repo_format::ErrorKind;

use super::{Store, resolve};

fn options(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = |(k, v): &(&str, &str)| ((*k).to_owned(), (*v).to_owned());
    pairs.iter().map(owned).collect()
}

#[test]
fn locations_are_shown_without_secrets() {
    let keys = options(&[
        ("AWS_ACCESS_KEY_ID", "id"),
        ("aws_secret_access_key", "secret-1"),
        ("aws_region", "r"),
    ]);
    let store = Store::open("s3://name:secret-2@bucket/a/b?sig=secret-3#x", &keys).unwrap();
    assert_eq!(store.location(), "s3://name@bucket/a/b");
    assert!(!format!("{store:?}").contains("secret"));
    let refused = Store::open("s3://x:secret@bu cket/", &[]).unwrap_err();
    assert!(!format!("{refused} {refused:?}").contains("secret"));
}

#[test]
fn a_missing_directory_is_not_made_by_opening() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("a/b c%20#1");
    let store = Store::open(missing.to_str().unwrap(), &[]).unwrap();
    assert!(!dir.path().join("a").exists());
    let real = dir.path().canonicalize().unwrap();
    let expected = real.join("a/b c%20#1/log/1");
    assert_eq!(store.local_path("log/1").unwrap(), expected);
    assert_eq!(store.local_path("../x"), None);
    let url = url::Url::from_file_path(&missing).unwrap();
    let twin = Store::open(url.as_str(), &[]).unwrap();
    assert_eq!(twin.local_path("log/1").unwrap(), expected);
}

#[test]
fn every_provider_has_a_client() {
    let azure = options(&[
        ("azure_storage_account_name", "account"),
        ("azure_storage_account_key", "c2VjcmV0"),
    ]);
    let google = options(&[("google_skip_signature", "true")]);
    for (location, options) in [
        ("az://container/x", &azure),
        ("gs://bucket/x", &google),
        ("s3://bucket/x", &Vec::new()),
        ("memory://", &Vec::new()),
    ] {
        assert_eq!(Store::open(location, options).unwrap().location(), location);
    }
}

#[test]
fn bad_locations_are_invalid() {
    for location in [
        "ftp:",
        "ftp://host/x",
        "https://example.com/x",
        "s3:bucket",
        "http://x/",
    ] {
        let opened = Store::open(location, &[]);
        if location == "ftp:" {
            // Not a scheme of ours, so a relative path.
            assert!(opened.unwrap().local_path("x").is_some());
        } else {
            assert_eq!(opened.unwrap_err().kind(), ErrorKind::Invalid, "{location}");
        }
    }
    let http = options(&[("aws_endpoint", "http://127.0.0.1:1"), ("aws_region", "r")]);
    let refused = Store::open("s3://bucket", &http).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Invalid);
    let number = options(&[("retry_timeout_s", "soon")]);
    assert!(Store::open("s3://bucket", &number).is_err());
}

#[test]
fn paths_lose_links_and_dots() {
    let dir = tempfile::tempdir().unwrap();
    let real = dir.path().canonicalize().unwrap();
    std::fs::create_dir(real.join("here")).unwrap();
    std::os::unix::fs::symlink(real.join("here"), real.join("link")).unwrap();
    assert_eq!(
        resolve(&real.join("link/x/y")).unwrap(),
        real.join("here/x/y")
    );
    assert_eq!(
        resolve(&real.join("here/../new")).unwrap(),
        real.join("new")
    );
    assert!(resolve(&real.join("missing/../new")).is_err());
    assert_eq!(resolve(Path::new("/")).unwrap(), Path::new("/"));
}
