//! The footer of Puffin files: any bytes give a payload inside of the file, or an error.
#![no_main]

use libfuzzer_sys::fuzz_target;
use repo_tables::iceberg::Footer;

fuzz_target!(|data: &[u8]| {
    whole(data);
    // As what stands between the first magic and the last, and as a payload of the right length.
    whole(&[b"PFA1", data, b"PFA1"].concat());
    let length = i32::try_from(data.len()).expect("libFuzzer's inputs are shorter than 2 GiB");
    let file = [b"PFA1PFA1", data, &length.to_le_bytes(), &[0; 4], b"PFA1"].concat();
    let footer = Footer::parse(&file, "it").expect("a sound footer");
    assert_eq!(footer.payload(&file), data);
});

fn whole(file: &[u8]) {
    if let Ok(footer) = Footer::parse(file, "it") {
        assert!(footer.payload(file).len() + 16 <= file.len());
    }
}
