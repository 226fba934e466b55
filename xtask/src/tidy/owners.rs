//! Who may name a foreign package, and who may touch the outside (environment, terminal, exit, files).
//!
//! A cipher, a store or a command line has one owner, so that replacing it is a change to one crate.

use super::Finding;
use super::floors::BESIDE;
use super::manifests::{Package, packages as read};
use super::source::{Source, line_of, words};
use super::tree::Tree;

const FACES: [&str; 3] = ["repo-cli", "repo-mount", "repo-serve"];

/// Foreign packages with owners: the packages, who may need them.
const OWNED: &[(&[&str], &[&str])] = &[
    (
        &["object_store"],
        &[
            "repo-store",
            "repo-testkit",
            "repo-tables",
            "repo-postgres",
            "repo-mount",
        ],
    ),
    (
        &[
            "ring",
            "blake3",
            "argon2",
            "aes-gcm",
            "chacha20poly1305",
            "hkdf",
            "lz4_flex",
        ],
        &["repo-format"],
    ),
    // Metadata of tables is compressed, too.
    (
        &["zstd", "zstd-safe", "snap"],
        &["repo-format", "repo-tables"],
    ),
    // Checksums that readers of a manifest ask for.
    (&["sha2"], &["repo-format", "repo-postgres", "repo-tables"]),
    (&["parquet"], &["repo-tables"]),
    // Deflate is for archives that others read and for metadata of tables, never for what is stored.
    (&["flate2"], &["repo-format", "repo-core", "repo-tables"]),
    (&["bincode"], &["repo-core"]),
    (&["fuser"], &["repo-mount"]),
    (
        &["clap", "clap_complete", "indicatif", "tracing-subscriber"],
        &FACES,
    ),
];

/// What only some crates may write in production code: the text, who may, why.
const OUTSIDE: &[(&[&str], &[&str], &str)] = &[
    (
        &["println!", "print!", "eprintln!", "eprint!"],
        &[
            "repo-cli",
            "repo-mount",
            "repo-serve",
            "repo-testkit",
            "xtask",
        ],
        "only faces print",
    ),
    (
        &["process::exit", "process::abort"],
        &["repo-cli", "repo-mount", "repo-serve", "xtask"],
        "only faces exit",
    ),
    (
        &[
            "env::var",
            "env::var_os",
            "env::vars",
            "env::vars_os",
            "env::args",
            "env::args_os",
            "env::set_var",
            "env::current_dir",
            "env::current_exe",
            "env::home_dir",
            "env::temp_dir",
        ],
        &[
            "repo-cli",
            "repo-mount",
            "repo-serve",
            "repo-testkit",
            "xtask",
        ],
        "only faces know the environment",
    ),
    (
        &["std::fs", "std::net", "std::process", "async"],
        &[
            "repo-store",
            "repo-core",
            "repo-tables",
            "repo-postgres",
            "repo-cli",
            "repo-mount",
            "repo-serve",
            "repo-testkit",
            "xtask",
        ],
        "the chunker and the format do no I/O and are not async",
    ),
];

/// Every owned foreign package is needed by its owners only.
pub(super) fn packages(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for package in inside(tree) {
        for (names, owners) in OWNED {
            for name in package
                .dependencies
                .iter()
                .filter(|name| names.contains(&name.as_str()))
            {
                if !owners.contains(&package.name.as_str()) {
                    let what = format!("only {} may need {name}", owners.join(", "));
                    findings.push(Finding::new(&package.manifest, what));
                }
            }
        }
    }
    findings
}

/// Production code touches the outside only where it is owned.
pub(super) fn outside(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for package in inside(tree) {
        let src = format!("{}/src/", package.directory);
        let files = tree
            .ending(".rs")
            .filter(|(path, _)| path.starts_with(&src) && !path.ends_with("/tests.rs"));
        for (path, text) in files {
            let code = Source::new(text).production();
            for (needles, may, why) in OUTSIDE {
                if may.contains(&package.name.as_str()) {
                    continue;
                }
                for needle in *needles {
                    for at in words(&code, needle) {
                        let what = format!("{needle}: {why}");
                        findings.push(Finding::at_line(path, line_of(&code, at), what));
                    }
                }
            }
        }
    }
    findings
}

fn inside(tree: &Tree) -> Vec<Package> {
    let (mut packages, _) = read(tree);
    packages.retain(|package| !BESIDE.contains(&package.name.as_str()));
    packages
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(name: &str, dependencies: &str, code: &str) -> Tree {
        let manifest = format!("[package]\nname = \"{name}\"\n[dependencies]\n{dependencies}");
        Tree::of(&[
            ("crates/it/Cargo.toml", &manifest),
            ("crates/it/src/lib.rs", code),
        ])
    }

    #[test]
    fn foreign_packages_stay_with_their_owners() {
        for (name, dependency, count) in [
            ("repo-store", "object_store", 0),
            ("repo-core", "object_store", 1),
            ("repo-format", "ring", 0),
            ("repo-core", "zstd", 1),
            ("repo-chunker", "blake3", 1),
            ("repo-cli", "clap", 0),
            ("repo-core", "clap", 1),
            ("repo-format", "bincode", 1),
            ("repo-benches", "zstd", 0),
        ] {
            let tree = tree(name, &format!("{dependency}.workspace = true"), "");
            assert_eq!(packages(&tree).len(), count, "{name} {dependency}");
        }
    }

    #[test]
    fn the_outside_is_touched_by_its_owners_only() {
        for (name, code, count) in [
            ("repo-core", "fn f() { println!(); }", 1),
            ("repo-core", "fn f() { std::process::exit(1); }", 1),
            ("repo-core", "fn f() { std::env::var(\"A\"); }", 1),
            (
                "repo-core",
                "fn f() { env!(\"A\"); std::env::consts::OS; }",
                0,
            ),
            (
                "repo-core",
                "// println! is for faces\nconst A: &str = \"env::var\";",
                0,
            ),
            (
                "repo-core",
                "#[cfg(test)]\nmod tests { fn f() { println!(); } }",
                0,
            ),
            ("repo-cli", "fn f() { println!(); std::env::args(); }", 0),
            ("repo-format", "use std::fs::File;", 1),
            ("repo-chunker", "async fn f() {}", 1),
            ("repo-core", "async fn f() {}", 0),
        ] {
            let found = outside(&tree(name, "", code));
            assert_eq!(found.len(), count, "{name} {code}: {found:?}");
        }
    }
}
