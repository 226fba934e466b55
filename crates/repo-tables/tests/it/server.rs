//! Requests of a real S3 server, counted where they are sent: what a page of a listing is, only they tell.
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::aws::AmazonS3Builder;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpRequest, HttpResponse, HttpService, ReqwestConnector,
};
use object_store::{ClientOptions, ObjectStore, ObjectStoreExt as _};
use repo_core::{Quiet, SnapshotOptions};
use repo_tables::{Lake, Location, Source, TablesOptions, TablesReport, snapshot_tables};
use repo_testkit::Seaweed;

use crate::fixture::{add, metadata, protocol, repository};

/// A page of a listing.
const PAGE: usize = 1000;

/// Sends requests and counts them.
#[derive(Debug, Clone, Default)]
struct Counting(Arc<AtomicUsize>);

#[derive(Debug)]
struct Counted {
    client: HttpClient,
    sent: Arc<AtomicUsize>,
}

impl HttpConnector for Counting {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(Counted {
            client: ReqwestConnector::default().connect(options)?,
            sent: Arc::clone(&self.0),
        }))
    }
}

#[async_trait]
impl HttpService for Counted {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        self.sent.fetch_add(1, Ordering::Relaxed);
        self.client.execute(request).await
    }
}

/// Puts a table of `files` data files in one commit; names are longer than their content.
async fn table(objects: &Arc<dyn ObjectStore>, root: &str, files: usize) {
    let mut actions = vec![protocol(), metadata("m")];
    let names: Vec<String> = (0..files)
        .map(|file| format!("p={}/{file:05}.bin", file % 7))
        .collect();
    actions.extend(names.iter().map(|name| add(name, name.len())));
    let puts = names.iter().map(|name| async move {
        let path = format!("{root}/{name}").into();
        objects.put(&path, name.clone().into_bytes().into()).await
    });
    let puts = futures::stream::iter(puts).buffer_unordered(32);
    puts.try_collect::<Vec<_>>().await.unwrap();
    let lines: Vec<String> = actions.iter().map(ToString::to_string).collect();
    let path = format!("{root}/_delta_log/{:020}.json", 0).into();
    let commit = lines.join("\n").into_bytes().into();
    objects.put(&path, commit).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unchanged_table_on_a_server_costs_its_listings() {
    // Ten thousand where figures are wanted.
    let files = std::env::var("REPO_TABLE_FILES").map_or(2100, |files| files.parse().unwrap());
    let server = Seaweed::shared();
    let counting = Counting::default();
    let place = Location::parse(&server.location("counted/t")).unwrap();
    // Opening one as the program does provides for TLS.
    drop(repo_core::Store::open(&server.location("counted/r"), &server.options()).unwrap());
    let mut builder = AmazonS3Builder::new().with_http_connector(counting.clone());
    builder = builder.with_bucket_name(place.authority());
    for (key, value) in server.options() {
        builder = builder.with_config(key.parse().unwrap(), value);
    }
    let objects: Arc<dyn ObjectStore> = Arc::new(builder.build().unwrap());
    table(&objects, "counted/t", files).await;
    let lake = Lake::new(Vec::new());
    lake.set_client(&place, Arc::clone(&objects));
    let repository = repository().await;
    let take = async || -> (TablesReport, usize, u128) {
        counting.0.store(0, Ordering::Relaxed);
        let sources = [Source {
            name: None,
            place: place.clone(),
        }];
        let (tables, options) = (TablesOptions::default(), SnapshotOptions::default());
        let begun = crate::scale::clock();
        let quiet = Arc::new(Quiet);
        let taking = snapshot_tables(&repository, &lake, &sources, &tables, &options, quiet);
        let taken = taking.await.unwrap();
        (
            taken,
            counting.0.load(Ordering::Relaxed),
            begun.elapsed().as_millis(),
        )
    };
    let (first, sent, took) = take().await;
    assert_eq!(first.tables[0].files, files as u64 + 1);
    println!("{files} files, first: {sent} requests, {took} ms");
    let (second, sent, took) = take().await;
    println!("{files} files, unchanged: {sent} requests, {took} ms");
    assert_eq!(second.tables[0].new_files, [""; 0]);
    let new = second.snapshot.snapshot.stats.bytes_new;
    assert!(new < 8192, "{new} bytes are new");
    // Whether there is a log, the log, and all objects.
    assert_eq!(sent, 2 + (files + 1).div_ceil(PAGE));
}
